"""What our programs cost, as the kernel measures it, and the settings that the budget asks for.

To time its programs, the kernel reads a clock twice in each run of *every* BPF program of the
host, other people's too. On a virtual machine that took 95 ns a run, of which 65 are counted as
the program's, where ours take 100 to 400. So it is asked to for a tenth of the time only, and once
a second at most, for the switch itself patches the kernel's text and interrupts every processor: a
millisecond there and back. What the clock adds stays in the figure, which so errs on the side of
the budget.

The place of a look in its interval is drawn, or it would always meet, or always miss, what happens
once a second. A burst in a short look counts tenfold; so a look that finds too much is followed by
one that lasts from one snapshot to the next, and only such a one takes anything away. Where the
writer is late and the next snapshot is due at once, that kind of look is taken, too.

The iterators run in our own process and at our own word, so they need no switch: their cost is the
processor time of the supervisor meanwhile, the kernel's walk over the sockets included.
"""

import os
import random
import struct
import time
from collections.abc import Generator
from typing import Final, NamedTuple

from bpf import syscall
from bpf.errors import EnvironmentLacksError
from bpf.loader import Loaded
from collector.budget import Budget, Setting

_LOOK_NS: Final = 100_000_000
_PART: Final = 10  # one of so many is looked at, where that is longer
_SHORTEST_NS: Final = 1_000_000  # what a signal cut shorter tells nothing
_APART_NS: Final = 900_000_000  # the ends of two intervals with a look: a second, but for jitter


class _Look(NamedTuple):
    """The share of one processor that the hooks took, and whether it lasted a whole interval."""

    share: float
    is_whole: bool


class _Begun(NamedTuple):
    """A look that goes on: the descriptor that has programs timed, and how it began."""

    statistics: int
    spent_ns: int
    began_ns: int


class Overhead:
    """The budget of the loaded programs."""

    def __init__(self, loaded: Loaded, budget: Budget) -> None:
        """Raises EnvironmentLacksError where this process may not have programs timed."""
        assert loaded.settings is not None, "what has a budget is loaded as adjustable"
        self._programs, self._settings, self._budget = loaded.programs, loaded.settings, budget
        self._begun: _Begun | None = None
        self._look: _Look | None = None
        self._is_new = False
        self._is_crowded = False  # the last interval had no time for a look
        self._looked_ns = 0  # the end of the last interval with a look
        self._settled_ns = time.monotonic_ns()
        try:
            os.close(syscall.enable_statistics())
        except OSError as e:
            raise EnvironmentLacksError(
                f"the kernel does not time its BPF programs for this process ({e.strerror})",
                "--max-overhead wants CAP_SYS_ADMIN, as root has: add it, or leave the option out",
            ) from e

    def looks(self, until_ns: int) -> Generator[int]:
        """The moments to wait for on the way to the next snapshot: a look begins, and ends."""
        rest_ns = until_ns - time.monotonic_ns()
        if self._begun or until_ns - self._looked_ns < _APART_NS:
            return
        if rest_ns < _LOOK_NS:  # or a writer that is late would keep all looks from being taken
            self._is_crowded = True
            return
        self._looked_ns = until_ns
        length_ns = max(_LOOK_NS, rest_ns // _PART)
        yield until_ns - length_ns - int((rest_ns - length_ns) * random.random())  # noqa: S311
        self._begin()
        yield time.monotonic_ns() + length_ns
        self._finish(is_whole=False)

    def settle(self, cut_ns: int, own_ns: int) -> dict[str, int]:
        """At a cut: the meters of its interval, and the settings for the next.

        ``own_ns`` is the processor time of this process in the iterators.
        """
        interval_ns, self._settled_ns = cut_ns - self._settled_ns, cut_ns
        setting = self._budget.setting
        meters = {"flush_interval_us": setting.flush_us, "sampled": setting.sampled}
        if self._begun:
            self._finish(is_whole=True)
            self._looked_ns = cut_ns
        if self._look is not None:  # somebody looked ever
            meters["bpf_ns"] = round(self._look.share * interval_ns) + own_ns
            self._decide(meters["bpf_ns"] / interval_ns, self._look)
        is_wanted = self._budget.is_doubtful or self._is_crowded
        if is_wanted and cut_ns + interval_ns - self._looked_ns >= _APART_NS:
            self._is_crowded = False
            self._begin()
        return meters

    def close(self) -> None:
        """End a look that goes on."""
        if self._begun:
            os.close(self._begun.statistics)
            self._begun = None

    def _decide(self, share: float, look: _Look) -> None:
        """Act upon a look, once."""
        if not self._is_new:
            return
        self._is_new = False
        before = self._budget.setting
        self._budget.take(share, whole=look.is_whole)
        if self._budget.setting != before:
            self._set(self._budget.setting)

    def _begin(self) -> None:
        statistics = syscall.enable_statistics()
        self._begun = _Begun(statistics, self._spent_ns(), time.monotonic_ns())

    def _finish(self, *, is_whole: bool) -> None:
        assert self._begun, "a look has begun"
        took_ns = self._spent_ns() - self._begun.spent_ns
        lasted_ns = time.monotonic_ns() - self._begun.began_ns
        self.close()
        if lasted_ns >= _SHORTEST_NS:
            self._look, self._is_new = _Look(took_ns / lasted_ns, is_whole), True

    def _spent_ns(self) -> int:
        return sum(syscall.run_time_ns(program) for program in self._programs)

    def _set(self, setting: Setting) -> None:
        bits = setting.sampled.bit_length() - 1
        value = struct.pack("=II", setting.flush_us, bits)
        syscall.set_element(self._settings, struct.pack("=I", 0), value)
