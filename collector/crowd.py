"""How many connections the programs track at a time, and who makes room for others.

The programs count those that they track and take in no more than the bound. Before it is reached
the sweep is told to evict: those that were idle longest, but nobody who was active since the last
cut. When each was, the census tells. So a bound costs new connections only where more come between
two snapshots than there is room, or where all are busy.
"""

import mmap
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bpf.loader import Loaded

Array = npt.NDArray[Any]

BOUND: Final = np.dtype(
    [(name, "u8") for name in ("tracked", "unseen", "most", "idle_us", "evictions")]
)
_SHORT: Final = 16  # one of so many places free: fewer are too few
_ROOMY: Final = 8  # one of so many is made free


def idle_before(active_us: Array, most: int, cut_us: int) -> int:
    """Whose stamp is below it has to go, that an eighth of ``most`` places is free; 0: nobody.

    ``active_us`` says when each connection was active last. Who was since ``cut_us`` stays.
    """
    spare = len(active_us) - (most - most // _ROOMY)
    if spare <= 0:
        return 0
    last_to_go = int(np.partition(active_us, spare - 1)[spare - 1])
    return min(last_to_go + 1, cut_us)


class Crowd:
    """The bound of the loaded programs: a struct estats_bound, mapped."""

    def __init__(self, loaded: Loaded) -> None:
        """Map it; each of its words is written by one side only."""
        mapped = mmap.mmap(loaded.bound, mmap.PAGESIZE)
        self._bound = np.frombuffer(mapped, BOUND, 1)

    def is_short(self) -> bool:
        """Whether there are few places left."""
        bound = self._bound[0]
        most = int(bound["most"])
        return int(bound["tracked"]) - int(bound["unseen"]) > most - most // _SHORT

    def note_unseen(self, ends: int) -> None:
        """So many of those that the programs count have ended without their knowledge."""
        self._bound["unseen"] = ends

    @contextmanager
    def making_room(self, active_us: Array, cut_us: int) -> Generator[None]:
        """A sweep in this block evicts whom ``idle_before`` names."""
        before_us = idle_before(active_us, int(self._bound["most"][0]), cut_us)
        if before_us:
            self._bound["evictions"] += np.uint64(1)  # first: who is evicted comes back with it
            self._bound["idle_us"] = before_us
        try:
            yield
        finally:
            self._bound["idle_us"] = 0
