"""Numbers for narrow columns: four digits at most, and what they are counted in."""

from typing import Final

_UNITS: Final = ("", "k", "M", "G", "T", "P", "E")
UNKNOWN: Final = "-"


def amount(value: float | None) -> str:
    """A count or a rate in five places at most: 950, 12.3k, 1.05M. Unknown is a dash."""
    if value is None:
        return UNKNOWN
    size, unit = abs(value), 0
    while size >= 999.5 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    sign = "-" if value < 0 else ""
    return f"{sign}{_three(size)}{_UNITS[unit]}"


def milliseconds(microseconds: float | None) -> str:
    """A round trip in milliseconds, in five places at most."""
    return UNKNOWN if microseconds is None else _three(microseconds / 1000)


def _three(size: float) -> str:
    """Three digits that matter; no zeros behind the point."""
    if size >= 99.95:
        return f"{size:.0f}"
    text = f"{size:.1f}" if size >= 9.995 else f"{size:.2f}"
    return text.rstrip("0").rstrip(".")
