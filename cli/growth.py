"""How far a counter came between two samples: differences and rates."""

from enum import Enum

from bpf.errors import UsageError
from bpf.variable import Kind, Variable
from storage.question import Value


class Growth(Enum):
    """What is shown of a counter."""

    TOTAL = "total"
    DELTA = "delta"
    RATE = "rate"


def growth_of(*, delta: bool, rate: bool) -> Growth:
    """What --delta and --rate say together. Raises UsageError for both."""
    if delta and rate:
        raise UsageError("--delta and --rate exclude one another", "Leave one of them out.")
    return Growth.DELTA if delta else Growth.RATE if rate else Growth.TOTAL


def delta(variable: Variable, value: Value, base: Value) -> Value:
    """How much a counter grew from ``base`` to ``value``; it wraps at its own width.

    None if either is unknown. Anything but a counter is its value: a difference would be no sum.
    """
    if variable.kind is not Kind.COUNTER:
        return value
    if not isinstance(value, int) or not isinstance(base, int):
        return None
    return variable.growth(value, base)


def rate(variable: Variable, value: Value, base: Value, length_us: int | None) -> Value | float:
    """A counter's growth for each second of ``length_us``; None if that is unknown or nothing."""
    if variable.kind is not Kind.COUNTER:
        return value
    grown = delta(variable, value, base)
    if not isinstance(grown, int) or not length_us or length_us <= 0:
        return None
    return round(grown * 1_000_000 / length_us, 6)
