"""Read batches straight from mapped BPF ring buffers, a whole ring as one array."""

import mmap
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from bpf.errors import RecordingError
from bpf.record import RING_HEADER, Dtype

Batches = npt.NDArray[Any]
Memory = mmap.mmap | memoryview | bytearray

BATCHES_MAX: Final = 65_536
_BUSY: Final = np.uint32(1 << 31)  # reserved, not yet submitted
_DISCARD: Final = np.uint32(1 << 30)  # given up by the program that reserved it
_LENGTH: Final = np.uint32((1 << 30) - 1)
_ADVICE: Final = "The kernel programs and this program are not of one build: reinstall estats"


class RingSource(Protocol):
    """Where batches come from: a kernel ring, a poll of the sockets, a recording.

    ``untracked`` is how many connections it left out by itself, ever.
    """

    untracked: int

    @property
    def more(self) -> bool:
        """Whether the last read stopped at its bound, so that another read is worth while."""
        ...

    def read(self, cut_ns: int) -> Batches:
        """All complete batches stamped ``head.ts`` ≤ ``cut_ns``, in order, up to a bound.

        The array may lie in memory shared with the kernel: it is valid until ``release``.
        """
        ...

    def release(self) -> None:
        """Give back the space of what the last read returned; until then it is read again."""
        ...

    def fileno(self) -> int | None:
        """A descriptor to poll for more, if there is one."""
        ...


class Ring:
    """One BPF ring buffer whose records are all batches of one dtype.

    The kernel shows three things: a page with the consumer's position (ours to write), a page
    with the producer's position, and the data, mapped twice in a row so that a record that wraps
    is still in one piece. Positions count bytes and never go back. As every record has the same
    size, the i-th one lies at ``consumer + i * stride`` and a read is one view, without a walk.

    The mapping lives as long as the ring or any array that was read from it.
    """

    untracked = 0  # the kernel's programs count theirs

    def __init__(
        self, fd: int, ring_bytes: int, dtype: Dtype, batches_max: int = BATCHES_MAX
    ) -> None:
        """Map the ring buffer of ``fd``; ``ring_bytes`` is what it was created with."""
        page = mmap.PAGESIZE
        consumer = mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        shared = mmap.mmap(fd, page + 2 * ring_bytes, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._look(consumer, shared, memoryview(shared)[page:], dtype, batches_max)
        self._fd: int | None = fd

    @classmethod
    def over(
        cls,
        consumer: Memory,
        producer: Memory,
        data: Memory,
        dtype: Dtype,
        batches_max: int = BATCHES_MAX,
    ) -> "Ring":
        """A ring over plain memory; ``data`` is the data area twice, as the kernel maps it."""
        ring = cls.__new__(cls)
        ring._look(consumer, producer, data, dtype, batches_max)
        ring._fd = None
        return ring

    def _look(
        self, consumer: Memory, producer: Memory, data: Memory, dtype: Dtype, batches_max: int
    ) -> None:
        assert dtype.itemsize % 8 == 0, "the kernel rounds records up to 8 bytes"
        self._consumer = np.frombuffer(consumer, "u8", 1)
        self._producer = np.frombuffer(producer, "u8", 1)
        self._data = np.frombuffer(data, "u1")
        self._ring_bytes = len(self._data) // 2
        self._record = np.dtype([("len", "u4"), ("page", "u4"), ("batch", dtype)])
        assert self._record.itemsize == RING_HEADER + dtype.itemsize, "a header of 8 bytes"
        self._batches_max = batches_max
        self._next = int(self._consumer[0])
        self.more = False

    def read(self, cut_ns: int) -> Batches:
        """The batches up to the first one that is not submitted yet or stamped after the cut.

        Stamps rise along a ring but for programs that interrupted one another: the one that was
        interrupted took its stamp first and its place second. Such a batch waits, behind a later
        one, for the next cut. It loses nothing by that, as batches are absolute.

        Raises RecordingError if the ring holds a record that is not a batch.
        """
        records = self._written()
        # The kernel submits while we look. What the first look at the lengths shows as submitted
        # is whole, for a program writes its payload before it clears the busy bit (and x86-64
        # keeps the order of stores and of loads). So the lengths are copied once, before any
        # payload is read, and not looked at again.
        lengths = records["len"].copy()
        foreign = (lengths & _LENGTH) != self._record.itemsize - RING_HEADER
        if foreign.any():
            index = int(foreign.argmax())
            offset = (int(self._consumer[0]) + index * records.itemsize) % self._ring_bytes
            raise RecordingError("the ring holds a record that is not a batch", _ADVICE, offset)
        discarded = (lengths & _DISCARD) != 0
        # A discarded record may never have been stamped: its payload does not count.
        beyond = (records["batch"]["head"]["ts"] > np.uint64(cut_ns)) & ~discarded
        stop = beyond | ((lengths & _BUSY) != 0)
        count = int(stop.argmax()) if stop.any() else len(records)
        self.more = count == self._batches_max
        self._next = int(self._consumer[0]) + count * records.itemsize
        batches: Batches = records["batch"][:count]
        return batches[~discarded[:count]] if discarded[:count].any() else batches

    def release(self) -> None:
        """Move the consumer's position behind the last read: the kernel may write there again."""
        self._consumer[0] = self._next % (1 << 64)

    def fileno(self) -> int | None:
        """The map's descriptor; it polls readable when a program asks for a wake-up."""
        return self._fd

    def _written(self) -> Batches:
        """The records between the two positions, at most ``batches_max``."""
        # Read once: the producer may move between a check and a use.
        consumed, produced = int(self._consumer[0]), int(self._producer[0])
        backlog = (produced - consumed) % (1 << 64)
        count, rest = divmod(backlog, self._record.itemsize)
        if rest or backlog > self._ring_bytes or consumed % 8:
            raise RecordingError(
                f"a ring of {self._ring_bytes} bytes claims {backlog} bytes of whole batches",
                _ADVICE,
                consumed % self._ring_bytes,
            )
        count = min(count, self._batches_max)
        start = consumed % self._ring_bytes
        return self._data[start : start + count * self._record.itemsize].view(self._record)
