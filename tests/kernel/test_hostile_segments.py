"""Segments that no honest TCP sends: counters may move, and nothing else happens."""

from collections.abc import Iterator

import pytest

from tests.kernel.attack import (
    INTERVAL,
    OPENING,
    READ,
    SHUT,
    WRITE,
    WRITTEN,
    Attack,
    Target,
    target,
)
from tests.kernel.collecting import collecting
from tests.kernel.hostile import Blocks, Hostile
from tests.kernel.script import ACK, FIN, PSH, RST, SYN, Wire, stamps
from tests.kernel.validation import agree

pytestmark = pytest.mark.kernel

URG, ECE, CWR = 32, 64, 128
TEN = tuple((1 + n * 9, 5 + n * 9) for n in range(10))

#: What comes over an open connection, by name.
SEGMENTS: dict[str, list[Hostile | str]] = {
    "an option of length 0": [Hostile(options=(bytes((5, 0, 1, 1)),))],
    "an option of length 1": [Hostile(options=(bytes((5, 1, 1, 1)),))],
    "an option that ends past the header": [Hostile(options=(bytes((5, 34, 1, 1)),))],
    "a kind without a length": [Hostile(options=(bytes((1, 1, 1, 5)),))],
    "SACK blocks cut short": [WRITE, Hostile(options=(Blocks(((1, 100),), 9),)),
                              Hostile(options=(Blocks(((1, 100),), 6),))],
    "more SACK blocks than fit": [WRITE, Hostile(options=(Blocks(TEN),)),
                                  Hostile(options=(Blocks(TEN[:4], 42),))],
    "an empty SACK": [WRITE, Hostile(options=(Blocks(()),))],
    "SACK before an option of length 0, among many": [
        WRITE, Hostile(options=(Blocks(((0, 0),)), bytes((2, 0, *bytes(5))), OPENING)),
    ],
    "SACK blocks inside out": [WRITE, Hostile(options=(Blocks(((900, 100), (5, 5))),)),
                               Hostile(options=(Blocks(((-9, -2), (1 << 31, 0))),))],
    "two SACK options": [WRITE, Hostile(options=(Blocks(((1, 9),)), Blocks(((20, 30), (40, 50)))))],
    "timestamps of a wrong length": [Hostile(options=(bytes((8, n, *([7] * 9))),))
                                     for n in (2, 9, 11, 12)],
    "timestamps that nobody asked for": [Hostile(options=(stamps(1, 2),))],
    "a header that is too short": [Hostile(doff=n) for n in range(5)],
    "a header beyond the segment": [Hostile(doff=15), Hostile(doff=6)],
    "a header that swallows its data": [Hostile(doff=15, payload=100)],
    "an urgent pointer": [Hostile(flags=ACK | URG, urgent=n, payload=9) for n in (0, 1, 65535)],
    "all flags and none": [Hostile(flags=255), Hostile(flags=0), Hostile(flags=ACK | SYN)],
    "windows at both ends": [WRITE, *(Hostile(window=n) for n in (0, 65535, 0, 1)), WRITE],
    "acknowledgements of what was never sent": [WRITE, Hostile(ack=1), Hostile(ack=1 << 30),
                                                Hostile(ack=-(1 << 30))],
    "data from everywhere": [Hostile(seq=n, payload=50) for n in (10, 1 << 31, -40, 0, 70_000)],
    "IPv4 options or an extension header": [
        Hostile(before=before, payload=5) for before in (
            (0, bytes((7, 7, 4, 0, 0, 0, 0))), (60, bytes((68, 4, 5, 0))), (43, bytes(8)),
            (44, bytes(8)), (0, bytes(40)),
        )
    ],
    "MD5, AO, Fast Open and MPTCP": [
        Hostile(options=(octets,)) for octets in (
            bytes((19, 18, *range(16))), bytes((29, 16, *range(14))),
            bytes((34, 10, *range(8))), bytes((34, 2)), bytes((30, 12, *range(10))),
            bytes((30, 3, 255)), bytes((254, 6, 0xF9, 0x89, 1, 2)),
        )
    ],
    "a checksum that is wrong": [Hostile(payload=200, damaged=True), Hostile(damaged=True)],
    "a FIN with too much, and data after it": [Hostile(flags=ACK | FIN, payload=9), READ,
                                               Hostile(payload=9), Hostile(flags=ACK | FIN)],
    "noise while it closes": [WRITE, SHUT, Hostile(options=(bytes((5, 0)),)), Hostile(flags=255),
                              Hostile(payload=9), Hostile(flags=ACK | PSH | URG, urgent=3)],
    "a FIN of both ends": [SHUT, Hostile(), Hostile(flags=ACK | FIN)],
    "ECN out of nowhere": [WRITE, Hostile(flags=ACK | ECE | CWR, tos=3), Hostile(tos=255)],
    "resets, one of which is right": [Hostile(flags=RST, seq=n) for n in (-1, 5, 1 << 31, 0)],
}  # fmt: skip

#: Options of a SYN, or of its answer.
OPENINGS = {
    "none": b"",
    "all at once": bytes((2, 4, 5, 180, 4, 2, 8, 10, *range(8), 1, 3, 3, 7)),
    "an MSS of 0": bytes((2, 4, 0, 0)),
    "an MSS of 1, then none that counts": bytes((2, 4, 0, 1, 2, 3, 9, 2, 4, 0)),
    "a scale of 255": bytes((3, 3, 255)),
    "SACK after the end": bytes((2, 4, 3, 232, 0, 4, 2)),
    "timestamps of a wrong length": bytes((8, 9, *range(7), 4, 2)),
    "length 0 before SACK": bytes((77, 0, 4, 2)),
    "everything twice": bytes((4, 2, 4, 2, 3, 3, 1, 3, 3, 9, 2, 4, 1, 0, 2, 4, 3, 0)),
}


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory, link: Wire) -> Iterator[Target]:
    """A namespace to be attacked, with a collector beside it."""
    folder = tmp_path_factory.mktemp("hostile")
    with (
        collecting(folder, "--source", "bpf", *INTERVAL) as collector,
        target(link, collector) as made,
    ):
        yield made


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("named", SEGMENTS)
def test_no_segment_does_more_than_count(victim: Target, named: str, family: int) -> None:
    """Its own row is the socket's still, and so is that of the connection beside it."""
    victim.suffer(Attack(family=family, steps=SEGMENTS[named]))


@pytest.mark.parametrize("is_passive", [True, False], ids=["to a listener", "as an answer"])
@pytest.mark.parametrize("named", OPENINGS)
def test_what_a_handshake_offers_is_taken_for_what_the_kernel_takes_it(
    victim: Target, named: str, is_passive: bool
) -> None:
    """Also where the offer makes no sense."""
    steps: list[Hostile | str] = [WRITE, Hostile(payload=9), WRITE]
    victim.suffer(Attack(is_passive=is_passive, opening=OPENINGS[named], steps=steps))


def test_behind_an_extension_header_nothing_is_read(victim: Target) -> None:
    """The kernel's own counters know the segment, those of its packets do not."""
    padding = bytes((0, 0, 1, 4, 0, 0, 0, 0))
    victim.suffer(Attack(family=6, steps=[Hostile(before=(60, padding), payload=100)]))
    row = victim.collector.database.latest(victim.ended[-1])
    agree("packet script", row, {"HCThruOctetsReceived": 100, "HCDataOctetsIn": 0, "DataSegsIn": 1})


def test_a_reset_leaves_what_was_outstanding_in_the_row(victim: Target) -> None:
    """The socket forgets it; how much was never acknowledged is worth knowing."""
    victim.suffer(Attack(steps=[WRITE, Hostile(flags=RST)]))
    row = victim.collector.database.latest(victim.ended[-1])
    assert row["close_reason"] == "reset by peer"
    agree("packet script", row, {"PipeSize": WRITTEN, "CurRetxQueue": WRITTEN})


def test_an_answer_that_is_none_leaves_the_handshake_half_way(victim: Target) -> None:
    """The kernel drops this one; a SYN that crosses its own is one, and nobody confirms it."""
    opening = bytes((2, *bytes(7))) + OPENING
    steps: list[Hostile | str] = [Hostile(flags=SYN), Hostile(ack=1)]
    victim.suffer(Attack(is_passive=False, opening=opening, steps=steps))
    assert victim.collector.database.latest(victim.ended[-1])["CurMSS"] is None


def test_a_hail_of_everything_changes_nothing_for_the_others(victim: Target) -> None:
    """One segment of each kind, over one connection."""
    steps = [step for name, some in SEGMENTS.items() if "right" not in name for step in some]
    victim.suffer(Attack(opening=OPENING, steps=steps))
