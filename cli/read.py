"""estats read: one connection, once, with all of its variables."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from bpf.variable import Variable
from cli import options
from cli.answers import as_object, keys, not_whose, worded
from cli.asking import Asked, asking
from cli.blocks import Block, title, unit, write_blocks
from cli.growth import Growth
from cli.live import at_hand, where
from cli.names import all_or
from cli.picking import picking, require_choice
from cli.render import Format, Look, say, write
from cli.times import iso
from storage.question import Period, Sample

HELP: Final = """All variables of a connection, once; or some of them, or of several connections.

A CONNECTION is named by its number, or by both its ends, the local one first, as `estats
connections` prints them; or chosen with the options of `estats query`. Values are the newest, or
those as of --until. What has no value is left out of a table, unless it was asked for by name.

--live starts a collector for the moment; so does every call where there is no database to ask.
--replay asks a recording.
"""
EXAMPLES: Final = """\b
Examples:
  estats read 7
  estats read 192.0.2.1:40000 192.0.2.7:5001 --tables perf,path
  estats read --dport 5001 --open --var '*rtt*' --format json
  estats read --comm iperf --live
"""

_HEADER: Final = ("Variable", "Value", "Unit")


@picking
def read(
    asked: Asked,
    *,
    var: options.Var = None,
    tables: options.Tables = None,
    form: options.As = Format.TABLE,
) -> None:
    """Print them; HELP says all of it."""
    require_choice(asked)
    variables = all_or(var or (), tables or ())
    with at_hand(where(asked)) as path:
        print_values(replace(asked, db=path), variables, form, all_of_them=not var)


def print_values(
    asked: Asked, variables: Sequence[Variable], form: Format, *, all_of_them: bool
) -> None:
    """Print what the chosen connections stand at; ``all_of_them``: nobody named these variables."""
    with asking(asked, () if all_of_them else variables) as (reader, question):
        samples = reader.latest(variables, question)
        if form is Format.TABLE:
            count = write_blocks(
                _HEADER, _blocks(samples, variables, question.period, sparse=all_of_them)
            )
        else:
            count = write(samples, form, _look(variables, question.period), sys.stdout)
        if not count:
            say("no connection matches")


def _blocks(
    samples: Iterable[Sample], variables: Sequence[Variable], period: Period, *, sparse: bool
) -> Iterable[Block]:
    for sample in samples:
        answer = as_object(sample, variables, Growth.TOTAL, period)
        rows = [
            (v.name, worded(v, answer[v.name]), unit(v))
            for v in not_whose(variables)
            if not sparse or answer[v.name] is not None
        ]
        when = [] if sample.taken_us is None else [f"as of {iso(sample.taken_us)}"]
        yield Block(title(sample, *when), rows)


def _look(variables: Sequence[Variable], period: Period) -> Look[Sample]:
    return Look(
        keys=keys(variables, Growth.TOTAL),
        as_object=lambda sample: as_object(sample, variables, Growth.TOTAL, period),
        header=(),
        as_row=lambda _: (),
    )
