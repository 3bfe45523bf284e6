"""Looks at what the programs cost, over a kernel that only counts."""

import errno
import os
import random
import struct
import time
from collections.abc import Iterator

import pytest

from bpf import syscall
from bpf.errors import EnvironmentLacksError
from bpf.loader import Loaded
from collector.budget import Budget
from collector.overhead import Overhead

SECOND = 1_000_000_000
MS = 1_000_000
SETTINGS = 70  # the descriptor of the map
PROGRAMS = (80, 81)


class Kernel:
    """Time goes by only where it is waited for; the programs take a share of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Idle programs."""
        self.now_ns = 1_000 * SECOND
        self.share = 0.0
        self.place = 0.5  # of a short look in its interval
        self.timed_ns = 0  # how long statistics were on
        self.spent_ns = 0.0
        self.statistics: int | None = None
        self.sets: list[tuple[int, int]] = []
        monkeypatch.setattr(syscall, "enable_statistics", self._enable)
        monkeypatch.setattr(syscall, "run_time_ns", self._run_time_ns)
        monkeypatch.setattr(syscall, "set_element", self._set)
        monkeypatch.setattr(time, "monotonic_ns", lambda: self.now_ns)
        monkeypatch.setattr(random, "random", lambda: self.place)

    @property
    def is_timed(self) -> bool:
        """Whether the descriptor that was given last is open still."""
        if self.statistics is None:
            return False
        try:
            os.fstat(self.statistics)
        except OSError:
            self.statistics = None
        return self.statistics is not None

    def wait(self, moment_ns: int) -> None:
        """Let time pass up to a moment."""
        passed = max(0, moment_ns - self.now_ns)
        self.now_ns += passed
        if self.is_timed:
            self.timed_ns += passed
            self.spent_ns += passed * self.share

    def _enable(self) -> int:
        self.statistics = os.eventfd(0)
        return self.statistics

    def _run_time_ns(self, program: int) -> int:
        """The first has run a day already, the second does all the work."""
        return 86_400 * SECOND if program == PROGRAMS[0] else int(self.spent_ns)

    def _set(self, fd: int, key: bytes, value: bytes) -> None:
        assert (fd, key) == (SETTINGS, bytes(4))
        self.sets.append(struct.unpack("=II", value))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    """In place of the real one; its statistics are off at the end."""
    made = Kernel(monkeypatch)
    yield made
    assert not made.is_timed


@pytest.fixture
def keeper(kernel: Kernel) -> Iterator[Overhead]:
    """A budget of two per cent, snapshots a second apart."""
    made = Overhead(loaded(), Budget(0.02, 250_000, 2_000_000))
    yield made
    made.close()


def loaded() -> Loaded:
    """As the loader hands it over."""
    return Loaded(
        rings={},
        ring_bytes=0,
        cpus=1,
        counters=0,
        bound=0,
        finals=0,
        links=(),
        programs=PROGRAMS,
        sweep=0,
        census=0,
        settings=SETTINGS,
        unavailable={},
        seconds=0.0,
    )


def interval(kernel: Kernel, keeper: Overhead, length_ns: int, own_ns: int = 0) -> dict[str, int]:
    """From one snapshot to the next; the meters of the latter."""
    until = kernel.now_ns + length_ns
    for moment in keeper.looks(until):
        kernel.wait(moment)
    kernel.wait(until)
    return keeper.settle(kernel.now_ns, own_ns)


def test_nothing_is_said_of_the_time_before_the_first_look(
    kernel: Kernel, keeper: Overhead
) -> None:
    """The settings are, for they are known."""
    kernel.wait(kernel.now_ns + SECOND)
    assert keeper.settle(kernel.now_ns, 5) == {"flush_interval_us": 250_000, "sampled": 1}


@pytest.mark.parametrize("place", [0.0, 0.3, 0.999])
@pytest.mark.parametrize("seconds", [1, 2, 60])
def test_a_tenth_of_an_interval_stands_for_all_of_it(
    kernel: Kernel, keeper: Overhead, seconds: int, place: float
) -> None:
    """Wherever it lies; what this process did itself is added as it is."""
    interval(kernel, keeper, SECOND)
    before, kernel.timed_ns = kernel.timed_ns, 0
    kernel.share, kernel.place = 0.01, place
    meters = interval(kernel, keeper, seconds * SECOND, own_ns=3 * MS)

    assert (before, kernel.timed_ns) == (SECOND // 10, seconds * SECOND // 10)
    assert meters["bpf_ns"] == pytest.approx(seconds * SECOND // 100 + 3 * MS, abs=100)
    assert kernel.sets == []


@pytest.mark.parametrize("length_ns", [20 * MS, 200 * MS])
def test_short_intervals_are_looked_at_once_a_second(
    kernel: Kernel, keeper: Overhead, length_ns: int
) -> None:
    """For the switch has its price; the others are told by the last look."""
    kernel.share = 0.01
    count = 3 * SECOND // length_ns
    meters = [interval(kernel, keeper, length_ns) for _ in range(count)]

    assert kernel.timed_ns == pytest.approx(3 * min(length_ns, 100 * MS), abs=length_ns)
    told = [m["bpf_ns"] for m in meters if "bpf_ns" in m]
    assert len(told) > count // 2
    assert told == pytest.approx([length_ns // 100] * len(told), abs=100)


def test_too_much_is_confirmed_by_a_whole_interval_and_then_acted_upon(
    kernel: Kernel, keeper: Overhead
) -> None:
    """What is set holds for the next interval: the meters of this one say what held before."""
    interval(kernel, keeper, SECOND)
    kernel.share = 0.05
    first = interval(kernel, keeper, SECOND)
    assert kernel.sets == []
    timed = kernel.timed_ns
    second = interval(kernel, keeper, SECOND)
    third = interval(kernel, keeper, SECOND)

    assert kernel.timed_ns - timed == 2 * SECOND
    assert kernel.sets == [(500_000, 0), (1_000_000, 0)]
    flushes = [m["flush_interval_us"] for m in (first, second, third)]
    assert flushes == [250_000, 250_000, 500_000]


def test_a_late_writer_leaves_no_time_for_a_look_and_is_looked_at_whole(
    kernel: Kernel, keeper: Overhead
) -> None:
    """Each tick is due at once, for the snapshot before took all of the interval."""
    kernel.share = 0.05
    for _ in range(4):
        assert list(keeper.looks(kernel.now_ns)) == []
        kernel.wait(kernel.now_ns + SECOND)
        keeper.settle(kernel.now_ns, 0)
    assert kernel.timed_ns == 3 * SECOND
    assert kernel.sets == [(500_000, 0), (1_000_000, 0), (2_000_000, 0)]


def test_what_this_process_takes_counts_like_the_hooks(kernel: Kernel, keeper: Overhead) -> None:
    """A sweep over very many sockets is the programs', too."""
    for _ in range(3):
        interval(kernel, keeper, SECOND, own_ns=30 * MS)
    assert kernel.sets[-1] == (1_000_000, 0)


def test_sampling_is_set_as_bits_of_a_hash(kernel: Kernel, keeper: Overhead) -> None:
    """One of four: two bits must be 0."""
    kernel.share = 0.5
    told = [interval(kernel, keeper, SECOND) for _ in range(10)]
    assert kernel.sets[:3] == [(500_000, 0), (1_000_000, 0), (2_000_000, 0)]
    assert kernel.sets[3:] == [(2_000_000, 1), (2_000_000, 2)]
    assert told[-1]["sampled"] == 4


def test_a_look_that_a_signal_ends_at_once_tells_nothing(kernel: Kernel, keeper: Overhead) -> None:
    """Its descriptor is closed all the same."""
    for _ in keeper.looks(kernel.now_ns + SECOND):
        pass  # nothing is waited for
    assert not kernel.is_timed
    kernel.wait(kernel.now_ns + SECOND)
    assert "bpf_ns" not in keeper.settle(kernel.now_ns, 0)


@pytest.mark.parametrize("moments", [1, 2])
def test_an_error_in_the_middle_of_a_look_leaves_nothing_on(
    kernel: Kernel, keeper: Overhead, moments: int
) -> None:
    """A process dies, say, and whoever waits raises: the collector closes what it had."""
    looks = keeper.looks(kernel.now_ns + SECOND)
    for _ in range(moments):
        next(looks)
    assert kernel.is_timed == (moments == 2)
    keeper.close()
    assert not kernel.is_timed


def test_who_may_not_have_programs_timed_is_told_what_is_missing(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start, not at the first look."""

    def refuse() -> int:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(syscall, "enable_statistics", refuse)
    with pytest.raises(EnvironmentLacksError) as lack:
        Overhead(loaded(), Budget(0.02, 250_000, 2_000_000))
    assert "CAP_SYS_ADMIN" in lack.value.advice
