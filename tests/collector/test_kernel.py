"""What is read of the loaded programs beside the rings, over maps of plain memory."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bpf import syscall
from bpf.loader import Loaded
from bpf.record import HEAD, batch_dtype
from bpf.variable import Table
from collector.kernel import COUNTERS, LIVING, Counters, Overflow, census, sweep

BATCH = batch_dtype((Table.EXTRAS,))
CPUS, SHARDS = 3, 2


class Kernel:
    """Counters in a file, and a hash map of final batches in a dictionary."""

    def __init__(self, counters: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing counted, nothing overflowed."""
        rows = np.zeros(CPUS * SHARDS, COUNTERS).tobytes()
        counters.write_bytes(rows.ljust(os.sysconf("SC_PAGESIZE"), b"\0"))
        self.fd = os.open(counters, os.O_RDWR)
        self.finals: dict[bytes, bytes] = {}
        self.looks = 0
        self.answers: list[bytes] = []
        monkeypatch.setattr(syscall, "take_elements", self._take)
        monkeypatch.setattr(syscall, "delete_element", lambda _, key: self.finals.pop(key))
        monkeypatch.setattr(syscall, "iterate", lambda _: self.answers.pop(0))

    def _take(self, fd: int, key_bytes: int, value_bytes: int) -> list[tuple[bytes, bytes]]:
        assert (fd, key_bytes, value_bytes) == (77, 8, BATCH.itemsize)
        self.looks += 1
        return list(self.finals.items())

    @property
    def loaded(self) -> Loaded:
        """As the loader hands it over."""
        return Loaded(
            rings={},
            ring_bytes=0,
            cpus=CPUS,
            counters=self.fd,
            bound=76,
            finals=77,
            links=(),
            programs=(80, 81),
            sweep=78,
            census=79,
            unavailable={},
            seconds=0.0,
        )

    def count(self, name: str, cpu: int, shard: int, value: int) -> None:
        """Set one counter."""
        rows = np.zeros(CPUS * SHARDS, COUNTERS)
        rows[:] = np.frombuffer(os.pread(self.fd, rows.nbytes, 0), COUNTERS)
        rows[name][cpu * SHARDS + shard] = value
        os.pwrite(self.fd, rows.tobytes(), 0)

    def overflow(self, id_: int, shard: int, ts: int) -> None:
        """A final batch that found no room; without a stamp it is still being written."""
        batch = np.zeros(1, BATCH)
        head = np.zeros(1, HEAD)
        head["id"], head["shard"], head["ts"] = id_, shard, ts
        batch["head"] = head
        self.finals[id_.to_bytes(8, "little")] = batch.tobytes()


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    """In place of the real one."""
    made = Kernel(tmp_path / "counters", monkeypatch)
    yield made
    os.close(made.fd)


def ids(overflow: Overflow, cut_ns: int) -> list[int]:
    """The connections whose final batches are read."""
    return sorted(overflow.read(cut_ns)["head"]["id"].tolist())


def test_counters_are_sums_over_cpus(kernel: Kernel) -> None:
    """Of one shard or of all, and always as they are now."""
    counters = Counters(kernel.loaded, SHARDS)
    kernel.count("lost", 0, 1, 5)
    kernel.count("lost", 2, 1, 1 << 40)
    kernel.count("lost", 1, 0, 7)

    assert counters.total("lost", 1) == 5 + (1 << 40)
    assert counters.total("lost", 0) == 7
    assert counters.total("lost") == 12 + (1 << 40)
    assert counters.total("untracked") == 0


def test_missed_runs_are_those_of_all_programs(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel counts them by program."""
    monkeypatch.setattr(syscall, "missed_runs", {80: 3, 81: 1 << 33}.__getitem__)

    assert Counters(kernel.loaded, SHARDS).missed() == 3 + (1 << 33)


def overflow_of(kernel: Kernel, shard: int) -> Overflow:
    """As a worker makes it."""
    return Overflow(kernel.loaded, Counters(kernel.loaded, SHARDS), shard, BATCH)


def test_the_map_is_asked_only_after_an_overflow(kernel: Kernel) -> None:
    """A look at a counter is all it costs otherwise."""
    overflow = overflow_of(kernel, 1)
    kernel.count("overflowed", 0, 0, 3)  # another shard's

    assert ids(overflow, 100) == []
    assert (kernel.looks, overflow.fileno()) == (0, None)


def test_a_shard_takes_its_own_and_once(kernel: Kernel) -> None:
    """What is another shard's stays for that one."""
    overflow = overflow_of(kernel, 1)
    kernel.overflow(1, 0, 10)
    kernel.overflow(2, 1, 10)
    kernel.count("overflowed", 0, 1, 1)

    assert ids(overflow, 100) == ids(overflow_of(kernel, 1), 100) == [2]

    overflow.release()

    assert ids(overflow, 100) == []
    assert list(kernel.finals) == [(1).to_bytes(8, "little")]


def test_what_is_not_due_or_not_whole_waits(kernel: Kernel) -> None:
    """A stamp after the cut, or none yet: it is read at a later cut, without another overflow."""
    overflow = overflow_of(kernel, 0)
    kernel.overflow(1, 0, 10)
    kernel.overflow(2, 0, 200)
    kernel.overflow(3, 0, 0)
    kernel.count("overflowed", 0, 0, 3)

    assert ids(overflow, 100) == [1]
    overflow.release()
    kernel.overflow(3, 0, 150)
    assert ids(overflow, 300) == [2, 3]
    overflow.release()
    assert ids(overflow, 400) == []
    assert not kernel.finals


def test_a_sweep_waits_for_the_sockets_that_had_to_wait(kernel: Kernel) -> None:
    """Each writes one octet; the sweep is over when none does."""
    kernel.answers = [b"\1\1\1", b"\1", b""]

    assert sweep(kernel.loaded) == 0
    assert not kernel.answers


def test_a_sweep_ends_also_where_no_room_comes(kernel: Kernel) -> None:
    """It says how many are left; they are sent by the next one."""
    kernel.answers = [b"\1\1"] * 1000

    assert sweep(kernel.loaded) == 2
    assert kernel.answers


def living(*connections: tuple[int, int]) -> npt.NDArray[Any]:
    """Ids, and when each was last active."""
    return np.array(list(connections), LIVING)


def test_a_census_is_the_living_and_when_each_was_active(kernel: Kernel) -> None:
    """As the iterator writes them, in the order of their ids."""
    kernel.answers = [living((1 << 60, 7), (3, 8)).tobytes(), b""]

    assert census(kernel.loaded).tolist() == [(3, 8), (1 << 60, 7)]
    assert census(kernel.loaded).tolist() == []


def test_a_connection_that_one_look_at_many_skips_is_found_by_the_second(kernel: Kernel) -> None:
    """The kernel resumes by position, so that who ends between two reads hides another."""
    many = living(*((id_, 10_000 - id_) for id_ in range(1, 5_000)))
    kernel.answers = [np.delete(many, 4_096).tobytes(), np.delete(many, 17).tobytes()]

    assert np.array_equal(census(kernel.loaded), many)
