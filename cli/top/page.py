"""The page of one connection: how it went lately, what limited it, and all that is known of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bpf.catalogue import BY_NAME
from bpf.variable import Kind, Variable
from cli.answers import as_object, ends, not_whose, owner, worded
from cli.changes import change
from cli.growth import Growth
from cli.names import all_or
from cli.render import shown
from cli.times import age, short
from cli.top.curves import Stretch, stretches
from cli.top.numbers import amount, milliseconds
from cli.top.row import Row, ended, row_of
from cli.why import diagnosed, told
from storage.question import Filter, Period, Question, Sample

if TYPE_CHECKING:
    from storage.reader import Reader

#: How much of the history the curves show and the sentence is about, if nobody says.
LENGTH_US: Final = 300_000_000

_CURVES: Final = (
    ("Out/s", BY_NAME["hcdataoctetsout"], amount),
    ("In/s", BY_NAME["hcdataoctetsin"], amount),
    ("Rtx/s", BY_NAME["segsretrans"], amount),
    ("RTT ms", BY_NAME["smoothedrttus"], milliseconds),
    ("Cwnd", BY_NAME["curcwnd"], amount),
)
_OF_CURVES: Final = tuple(v for _, v, _ in _CURVES)


@dataclass(frozen=True, slots=True)
class Curve:
    """A variable over the page's time, and its newest and largest value in words."""

    title: str
    found: Sequence[Stretch]
    newest: str
    largest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a page shows, for times from ``from_us`` to ``to_us``; nothing of one that is gone."""

    row: Row
    from_us: int = 0
    to_us: int = 0
    curves: Sequence[Curve] = ()
    told: Sequence[str] = ()
    values: Sequence[tuple[str, str, str]] = ()
    is_gone: bool = False


def page_of(reader: "Reader", row: Row, window: Period, window_us: int) -> Page:
    """The page of a connection as of the end of the list's window; ``row`` says which it is."""
    wanted = Filter(indexes=(row.connection["ConnectIndex"],))
    last_us = window.newest_us
    closed_us = row.connection["closed_us"]
    to_us = last_us if closed_us is None else min(last_us, closed_us)
    from_us = max(to_us - max(LENGTH_US, window_us), row.connection["opened_us"], 0)
    question = Question(reader.period(from_us, window.until_us), wanted)
    every = all_or((), ())
    found = [
        sample
        for sample in reader.latest(every, question, growth=True)
        if sample.connection["opened_us"] == row.connection["opened_us"]
    ]
    if not found:
        return Page(row=row, is_gone=True)
    samples = list(reader.history(_OF_CURVES, question))
    return Page(
        row=row_of(found[0], every, ended(found[0], window)),
        from_us=from_us,
        to_us=to_us,
        curves=list(_curves(samples, found[0].as_of_us)),
        told=[line for each in diagnosed(reader, question) for line in told(each)],
        values=list(_values(found[0], every, question.period)),
    )


def head(row: Row, state: str) -> str:
    """Which connection it is, in one line."""
    local, remote = ends(row.connection)
    whose = owner(row.connection)
    of_whom = f"  {shown(whose)}" if whose else ""
    length = age(row.as_of_us - row.connection["opened_us"])
    return f"{local}  {remote}{of_whom}  {state}  {length} old"


def _curves(samples: Sequence[Sample], ended_us: int) -> Iterable[Curve]:
    for place, (title, variable, words) in enumerate(_CURVES):
        found = stretches(samples, place, variable, ended_us)
        newest = found[-1].value if found else None
        largest = max((each.value for each in found), default=None)
        yield Curve(title, found, words(newest), words(largest))


def _values(
    sample: Sample, variables: Sequence[Variable], period: Period
) -> Iterable[tuple[str, str, str]]:
    """Name, value and what changed in the page's time, of each variable that has a value."""
    answer: Mapping[str, Any] = as_object(sample, variables, Growth.TOTAL, period)
    base = sample.base or sample.values
    yield "opened", short(sample.connection["opened_us"]), ""
    for v, value, before in zip(variables, sample.values, base, strict=True):
        if value is None or v not in not_whose([v]):
            continue
        is_known = before is not None and v.kind is not Kind.TIMESTAMP
        yield v.name, shown(worded(v, answer[v.name])), change(v, value, before) if is_known else ""
