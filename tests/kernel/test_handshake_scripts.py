"""What only the handshake tells, where a script is the other end of it."""

import struct
from collections.abc import Iterator

import pytest

from tests.kernel.capture import by_kind
from tests.kernel.collecting import Collector, collecting
from tests.kernel.play import MSS, PLAIN, Play
from tests.kernel.script import (
    ACK,
    ECE,
    NOP,
    PSH,
    RST,
    SACK_PERMITTED,
    SYN,
    Wire,
    mss,
    scale,
    stamps,
)

USED, OWN, PEER = 1, 2, 3  # who declined, in the RFC's words: enabled, self- and peerDisabled

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory, link: Wire) -> Iterator[Collector]:
    """One collector for all handshakes."""
    with collecting(tmp_path_factory.mktemp("handshakes"), "--interval", "200ms") as running:
        yield running


@pytest.mark.parametrize("shift", [None, 7], ids=["unscaled", "scaled"])
@pytest.mark.parametrize("buffer", [131072, 1 << 20])
def test_the_window_of_the_answer_to_a_syn_is_the_first_one_sent(
    play: Play, shift: int | None, buffer: int
) -> None:
    """It is never scaled, and stays the largest one if no later segment offers more."""
    sysctl = play.script.link.host.sysctl
    sysctl("net.ipv4.tcp_rmem", f"4096 {buffer} 6291456")
    first = play.listen().call(PLAIN if shift is None else PLAIN + scale(shift)).window
    sysctl("net.ipv4.tcp_rmem", "4096 131072 6291456")
    play.script.send()
    play.opened()
    play.check(CurRwinSent=first, MaxRwinSent=first)
    play.host("send", size=MSS)
    (data,) = play.script.hear_data(MSS)
    second = data.window << (0 if shift is None else play.row()["WinScaleSent"])
    play.check(CurRwinSent=second, MaxRwinSent=max(first, second))


def test_who_was_offered_no_scale_sends_none(play: Play) -> None:
    """A passive end answers with the options that the SYN had: -1 is the RFC's word for none."""
    play.open(PLAIN)
    play.check(WinScaleSent=-1, WinScaleRcvd=-1)


def test_a_host_that_does_not_scale_forgets_what_its_peer_offered(play: Play) -> None:
    """It sent none, which is known; what it was sent is not."""
    sysctl = play.script.link.host.sysctl
    sysctl("net.ipv4.tcp_window_scaling", 0)
    play.open(PLAIN + scale(7))
    play.check(WinScaleSent=-1, WinScaleRcvd=None)
    sysctl("net.ipv4.tcp_window_scaling", 1)


@pytest.mark.parametrize(
    "offer",
    [b"", PLAIN + scale(2), PLAIN + stamps(1, 0), PLAIN + SACK_PERMITTED + stamps(1, 0) + scale(9)],
    ids=["none", "scale", "timestamps", "all"],
)
def test_who_answers_tells_its_syn_ack_as_it_was(play: Play, offer: bytes) -> None:
    """The kernel keeps enough to say what left before there was a socket."""
    said = by_kind(play.listen().open(offer).options)
    play.opened()
    (size,), shift = struct.unpack("!H", said[2]), said[3][0] if 3 in said else -1
    stamped, permitted = (USED if kind in said else PEER for kind in (8, 4))
    play.check(MSSSent=size, WinScaleSent=shift, TimeStamps=stamped, WillSendSACK=permitted)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"", {"MSSRcvd": 0, "WinScaleRcvd": -1, "WillSendSACK": PEER, "TimeStamps": PEER}),
        (PLAIN, {"MSSRcvd": MSS, "WinScaleRcvd": -1, "WillUseSACK": PEER, "TimeStamps": PEER}),
        (
            mss(9000) + SACK_PERMITTED + NOP + scale(0) + stamps(1, 0),
            {"MSSRcvd": 9000, "WinScaleRcvd": 0, "WillSendSACK": USED, "TimeStamps": USED},
        ),
        (scale(15), {"MSSRcvd": 0, "WinScaleRcvd": 14}),
    ],
    ids=["none", "MSS alone", "all", "too large a scale"],
)
def test_who_opens_tells_both_syns_as_they_were(
    play: Play, answer: bytes, expected: dict[str, int]
) -> None:
    """What was offered stays known where the answer declines it and the kernel forgets."""
    offered = by_kind(play.connect(answer).options)
    (size,), shift = struct.unpack("!H", offered[2]), offered[3][0]
    play.check(MSSSent=size, WinScaleSent=shift, **expected)


def test_what_who_opens_did_not_offer_is_its_own_choice_for_ever(play: Play) -> None:
    """Sysctls that change later change nothing in what is told of the handshake."""
    host = play.script.link.host
    names = ("tcp_window_scaling", "tcp_timestamps", "tcp_sack")
    for name in names:
        host.sysctl(f"net.ipv4.{name}", 0)
    play.connect(PLAIN + SACK_PERMITTED + NOP + scale(3))
    for name in names:
        host.sysctl(f"net.ipv4.{name}", 1)
    play.check(WinScaleSent=-1, WinScaleRcvd=3, TimeStamps=OWN, WillSendSACK=OWN, WillUseSACK=OWN)


@pytest.mark.parametrize(
    ("wish", "flags", "told"),
    [(1, SYN | ACK | ECE, USED), (1, SYN | ACK, PEER), (2, SYN | ACK, OWN)],
    ids=["agreed", "declined", "not asked"],
)
def test_ecn_is_as_asked_and_answered(play: Play, wish: int, flags: int, told: int) -> None:
    """A host that only answers does not ask, and nobody declined."""
    play.script.link.host.sysctl("net.ipv4.tcp_ecn", wish)
    play.connect(PLAIN, flags)
    play.script.link.host.sysctl("net.ipv4.tcp_ecn", 2)
    play.check(ECN=told)


def test_a_forged_answer_to_a_syn_tells_nothing(play: Play) -> None:
    """It acknowledges what was never sent: the kernel refuses it, and its options are nobody's."""
    play.host.tell("connect", address=play.script.link.far, port=play.script.port)
    syn = play.script.hear()
    play.script.to, play.script.ack = syn.source, syn.seq + 2
    play.script.send(SYN | ACK, options=mss(77) + scale(1) + NOP)
    assert play.script.hear().flags & RST
    play.script.ack = syn.seq + 1
    play.script.send(SYN | ACK, options=PLAIN)
    play.script.seq += 1
    play.opened()
    play.check(MSSRcvd=MSS, WinScaleRcvd=-1)


def test_payload_of_the_segment_that_completes_a_handshake_counts(play: Play) -> None:
    """The bare acknowledgement was lost; a repetition of that payload counts again."""
    script = play.listen()
    script.call(PLAIN)
    script.send(ACK | PSH, bytes(300))
    play.opened()
    play.check(HCDataOctetsIn=300, DataSegsIn=1, HCThruOctetsReceived=300)
    script.send(ACK | PSH, bytes(300))
    script.send(ACK | PSH, bytes(MSS), seq=script.seq + 300)
    play.check(HCDataOctetsIn=600 + MSS, DataSegsIn=3, HCThruOctetsReceived=300 + MSS)


def test_payload_behind_a_hole_may_complete_a_handshake_and_counts(play: Play) -> None:
    """The first segment with data was lost too: nothing is in order yet, and yet it came."""
    script = play.listen()
    script.call(PLAIN)
    script.send(ACK | PSH, bytes(MSS), seq=script.seq + 200)
    play.opened()
    play.check(HCDataOctetsIn=MSS, DataSegsIn=1, HCThruOctetsReceived=0)
    script.send(ACK | PSH, bytes(200))
    play.check(HCDataOctetsIn=MSS + 200, DataSegsIn=2, HCThruOctetsReceived=MSS + 200)


@pytest.mark.parametrize("more", [0, 70])
def test_payload_of_a_fast_open_syn_counts(play: Play, more: int) -> None:
    """It is there before the handshake is done, with or without more in the third segment."""
    sysctl = play.script.link.host.sysctl
    sysctl("net.ipv4.tcp_fastopen", 0x602)  # any server, without a cookie
    script = play.listen()
    assert script.call(PLAIN, payload=bytes(500)).ack == script.seq
    script.send(ACK, bytes(more))
    play.opened()
    sysctl("net.ipv4.tcp_fastopen", 1)
    play.check(HCDataOctetsIn=500 + more, DataSegsIn=1 + bool(more))
    script.seq += more
    script.send(ACK | PSH, bytes(30))
    play.check(HCDataOctetsIn=530 + more, DataSegsIn=2 + bool(more))
