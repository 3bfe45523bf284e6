"""estats query: values of variables, as of a time or as a series."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from bpf.errors import UsageError
from bpf.variable import SAMPLED, Kind, Variable
from cli import options
from cli.answers import as_object, as_row, header, keys
from cli.asking import Asked
from cli.growth import Growth, growth_of
from cli.live import answering
from cli.names import variables_of_connections
from cli.picking import picking
from cli.render import Format, Look, say, write
from storage.question import Order, Question

if TYPE_CHECKING:
    from storage.reader import Reader

HELP: Final = """Values of variables by their RFC 4898 names, for the connections you choose.

dport is the remote port and sport the local port of a row: a client's connection to a server on
port 5001 has dport 5001; as the server sees it, it has sport 5001. An option given several times,
or with a list (80,443), offers alternatives; different options must all hold.

Values are the newest ones, or those as of --until. With --history there is a sample for each
snapshot in which one of their tables changed, and --limit still counts connections. With --delta
or --rate counters tell how they grew: since the sample before with --history, else within the
period. Growth begins at 0 when a connection is opened; of a connection that is older than the
collector, it is unknown until the second sample. Other variables stay as they are.

Times are UTC: 10m or 2h30m ago, ISO 8601, seconds since 1970, or now. Standard error says which
file and period the answer is from, how much was lost, and why a variable has no value.
"""
EXAMPLES: Final = """\b
Examples:
  estats query --dport 5001 --var SegsRetrans
  estats query --open --net 10.0.0.0/8 --var '*rtt*'
  estats query --sort -SegsRetrans --limit 10 --format json
  estats query --dport https --since 1h --rate --var HCDataOctetsOut
  estats query --sport 22 --history --var CurCwnd,CurMSS --format csv
"""

History = Annotated[bool, typer.Option("--history", help="All samples, not only the newest.")]
Delta = Annotated[bool, typer.Option("--delta", help="By how much counters grew.")]
Rate = Annotated[bool, typer.Option("--rate", help="By how much they grew each second.")]


@dataclass(frozen=True, slots=True)
class Shape:
    """What the answer is made of."""

    variables: tuple[Variable, ...]
    growth: Growth
    history: bool


@picking
def query(
    asked: Asked,
    *,
    var: options.Var = None,
    history: History = False,
    delta: Delta = False,
    rate: Rate = False,
    form: options.As = Format.TABLE,
) -> None:
    """Print values of variables; HELP says all of it."""
    growth = growth_of(delta=delta, rate=rate)
    shape = Shape(variables_of_connections(var or ()), growth, history)
    _refuse_nonsense(shape, asked.order)
    with answering(asked, shape.variables) as (reader, question):
        objects = _objects(reader, shape, question)
        if not write(objects, form, _look(shape), sys.stdout):
            say("no connection matches")


def _refuse_nonsense(shape: Shape, order: Order) -> None:
    """Refuse what has no answer, before a database is opened."""
    if shape.history and not any(v.table in SAMPLED for v in shape.variables):
        raise UsageError(
            "none of these variables has a history",
            "They are fixed for a connection's life: ask without --history.",
        )
    by = order.by
    if _is_by_growth(shape, order) and by not in shape.variables and isinstance(by, Variable):
        raise UsageError(
            f"--sort {by.name} is about growth here, which is not asked for",
            f"Add --var {by.name}.",
        )


def _is_by_growth(shape: Shape, order: Order) -> bool:
    """Whether the order is that of differences, which SQL does not know."""
    is_counter = isinstance(order.by, Variable) and order.by.kind is Kind.COUNTER
    return is_counter and shape.growth is not Growth.TOTAL and not shape.history


def _objects(reader: "Reader", shape: Shape, question: Question) -> Iterable[dict[str, Any]]:
    """The answer in its order, as it comes from the database."""
    by = question.order.by
    if isinstance(by, Variable) and _is_by_growth(shape, question.order):
        unsorted = _objects(reader, shape, Question(question.period, question.wanted))
        return _by_growth(unsorted, by.name, question)
    if shape.history:
        samples = reader.history(shape.variables, question)
    else:
        growth = shape.growth is not Growth.TOTAL
        samples = reader.latest(shape.variables, question, growth=growth)
    return (as_object(s, shape.variables, shape.growth, question.period) for s in samples)


def _by_growth(
    objects: Iterable[dict[str, Any]], name: str, question: Question
) -> list[dict[str, Any]]:
    """Sorted and limited as SQL would have done it: unknown last."""
    everything = list(objects)
    known = [each for each in everything if each[name] is not None]
    unknown = [each for each in everything if each[name] is None]
    known.sort(key=lambda each: each[name], reverse=question.order.descending)
    return (known + unknown)[: question.limit]


def _look(shape: Shape) -> Look[dict[str, Any]]:
    return Look(
        keys=keys(shape.variables, shape.growth),
        as_object=lambda each: each,
        header=header(shape.variables, history=shape.history),
        as_row=lambda each: as_row(each, shape.variables, history=shape.history),
        front=2 if shape.history else 1,
    )
