"""How much history a database is to keep, and which time it is by its snapshots.

Without SQLAlchemy: the command line makes these.
"""

from dataclasses import dataclass
from typing import Final

from bpf.errors import UsageError

_KEEP_US_MIN: Final = 60_000_000
_SIZE_MIN: Final = 64 << 20  # twice what the write-ahead log grows to
_SLEW_US: Final = 60_000_000  # ahead by more than that, the clock was set
_DOUBT_US: Final = 3_600_000_000  # and is believed after so long


@dataclass(frozen=True, slots=True, order=True)
class Rollup:
    """Of what is older than ``age_us``, each connection keeps one sample in each ``step_us``."""

    step_us: int
    age_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What is forgotten: nothing, unless one of them is given.

    ``keep_us`` is an age; ``rollups`` come finest first; ``octets`` is a size, of the file and
    its write-ahead log.
    """

    keep_us: int | None = None
    rollups: tuple[Rollup, ...] = ()
    octets: int | None = None

    def __post_init__(self) -> None:
        """Raises UsageError for what makes no sense."""
        if self.keep_us is not None and self.keep_us < _KEEP_US_MIN:
            raise UsageError("--keep is shorter than a minute")
        if self.octets is not None and self.octets < _SIZE_MIN:
            raise UsageError(
                f"--max-db-size is smaller than {_SIZE_MIN >> 20} MiB",
                "The write-ahead log alone takes half of that: ask for more.",
            )
        for fine, coarse in zip(self.rollups, self.rollups[1:], strict=False):
            if fine.age_us >= coarse.age_us or coarse.step_us <= fine.step_us:
                raise UsageError(
                    "--rollup: a later step is neither longer nor for what is older",
                    "Write the finest first: 1m:7d,1h:90d.",
                )
            if coarse.step_us % fine.step_us:
                raise UsageError("--rollup: a step is no multiple of the one before it")
        for rollup in self.rollups:
            if not 0 < rollup.step_us <= rollup.age_us:
                raise UsageError("--rollup: a step is longer than the age it begins at, or nothing")
            if self.keep_us is not None and rollup.age_us >= self.keep_us:
                raise UsageError(
                    "--rollup thins what --keep forgets",
                    "Give --keep a longer time, or leave that step out.",
                )


class Clock:
    """The time that ages are counted from: that of the newest snapshot, unless it is in doubt.

    A clock that was set ahead would make everything old at once. So one that comes further than
    the monotonic clock is believed only after an hour in which it stayed there.
    """

    def __init__(self) -> None:
        """It begins with the first snapshot, whose clock is believed."""
        self._offset_us: int | None = None  # from the monotonic clock to the one in use
        self._ahead_since_us: int | None = None

    def at(self, cut_ns: int, taken_us: int) -> int:
        """The time of a snapshot."""
        cut_us = cut_ns // 1_000
        offset_us = taken_us - cut_us
        if self._offset_us is None or offset_us <= self._offset_us + _SLEW_US:
            self._ahead_since_us = None
        else:
            if self._ahead_since_us is None:
                self._ahead_since_us = cut_us
            if cut_us - self._ahead_since_us < _DOUBT_US:
                return cut_us + self._offset_us
            self._ahead_since_us = None
        self._offset_us = offset_us
        return taken_us
