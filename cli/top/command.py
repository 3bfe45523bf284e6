"""The command: its options, where its data comes from, and whether there is a screen for it."""

import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bpf.errors import EnvironmentLacksError, UsageError
from bpf.variable import Kind, Variable
from cli import options
from cli.asking import Asked
from cli.live import at_hand, collecting, where
from cli.names import variables_of_connections
from cli.picking import picking
from cli.times import duration_us, now_us, parse_time
from storage.file import holder
from storage.question import Order

if TYPE_CHECKING:
    from cli.top.looker import Answer, Source
    from cli.top.wish import Wish

HELP: Final = """Connections on a full screen: live, or at any time of the history.

Sorted by how much they move, or by any variable (--sort); Enter opens the page of one, with curves
and what limits it; / finds, Space stops the time, [ and ] step through it, ? tells all keys. Open
connections unless --closed; the 200 first of them unless --limit.

Rates are over one --interval, or over the time since --since. --var puts variables of your own in
front of the usual columns. Where no database is, a collector is started for the moment. Not on a
terminal, the list is written once.
"""
EXAMPLES: Final = """\b
Examples:
  estats top
  estats top --comm 'nginx*' --sort -SegsRetrans
  estats top --dport 443 --var CurRetxQueue,CurRTO
  estats top --live --interval 500ms
  estats top --db flows.db --at 2026-01-31T12:00
"""

Interval = Annotated[str, typer.Option(metavar="TIME", help="At least so long between two looks.")]
At = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="As of then; [ and ] step from there.", show_default=False),
]

_INTERVAL_US_MIN: Final = 100_000
_NEEDS_TEXTUAL: Final = EnvironmentLacksError(
    "a full screen needs the Python package textual, which is not installed here",
    "Install it beside estats (pip install 'textual>=8'), or ask without a screen: `estats watch`,"
    " `estats connections`, or `estats top | cat`.",
)


@picking
def top(asked: Asked, *, at: At = None, interval: Interval = "1s", var: options.Var = None) -> None:
    """Show them; HELP says all of it."""
    wish = _wish(asked, at, interval, var)
    is_screen = has_screen()
    if is_screen and find_spec("textual") is None:
        raise _NEEDS_TEXTUAL
    with _source(asked) as source:
        first = source.answer(wish.ask)  # what is wrong is told before the screen is ours
        if is_screen:
            _run(source, wish, first, duration_us(interval) / 1e6)
        else:
            from cli.top.plain import write_list  # noqa: PLC0415  (rich, which nothing else needs)

            write_list(first, wish)


def _wish(asked: Asked, at: str | None, interval: str, var: list[str] | None) -> "Wish":
    """What is wanted to begin with. Raises UsageError."""
    from cli.top.look import ROWS_MAX  # noqa: PLC0415  (nothing else needs them: see cli.asking)
    from cli.top.wish import Wish  # noqa: PLC0415

    now, length_us = now_us(), duration_us(interval)
    if asked.until is not None:
        raise UsageError("estats top has no --until", "Write --at TIME: values are as of then.")
    if length_us < _INTERVAL_US_MIN:
        raise UsageError(f"--interval {interval} is too short", "Write 100ms or more.")
    at_us = None if at is None else parse_time(at, now)
    if asked.since is not None:
        length_us = (now if at_us is None else at_us) - parse_time(asked.since, now)
        if length_us <= 0:
            raise UsageError(
                f"--since {asked.since!r} is not before what is shown",
                "Name an earlier time, or a later one with --at.",
            )
    is_open = True if asked.wanted.is_open is None else asked.wanted.is_open
    wish = Wish(
        wanted=replace(asked.wanted, is_open=is_open),
        chosen=variables_of_connections(var) if var else (),
        window_us=length_us,
        limit=asked.limit or ROWS_MAX,
        at_us=at_us,
    )
    if asked.order != Order():
        wish.order = _by(asked.order)
        wish.chosen = _with_order(wish)
    return wish


def _by(order: Order) -> Order:
    """As the option says; counters by their rates, as the columns show them."""
    is_counter = isinstance(order.by, Variable) and order.by.kind is Kind.COUNTER
    return replace(order, grown=is_counter)


def _with_order(wish: "Wish") -> tuple[Variable, ...]:
    """The chosen variables, and that by which the list is sorted if no column has it."""
    by = wish.order.by
    is_shown = any(c.order is not None and c.order.by == by and not c.more for c in wish.columns)
    return wish.chosen if is_shown or not isinstance(by, Variable) else (*wish.chosen, by)


@contextmanager
def _source(asked: Asked) -> "Generator[Source]":
    """The database that the options name, or what a collector of our own writes."""
    from cli.top.looker import Source  # noqa: PLC0415

    place = where(asked)
    if isinstance(place, Path):
        yield Source(place, lambda: place.exists() and holder(place) is not None)
    elif asked.replay is not None:
        with at_hand(place) as path:
            yield Source(path, lambda: False, str(asked.replay))
    else:
        with collecting(*place) as collector:
            collector.begin()
            yield Source(collector.path, collector.is_running, "live")
            collector.tell()  # what it warned of while the screen was ours


def _run(source: "Source", wish: "Wish", first: "Answer", seconds: float) -> None:
    """Take the screen until somebody quits. Raises typer.Exit where a signal ended it."""
    from cli.top.screen import TopApp  # noqa: PLC0415  (Textual, as slow to import as it is large)

    app = TopApp(source, wish, seconds, first, is_unicode=is_unicode(os.environ))
    app.run(mouse=False)
    if app.fault is not None:
        raise app.fault
    if app.return_code:
        raise typer.Exit(app.return_code)


def has_screen() -> bool:
    """Whether somebody sits at a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def is_unicode(environment: Mapping[str, str]) -> bool:
    """Whether the terminal has more than ASCII, as far as its locale and its kind tell.

    The console of Linux has UTF-8, and a font without the blocks that curves are made of.
    """
    names = ("LC_ALL", "LC_CTYPE", "LANG")
    locale = next((value for name in names if (value := environment.get(name))), "")
    is_utf8 = locale.upper().replace("-", "").endswith("UTF8")
    return is_utf8 and environment.get("TERM") != "linux"
