"""Times and durations: from what a person types, and to what a person reads. Always UTC."""

import re
import time
from datetime import UTC, datetime, timedelta

from bpf.errors import UsageError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS_US = {
    "w": 604_800_000_000,
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
}
_LENGTH_US_MAX = 100 * 366 * _UNITS_US["d"]  # a hundred years, and far from any overflow
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[wdhms])", re.ASCII)
_AGO = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)
_ADVICE = (
    "Write 10m, 2h30m or 1d for so long ago, an ISO 8601 time such as 2026-01-31T12:00:00Z"
    " (UTC, unless it says otherwise), seconds since 1970, or now."
)


def now_us() -> int:
    """The time: UTC microseconds since 1970."""
    return time.time_ns() // 1000


def parse_time(text: str, now: int) -> int:
    """What ``--since`` and ``--until`` take, as UTC microseconds; ``now`` likewise.

    Raises UsageError for anything else, and for times before 1970 or after the year 9999.
    """
    word = text.strip().lower()
    try:
        moment = _moment(word, now)
    except (ValueError, OverflowError, UsageError):
        moment = -1
    if not 0 <= moment < 253_402_300_800_000_000:
        raise UsageError(f"{text!r} is not a time", _ADVICE)
    return moment


def _moment(word: str, now: int) -> int:
    if word == "now":
        return now
    if _AGO.fullmatch(word):
        return now - duration_us(word)
    if _SECONDS.fullmatch(word):
        whole, _, fraction = word.partition(".")
        return int(whole) * 1_000_000 + int(fraction[:6].ljust(6, "0"))
    when = datetime.fromisoformat(word.upper())
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when
    return (when - _EPOCH) // timedelta(microseconds=1)


def duration_us(text: str) -> int:
    """A length of time such as 500ms, 10s or 2h30m, as microseconds. Raises UsageError."""
    if _AGO.fullmatch(text):
        length = sum(float(number) * _UNITS_US[unit] for number, unit in _PART.findall(text))
        if length <= _LENGTH_US_MAX:
            return round(length)
    raise UsageError(f"{text!r} is not a length of time", "Write 500ms, 10s, 5m, 2h30m or 1d.")


def iso(moment_us: int) -> str:
    """UTC microseconds as ISO 8601, to the microsecond."""
    moment = _EPOCH + timedelta(microseconds=moment_us)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def short(moment_us: int) -> str:
    """UTC microseconds for a person: to the second."""
    return (_EPOCH + timedelta(microseconds=moment_us)).strftime("%Y-%m-%d %H:%M:%SZ")


def age(length_us: int) -> str:
    """A length of time in its two largest units: 350ms, 12s, 3m07s, 2h05m, 4d03h."""
    seconds = max(length_us, 0) // 1_000_000
    if seconds == 0:
        return f"{max(length_us, 0) // 1000}ms"
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02}s"
    if seconds < 86400:
        return f"{seconds // 3600}h{seconds // 60 % 60:02}m"
    return f"{seconds // 86400}d{seconds // 3600 % 24:02}h"
