"""A ring of any memory: what is read is what a walk from record to record finds, or is refused."""

from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from bpf.errors import RecordingError
from bpf.record import batch_dtype
from bpf.variable import Table
from collector.ring import Ring
from tests.fuzz.examples import fuzzed

BATCH = batch_dtype((Table.EXTRAS,))
STRIDE = BATCH.itemsize + 8
RING_BYTES = 2_048
FULL = RING_BYTES // STRIDE
BUSY, DISCARD, END = 1 << 31, 1 << 30, 1 << 64
GUARD = b"\xa5" * 4096

positions = st.integers(0, END // 8 - 1).map(lambda n: 8 * n) | st.integers(0, END - 1)
backlogs = (
    st.integers(0, FULL).map(lambda n: n * STRIDE)
    | st.integers(0, 2 * RING_BYTES)
    | st.integers(0, END - 1)
)
lengths = st.lists(
    st.sampled_from([0, 0, 0, BUSY, DISCARD, BUSY | DISCARD]).map(
        lambda bits: BATCH.itemsize | bits
    )
    | st.integers(0, (1 << 32) - 1),
    max_size=FULL,
)
stamps = st.lists(st.sampled_from([0, 1, 5, END - 1]) | st.integers(0, END - 1), max_size=FULL)


def walked(
    memory: bytes, consumed: int, backlog: int, cut_ns: int, most: int
) -> tuple[list[int], int] | None:
    """The stamps that a read gives and where it ends, found record by record; None: refused."""
    if backlog % STRIDE or backlog > RING_BYTES or consumed % 8:
        return None
    count = min(backlog // STRIDE, most)
    starts = [consumed % RING_BYTES + i * STRIDE for i in range(count)]
    heads = [int.from_bytes(memory[at : at + 4], "little") for at in starts]
    if any(head & (DISCARD - 1) != BATCH.itemsize for head in heads):
        return None
    found: list[int] = []
    for number, (at, head) in enumerate(zip(starts, heads, strict=True)):
        stamp = int.from_bytes(memory[at + 8 : at + 16], "little")
        if head & BUSY or (stamp > cut_ns and not head & DISCARD):
            return found, number
        if not head & DISCARD:
            found.append(stamp)
    return found, count


@fuzzed
@example(END - 8, 3 * STRIDE, [], [], b"", END - 1, 2)
@example(RING_BYTES - 8, FULL * STRIDE, [BATCH.itemsize | BUSY], [], b"", 0, 65_536)
@example(0, 2 * STRIDE, [BATCH.itemsize | DISCARD] * 2, [END - 1], b"", 0, 1)
@given(positions, backlogs, lengths, stamps, st.binary(max_size=RING_BYTES),
       st.sampled_from([0, 5, END - 1]), st.sampled_from([1, 2, 65_536]))  # fmt: skip
def test_any_ring_is_read_as_a_walk_would(  # noqa: PLR0917  (what Hypothesis makes)
    consumed: int, backlog: int, heads: list[int], times: list[int], noise: bytes,
    cut_ns: int, most: int,
) -> None:  # fmt: skip
    """From its memory alone, and what is released is what was read."""
    data = bytearray(noise.ljust(RING_BYTES, b"\0"))
    for i in range(FULL):
        words = (heads[i] if i < len(heads) else BATCH.itemsize).to_bytes(8, "little")
        words += (times[i] if i < len(times) else i).to_bytes(8, "little")
        for place, octet in enumerate(words):
            data[(consumed + i * STRIDE + place) % RING_BYTES] = octet
    guarded = np.frombuffer(bytearray(GUARD + bytes(data) * 2 + GUARD), "u1")
    inner = guarded[len(GUARD) : -len(GUARD)]
    before = guarded.tobytes()
    ours, theirs = np.array([consumed], "u8"), np.array([(consumed + backlog) % END], "u8")
    ring = Ring.over(ours.data, theirs.data, inner.data, BATCH, most)
    expected = walked(inner.tobytes(), consumed, backlog, cut_ns, most)
    try:
        batches: Any = ring.read(cut_ns)
    except RecordingError as error:
        refusal = error
    else:
        assert expected is not None
        found, count = expected
        assert batches["head"]["ts"].tolist() == found
        assert ring.more == (count == most)
        ring.release()
        assert int(ours[0]) == (consumed + count * STRIDE) % END
        assert guarded.tobytes() == before, "only the consumer's position is ours to write"
        return
    assert expected is None
    assert 0 <= refusal.offset < RING_BYTES
    assert int(ours[0]) == consumed
