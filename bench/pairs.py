"""Two ways compared on a machine that is not quiet: in turns, and by the ratios of neighbours.

What disturbs a measurement mostly lasts longer than the measurement. It then disturbs both halves
of a pair alike and leaves their ratio; the median leaves out the pairs that it cut in two.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

#: Figures of one measurement, by name; the name ends in the unit.
Figures = Mapping[str, float]
Pair = tuple[Figures, Figures]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One figure in two ways: the medians, and the pairwise ratios ``with / without``."""

    without: float
    having: float
    ratio: float
    ratio_min: float
    ratio_max: float
    pairs: int

    @property
    def spread(self) -> str:
        """The lowest and the highest ratio, for people."""
        return f"{self.ratio_min:.3f} to {self.ratio_max:.3f}"


def alternate(
    without: Callable[[], Figures], having: Callable[[], Figures], pairs: int
) -> list[Pair]:
    """Measure A B A B …, so that the halves of each pair are neighbours in time."""
    return [(without(), having()) for _ in range(pairs)]


def compare(pairs: Sequence[Pair], figure: str) -> Comparison:
    """One figure of all pairs. A pair without it, or with a 0 to divide by, is an error."""
    before = [a[figure] for a, _ in pairs]
    after = [b[figure] for _, b in pairs]
    ratios = [b / a for a, b in zip(before, after, strict=True)]
    return Comparison(
        without=median(before),
        having=median(after),
        ratio=median(ratios),
        ratio_min=min(ratios),
        ratio_max=max(ratios),
        pairs=len(pairs),
    )
