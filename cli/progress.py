"""A bar for what takes long: on the terminal of stderr, and nothing where there is none."""

import os
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TextIO, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

Item = TypeVar("Item")

_PATIENCE_SECONDS: Final = 0.5  # what is done by then needs no bar
_APART_SECONDS: Final = 0.1
_WITHOUT_CURSOR: Final = ("dumb", "unknown")


def can_be_redrawn(out: TextIO) -> bool:
    """Whether it is a terminal that goes back over what is on it."""
    return out.isatty() and os.environ.get("TERM", "dumb") not in _WITHOUT_CURSOR


class Bar:
    """How far something is; drawn once it has taken a while, gone when it is over."""

    def __init__(self, what: str) -> None:
        """``what`` is being done."""
        self._what = what
        self._drawn = time.monotonic() - _APART_SECONDS + _PATIENCE_SECONDS
        self._progress: Progress | None = None

    def show(self, share: float | None, note: str = "") -> None:
        """As far as ``share``, of 1; None is not known how far."""
        if time.monotonic() - self._drawn < _APART_SECONDS:
            return
        self._drawn = time.monotonic()
        if self._progress is None:
            self._progress = _rich()
            self._progress.add_task(self._what, total=None, note="")
            self._progress.start()
        (task,) = self._progress.task_ids
        self._progress.update(task, completed=share or 0, note=note)
        self._progress.update(task, total=None if share is None else 1.0, refresh=True)

    def end(self) -> None:
        """Leave the terminal as it was."""
        if self._progress is not None:
            self._progress.stop()


@contextmanager
def bar(what: str) -> Generator[Callable[[float | None], None]]:
    """Something to call now and then, with how far ``what`` is."""
    if not can_be_redrawn(sys.stderr):
        yield lambda _: None
        return
    drawn = Bar(what)
    try:
        yield drawn.show
    finally:
        drawn.end()


def counted(items: Iterable[Item], out: TextIO) -> Iterator[Item]:
    """The items, while a person who sent them elsewhere sees how many there have been."""
    if out.isatty() or not can_be_redrawn(sys.stderr):
        yield from items
        return
    drawn = Bar("writing")
    try:
        for count, item in enumerate(items):
            drawn.show(None, f"{count:,} rows")
            yield item
    finally:
        drawn.end()


def _rich() -> "Progress":
    from rich.console import Console  # noqa: PLC0415  (when it is needed: it takes a while)
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        transient=True,
        auto_refresh=False,
    )
