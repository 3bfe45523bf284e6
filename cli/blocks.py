"""Connections one below the other, each with a line for each of its variables."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bpf.variable import Variable
from cli.answers import ends, owner
from cli.names import value_words
from cli.render import Cell, Format, Look, printable, say, table_width, write, write_table
from storage.question import Sample


@dataclass(frozen=True, slots=True)
class Block:
    """One connection: who it is, and rows of a table about it."""

    title: str
    rows: Sequence[Sequence[Cell]]


def write_blocks(header: Sequence[str], blocks: Iterable[Block]) -> int:
    """Write them to stdout, as they come; returns how many there were."""
    count = 0
    for count, block in enumerate(blocks, start=1):
        if count > 1:
            print()
        print(printable(block.title))
        write_table(header, block.rows, sys.stdout, width=table_width(sys.stdout))
    return count


def write_samples(
    samples: Iterable[Sample],
    form: Format,
    header: Sequence[str],
    as_block: Callable[[Sample], Block],
    look: Look[Sample],
) -> None:
    """Write them to stdout, as blocks or in another form; say so if there are none."""
    if form is Format.TABLE:
        count = write_blocks(header, map(as_block, samples))
    else:
        count = write(samples, form, look, sys.stdout)
    if not count:
        say("no connection matches")


def title(sample: Sample, *more: str) -> str:
    """Which connection it is: never its number alone, which another one may have elsewhere."""
    row = sample.connection
    whose = owner(row)
    return "  ".join(
        [f"ConnectIndex {row['ConnectIndex']}", *ends(row), *([whose] if whose else []), *more]
    )


def unit(variable: Variable) -> str:
    """In what it is counted; that of an enumeration is its words, which are there already."""
    return "" if value_words(variable) else variable.unit
