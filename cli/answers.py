"""Samples as answers: objects with the RFC's keys and ours, and rows of a table."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from bpf.variable import Kind, Variable
from cli.growth import Growth, delta, rate
from cli.names import word_for
from cli.render import Cell, Look
from cli.times import iso
from storage.question import Period, Sample, Value

#: Whose values these are, as RFC 4898 and Web10G spell it.
WHOSE: Final = ("ConnectIndex", "LocalAddress", "LocalPort", "RemAddress", "RemPort")
#: What is known of the connection beside the RFC.
OURS: Final = (
    "taken",
    "opened",
    "closed",
    "close_reason",
    "origin",
    "pid",
    "comm",
    "uid",
    "cgroup_id",
    "netns",
    "lost",
)


def keys(variables: Sequence[Variable], growth: Growth) -> list[str]:
    """The keys of every object with these variables, in their order."""
    seconds = () if growth is Growth.TOTAL else ("seconds",)
    return list(dict.fromkeys([*WHOSE, *(v.name for v in variables), *OURS, *seconds]))


def as_object(
    sample: Sample, variables: Sequence[Variable], growth: Growth, period: Period
) -> dict[str, Any]:
    """One sample as a JSON object; its keys are those of ``keys``.

    ``seconds`` is the time over which counters grew. What happened after the period is not told.
    """
    row = sample.connection
    closed_us = row["closed_us"] if closed_by(period, row["closed_us"]) else None
    answer: dict[str, Any] = {name: row[name] for name in WHOSE}
    answer |= _values(sample, variables, growth)
    answer["taken"] = None if sample.taken_us is None else iso(sample.taken_us)
    answer["opened"] = iso(row["opened_us"])
    answer["closed"] = None if closed_us is None else iso(closed_us)
    answer["close_reason"] = None if closed_us is None else row["close_reason"]
    answer |= {name: row[name] for name in OURS[4:]}
    if growth is not Growth.TOTAL:
        length_us = _length_us(sample)
        answer["seconds"] = None if length_us is None else length_us / 1_000_000
    return answer


def closed_by(period: Period, closed_us: int | None) -> bool:
    """Whether a connection that closed then had closed when the period ended."""
    return closed_us is not None and (period.until_us is None or closed_us <= period.until_us)


def header(variables: Sequence[Variable], *, history: bool) -> list[str]:
    """The columns of a table of answers."""
    taken = ("taken",) if history else ()
    return ["ConnectIndex", *taken, "Local", "Remote", *(v.name for v in not_whose(variables))]


def as_row(
    answer: Mapping[str, Any], variables: Sequence[Variable], *, history: bool
) -> list[Cell]:
    """An object as a row of that table: enumerations are words."""
    taken = (answer["taken"],) if history else ()
    return [
        answer["ConnectIndex"],
        *taken,
        *ends(answer),
        *(worded(v, answer[v.name]) for v in not_whose(variables)),
    ]


def look_of(variables: Sequence[Variable], growth: Growth, period: Period) -> Look[Sample]:
    """Answers in every form but a table."""
    return Look(
        keys=keys(variables, growth),
        as_object=lambda sample: as_object(sample, variables, growth, period),
    )


def end_point(address: str, port: int) -> str:
    """An address and a port; IPv6 in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def ends(connection: Mapping[str, Any]) -> tuple[str, str]:
    """The local one and the remote one."""
    return (
        end_point(connection["LocalAddress"], connection["LocalPort"]),
        end_point(connection["RemAddress"], connection["RemPort"]),
    )


def owner(connection: Mapping[str, Any]) -> str | None:
    """Whose socket it is, as ``name[pid]``; None if nobody was seen at work with it."""
    return None if connection["pid"] is None else f"{connection['comm']}[{connection['pid']}]"


def _values(
    sample: Sample, variables: Sequence[Variable], growth: Growth
) -> dict[str, Value | float]:
    """The variables' values, or what became of them since the sample's base."""
    if growth is Growth.TOTAL:
        return {v.name: value for v, value in zip(variables, sample.values, strict=True)}
    length_us = _length_us(sample)
    base = sample.base or (None,) * len(variables)
    return {
        v.name: delta(v, value, start)
        if growth is Growth.DELTA
        else rate(v, value, start, length_us)
        for v, value, start in zip(variables, sample.values, base, strict=True)
    }


def _length_us(sample: Sample) -> int | None:
    return None if sample.base_us is None else sample.as_of_us - sample.base_us


def not_whose(variables: Sequence[Variable]) -> list[Variable]:
    """Without those that every row begins with."""
    return [v for v in variables if v.name not in WHOSE]


def worded(variable: Variable, value: Cell) -> Cell:
    """A value for a person: that of an enumeration as its word."""
    if variable.kind is Kind.ENUM and isinstance(value, int):
        return word_for(variable, value) or value
    return value
