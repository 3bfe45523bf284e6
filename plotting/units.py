"""What an axis counts in: a variable's unit, how a counter's growth is told, and which prefix."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from bpf.variable import Kind, Variable

_SI: Final = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_EVERY_DAY: Final = ((86_400e6, "d"), (3600e6, "h"), (60e6, "min"), (1e6, "s"), (1e3, "ms"))


@dataclass(frozen=True, slots=True)
class Quantity:
    """What numbers of an axis are: their ``scales``, largest first, as a size and a name.

    ``factor`` is what a stored value, or a second of a counter's growth, is multiplied with.
    ``words`` are the names of an enumeration's values.
    """

    scales: tuple[tuple[float, str], ...]
    factor: float = 1.0
    words: tuple[tuple[int, str], ...] = ()

    def scale(self, values: Iterable[float]) -> tuple[float, str]:
        """The size and the name of the unit in which the largest of these is read most easily."""
        most = max((abs(value) for value in values), default=0.0)
        fits = (scale for scale in self.scales if most >= scale[0])
        return next(fits, self.scales[-1] if most else self.scales[len(self.scales) // 2])


def _prefixed(unit: str) -> tuple[tuple[float, str], ...]:
    return tuple((size, prefix + unit) for size, prefix in _SI)


OCTETS: Final = Quantity(_prefixed("B"))
BITS_A_SECOND: Final = Quantity(_prefixed("bit/s"), 8.0)
MICROSECONDS: Final = Quantity(((1e6, "s"), (1e3, "ms"), (1.0, "\N{MICRO SIGN}s")))
SHARE: Final = Quantity(((1.0, "%"),), 100.0)
_TIMES: Final = {"milliseconds": 1e3, "microseconds": 1.0, "seconds": 1e6, "nanoseconds": 1e-3}


def quantity(variable: Variable, words: Iterable[tuple[int, str]] = ()) -> Quantity:
    """What a variable is drawn in: a counter by its growth in a second, anything else as it is."""
    unit = variable.unit
    if variable.kind is Kind.ENUM:
        return Quantity(((1.0, ""),), words=tuple(words))
    if variable.kind is not Kind.COUNTER:
        return _of_a_value(unit)
    if unit in ("octets", "octet"):
        return BITS_A_SECOND
    if unit in _TIMES:  # so much of each second
        return Quantity(SHARE.scales, _TIMES[unit] / 1e6 * SHARE.factor)
    return Quantity(tuple((size, f"{prefix} {unit}/s".strip()) for size, prefix in _SI))


def grown(variable: Variable) -> Quantity:
    """What the growth of a counter in a whole period is told in, and the value of anything else."""
    return _of_a_value(variable.unit)


def _of_a_value(unit: str) -> Quantity:
    if unit in ("octets", "octet"):
        return OCTETS
    if unit in _TIMES:
        return Quantity((*_EVERY_DAY[3:], (1.0, "\N{MICRO SIGN}s")), _TIMES[unit])
    return Quantity(((1e9, f"G {unit}"), (1e6, f"M {unit}"), (1e3, f"k {unit}"), (1.0, unit)))
