"""estats deltas: what became of connections between two moments."""

from collections.abc import Sequence
from typing import Final

from bpf.variable import Kind, Variable
from cli import options
from cli.answers import as_object, look_of, not_whose, worded
from cli.asking import Asked, asking
from cli.blocks import Block, title, unit, write_samples
from cli.coming import coming
from cli.growth import Growth
from cli.names import all_or
from cli.picking import picking
from cli.render import Cell, Format
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

_HEADER: Final = ("Variable", "Change", "Value", "Unit")
_LIVE_DEFAULT: Final = "1s"


@picking
def deltas(
    asked: Asked,
    *,
    length: options.For = None,
    var: options.Var = None,
    tables: options.Tables = None,
    form: options.As = Format.TABLE,
) -> None:
    """Print them; HELP says all of it."""
    variables = all_or(var or (), tables or ())
    with coming(asked, length, _LIVE_DEFAULT) as there:
        _print(there, variables, form, all_of_them=not var)


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
