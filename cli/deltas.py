"""estats deltas: what became of connections between two moments."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from bpf.errors import UsageError
from bpf.variable import Kind, Variable
from cli import options
from cli.answers import as_object, look_of, not_whose, worded
from cli.asking import Asked, asking, reading
from cli.blocks import Block, title, unit, write_samples
from cli.growth import Growth
from cli.live import at_hand, where
from cli.names import all_or
from cli.picking import picking
from cli.render import Cell, Format
from cli.times import duration_us
from storage.file import holder
from storage.question import Sample

HELP: Final = """What became of connections between two moments: counters tell how they grew.

Gauges, maxima, minima and states are as they stand at the end. The moments are --since and
--until; without them the beginning and end of what the database has. --for TIME waits for so long
while a collector writes, and tells what came; with --live it starts one [for a second].

A counter that wrapped at 2^32 or 2^64 is told right. Growth begins at 0 when a connection is
opened; of one that is older than the collector, at its first sample.
"""
EXAMPLES: Final = """\b
Examples:
  estats deltas 7 --since 10m
  estats deltas --dport 5001 --since 2026-01-31T12:00 --until 2026-01-31T12:05 --format json
  estats deltas 192.0.2.1:40000 192.0.2.7:5001 --for 5s --var 'Segs*,HCDataOctets*'
  estats deltas --comm iperf --live --for 10s
"""

For = Annotated[
    str | None,
    typer.Option("--for", metavar="TIME", help="From now on, for so long.", show_default=False),
]
_HEADER: Final = ("Variable", "Change", "Value", "Unit")
_LIVE_DEFAULT: Final = "1s"
_POLL_SECONDS: Final = 0.05


@picking
def deltas(
    asked: Asked,
    *,
    length: For = None,
    var: options.Var = None,
    tables: options.Tables = None,
    form: options.As = Format.TABLE,
) -> None:
    """Print them; HELP says all of it."""
    variables = all_or(var or (), tables or ())
    length_us = None if length is None else duration_us(length)
    if length is not None and (asked.since or asked.until or asked.replay):
        raise UsageError("--for is from now on", "Leave --since, --until and --replay out.")
    place = where(asked)
    with at_hand(place, length or _LIVE_DEFAULT) as path:
        asked = replace(asked, db=path)
        if length_us is not None and place is path:
            asked = replace(asked, since=_after(path, length_us))
        _print(asked, variables, form, all_of_them=not var)


def _after(path: Path, length_us: int) -> str:
    """Wait until a running collector has got so much further; returns from when on to look."""
    begun_us = _newest_us(path)
    while _newest_us(path) < begun_us + length_us:
        if holder(path) is None:
            raise UsageError(
                f"no collector writes to {path}, so nothing comes",
                "Ask for what it has with --since and --until, or start a collector with --live.",
            )
        time.sleep(_POLL_SECONDS)
    seconds, rest = divmod(begun_us + 1, 1_000_000)
    return f"{seconds}.{rest:06}"


def _newest_us(path: Path) -> int:
    """When the newest snapshot was taken; 0 if there is none yet."""
    with reading(path) as reader:
        return reader.period().newest_us


def _print(asked: Asked, variables: Sequence[Variable], form: Format, *, all_of_them: bool) -> None:
    with asking(asked, () if all_of_them else variables) as (reader, question):
        period = question.period

        def as_block(sample: Sample) -> Block:
            grown = as_object(sample, variables, Growth.DELTA, period)
            stands = as_object(sample, variables, Growth.TOTAL, period)
            rows = [
                (v.name, _change(v, grown[v.name]), worded(v, stands[v.name]), unit(v))
                for v in not_whose(variables)
                if not all_of_them or stands[v.name] is not None
            ]
            seconds = grown["seconds"]
            over = "over an unknown time" if seconds is None else f"over {seconds:.3f} s"
            return Block(title(sample, over), rows)

        samples = reader.latest(variables, question, growth=True)
        look = look_of(variables, Growth.DELTA, period)
        write_samples(samples, form, _HEADER, as_block, look)


def _change(variable: Variable, value: Cell) -> Cell:
    """How a counter grew, with its sign; other variables have no difference."""
    if variable.kind is not Kind.COUNTER:
        return ""
    return f"+{value}" if isinstance(value, int) else value
