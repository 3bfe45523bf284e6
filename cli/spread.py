"""estats plot --distribution: a variable over many connections, or over their time."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bpf.catalogue import BY_NAME
from bpf.variable import Kind, Variable
from cli.asking import Asked
from cli.live import answering
from cli.names import value_words
from cli.notice import counted
from cli.render import printable, say
from cli.sheet import keep, paper
from plotting.cdf import picture_of_all, text_of_all
from plotting.distribution import Distribution
from plotting.series import Looks, Track, drawn, known
from plotting.units import Quantity, grown, quantity
from storage.question import Question, Sample

if TYPE_CHECKING:
    from storage.reader import Reader

#: What is drawn if nothing is named.
_USUAL: Final = (BY_NAME["smoothedrttus"],)


def draw(asked: Asked, variables: Sequence[Variable], out: Path | None, *, history: bool) -> None:
    """Draw the distribution of each variable. Raises EstatsError."""
    chosen = tuple(variables) or _USUAL
    with answering(asked, chosen) as (reader, question):
        if history:
            found = _over_time(reader, question, chosen)
        else:
            found = _over_connections(reader, question, chosen)
    if not found:
        say("no connection matches, so nothing is drawn")
    elif out is None:
        print("\n".join(text_of_all(found, paper())))
    else:
        keep(out, picture_of_all(found, out.suffix.lower()))
        print(f"{printable(str(out))}: {counted(len(found), 'distribution')}")


def _over_connections(
    reader: "Reader", question: Question, variables: Sequence[Variable]
) -> list[Distribution]:
    """One value of each connection: how far a counter grew in the period, where a gauge stood."""
    samples = list(reader.latest(variables, question, growth=True))
    found: list[Distribution] = []
    for place, variable in enumerate(variables) if samples else ():
        values = [_one(variable, place, sample) for sample in samples]
        there = [value for value in values if value is not None]
        of = counted(len(samples), "connection")
        unit = grown(variable) if variable.kind is Kind.COUNTER else _unit(variable)
        title = f"Growth of {variable.name}" if variable.kind is Kind.COUNTER else variable.name
        unknown = len(values) - len(there)
        found.append(Distribution.over(title, of, unit, ((v, 1.0) for v in there), unknown))
    return found


def _one(variable: Variable, place: int, sample: Sample) -> float | None:
    value = sample.values[place]
    if variable.kind is not Kind.COUNTER:
        return known(variable, value)
    base = sample.base[place] if sample.base else None
    if not isinstance(value, int) or not isinstance(base, int):
        return None
    return float(variable.growth(value, base))


def _over_time(
    reader: "Reader", question: Question, variables: Sequence[Variable]
) -> list[Distribution]:
    """Each value for as long as it stood in the period, and each rate for as long as it was."""
    weighed: list[list[tuple[float, float]]] = [[] for _ in variables]
    unknown = [0] * len(variables)
    count = 0
    for count, (track, looks) in enumerate(_lives(reader, question, variables), start=1):  # noqa: B007
        for place, variable in enumerate(variables):
            stretches = drawn(variable, place, track, looks)
            weighed[place] += [(s.value, float(s.to_us - s.from_us)) for s in stretches]
            unknown[place] += not stretches
    of = f"all time of {counted(count, 'connection')}"
    return [
        Distribution.over(_titled(v), of, _unit(v), pairs, none)
        for v, pairs, none in zip(variables, weighed, unknown, strict=True)
        if count
    ]


def _lives(
    reader: "Reader", question: Question, variables: Sequence[Variable]
) -> Iterator[tuple[Track, Looks]]:
    """Each connection that has samples in the period, and when somebody looked."""
    period = question.period
    cuts = reader.cuts(period)
    if not cuts:
        return
    from_us = min(cut.taken_us - cut.interval_us for cut in cuts)
    looks = Looks.of(cuts, from_us, period.newest_us, reader.thinned(period))
    ended = {s.index: s.as_of_us for s in reader.latest((), replace(question, limit=None))}
    for index, samples in groupby(reader.history(variables, question), attrgetter("index")):
        own = list(samples)
        yield Track(own[0].connection, own, ended[index], own[0].base, own[0].base_us), looks


def _unit(variable: Variable) -> Quantity:
    return quantity(variable, sorted(value_words(variable).items()))


def _titled(variable: Variable) -> str:
    return f"Rate of {variable.name}" if variable.kind is Kind.COUNTER else variable.name
