"""Ticks of an axis of numbers: whole steps of 1, 2 or 5, and what stands at them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Final

from plotting.units import Quantity

_STEPS: Final = (1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis from 0 to ``top``: stored values times ``factor`` are in ``unit``."""

    factor: float
    unit: str
    top: float
    ticks: Sequence[float]


def scale_of(unit: Quantity, values: Iterable[float], most: int = 4) -> Scale:
    """The axis on which all of these stored values lie, with about ``most`` steps."""
    known = [value * unit.factor for value in values]
    size, name = unit.scale(known)
    highest = max((value / size for value in known), default=0.0)
    step = step_of(highest, most)
    count = max(ceil(highest / step - 1e-9), 1)
    return Scale(unit.factor / size, name, count * step, [n * step for n in range(count + 1)])


def step_of(length: float, most: int) -> float:
    """The least whole step of which no more than ``most`` fill a length."""
    if length <= 0:
        return 1.0
    rough = length / most
    power = 10.0 ** floor(log10(rough))
    return next(step * power for step in _STEPS if step * power >= rough * (1 - 1e-9))


def written(value: float) -> str:
    """A number as it stands at a tick."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
