"""What `estats tune` will do or did, as objects and as rows of a table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cli.answers import WHOSE, ends, owner
from cli.render import Cell, Look
from cli.targets import Target
from tuning.apply import Effect
from tuning.plan import Change
from tuning.settings import ALONG, BY_WORD, NOT_RESTORED

_OURS: Final = ("pid", "comm", "uid", "netns", "variable", "before", "wanted", "accepted", "note")
_HEADER: Final = (
    *("ConnectIndex", "Local", "Remote", "Owner"),
    *("Variable", "Before", "Wanted", "Accepted", "Note"),
)


@dataclass(frozen=True, slots=True)
class Line:
    """One value of one connection: planned, or done."""

    connection: Mapping[str, Any]
    variable: str
    before: Cell
    wanted: Cell
    accepted: Cell
    note: str


def planned(target: Target, changes: Sequence[Change]) -> Iterator[Line]:
    """What is to be done to a connection, and what comes along, or will not."""
    for change in changes:
        note = change.because or change.setting.also
        yield Line(target.connection, change.setting.name, change.before, change.wanted, None, note)
    for logged in target.logged if changes else ():
        entry = logged.entry
        if entry.variable in ALONG:
            note = f"was {entry.before} before: {NOT_RESTORED[entry.variable]}"
            yield Line(target.connection, entry.variable, entry.accepted, None, None, note)


def done(target: Target, effects: Sequence[Effect]) -> Iterator[Line]:
    """What became of it."""
    for e in effects:
        yield Line(target.connection, e.name, e.before, e.wanted, e.accepted, _note(e))


def look() -> Look[Line]:
    """How they are written."""
    return Look(
        keys=(*WHOSE, *_OURS),
        as_object=_as_object,
        header=_HEADER,
        as_row=_as_row,
        front=3,
    )


def _as_object(line: Line) -> dict[str, Any]:
    row = line.connection
    answer = {name: row[name] for name in (*WHOSE, "pid", "comm", "uid", "netns")}
    answer |= {"variable": line.variable, "before": line.before, "wanted": line.wanted}
    return answer | {"accepted": line.accepted, "note": line.note or None}


def _as_row(line: Line) -> list[Cell]:
    """The columns of _HEADER."""
    row = line.connection
    values = (line.variable, line.before, line.wanted, line.accepted, line.note)
    return [row["ConnectIndex"], *ends(row), owner(row), *values]


def _note(effect: Effect) -> str:
    if effect.refused:
        return f"refused: {effect.refused}"
    if effect.wanted is None:
        return "came along: " + NOT_RESTORED.get(effect.name, "a buffer that is set is not sized")
    if effect.accepted == effect.wanted:
        return ""
    return _BOUNDS.get(effect.name, "not quite: the kernel has bounds of its own")


#: Why the kernel has something else than it was told.
_BOUNDS: Final = {
    "LimCwnd": "in whole segments, at least one",
    "rcvbuf": "even, and within net.core.rmem_max, which counts half of it",
    "sndbuf": "even, and within net.core.wmem_max, which counts half of it",
    "LimRwin": "the kernel has a least window of its own",
}
assert _BOUNDS.keys() <= {setting.name for setting in BY_WORD.values()}
