"""What is asked of the database at one look, and what comes back: plain values, free of Textual."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from bpf.variable import Variable
from cli.names import STATES
from cli.notice import losses, thinned_to, unknown
from cli.times import short
from cli.top.page import LENGTH_US, Page, page_of
from cli.top.row import NEEDED, Row, ended, row_of
from storage.question import Filter, Order, Period, Question, RunPart

if TYPE_CHECKING:
    from storage.reader import Reader

#: What a person can see of a list; the rest is counted.
ROWS_MAX: Final = 200
#: The base of a window is looked for so much later, as snapshots do not come to the microsecond.
_SLACK_US: Final = 250_000
_STATE_WORDS: Final = tuple(enumerate(STATES, start=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Which connections, by which variables, in which order, and as of when.

    ``at_us`` is None for the newest snapshot. ``steps`` goes so many snapshots on from there, or
    back. ``text`` is what somebody typed to find connections by. ``page`` asks for one connection.
    """

    wanted: Filter
    variables: tuple[Variable, ...]
    order: Order
    window_us: int
    limit: int = ROWS_MAX
    at_us: int | None = None
    steps: int = 0
    text: str = ""
    page: Row | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The answer: ``count`` connections match, ``rows`` are the first of them.

    ``taken_us`` is the snapshot that it is as of, None if there is none; ``is_edge`` says that a
    step led nowhere. ``lost`` is of the last minutes, ``length_us`` long, ``notes`` what else is
    to be known. ``source`` and ``interval_us`` are of the run that took the snapshot.
    """

    taken_us: int | None = None
    snapshot: int = 0
    rows: Sequence[Row] = ()
    count: int = 0
    lost: str = ""
    is_lossy: bool = False
    notes: Sequence[str] = ()
    source: str = ""
    interval_us: int = 0
    is_edge: bool = False
    page: Page | None = None


def look(reader: "Reader", ask: Ask) -> View:
    """Answer it."""
    at_us, is_edge = _stepped(reader, ask)
    taken_us = reader.moment(at_us)
    if taken_us is None:
        return View(is_edge=is_edge)
    short(taken_us)  # a time beyond all calendars is found out here, not when it is drawn
    period = window(reader, taken_us, at_us, ask.window_us)
    wanted = replace(ask.wanted, texts=tuple(ask.text.split()), state_words=_STATE_WORDS)
    question = Question(period, wanted, ask.order, ask.limit)
    variables = tuple(dict.fromkeys((*NEEDED, *ask.variables)))
    samples = list(reader.latest(variables, question, growth=True))
    recent = reader.period(taken_us - max(LENGTH_US, ask.window_us), at_us)
    parts = reader.parts(recent)
    run = parts[-1].run
    return View(
        taken_us=taken_us,
        snapshot=period.last,
        rows=_by_rate([row_of(s, variables, ended(s, period)) for s in samples], ask.order),
        count=reader.count(question) if len(samples) == ask.limit else len(samples),
        lost=losses(parts),
        is_lossy=any(part.meters[name] for part in parts for name in _LOSSES),
        notes=list(_notes(reader, recent, parts, ask.variables)),
        source=run["source"],
        interval_us=run["interval_us"],
        is_edge=is_edge,
        page=None if ask.page is None else page_of(reader, ask.page, period, ask.window_us),
    )


_LOSSES: Final = (
    "lost", "lost_finals", "untracked", "evicted", "sampled_out", "missed", "replaced",
)  # fmt: skip


def window(reader: "Reader", taken_us: int, at_us: int | None, length_us: int) -> Period:
    """So much of the history up to a snapshot; growth is counted from what stood before."""
    slack_us = min(length_us // 10, _SLACK_US)
    return reader.period(max(taken_us - length_us + slack_us, 0), at_us)


def _stepped(reader: "Reader", ask: Ask) -> tuple[int | None, bool]:
    """Where the steps lead, and whether they would have led further than there is history."""
    at_us, is_edge = ask.at_us, False
    if at_us is not None and reader.moment(at_us) is None:
        first = reader.moment_after(at_us)
        at_us, is_edge = (at_us if first is None else first), True
    for _ in range(abs(ask.steps)):
        here = reader.moment(at_us)
        if here is None:
            return at_us, True
        found = reader.moment(here - 1) if ask.steps < 0 else reader.moment_after(here)
        if found is None:
            return here, True
        at_us = found
    return at_us, is_edge


def _by_rate(rows: list[Row], order: Order) -> list[Row]:
    """The database sorts by growth: one that lived for a part of the window grew in less time."""
    if order.grown and isinstance(order.by, Variable):
        name, sign = order.by.name, -1 if order.descending else 1
        rows.sort(key=lambda row: (row.rate(name) is None, sign * (row.rate(name) or 0)))
    return rows


def _notes(
    reader: "Reader", period: Period, parts: Sequence[RunPart], variables: Sequence[Variable]
) -> Iterator[str]:
    """What to know of the answer beside what was lost."""
    if parts[-1].run["source"] == "diag":
        yield "collected by polling inet_diag: who limits a connection is not known"
    yield from map(thinned_to, reader.thinned(period))
    yield from unknown([v for v in variables if v.id], parts)
