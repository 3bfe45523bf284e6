"""What changed in a value from one look to the next, in words that carry a sign."""

from typing import Final

from bpf.variable import Kind, Variable
from cli.answers import worded
from cli.render import shown
from storage.question import Value

_SEQUENCES: Final = 1 << 32


def change(variable: Variable, value: Value, base: Value) -> str:
    """``+12``, ``-3`` or ``was established``; nothing if it is what it was."""
    if value == base:
        return ""
    if not isinstance(value, int) or not isinstance(base, int) or variable.kind is Kind.ENUM:
        return f"was {shown(worded(variable, base))}"
    return f"{_difference(variable, value, base):+}"


def _difference(variable: Variable, value: int, base: int) -> int:
    if variable.kind is Kind.COUNTER:
        return variable.growth(value, base)
    if variable.kind is Kind.SEQUENCE:
        return (value - base) % _SEQUENCES
    return value - base
