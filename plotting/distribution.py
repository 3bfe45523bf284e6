"""How a variable is distributed over connections, or over their time: quantiles and an axis."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import ceil, floor, log10
from typing import Final

from plotting.scale import step_of
from plotting.units import Quantity

QUANTILES: Final = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
#: From such a ratio of the most to the least on, equal steps of the axis are equal ratios.
_LOG_FROM: Final = 50.0


@dataclass(frozen=True)
class Distribution:
    """Values of a variable, each with the weight that it has, from the least to the most.

    ``of`` is what they are of, for a title: "247 connections". ``unknown`` are how many have none.
    """

    title: str
    of: str
    unit: Quantity
    weighed: Sequence[tuple[float, float]]
    unknown: int = 0

    @classmethod
    def over(
        cls,
        title: str,
        of: str,
        unit: Quantity,
        weighed: Iterable[tuple[float, float]],
        unknown: int = 0,
    ) -> "Distribution":
        """The same of values in any order; what has no weight does not count."""
        return cls(title, of, unit, sorted(pair for pair in weighed if pair[1] > 0), unknown)

    @cached_property
    def shares(self) -> Sequence[float]:
        """For each value the share of all weight that it and the smaller ones have."""
        sums = list(accumulate(weight for _, weight in self.weighed))
        return [each / sums[-1] for each in sums]

    def quantile(self, share: float) -> float:
        """The least value that, with those below it, has at least this share of the weight."""
        pairs = zip(self.weighed, self.shares, strict=True)
        return next((v for (v, _), s in pairs if s >= share - 1e-12), self.weighed[-1][0])

    @cached_property
    def axis(self) -> "Axis":
        """The axis on which its values lie."""
        typical = [self.quantile(0.5)] if self.is_wide else self._values
        size, name = self.unit.scale(value * self.unit.factor for value in typical)
        factor = self.unit.factor / size
        highest = self._values[-1] * factor if self.weighed else 1.0
        if self.is_wide:
            least = min(value for value in self._values if value > 0) * factor
            first, last = floor(log10(least)), ceil(log10(highest))
            powers = range(first, max(last, first + 1) + 1)
            return Axis(factor, name, [10.0**power for power in powers], is_log=True)
        step = step_of(highest, 6)
        count = max(ceil(highest / step - 1e-9), 1)
        return Axis(factor, name, [n * step for n in range(count + 1)], is_log=False)

    @cached_property
    def is_wide(self) -> bool:
        """Whether its values range so far that only a logarithmic axis shows all of them."""
        above = [value for value in self._values if value > 0]
        return bool(above) and self._values[0] >= 0 and above[-1] / above[0] >= _LOG_FROM

    @property
    def _values(self) -> list[float]:
        return [value for value, _ in self.weighed]


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis of values: stored ones times ``factor`` are in ``unit``."""

    factor: float
    unit: str
    ticks: Sequence[float]
    is_log: bool

    def place(self, value: float) -> float:
        """Where a stored value lies, 0 to 1; 0 of a logarithmic axis is also what is less."""
        here = value * self.factor
        low, high = self.ticks[0], self.ticks[-1]
        if not self.is_log:
            return here / high
        return log10(here / low) / log10(high / low) if here > low else 0.0
