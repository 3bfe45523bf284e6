"""Marks, queues, samples and times of one connection, segment by segment against a script.

The script waits between its segments, so its own clock and TCP_INFO, read after each of them, know
every value that a mark may have taken. No timer of the kernel fires meanwhile: the shortest
retransmission timeout is five seconds here.
"""

import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.kernel.clock import REASON, Clock
from tests.kernel.collecting import Collector, agree_with_socket, collecting
from tests.kernel.play import MSS, PLAIN, Play
from tests.kernel.script import ACK, NOP, PSH, SACK_PERMITTED, Wire, sack, wire
from tests.kernel.tcp_info import Witness
from tests.kernel.validation import Between, agree

pytestmark = pytest.mark.kernel

RTO_MIN_SECONDS = 5
INITIAL_WINDOW = 10  # segments
INFINITE = 0x7FFFFFFF  # ssthresh
RWIN = 2  # of LimState
PRIORITY = 5
CWR, RECOVERY = 2, 3  # of tcpi_ca_state
PAIRING_US = 10_000  # between two readings of clocks a process may be put aside
#: What the script's plain SYN does not offer: 3 says that the peer has disabled it.
DECLINED = {"WinScaleSent": -1, "TimeStamps": 3, "ECN": 3, "WillSendSACK": 3, "WillUseSACK": 3}
HIGH_SECONDS = 0.025  # a round trip above this is a high one


@pytest.fixture(scope="module")
def link(nothing_is_left_behind: None) -> Iterator[Wire]:
    """A wire of whose retransmission timer nothing is seen."""
    with wire() as made:
        made.host.sysctl("net.ipv4.tcp_early_retrans", 0)
        made.host.sysctl("net.ipv4.tcp_slow_start_after_idle", 0)
        made.route("rto_min", f"{RTO_MIN_SECONDS}s")
        yield made


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory, link: Wire) -> Iterator[Collector]:
    """One collector for all scripts."""
    options = ["--interval", "200ms", "--rtt-threshold", f"{HIGH_SECONDS * 1000:.0f}ms"]
    with collecting(tmp_path_factory.mktemp("marks"), *options) as running:
        yield running


def now(play: Play) -> Witness:
    """What TCP_INFO says of the script's connection."""
    (witness,) = play.host.witnesses()
    return witness


class Watch:
    """The round trips of a script by its own clock, and TCP_INFO after each of its segments."""

    def __init__(self, play: Play) -> None:
        """Begin with what the handshake left."""
        self.play = play
        self.seen = [now(play)]
        self.trips: list[tuple[float, float]] = []  # at least, at most

    def look(self) -> Witness:
        """Read TCP_INFO once more."""
        self.seen.append(now(self.play))
        return self.seen[-1]

    def trip(self, seconds: float) -> None:
        """Let the kernel send one segment, and acknowledge it after this time."""
        before = time.monotonic()
        at = self.play.write(1)
        heard = time.monotonic()
        time.sleep(seconds)
        self.play.script.ack = at + MSS
        answered = time.monotonic()
        self.play.script.send()
        self.look()
        self.trips.append((answered - heard, time.monotonic() - before))

    def values(self, field: str) -> list[int]:
        """One field, as read each time."""
        return [witness[field] for witness in self.seen]


def times(bounds: dict[str, tuple[float, float]]) -> dict[str, Between]:
    """Seconds by variable, for those in milliseconds and for their twins in microseconds."""
    return {
        name + twin: Between(low=int(low * unit), high=int(high * unit) + 1, reason=REASON)
        for name, (low, high) in bounds.items()
        for twin, unit in (("", 1e3), ("Us", 1e6))
    }


def test_each_round_trip_is_a_sample(play: Play) -> None:
    """Their number, sum, extremes and last; the handshake is the first of them."""
    script = play.listen()
    began = time.monotonic()
    script.call(PLAIN)
    heard = time.monotonic()
    time.sleep(0.02)
    answered = time.monotonic()
    script.send()
    play.opened()
    watch = Watch(play)
    handshake = (answered - heard, time.monotonic() - began)
    for seconds in (0.03, 0.06, 0.015, 0.04):
        watch.trip(seconds)
    trips = [handshake, *watch.trips]
    lows, highs = ([trip[n] for trip in trips] for n in (0, 1))
    high = [sum(bound > HIGH_SECONDS for bound in bounds) for bounds in (lows, highs)]
    samples = {
        "SampleRTT": trips[-1],
        "MaxRTT": (max(lows), max(highs)),
        "MinRTT": (min(lows), min(highs)),
        "HCSumRTT": (sum(lows), sum(highs)),
    }
    told = times(samples)
    play.check(
        **told,
        SumRTT=told["HCSumRTT"],
        CountRTT=5,
        HighRTTm=Between(low=high[0], high=high[1], reason=REASON),
        NormalRTTm=Between(low=5 - high[1], high=5 - high[0], reason=REASON),
    )


def test_the_timeout_is_the_round_trip_and_its_variation(play: Play) -> None:
    """Of the variation TCP_INFO tells only in the timeout, which is rounded up to a tick."""
    play.open()
    watch = Watch(play)
    for seconds in (0.01, 0.1, 0.01):
        watch.trip(seconds)
    timeouts, last = watch.values("tcpi_rto"), watch.seen[-1]
    variation = last["tcpi_rto"] - last["tcpi_rtt"]
    low, high = (variation - 10_000) // 4, variation // 4
    ticks = "the timeout is in ticks"
    play.settle()
    agree(
        "TCP_INFO",
        play.row(),
        {
            "MaxRTOUs": max(timeouts),
            "MinRTOUs": min(timeouts),
            "MaxRTO": max(timeouts) // 1000,
            "MinRTO": min(timeouts) // 1000,
            "RTTVarUs": Between(low=low, high=high, reason=ticks),
            "RTTVar": Between(low=low // 1000, high=high // 1000, reason=ticks),
        },
    )


def test_a_signal_keeps_what_was_before_it_and_what_comes_after(play: Play) -> None:
    """The window and the last sample at the third duplicate, and the first sample later."""
    script = play.open()
    watch = Watch(play)
    watch.trip(0.03)
    first = play.write(5)
    for _ in range(2):
        script.send()
    before = watch.look()
    script.send()
    assert script.hear_data(MSS)[0].seq == first
    watch.look()
    script.ack = first + 5 * MSS
    script.send()
    watch.look()
    watch.trip(0.05)
    watch.trip(0.02)
    play.check(
        CongSignals=1,
        PreCongSumCwnd=before["tcpi_snd_cwnd"] * MSS,
        PostCongCountRTT=1,
        **times({"PreCongSumRTT": watch.trips[0], "PostCongSumRTT": watch.trips[1]}),
    )


def test_marks_are_the_extremes_of_what_tcp_info_showed(play: Play) -> None:
    """Slow start, a recovery, slow growth: windows, thresholds and queues at their peaks."""
    script = play.open()
    watch = Watch(play)
    for rounds, segments in enumerate([8, 8, 8, 1, *[8] * 8]):
        first = play.write(segments)
        watch.look()
        if rounds == 2:
            for _ in range(3):
                script.send()
                watch.look()
            assert script.hear_data(MSS)[0].seq == first
        for n in range(1, segments + 1) if rounds != 2 else (8,):
            script.ack = first + n * MSS
            script.send()
            watch.look()
    growing = [w["tcpi_snd_cwnd"] for w in watch.seen if is_slow_start(w)]
    avoiding = [w["tcpi_snd_cwnd"] for w in watch.seen if not is_slow_start(w)]
    thresholds = [s for s in watch.values("tcpi_snd_ssthresh") if s < INFINITE]
    play.settle()
    agree(
        "TCP_INFO",
        play.row(),
        {
            "MaxSsCwnd": max(growing) * MSS,
            "MaxCaCwnd": max(avoiding) * MSS,
            "MaxSsthresh": max(thresholds) * MSS,
            "MinSsthresh": min(thresholds) * MSS,
            "MaxRetxQueue": max(watch.values("tcpi_unacked")) * MSS,
            "MaxPipeSize": max(watch.values("tcpi_unacked")) * MSS,
            "MaxMSS": max(watch.values("tcpi_snd_mss")),
            "MinMSS": min(watch.values("tcpi_snd_mss")),
        },
    )


def is_slow_start(witness: Witness) -> bool:
    """Whether the window is below its threshold."""
    return witness["tcpi_snd_cwnd"] < witness["tcpi_snd_ssthresh"]


def test_each_acknowledgement_in_slow_start_is_counted(play: Play) -> None:
    """Ten segments acknowledged one by one; the eleventh ACK shows what the tenth did."""
    script = play.open()
    first = play.write(INITIAL_WINDOW)
    for n in range(INITIAL_WINDOW):
        script.ack = first + (n + 1) * MSS
        script.send()
    script.send(window=50_000)
    grown = now(play)["tcpi_snd_cwnd"] - INITIAL_WINDOW
    play.check(SlowStart=grown, CongAvoid=0, OtherReductions=0)


def test_growth_is_counted_as_tcp_info_showed_it(play: Play) -> None:
    """After a recovery a full window is acknowledged segment by segment, many times over.

    What a reduction under way does to the window is no growth.
    """
    script = play.open()
    watch = Watch(play)
    first = play.write(INITIAL_WINDOW)
    for _ in range(3):
        script.send()
    assert script.hear_data(MSS)[0].seq == first
    script.ack = first + INITIAL_WINDOW * MSS
    script.send()
    watch.look()
    watch.trip(0)
    for _ in range(6):
        play.host("send", size=20 * MSS)
        for _ in range(20):
            script.hear_data(MSS)
            script.ack += MSS
            script.send()
            watch.look()
    script.send(window=50_000)  # shows what the last one did
    steps = [
        (before, after)
        for before, after in pairwise(watch.seen)
        if not {before["tcpi_ca_state"], after["tcpi_ca_state"]} & {CWR, RECOVERY}
        if after["tcpi_snd_cwnd"] > before["tcpi_snd_cwnd"]
    ]
    slow = sum(is_slow_start(before) for before, _ in steps)
    assert len(steps) > slow
    play.settle()
    agree("TCP_INFO", play.row(), {"SlowStart": slow, "CongAvoid": len(steps) - slow})


def test_what_is_in_flight_and_what_waits_is_told_while_it_is_so(play: Play) -> None:
    """Seven segments fill the peer's window; five wait. Everything TCP_INFO knows is the same."""
    script = play.open(window=7 * MSS)
    play.host("prefer", priority=PRIORITY)
    play.host("send", size=12 * MSS)
    script.hear_data(7 * MSS)
    play.settle()
    agree_with_socket(play.row(), now(play), but=DECLINED)
    play.check(
        **DECLINED,
        SndUna=script.ack,
        SndNxt=script.ack + 7 * MSS,
        SndMax=script.ack + 7 * MSS,
        RcvNxt=script.seq,
        PipeSize=7 * MSS,
        CurRetxQueue=7 * MSS,
        CurAppWQueue=5 * MSS,
        MaxAppWQueue=Between(low=5 * MSS, high=12 * MSS, reason="it sends while it is written to"),
        LimState=RWIN,
    )


def test_octets_that_wait_for_their_reader_are_a_mark(play: Play) -> None:
    """Three segments wait, then none."""
    script = play.open()
    for _ in range(3):
        script.send(ACK | PSH, bytes(MSS))
        script.seq += MSS
    play.check(CurAppRQueue=3 * MSS, MaxAppRQueue=3 * MSS)
    play.host("receive", size=3 * MSS)
    play.check(CurAppRQueue=0, MaxAppRQueue=3 * MSS)


def test_what_waits_for_a_hole_to_be_filled_is_told(play: Play) -> None:
    """Up to the right edge of what came, while nothing comes any more."""
    script = play.open()
    for n in (1, 2, 3):
        script.send(ACK | PSH, bytes(MSS), seq=script.seq + n * MSS)
    play.check(CurReasmQueue=4 * MSS, MaxReasmQueue=4 * MSS, RcvNxt=script.seq)


def test_order_is_told_in_its_three_kinds(play: Play) -> None:
    """Contiguous, then duplicated once, then in recovery, then contiguous again."""
    script = play.open()
    play.check(InRecovery=1)
    first = play.write(5)
    script.send()
    play.check(InRecovery=2)
    script.send()
    script.send()
    play.check(InRecovery=3, FastRetran=1)
    script.ack = first + 5 * MSS
    script.send()
    play.check(InRecovery=1)


def test_rack_declares_one_segment_lost(play: Play) -> None:
    """Of five segments the last four are reported."""
    script = play.open(PLAIN + SACK_PERMITTED)
    first = play.write(5)
    script.send(options=NOP * 2 + sack((first + MSS, first + 5 * MSS)))
    assert script.hear_data(MSS)[0].seq == first
    play.check(RackTimeout=1, FastRetran=1)


def test_moments_are_those_of_the_clock(play: Play) -> None:
    """The row begins with the ACK of the handshake, and ends with the last segment so far."""
    clock = Clock()
    wall = time.time_ns() // 1000
    script = play.open()
    clock.read()
    wall_opened = time.time_ns() // 1000
    time.sleep(1.1)
    clock.read()
    script.send(ACK | PSH, bytes(MSS))
    script.hear()
    clock.read()
    elapsed = clock.span()
    play.settle()
    clock.read()
    made = Between(low=wall - PAIRING_US, high=wall_opened + PAIRING_US, reason=REASON)
    agree(
        "workload",
        play.row(),
        {
            "start_ts": clock.moment(0, 1),
            "current_ts": clock.moment(2, 3),
            "LimState_ts": clock.moment(2, 4),
            "ElapsedUs": elapsed,
            "ElapsedSecs": 1,
            "ElapsedMicroSecs": Between(low=elapsed.low % 10**6, high=999_999, reason=REASON),
            "start_tv": made,
            "StartTimeStamp": made,
        },
    )
