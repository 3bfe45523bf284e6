"""What is read of the loaded programs beside the rings: counters, overflow, sweep, census."""

import mmap
import time
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bpf import syscall
from bpf.loader import Loaded
from bpf.record import Dtype
from collector.ring import Batches

Array = npt.NDArray[Any]

COUNTERS: Final = np.dtype(
    [
        (name, "u8")
        for name in (
            "lost",
            "lost_finals",
            "untracked",
            "overflowed",
            "opened",
            "ended",
            "sampled_out",
            "resync",
            "evicted",
        )
    ]
)
#: What the census tells of a connection: CLOCK_MONOTONIC µs of its last segment or timer.
LIVING: Final = np.dtype([("id", "u8"), ("active_us", "u8")])
_SWEEPS_MAX: Final = 50
_SWEEP_PAUSE_SECONDS: Final = 0.002
_READ_BYTES: Final = 32 << 10  # of an iterator, at once


class Counters:
    """The programs' own counters, mapped: one row for each CPU and shard, never reset.

    ``resync`` alone is ours to write: see ``resync``.
    """

    def __init__(self, loaded: Loaded, shards: int) -> None:
        """Map the counters of ``loaded``."""
        rows = loaded.cpus * shards
        size = -(-rows * COUNTERS.itemsize // mmap.PAGESIZE) * mmap.PAGESIZE
        mapped = mmap.mmap(loaded.counters, size, mmap.MAP_SHARED)
        self._rows = np.frombuffer(mapped, COUNTERS, rows).reshape(loaded.cpus, shards)
        self._programs = loaded.programs

    def total(self, name: str, shard: int | None = None) -> int:
        """The sum of one counter over all CPUs, of one shard or of all."""
        rows = self._rows if shard is None else self._rows[:, shard]
        return int(rows[name].sum())

    def resync(self, shard: int) -> None:
        """Have the next sweep send every connection of a shard, whether it has news or not."""
        self._rows["resync"][0, shard] += np.uint64(1)

    def missed(self) -> int:
        """How often the kernel skipped one of the programs."""
        return sum(syscall.missed_runs(program) for program in self._programs)


class Overflow:
    """A RingSource of final batches that found no room in their ring: a hash map of the kernel."""

    more = False
    untracked = 0

    def __init__(self, loaded: Loaded, counters: Counters, shard: int, dtype: Dtype) -> None:
        """The overflow of one shard."""
        self._fd, self._counters, self._shard, self._dtype = loaded.finals, counters, shard, dtype
        self._seen = 0
        self._keys: list[bytes] = []

    def read(self, cut_ns: int) -> Batches:
        """What is complete and stamped up to the cut; asks the kernel only if there is anything."""
        count = self._counters.total("overflowed", self._shard)
        if count == self._seen:
            return np.zeros(0, self._dtype)
        elements = syscall.take_elements(self._fd, 8, self._dtype.itemsize)
        batches = np.frombuffer(b"".join(value for _, value in elements), self._dtype)
        head = batches["head"]
        ours = (head["shard"] == self._shard) & (head["ts"] > 0) & (head["ts"] <= np.uint64(cut_ns))
        self._keys = [elements[i][0] for i in np.flatnonzero(ours)]
        if len(self._keys) == np.count_nonzero(head["shard"] == self._shard):
            self._seen = count
        taken: Batches = batches[ours]
        return taken

    def release(self) -> None:
        """Take what was read out of the map."""
        for key in self._keys:
            syscall.delete_element(self._fd, key)
        self._keys = []

    def fileno(self) -> int | None:
        """None: looked at with the rings."""
        return None


def sweep(loaded: Loaded) -> int:
    """Have every socket with news send it; returns how many had to be left for want of room.

    A socket whose ring is half full waits; the workers drain meanwhile.
    """
    waiting = len(syscall.iterate(loaded.sweep))
    for _ in range(_SWEEPS_MAX):
        if not waiting:
            break
        time.sleep(_SWEEP_PAUSE_SECONDS)
        waiting = len(syscall.iterate(loaded.sweep))
    return waiting


def census(loaded: Loaded) -> Array:
    """All connections that live now (dtype ``LIVING``), once each, in the order of their ids.

    What one read does not hold is taken twice. The kernel finds its place again by counting, so
    that a connection which ends between two reads hides another; hardly the same one twice.
    """
    told = syscall.iterate(loaded.census)
    if len(told) >= _READ_BYTES:
        told += syscall.iterate(loaded.census)
    living = np.frombuffer(told, LIVING)
    _, first = np.unique(living["id"], return_index=True)
    once: Array = living[first]
    return once
