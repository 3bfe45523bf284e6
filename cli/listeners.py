"""estats listeners: who listens where, what came in, and how well it keeps up."""

import sys
from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from bpf.variable import Variable
from cli import complete, options
from cli.answers import closed_by, end_point
from cli.asking import Asked, asking
from cli.names import USUAL_OF_LISTENERS, variables_of_listeners
from cli.render import Cell, Format, Look, say, write
from cli.times import age, iso
from storage.question import Order, Period, Sample

HELP: Final = """Who listens where, what came in, and how well it keeps up.

Backlog is how many wait to be accepted, half open ones included, and how many may; ExceedBacklog
counts those that were given up, SocketDrops segments that were dropped, as most are because the
backlog is full. Of a listener older than the collector, counts begin with the collector, but for
SocketDrops, which is the kernel's own.
"""
EXAMPLES: Final = """\b
Examples:
  estats listeners --open
  estats listeners --sport 80,443 --var SocketDrops,CurEstabBacklog --history
  estats listeners --comm nginx --format json
"""

_WHOSE: Final = ("ListenerIndex", "LocalAddressType", "LocalAddress", "LocalPort")
_OURS: Final = ("taken", "opened", "closed", "origin", "pid", "comm", "uid", "netns")
_USUAL_HEADER: Final = (
    "ListenerIndex",
    "Local",
    "Owner",
    "Netns",
    "Age",
    "Backlog",
    "SynRcvd",
    "Established",
    "Accepted",
    "CurConns",
    "ExceedBacklog",
    "SocketDrops",
)

Sport = Annotated[
    list[str] | None,
    typer.Option(metavar="PORT", help="LocalPort: 443, 5000-5010 or https.", show_default=False),
]
Net = Annotated[
    list[str] | None,
    typer.Option(metavar="CIDR", help="A network that LocalAddress is in.", show_default=False),
]
Pid = Annotated[
    list[int] | None,
    typer.Option(metavar="PID", help="Process that called listen().", show_default=False),
]
Var = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="A variable; any case, * and ?.",
        autocompletion=complete.variables_of_listeners,
        show_default=False,
    ),
]
History = Annotated[bool, typer.Option("--history", help="All samples, not only the newest.")]


def listeners(  # noqa: PLR0913  (one for each option)
    *,
    sport: Sport = None,
    saddr: options.Saddr = None,
    net: Net = None,
    pid: Pid = None,
    comm: options.Comm = None,
    is_open: options.Open = None,
    since: options.Since = None,
    until: options.Until = None,
    var: Var = None,
    history: History = False,
    form: options.As = Format.TABLE,
    db: options.Db = None,
) -> None:
    """Print listeners; HELP says all of it."""
    variables = variables_of_listeners(var or ())
    wanted = options.wanted(
        sport=sport,
        dport=None,
        saddr=saddr,
        daddr=None,
        net=net,
        pid=pid,
        comm=comm,
        state=None,
        is_open=is_open,
    )
    asked = Asked(db=db, since=since, until=until, wanted=wanted, order=Order(), limit=None)
    with asking(asked, variables) as (reader, question):
        samples = reader.listeners(variables, question, history=history)
        look = _look(variables, question.period, history=history)
        if not write(samples, form, look, sys.stdout):
            say("no listener matches")


def _look(variables: tuple[Variable, ...], period: Period, *, history: bool) -> Look[Sample]:
    def as_object(sample: Sample) -> Mapping[str, Any]:
        return _object(sample, variables, period)

    keys = list(dict.fromkeys([*_WHOSE, *(v.name for v in variables), *_OURS]))
    if variables == USUAL_OF_LISTENERS and not history:
        return Look(keys=keys, as_object=as_object, header=_USUAL_HEADER, as_row=_usual_row)
    taken = ("taken",) if history else ()
    return Look(
        keys=keys,
        as_object=as_object,
        header=("ListenerIndex", *taken, "Local", *(v.name for v in variables)),
        as_row=lambda sample: _row(sample, history=history),
        front=2 if history else 1,
    )


def _object(sample: Sample, variables: tuple[Variable, ...], period: Period) -> dict[str, Any]:
    row = sample.connection
    answer: dict[str, Any] = {name: row[name] for name in _WHOSE}
    answer |= {v.name: value for v, value in zip(variables, sample.values, strict=True)}
    answer["taken"] = None if sample.taken_us is None else iso(sample.taken_us)
    answer["opened"] = iso(row["opened_us"])
    answer["closed"] = iso(row["closed_us"]) if closed_by(period, row["closed_us"]) else None
    return answer | {name: row[name] for name in _OURS[3:]}


def _row(sample: Sample, *, history: bool) -> list[Cell]:
    taken = (None if sample.taken_us is None else iso(sample.taken_us),) if history else ()
    return [sample.connection["ListenerIndex"], *taken, _local(sample), *sample.values]


def _usual_row(sample: Sample) -> list[Cell]:
    """The columns of _USUAL_HEADER."""
    row = sample.connection
    waiting, most, *counts = sample.values
    return [
        row["ListenerIndex"],
        _local(sample),
        None if row["pid"] is None else f"{row['comm']}[{row['pid']}]",
        row["netns"],
        age(sample.as_of_us - row["opened_us"]),
        f"{'-' if waiting is None else waiting}/{'-' if most is None else most}",
        *counts,
    ]


def _local(sample: Sample) -> str:
    """Where it listens; a star is any address of either kind."""
    row = sample.connection
    return end_point(row["LocalAddress"] or "*", row["LocalPort"])
