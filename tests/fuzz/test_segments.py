"""Any segments at a live connection: counters move, and nothing else happens. As root."""

from collections.abc import Iterator

import pytest
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st

from tests.fuzz.examples import fuzzed_slowly
from tests.kernel.attack import ACTS, INTERVAL, OPENING, Attack, Target, target
from tests.kernel.collecting import collecting
from tests.kernel.hostile import Blocks, Hostile
from tests.kernel.script import ACK, FIN, PSH, RST, SYN, wire

pytestmark = pytest.mark.kernel

STEPS_MAX = 30
OCTET = st.integers(0, 255)
KINDS = st.sampled_from([0, 1, 2, 3, 4, 5, 8, 19, 28, 29, 30, 34, 253, 254]) | OCTET

near = st.sampled_from([0, 0, 0, 1, -1, 1_000, 2_500, 65_535, 1 << 31, (1 << 31) - 1, -(1 << 31)])
numbers = near | st.integers(-80_000, 80_000)
blocks = st.builds(
    Blocks,
    st.lists(st.tuples(numbers, numbers), max_size=5).map(tuple),
    st.none() | st.none() | st.integers(0, 45),
)
honest = st.sampled_from(
    [
        *(OPENING, b"\x01", b"\x00", b"\x04\x02", b"\x03\x03\x0e", b"\x02\x04\xff\xff"),
        *(bytes((8, 10, 255, 255, 255, 255, 0, 0, 0, 0)), bytes((8, 10, *range(8)))),
        *(bytes((19, 18, *range(16))), bytes((29, 16, *range(14))), bytes((34, 10, *range(8)))),
        *(bytes((30, 12, *range(10))), bytes((254, 4, 0xF9, 0x89))),
    ]
)
odd = st.builds(
    lambda kind, length, body: bytes((kind, length)) + body, KINDS, OCTET, st.binary(max_size=12)
)
options = st.lists(honest | odd | blocks | st.binary(max_size=40), max_size=4).map(tuple)
before = st.just((0, b"")) | st.tuples(
    st.sampled_from([0, 43, 44, 60, 51, 6]), st.binary(max_size=40)
)

segments = st.builds(
    Hostile,
    seq=numbers,
    ack=numbers,
    flags=st.sampled_from([ACK] * 6 + [ACK | PSH, ACK | FIN, ACK | SYN, RST, SYN, 0, 255]) | OCTET,
    window=st.sampled_from([60_000, 0, 1, 65_535]) | st.integers(0, 65_535),
    urgent=st.just(0) | st.integers(0, 65_535),
    options=options,
    payload=st.sampled_from([0, 0, 1, 1_000]) | st.integers(0, 1_400),
    doff=st.none() | st.none() | st.none() | st.integers(0, 15),
    tos=OCTET,
    ttl=st.just(64) | OCTET,
    before=st.just((0, b"")) | before,
    damaged=st.sampled_from([False, False, False, True]),
)
steps = segments | segments | segments | st.sampled_from(ACTS)
attacks = st.builds(
    Attack,
    family=st.sampled_from([4, 6]),
    is_passive=st.booleans(),
    opening=st.just(OPENING)
    | options.map(lambda o: b"".join(x for x in o if isinstance(x, bytes))[:40]),
    steps=st.lists(steps, max_size=3) | st.lists(steps, min_size=8, max_size=STEPS_MAX),
)


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A namespace to be attacked, with a collector beside it."""
    folder = tmp_path_factory.mktemp("segments")
    with (
        wire() as link,
        collecting(folder, "--source", "bpf", *INTERVAL) as collector,
        target(link, collector) as made,
    ):
        yield made
        print(
            f"{made.segments} segments; {made.restless} connections without rest,"
            f" {made.unopened} never open"
        )


@settings(fuzzed_slowly, phases=set(Phase) - {Phase.explain})
@given(attacks)
def test_any_segments_only_count(victim: Target, attack: Attack) -> None:
    """Its own row is the socket's still, and so is that of the connection beside it."""
    before = victim.restless, victim.unopened
    victim.suffer(attack)
    event("restless" if victim.restless > before[0] else "at rest")
    event("never open" if victim.unopened > before[1] else "open")
