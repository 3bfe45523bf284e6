"""What a sender does and who holds it back, for how long, when a script decides it.

No timer of the kernel fires meanwhile: the shortest retransmission timeout is five seconds here.
"""

import time
from collections.abc import Iterator

import pytest

from tests.kernel.clock import Clock
from tests.kernel.collecting import Collector, collecting
from tests.kernel.play import MSS, PLAIN, Play, staged
from tests.kernel.script import ACK, FIN, NOP, SYN, Wire, sack, wire

pytestmark = pytest.mark.kernel

RTO_MIN_SECONDS = 5
INITIAL_WINDOW = 10  # segments
CWND, RWIN, TSO_DEFER = 1, 2, 4  # of LimState
HELD_SECONDS = 0.3
PACE_OCTETS = 20_000  # in a second


@pytest.fixture(scope="module")
def link(nothing_is_left_behind: None) -> Iterator[Wire]:
    """A wire of whose retransmission timer nothing is seen, and whose windows are limited."""
    with wire() as made:
        made.host.sysctl("net.ipv4.tcp_early_retrans", 0)
        made.route("rto_min", f"{RTO_MIN_SECONDS}s", "cwnd", "lock", str(2 * INITIAL_WINDOW))
        yield made


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory, link: Wire) -> Iterator[Collector]:
    """One collector for all scripts."""
    with collecting(tmp_path_factory.mktemp("senders"), "--interval", "200ms") as running:
        yield running


@pytest.mark.parametrize("room", [7, 8], ids=["from a segment on", "from a write on"])
def test_time_that_the_receiver_takes_is_its_own(play: Play, room: int) -> None:
    """Segments fill its window and the rest waits, until it opens.

    Of twelve the kernel queues eight before it sends the first: with room for as many none of them
    is held, and the stop begins with the rest of the write.
    """
    script = play.open(window=room * MSS)
    clock = Clock()
    play.host("send", size=12 * MSS)
    script.hear_data(room * MSS)
    clock.read()
    time.sleep(HELD_SECONDS)
    play.check(LimState=RWIN)
    clock.read()
    script.ack += room * MSS
    script.send()
    script.hear_data((12 - room) * MSS)
    clock.read()
    script.ack += (12 - room) * MSS
    script.send()
    play.check(
        SndLimTransRwin=1,
        SndLimTimeRwinUs=clock.span(),
        SndLimTimeRwin=clock.span(1000),
        SndLimTransCwnd=0,
    )


def test_time_that_the_congestion_window_takes_is_its_own(play: Play) -> None:
    """Ten segments fill it and ten wait, until the first ten are acknowledged."""
    script = play.open()
    clock = Clock()
    play.host("send", size=2 * INITIAL_WINDOW * MSS)
    script.hear_data(INITIAL_WINDOW * MSS)
    clock.read()
    time.sleep(HELD_SECONDS)
    play.check(LimState=CWND)
    clock.read()
    script.ack += INITIAL_WINDOW * MSS
    script.send()
    script.hear_data(INITIAL_WINDOW * MSS)
    clock.read()
    script.ack += INITIAL_WINDOW * MSS
    script.send()
    play.check(
        SndLimTransCwnd=1,
        SndLimTimeCwndUs=clock.span(),
        SndLimTimeCwnd=clock.span(1000),
        SndLimTransRwin=0,
    )


def test_time_without_anything_to_send_is_the_senders(play: Play) -> None:
    """From the handshake to the end, in one piece."""
    clock = Clock()
    script = play.open()
    clock.read()
    for _ in range(2):
        script.ack = play.write(1) + MSS
        script.send()
        time.sleep(HELD_SECONDS)
    clock.read()
    script.reset()
    play.host("witness")
    clock.read()
    play.check(
        SndLimTransSnd=1,
        SndLimTimeSndUs=clock.span(),
        SndLimTimeSnd=clock.span(1000),
        SndLimTransCwnd=0,
        SndLimTransRwin=0,
    )


def test_a_handshake_is_the_time_of_starting_up(play: Play) -> None:
    """The script lets the kernel's SYN wait; the row then tells both sequence numbers."""
    script = play.script
    clock = Clock()
    play.host.tell("connect", address=script.link.far, port=script.port)
    syn = script.hear()
    clock.read()
    time.sleep(HELD_SECONDS)
    script.to, script.ack = syn.source, syn.seq + 1
    clock.read()
    script.send(SYN | ACK, options=PLAIN)
    script.hear()
    clock.read()
    script.seq += 1
    play.opened()
    play.check(
        ActiveOpen=1,
        SndLimTransStartup=1,
        SndLimTimeStartupUs=clock.span(),
        SndLimTimeStartup=clock.span(1000),
        SndInitial=syn.seq,
        RecInitial=script.seq - 1,
        SndUna=syn.seq + 1,
        RcvNxt=script.seq,
    )


def test_a_paced_sender_waits_for_its_clock(play: Play) -> None:
    """Beyond the first ten segments each waits until those before it are paid for."""
    script = play.open()
    play.host("pace", octets=PACE_OCTETS)
    script.ack = play.write(INITIAL_WINDOW) + INITIAL_WINDOW * MSS
    script.send()
    clock = Clock()
    for _ in range(3):
        play.host("send", size=2 * MSS, apart=True)
    for _ in range(3):
        script.hear_data(2 * MSS)
        clock.read()
    script.ack += 6 * MSS
    script.send()
    play.check(
        SndLimTransPace=1,
        SndLimTimePaceUs=clock.span(),
        SndLimTimePace=clock.span(1000),
    )


def test_a_sender_that_waits_for_a_larger_burst_defers(play: Play) -> None:
    """Two writes that stay apart: an ACK lets the rest of the first go, but not half the second.

    The room left is below a third of the window, and the next ACK is due before a round trip ends.
    """
    script = play.open()
    first = script.ack
    play.host("send", size=12 * MSS, apart=True)
    script.hear_data(INITIAL_WINDOW * MSS)
    play.host("send", size=5 * MSS)
    time.sleep(0.05)  # longer than a round trip
    clock = Clock()
    script.ack = first + 2 * MSS
    script.send()
    script.hear_data(2 * MSS)
    clock.read()
    assert not script.silence()
    time.sleep(HELD_SECONDS)
    play.check(LimState=TSO_DEFER)
    clock.read()
    script.ack = first + 12 * MSS
    script.send()
    script.hear_data(5 * MSS)
    clock.read()
    script.ack = first + 17 * MSS
    script.send()
    play.check(
        SndLimTransTSODefer=1,
        SndLimTimeTSODeferUs=clock.span(),
        SndLimTimeTSODefer=clock.span(1000),
    )


def test_a_full_queue_of_this_host_stalls_the_sender(play: Play) -> None:
    """A segment that the device's queue does not take is one stall and one signal."""
    script = play.open()
    play.write(1)
    script.ack += MSS
    script.send()
    link = script.link
    link.queue("add", "tbf", "rate", "1mbit", "burst", "600", "latency", "1s")
    try:
        play.host("send", size=MSS)
        assert not script.silence(), "longer than the burst"
    finally:
        link.queue("delete")
    play.check(SendStall=1, CongSignals=1, FastRetran=0, Timeouts=0)


def test_a_dsack_that_comes_with_the_answer_to_a_probe_is_one_undo(link: Wire, play: Play) -> None:
    """The tail loss probe was a repair, which is a signal of its own; in the same acknowledgement.

    The kernel changes its state for the signal while the undo is still to come.
    """
    first, script = play.recover(), play.script
    link.host.sysctl("net.ipv4.tcp_early_retrans", 3)
    try:
        second = play.write(2)
        assert script.hear_data(MSS)[0].seq == second + MSS, "the probe"
    finally:
        link.host.sysctl("net.ipv4.tcp_early_retrans", 0)
    play.host("send", size=MSS)
    script.ack = second + 3 * MSS
    script.send(options=NOP * 2 + sack((first, first + MSS)))
    script.send(window=50_000)
    play.check(FastRetran=1, SpuriousFrDetected=1, CongSignals=2, DSACKDups=1, Timeouts=0)


def test_the_limits_of_a_route_and_of_a_peer_are_shown(
    link: Wire, collector: Collector, play: Play
) -> None:
    """The route locks the congestion window, the peer's SYN the size of segments.

    The kernel asks the route only once it has measured the way there, which it notes at a close.
    """
    with staged(link, collector) as before:
        script = before.open()
        script.ack = before.write(1) + MSS
        script.send()
        script.send(FIN | ACK)
        script.seq += 1
        before.host("half_close")
        script.ack += 1
        script.send()
        before.host("settle")
    play.open()
    play.check(LimCwnd=2 * INITIAL_WINDOW * MSS, LimMSS=MSS)
