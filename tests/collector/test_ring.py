"""Any bytes a ring may hold become batches or one typed error."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpf.errors import RecordingError
from bpf.record import batch_dtype
from bpf.variable import Table
from collector.ring import Ring

BATCH = batch_dtype((Table.EXTRAS,))
RECORD = np.dtype([("len", "u4"), ("page", "u4"), ("batch", BATCH)])
RING_BYTES = 4_096
BUSY, DISCARD = 1 << 31, 1 << 30
FOREVER = (1 << 64) - 1


class Kernel:
    """The other end of a ring: writes records as the kernel does, into memory of our own."""

    def __init__(self, start: int = 0, batches_max: int = 65_536) -> None:
        """An empty ring whose positions are at ``start`` already."""
        self.consumer, self.producer = np.array([start], "u8"), np.array([start], "u8")
        self.data = np.zeros(2 * RING_BYTES, "u1")
        self.ring = Ring.over(
            self.consumer.data,
            self.producer.data,
            self.data.data,
            BATCH,
            batches_max,
        )

    def put(self, ts: int, flags: int = 0) -> None:
        """Reserve, fill and (unless BUSY) submit one batch."""
        record = np.zeros(1, RECORD)
        record["len"], record["batch"]["head"]["ts"] = BATCH.itemsize | flags, ts
        self.write(int(self.producer[0]) % RING_BYTES, record.tobytes())
        self.producer += np.uint64(RECORD.itemsize)  # as an array it wraps

    def write(self, position: int, content: bytes) -> None:
        """Bytes at a position; both mappings show them."""
        places = (position + np.arange(len(content))) % RING_BYTES
        for mapping in (0, RING_BYTES):
            self.data[places + mapping] = np.frombuffer(content, "u1")

    def stamps(self, cut_ns: int = FOREVER) -> list[int]:
        """The stamps of one read."""
        found: list[int] = self.ring.read(cut_ns)["head"]["ts"].tolist()
        return found


def test_a_ring_gives_what_was_put() -> None:
    """All that is complete comes in one read, in ring order, without a copy."""
    kernel = Kernel()
    for ts in (1, 3, 2):
        kernel.put(ts)

    assert kernel.stamps() == [1, 3, 2]
    assert np.shares_memory(kernel.ring.read(FOREVER), kernel.data)
    assert not kernel.ring.more


def test_an_empty_ring_gives_nothing() -> None:
    """No batches is an answer, not an error."""
    assert Kernel().stamps() == []


def test_what_was_not_released_is_read_again() -> None:
    """The kernel gets its space back by release and by nothing else."""
    kernel = Kernel()
    kernel.put(1)

    assert kernel.stamps() == kernel.stamps() == [1]
    assert kernel.consumer[0] == 0

    kernel.ring.release()

    assert kernel.consumer[0] == kernel.producer[0]
    assert kernel.stamps() == []


def test_a_busy_record_stops_the_read() -> None:
    """What lies behind a record that is not submitted waits, or it would be released unread."""
    kernel = Kernel()
    kernel.put(1)
    kernel.put(2, BUSY)
    kernel.put(3)

    assert kernel.stamps() == [1]

    kernel.ring.release()
    kernel.write(RECORD.itemsize, BATCH.itemsize.to_bytes(4, "little"))

    assert kernel.stamps() == [2, 3]


def test_a_discarded_record_is_skipped() -> None:
    """Its payload means nothing, its stamp included."""
    kernel = Kernel()
    kernel.put(1)
    kernel.put(FOREVER, DISCARD)
    kernel.put(3)

    assert kernel.stamps(cut_ns=5) == [1, 3]


def test_the_cut_stops_the_read() -> None:
    """A batch behind a later one waits for the next cut with it."""
    kernel = Kernel()
    for ts in (1, 2, 9, 2):
        kernel.put(ts)

    assert kernel.stamps(cut_ns=2) == [1, 2]

    kernel.ring.release()

    assert kernel.stamps(cut_ns=9) == [9, 2]


def test_a_read_is_bounded_and_says_so() -> None:
    """Nobody has to take a full ring at once."""
    kernel = Kernel(batches_max=2)
    for ts in (1, 2, 3):
        kernel.put(ts)

    assert kernel.stamps() == [1, 2]
    assert kernel.ring.more

    kernel.ring.release()

    assert kernel.stamps() == [3]
    assert not kernel.ring.more


@given(st.integers(-RING_BYTES // 8, RING_BYTES // 8), st.lists(st.integers(0, 18), max_size=20))
def test_nothing_is_lost_when_positions_wrap(start: int, counts: list[int]) -> None:
    """A record across the end of the data is in one piece, also where positions end at 2^64."""
    kernel = Kernel(8 * start % (1 << 64))
    put = iter(range(1, 1_000))
    for count in counts:
        expected = [next(put) for _ in range(count)]
        for ts in expected:
            kernel.put(ts)

        assert kernel.stamps() == expected

        kernel.ring.release()


def test_a_record_that_is_not_ours_is_refused() -> None:
    """The error says where in the data it lies."""
    kernel = Kernel()
    kernel.put(1)
    kernel.put(2)
    kernel.write(RECORD.itemsize, (16).to_bytes(4, "little"))

    with pytest.raises(RecordingError) as refusal:
        kernel.ring.read(FOREVER)

    assert refusal.value.offset == RECORD.itemsize


def test_more_than_a_ring_holds_is_refused() -> None:
    """Whole batches or not: a producer that is further ahead than the ring is long is not one."""
    kernel = Kernel()
    kernel.put(1)
    kernel.producer[0] = (RING_BYTES // RECORD.itemsize + 1) * RECORD.itemsize

    with pytest.raises(RecordingError, match="claims"):
        kernel.ring.read(FOREVER)


@given(
    st.integers(0, (1 << 61) - 1).map(lambda n: 8 * n) | st.integers(0, (1 << 64) - 1),
    st.integers(0, RING_BYTES // RECORD.itemsize).map(lambda n: n * RECORD.itemsize)
    | st.integers(0, 2 * RING_BYTES)
    | st.integers(0, (1 << 64) - 1),
    st.lists(st.sampled_from([BATCH.itemsize, BATCH.itemsize | BUSY, 0, 1 << 30, (1 << 32) - 1])),
    st.binary(max_size=RING_BYTES),
    st.integers(0, (1 << 64) - 1),
)
def test_any_bytes_give_batches_or_one_typed_error(
    consumed: int, backlog: int, lengths: list[int], noise: bytes, cut_ns: int
) -> None:
    """Whatever the memory holds: no other exception, and nothing from outside of it."""
    kernel = Kernel(consumed)
    kernel.write(0, noise)
    for i, length in enumerate(lengths):
        kernel.write(consumed % RING_BYTES + i * RECORD.itemsize, length.to_bytes(4, "little"))
    kernel.producer[0] = (consumed + backlog) % (1 << 64)
    try:
        batches: npt.NDArray[Any] = kernel.ring.read(cut_ns)
    except RecordingError as error:
        refusal = error
    else:
        assert batches.nbytes <= backlog
        assert (batches["head"]["ts"] <= np.uint64(cut_ns)).all()
        kernel.ring.release()
        assert (int(kernel.producer[0]) - int(kernel.consumer[0])) % (1 << 64) <= backlog
        return
    assert 0 <= refusal.offset < RING_BYTES
