"""``--for``: what comes from now on, of a collector that runs or of one for the moment."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from bpf.errors import UsageError
from cli.asking import Asked, reading
from cli.live import at_hand, found_at, where
from cli.times import duration_us
from storage.file import holder

_POLL_SECONDS: Final = 0.05


@contextmanager
def coming(asked: Asked, length: str | None, live: str) -> Generator[Asked]:
    """What was asked, of the place where the answer is, once ``length`` has passed from now on.

    Without a length it is about all that the place has; a collector that has to be started for it
    collects for as long as ``live`` says. Raises EstatsError.
    """
    length_us = None if length is None else duration_us(length)
    if length is not None and (asked.since or asked.until or asked.replay):
        raise UsageError("--for is from now on", "Leave --since, --until and --replay out.")
    place = where(asked)
    with at_hand(place, length or live) as path:
        there = found_at(asked, place, path)
        if length_us is not None and place is path:
            there = replace(there, since=_after(path, length_us))
        yield there


def _after(path: Path, length_us: int) -> str:
    """Wait until a running collector has got so much further; returns from when on to look."""
    begun_us = _newest_us(path)
    while _newest_us(path) < begun_us + length_us:
        if holder(path) is None:
            raise UsageError(
                f"no collector writes to {path}, so nothing comes",
                "Ask for what it has with --since and --until, or start a collector with --live.",
            )
        time.sleep(_POLL_SECONDS)
    seconds, rest = divmod(begun_us + 1, 1_000_000)
    return f"{seconds}.{rest:06}"


def _newest_us(path: Path) -> int:
    """When the newest snapshot was taken; 0 if there is none yet."""
    with reading(path) as reader:
        return reader.period().newest_us
