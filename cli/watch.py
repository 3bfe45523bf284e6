"""estats watch: values that change before your eyes."""

import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from bpf.errors import UsageError
from bpf.variable import Variable
from cli import options
from cli.answers import as_object, keys, not_whose, worded
from cli.asking import Asked
from cli.blocks import Block, title, write_blocks
from cli.changes import change
from cli.growth import Growth, growth_of
from cli.interrupt import Interrupt
from cli.live import Place, at_hand, collecting, where
from cli.names import all_or, variables_of_connections
from cli.notice import counted
from cli.picking import chooses_nothing, picking
from cli.progress import can_be_redrawn
from cli.render import Format, Look, say, write
from cli.rounds import Round, Rounds
from cli.times import duration_us, iso, short
from storage.file import holder

HELP: Final = """Values of connections as they change, until Ctrl-C or the collector's end.

A line for each variable: its value, and what changed since the round before, in bold and with its
sign. On a terminal the screen is rewritten, elsewhere there is one block after the other; json,
ndjson and csv have an object for each connection in each round. Without a choice all open
connections are watched, and without --var those variables that tell whether one is well.

There is a round for each new snapshot, at most one in --interval. With --since or --until the past
is played, --interval apart. --delta and --rate show how counters grew since the round before.
"""
EXAMPLES: Final = """\b
Examples:
  estats watch 7
  estats watch 192.0.2.1:40000 192.0.2.7:5001 --tables perf
  estats watch --comm iperf --live --rate --interval 500ms
  estats watch --dport 5001 --since 10m --interval 1m --format csv
"""

Interval = Annotated[str, typer.Option(metavar="TIME", help="At least so long between two rounds.")]
Count = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="End after so many rounds.", show_default=False),
]
Delta = Annotated[bool, typer.Option("--delta", help="By how much counters grew.")]
Rate = Annotated[bool, typer.Option("--rate", help="By how much they grew each second.")]

_INTERVAL_US_MIN: Final = 10_000
_HEADER: Final = ("Variable", "Value", "Change")


@picking
def watch(  # noqa: PLR0913  (one for each option)
    asked: Asked,
    *,
    interval: Interval = "1s",
    count: Count = None,
    delta: Delta = False,
    rate: Rate = False,
    var: options.Var = None,
    tables: options.Tables = None,
    form: options.As = Format.TABLE,
) -> None:
    """Show them; HELP says all of it."""
    variables = all_or(var or (), tables or ()) if var or tables else variables_of_connections(())
    growth = growth_of(delta=delta, rate=rate)
    length_us = duration_us(interval)
    if length_us < _INTERVAL_US_MIN:
        raise UsageError(f"--interval {interval} is too short", "Write 10ms or more.")
    if chooses_nothing(asked):
        asked = replace(asked, wanted=replace(asked.wanted, is_open=True))
    interrupt = Interrupt()
    with _rounds(asked, variables, length_us / 1_000_000, interrupt) as rounds, interrupt:
        shown = _until(interrupt, rounds, count)
        if form is not Format.TABLE:
            _stream(shown, variables, growth, form)
        elif can_be_redrawn(sys.stdout):
            _on_screen(shown, variables, growth)
        else:
            _in_blocks(shown, variables, growth)


def _until(interrupt: Interrupt, rounds: Iterator[Round], count: int | None) -> Iterator[Round]:
    """So many of them; Ctrl-C ends them in order, as that is how one is meant to end them."""
    for number, each in enumerate(rounds, start=1):
        yield each
        if number == count or interrupt.asked:
            return


@contextmanager
def _rounds(
    asked: Asked, variables: Sequence[Variable], seconds: float, interrupt: Interrupt
) -> Generator[Iterator[Round]]:
    """Of the past, or of a collector that writes: somebody's, or one of our own."""
    place, rest = where(asked), interrupt.rest
    if _is_past(asked, place):
        pause = seconds if can_be_redrawn(sys.stdout) else 0
        with at_hand(place) as path:
            yield Rounds(path, asked, variables, rest).past(seconds, pause)
    elif isinstance(place, Path):
        rounds = Rounds(place, asked, variables, rest)
        yield rounds.follow(seconds, lambda: not interrupt.asked and _is_written(place))
    else:
        with collecting(*place) as collector:
            collector.begin()
            rounds = Rounds(collector.path, asked, variables, rest)
            yield rounds.follow(seconds, lambda: not interrupt.asked and collector.is_running())


def _is_past(asked: Asked, place: Place) -> bool:
    if asked.replay is not None:
        return True
    is_timed = asked.since is not None or asked.until is not None
    if is_timed and not isinstance(place, Path):
        raise UsageError("a collector has no past", "Leave --since and --until out.")
    return is_timed


def _is_written(path: Path) -> bool:
    return path.exists() and holder(path) is not None


def _on_screen(rounds: Iterator[Round], variables: Sequence[Variable], growth: Growth) -> None:
    """In the same place; what was last seen stays when it is over."""
    from cli.screen import showing  # noqa: PLC0415  (rich, which nothing else needs)

    last: Round | None = None
    with showing() as screen:
        for each in rounds:
            last = each
            chosen = counted(len(each.samples), "connection")
            head = f"{_when(each)}   {chosen}   {each.lost}   Ctrl-C ends it"
            screen.draw(head, _HEADER, _blocks(each, variables, growth))
    if last is not None:
        _in_blocks(iter([last]), variables, growth)


def _in_blocks(rounds: Iterator[Round], variables: Sequence[Variable], growth: Growth) -> None:
    lost = ""
    for number, each in enumerate(rounds):
        if number:
            print()
        print(f"{_when(each)}")
        if not write_blocks(_HEADER, _blocks(each, variables, growth)):
            print("no connection matches")
        if each.lost != lost:
            lost = each.lost
            say(f"since the first round: {lost}")


def _when(each: Round) -> str:
    return short(each.taken_us)


def _blocks(each: Round, variables: Sequence[Variable], growth: Growth) -> Iterable[Block]:
    for sample in each.samples:
        answer = as_object(sample, variables, growth, each.period)
        base = sample.base or sample.values
        rows = [
            (v.name, worded(v, answer[v.name]), change(v, value, before))
            for v, value, before in zip(variables, sample.values, base, strict=True)
            if v in not_whose([v])
        ]
        yield Block(title(sample), rows)


def _stream(
    rounds: Iterator[Round], variables: Sequence[Variable], growth: Growth, form: Format
) -> None:
    """An object for each connection in each round, with the round's time in front."""

    def objects() -> Iterator[dict[str, Any]]:
        for each in rounds:
            for sample in each.samples:
                answer = as_object(sample, variables, growth, each.period)
                yield {"time": iso(each.taken_us), **answer}

    look: Look[dict[str, Any]] = Look(
        keys=["time", *keys(variables, growth)],
        as_object=lambda answer: answer,
    )
    if not write(objects(), form, look, sys.stdout):
        say("no connection matches")
