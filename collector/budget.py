"""What is done to keep to ``--max-overhead``: steps, and when one is taken. No kernel in here.

    as asked -> flush interval x 2, x 4 .. the longest -> 1 of 2 new connections, 1 of 4 .. 1 of 64

A step at most halves what the programs cost, so one back at most doubles it. That is why a step
back waits for less than 0.4 of the budget: afterwards it is below 0.8, and measurements may be
wrong by a tenth without a step to and fro.

The last step is one of 64, for a connection that is left out costs something, too: by then these
cost more than those that are tracked, and to track fewer still would save next to nothing.
"""

from dataclasses import dataclass, replace
from typing import Final

SAMPLED_MAX: Final = 64
_LOW: Final = 0.4  # of the budget: below it there is room for a step back
_CALM_LOOKS: Final = 5  # so many of them below that, one after the other
#: Looks from one step of sampling to the next: it acts by the connections that end meanwhile.
_SAMPLING_LOOKS: Final = 3


@dataclass(frozen=True, slots=True)
class Setting:
    """At least so long between two batches of a connection; one of ``sampled`` is tracked."""

    flush_us: int
    sampled: int = 1


def steps(flush_us: int, flush_us_max: int) -> tuple[Setting, ...]:
    """From what was asked for to the least that is collected."""
    made = [Setting(flush_us)]
    while made[-1].flush_us < flush_us_max:
        made.append(Setting(min(2 * made[-1].flush_us, flush_us_max)))
    while made[-1].sampled < SAMPLED_MAX:
        made.append(replace(made[-1], sampled=2 * made[-1].sampled))
    return tuple(made)


class Budget:
    """A share of one processor, and which step keeps to it."""

    def __init__(self, share: float, flush_us: int, flush_us_max: int) -> None:
        """At most ``share``; the flush interval grows from ``flush_us`` to ``flush_us_max``."""
        self._share = share
        self._steps = steps(flush_us, flush_us_max)
        self._at = 0
        self._looks = 0  # since the last step
        self._calm = 0
        #: Whether the next look is to last: nothing is left out for what a short one saw.
        self.is_doubtful = False

    @property
    def setting(self) -> Setting:
        """What is to be in force now."""
        return self._steps[self._at]

    def take(self, share: float, *, whole: bool) -> None:
        """One look: the share that was spent, measured throughout or in a part of the time."""
        is_above = share > self._share
        self._looks += 1
        self._calm = self._calm + 1 if share < _LOW * self._share else 0
        if is_above and whole and self._may_go_on():
            self._step(1)
        elif self._calm >= _CALM_LOOKS and self._at > 0:
            self._step(-1)
        self.is_doubtful = is_above and not self._is_last()

    def _may_go_on(self) -> bool:
        settled = self.setting.sampled == 1 or self._looks >= _SAMPLING_LOOKS
        return settled and not self._is_last()

    def _is_last(self) -> bool:
        return self._at == len(self._steps) - 1

    def _step(self, by: int) -> None:
        self._at += by
        self._looks = self._calm = 0
