"""estats read: one connection, once, with all of its variables."""

from collections.abc import Sequence
from typing import Final

from bpf.variable import Variable
from cli import options
from cli.answers import as_object, look_of, not_whose, worded
from cli.asking import Asked
from cli.blocks import Block, title, unit, write_samples
from cli.growth import Growth
from cli.live import answering
from cli.names import all_or
from cli.picking import picking, require_choice
from cli.render import Format
from cli.times import iso
from storage.question import Sample

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
    print_values(asked, all_or(var or (), tables or ()), form, all_of_them=not var)


def print_values(
    asked: Asked, variables: Sequence[Variable], form: Format, *, all_of_them: bool
) -> None:
    """Print what the chosen connections stand at; ``all_of_them``: nobody named these variables."""
    wanted = () if all_of_them else variables
    with answering(asked, wanted, may_start=True) as (reader, question):
        period = question.period

        def as_block(sample: Sample) -> Block:
            answer = as_object(sample, variables, Growth.TOTAL, period)
            rows = [
                (v.name, worded(v, answer[v.name]), unit(v))
                for v in not_whose(variables)
                if not all_of_them or answer[v.name] is not None
            ]
            when = [] if sample.taken_us is None else [f"as of {iso(sample.taken_us)}"]
            return Block(title(sample, *when), rows)

        look = look_of(variables, Growth.TOTAL, period)
        write_samples(reader.latest(variables, question), form, _HEADER, as_block, look)
