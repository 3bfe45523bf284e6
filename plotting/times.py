"""Where a time axis has its ticks, and what stands at them: UTC."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STEPS_SECONDS: Final = (
    *(0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800),
    *(3600, 7200, 10800, 21600, 43200, 86400, 172_800, 604_800, 2_592_000, 31_536_000),
)


def ticks(from_us: int, to_us: int, most: int) -> list[tuple[int, str]]:
    """Times (UTC microseconds) at whole steps, no more than ``most``, and how they are written."""
    length = (to_us - from_us) / 1e6
    fits = (step for step in _STEPS_SECONDS if length / step <= most)
    step_us = round(next(fits, _STEPS_SECONDS[-1]) * 1e6)
    first = -(-from_us // step_us) * step_us
    return [(at, _written(at, step_us)) for at in range(first, to_us + 1, step_us)]


def day(times: Sequence[int]) -> str:
    """The days of the first and last of these times, once if they are the same."""
    first, last = (f"{_moment(t):%Y-%m-%d}" for t in (times[0], times[-1]))
    return first if first == last else f"{first} to {last}"


def _moment(at_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at_us)


def _written(at_us: int, step_us: int) -> str:
    moment = _moment(at_us)
    if step_us < 1_000_000:
        return f"{moment:%H:%M:%S}.{moment.microsecond // 100_000}"
    if step_us < 60_000_000:
        return f"{moment:%H:%M:%S}"
    return f"{moment:%H:%M}" if step_us < 86_400_000_000 else f"{moment:%m-%d}"
