"""What ends is said once: a shard's final batches, kept in shared memory until they are stored.

A worker that dies takes what it had read with it. Of connections that live the next sweep says
everything again, but the last batch of one that ended comes once. So each is copied here before its
place in the ring is given back, and stays until a snapshot that has it was written. The memory is
shared and belongs to no process: a worker in the place of a dead one, or all of them in front of a
new writer, find in it what was lost with the process, and nothing else.

    begin ─────── mark ─────── end          positions in batches, that only ever grow
      handed over     read since            mark: as the part of ``cut_ns`` was sent

Each step is one store of eight bytes, so it does not matter where in it a process is killed. What
was read but not given back is in the ring and here: a batch is absolute, twice is as good as once.
"""

import mmap
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bpf.record import Dtype, Flag, raw
from collector.ring import Batches

_BATCHES_MAX: Final = 32_768  # some 40 MB, which are taken only as they are used
_FINAL: Final = np.uint32(Flag.FINAL.value)
_HEAD: Final = np.dtype(
    [
        (name, "u8")
        for name in ("begin", "mark", "end", "cut_ns", "dropped", "dropped_at_mark", "dropped_gone")
    ]
)


class Finals:
    """The final batches of one shard, a ring of so many; made before the worker is forked."""

    def __init__(self, dtype: Dtype, batches_max: int = _BATCHES_MAX) -> None:
        """Empty."""
        self._memory = mmap.mmap(-1, mmap.PAGESIZE + batches_max * dtype.itemsize)
        self._head: npt.NDArray[Any] = np.frombuffer(self._memory, _HEAD, 1)
        self._kept: Batches = np.frombuffer(self._memory, dtype, batches_max, mmap.PAGESIZE)

    def keep(self, batches: Batches) -> None:
        """Copy those that are final. What finds no room is counted: it is lost if we die."""
        final = raw(batches)[(batches["head"]["flags"] & _FINAL) != 0]
        if not len(final):
            return
        begin, end = self._get("begin"), self._get("end")
        fits = min(len(final), len(self._kept) - (end - begin))
        if fits < len(final):
            self._head["dropped"] += np.uint64(len(final) - fits)
        place = end % len(self._kept)
        first = min(fits, len(self._kept) - place)
        raw(self._kept)[place : place + first] = final[:first]
        raw(self._kept)[: fits - first] = final[first:fits]
        self._head["end"] = end + fits  # last: they are whole by then

    def handed_over(self, cut_ns: int) -> None:
        """All that is here was sent to the writer, as part of this cut."""
        self._head["mark"] = self._head["end"]
        self._head["dropped_at_mark"] = self._head["dropped"]
        self._head["cut_ns"] = cut_ns  # last: until then the mark does not count

    def written(self, cut_ns: int) -> None:
        """Everything up to this cut is stored: let go of it."""
        if self._get("cut_ns") <= cut_ns:
            self._head["dropped_gone"] = self._head["dropped_at_mark"]
            self._let_go(self._get("mark"))

    def left_by_the_dead(self, handed_ns: int) -> tuple[Batches, int]:
        """What its last part did not have, and how many more there were that found no room.

        ``handed_ns`` is the last cut whose part of this shard is safe: with the writer, or stored.
        """
        marked_ns, dropped_before = self._get("cut_ns"), self._get("dropped_gone")
        if marked_ns < handed_ns:  # killed after it had sent that part, before it could mark it
            self.handed_over(handed_ns)
        if marked_ns <= handed_ns:
            self._let_go(self._get("mark"))
            dropped_before = self._get("dropped_at_mark")
        places = np.arange(self._get("begin"), self._get("end")) % len(self._kept)
        left: Batches = raw(self._kept)[places].view(self._kept.dtype)
        return left, self._get("dropped") - dropped_before

    def _let_go(self, position: int) -> None:
        """Of what lies before it; its memory goes back to the system, page by page."""
        begin, size = self._get("begin"), len(self._kept)
        self._head["begin"] = position
        if position == begin:
            return
        start, stop = begin % size, position % size
        spans = [(start, stop)] if start < stop else [(start, size), (0, stop)]
        for first, last in spans:
            offset = -(-first * self._kept.itemsize // mmap.PAGESIZE) * mmap.PAGESIZE
            length = last * self._kept.itemsize // mmap.PAGESIZE * mmap.PAGESIZE - offset
            if length > 0:
                self._memory.madvise(mmap.MADV_REMOVE, mmap.PAGESIZE + offset, length)

    def _get(self, name: str) -> int:
        return int(self._head[name][0])
