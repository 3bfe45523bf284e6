"""Variables that only chosen segments can prove: each script has one right answer."""

from collections.abc import Iterator

import pytest

from tests.kernel.collecting import Collector, collecting, until
from tests.kernel.play import MSS, PLAIN, Play
from tests.kernel.script import (
    ACK,
    CWR,
    ECE,
    NOP,
    PSH,
    SACK_PERMITTED,
    SYN,
    Wire,
    mss,
    sack,
    scale,
    stamps,
)
from tests.kernel.validation import agree

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory, link: Wire) -> Iterator[Collector]:
    """One collector for all scripts."""
    with collecting(tmp_path_factory.mktemp("scripts"), "--interval", "200ms") as running:
        yield running


def test_three_duplicate_acknowledgements_are_one_fast_retransmit(play: Play) -> None:
    """Without SACK the third duplicate starts a recovery, which is one congestion signal."""
    script = play.open()
    first = play.write(5)
    for _ in range(3):
        script.send()
    assert script.hear_data(MSS)[0].seq == first
    script.ack = first + 5 * MSS
    script.send()
    play.check(DupAcksIn=3, FastRetran=1, CongSignals=1, NonRecovDA=0, Timeouts=0)


def test_two_duplicates_before_an_advance_were_reordering(play: Play) -> None:
    """The run did not lead to a recovery: it counts, with the octets the advance covers."""
    script = play.open()
    first = play.write(5)
    for _ in range(2):
        script.send()
    script.ack = first + 4 * MSS
    script.send()
    play.check(
        DupAcksIn=2, NonRecovDA=2, NonRecovDAEpisodes=1, SumOctetsReordered=4 * MSS, FastRetran=0
    )


def test_sack_options_and_their_blocks_are_counted(play: Play) -> None:
    """One, two and three blocks are three options and six blocks."""
    script = play.open(PLAIN + SACK_PERMITTED)
    at = play.write(8)
    blocks = [(at + n * MSS, at + (n + 1) * MSS) for n in (5, 3, 1)]
    for n in (1, 2, 3):
        script.send(options=NOP * 2 + sack(*blocks[3 - n :][:n]))
    play.check(SACKsRcvd=3, SACKBlocksRcvd=6)


@pytest.mark.parametrize("padding", [2, 19, 20, 21, 30])
def test_a_sack_option_counts_wherever_it_stands(play: Play, padding: int) -> None:
    """Each octet before it may be an option of its own: padding."""
    script = play.open(PLAIN + SACK_PERMITTED)
    at = play.write(3)
    script.send(options=NOP * padding + sack((at + MSS, at + 2 * MSS)))
    play.check(SACKsRcvd=1, SACKBlocksRcvd=1)


@pytest.mark.parametrize(
    "options",
    [b"\x05\x00\x01\x01", b"\x05\x01\x01\x01", b"\x05\x22\x01\x01", NOP * 40, b"\x05\x0a\x00\x00"],
    ids=["length 0", "length 1", "beyond the header", "all padding", "cut short"],
)
def test_malformed_options_are_no_sack(play: Play, options: bytes) -> None:
    """Nothing but the segment counters moves."""
    script = play.open(PLAIN + SACK_PERMITTED)
    script.send(options=options)
    play.check(SACKsRcvd=0, SACKBlocksRcvd=0, DupAcksIn=0, SoftErrors=0)


def test_each_fall_of_the_window_to_zero_counts(play: Play) -> None:
    """Zero, open, zero again, zero still: two falls."""
    script = play.open()
    for window in (0, 60_000, 0, 0):
        script.send(window=window)
    play.check(ZeroRwinRcvd=2)


def test_echoes_are_counted_and_are_one_signal_in_a_window(play: Play) -> None:
    """Three ACKs with ECE: three echoes, one reduction."""
    script = play.open(PLAIN, SYN | ECE | CWR)
    first = play.write(6)
    for n in (1, 2, 3):
        script.send(ACK | ECE, ack=first + n * MSS)
    script.ack = first + 6 * MSS
    script.send()
    play.check(ECN=1, ECNsignals=3, CongSignals=1, FastRetran=0)


def test_marks_are_counted_and_echoed_until_answered(play: Play) -> None:
    """ECE begins at the first mark, ends with CWR, and begins again at the next."""
    script = play.open(PLAIN, SYN | ECE | CWR)
    for flags, tos in ((PSH, 3), (PSH, 3), (PSH | CWR, 2), (PSH, 2), (PSH, 3)):
        script.send(ACK | flags, bytes(MSS), tos=tos)
        script.seq += MSS
        script.silence(0.06)
    play.check(CERcvd=3, ECESent=2, IpTosIn=3)


def test_silence_is_a_timeout_and_then_subsequent_ones(play: Play) -> None:
    """Nothing hinted at the first, so it was abrupt; the count falls when an ACK comes."""
    script = play.open()
    first = play.write(1)
    script.hear_data(2 * MSS)
    until("the timeouts", lambda: play.row()["SubsequentTimeouts"])
    row = play.row()
    later = row["SubsequentTimeouts"]
    agree("packet script", row, {"Timeouts": 1, "AbruptTimeouts": 1, "CurTimeoutCount": later + 1})
    script.ack = first + MSS
    script.send()
    play.check(CurTimeoutCount=0, Timeouts=1, AbruptTimeouts=1, SpuriousRtoDetected=0)


def test_a_timeout_within_a_reduction_counts(play: Play) -> None:
    """What reduces the window already is not reduced again, yet the timer did fire."""
    script = play.open(PLAIN, SYN | ECE | CWR)
    first = play.write(3)
    script.ack = first + MSS
    script.send(ACK | ECE)
    assert script.hear_data(MSS)[0].seq == first + MSS
    script.ack = first + 3 * MSS
    script.send()
    play.check(ECNsignals=1, Timeouts=1, SubsequentTimeouts=0, CongSignals=2, FastRetran=0)


def test_an_echo_of_the_original_proves_the_timeout_spurious(play: Play) -> None:
    """The acknowledgement carries the timestamp of the first transmission."""
    script = play.open(PLAIN + SACK_PERMITTED + stamps(1, 0))
    play.host("send", size=500)
    (original,) = script.hear_data(500)
    script.hear_data(500)
    script.ack = original.seq + 500
    script.send(options=stamps(2, original.stamp))
    play.check(Timeouts=1, SpuriousRtoDetected=1, SpuriousFrDetected=0, CongOverCount=1)


def test_a_dsack_after_a_recovery_takes_it_back(play: Play) -> None:
    """The retransmission was a duplicate: it shows at the next segment."""
    first, script = play.recover(), play.script
    script.send(options=NOP * 2 + sack((first, first + MSS)))
    script.send(window=50_000)
    play.check(FastRetran=1, SpuriousFrDetected=1, CongOverCount=1, DSACKDups=1)


def test_a_dsack_that_comes_with_the_next_loss_takes_the_recovery_before_it_back(
    play: Play,
) -> None:
    """One acknowledgement ends the first episode and begins the second: no hook lies between."""
    first, script = play.recover(), play.script
    second = play.write(5)
    blocks = (first, first + MSS), (second + MSS, second + 4 * MSS)
    script.send(options=NOP * 2 + sack(*blocks))
    assert script.hear_data(MSS)[0].seq == second
    script.ack = second + 5 * MSS
    script.send()
    play.check(FastRetran=2, SpuriousFrDetected=1, CongSignals=2, DSACKDups=1)


def test_data_out_of_order_is_answered_by_duplicates(play: Play) -> None:
    """One hole, three segments behind it: three duplicates in one run, a queue of four segments."""
    script = play.open()
    for n in (1, 2, 3):
        script.send(ACK | PSH, bytes(MSS), seq=script.seq + n * MSS)
        script.silence()
    script.send(ACK | PSH, bytes(MSS))
    script.seq += 4 * MSS
    play.check(DupAcksOut=3, DupAckEpisodes=1, MaxReasmQueue=4 * MSS, CurReasmQueue=0)


@pytest.mark.parametrize(
    ("reason", "seq", "ack"),
    [(1, -2 * MSS, 0), (2, 1 << 28, 0), (3, 0, -(1 << 28)), (4, 0, 5 * MSS)],
    ids=["below the data window", "above it", "below the ACK window", "above it (ACK)"],
)
def test_a_segment_out_of_its_window_is_a_soft_error(
    play: Play, reason: int, seq: int, ack: int
) -> None:
    """It is dropped, counted once, and its reason is told."""
    script = play.open()
    script.send(ACK | PSH, bytes(MSS), seq=script.seq + seq, ack=script.ack + ack)
    play.check(SoftErrors=1, SoftErrorReason=reason, HCThruOctetsReceived=0)


def test_a_keepalive_is_a_soft_error_as_the_rfc_has_it(play: Play) -> None:
    """It asks by an octet that was taken already: below the window, which is normal for it."""
    script = play.open()
    script.send(seq=script.seq - 1)
    script.send(seq=script.seq - 1, payload=b"?")
    play.check(SoftErrors=2, SoftErrorReason=1, DupAcksIn=0, HCThruOctetsReceived=0)


def test_an_old_timestamp_is_a_soft_error(play: Play) -> None:
    """PAWS drops the segment."""
    script = play.open(PLAIN + stamps(1_000_000, 0))
    script.send(ACK | PSH, bytes(MSS), options=stamps(1_000, 0))
    play.check(SoftErrors=1, SoftErrorReason=5)


def test_an_acknowledgement_of_unsent_data_leaves_no_trace_in_the_runs(play: Play) -> None:
    """It advances nothing: duplicates after it are duplicates still."""
    script = play.open()
    first = play.write(5)
    script.send(ack=first + 100 * MSS)
    for _ in range(2):
        script.send()
    script.ack = first + 5 * MSS
    script.send()
    play.check(DupAcksIn=2, NonRecovDA=2, SumOctetsReordered=5 * MSS)


def test_window_updates_and_probes_are_no_duplicates(play: Play) -> None:
    """The first offers another window, the second asks by a sequence number already taken."""
    script = play.open()
    play.write(5)
    script.send(window=50_000)
    script.send(window=50_001)
    script.send(window=50_001, seq=script.seq - 1)
    play.check(DupAcksIn=0, NonRecovDA=0)


def test_the_last_acknowledgement_before_a_silence_shows_its_growth(play: Play) -> None:
    """Each acknowledgement of a full window in slow start raises it once; nothing comes after."""
    script = play.open()
    first = play.write(10)
    script.ack = first + 5 * MSS
    script.send()
    script.ack = first + 10 * MSS
    script.send()
    play.check(SlowStart=2, CongAvoid=0, OtherReductions=0)


def test_the_last_packets_header_is_shown(play: Play) -> None:
    """TTL and TOS are those of the last packet that came."""
    script = play.open()
    script.send(ttl=33, tos=0x20)
    play.check(IpTtl=33, IpTosIn=0x20)


@pytest.mark.parametrize(
    ("options", "rcvd", "current"),
    [(mss(200), 200, 200), (mss(700) + stamps(1, 0), 700, 688), (b"", 536, 536)],
    ids=["small", "with timestamps", "none"],
)
def test_the_peers_mss_bounds_ours(play: Play, options: bytes, rcvd: int, current: int) -> None:
    """The timestamps take their twelve octets from it."""
    play.open(options)
    play.check(MSSRcvd=rcvd, CurMSS=current, MaxMSS=current, MinMSS=current)


def test_without_the_scale_option_there_is_no_scale(play: Play) -> None:
    """-1 is the RFC's word for it."""
    play.open(PLAIN)
    play.check(WinScaleRcvd=-1)


def test_a_window_that_shrinks_with_an_acknowledgement_is_taken(play: Play) -> None:
    """The present window falls, the largest one stays."""
    script = play.open(PLAIN + scale(2), window=15_000)
    first = play.write(2)
    script.ack = first + 2 * MSS
    script.send(window=5_000)
    play.check(CurRwinRcvd=20_000, MaxRwinRcvd=60_000, DupAcksIn=0, WinScaleRcvd=2)
