"""estats sql: one SQL statement that reads, answered in the forms of the other commands."""

import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bpf.errors import UsageError
from cli.options import As, Db, database
from cli.render import Cell, Format, Look, say, write

if TYPE_CHECKING:
    from storage.statement import Stored

HELP: Final = """One SQL statement that reads the database, also while it is being written.

It can do nothing else: what would write, here or into another file, is refused. docs/schema.md
says what the tables mean; start with latest, history, connection and snapshot. STATEMENT - is read
from standard input.

Rows are written as they are found, but for a table, which is laid out when all are there. Octets
(blobs) are written in hexadecimal. Values are as stored: an unsigned 64-bit value of 2^63 or more
is negative, and printf('%u', HCDataOctetsOut) is what it means (docs/schema.md, "Values").
"""
EXAMPLES: Final = """\b
Examples:
  estats sql "SELECT comm, sum(SegsRetrans) FROM latest GROUP BY comm"
  estats sql --format csv "SELECT * FROM snapshot ORDER BY taken_us DESC LIMIT 10"
  estats sql "PRAGMA table_info(latest)"
  estats sql - < question.sql
"""

Statement = Annotated[
    str, typer.Argument(metavar="STATEMENT", help="SQL; - is read from standard input.")
]
Row = tuple["Stored", ...]

#: SQLite takes no longer one.
_OCTETS_MAX: Final = 1_000_000


def sql(*, statement: Statement, form: As = Format.TABLE, db: Db = None) -> None:
    """Print what a statement finds; HELP says all of it."""
    from storage.statement import rows_of  # noqa: PLC0415  (SQLAlchemy, as in cli.asking)

    text = _from_stdin() if statement == "-" else statement
    path = database(db)
    with rows_of(path, text) as found:
        count = write(found.rows, form, _look(found.columns), sys.stdout)
    say(f"{path}: {_rows(count)}")


def _from_stdin() -> str:
    octets = sys.stdin.buffer.read(_OCTETS_MAX + 1)
    if len(octets) > _OCTETS_MAX:
        raise UsageError("the statement is longer than a megabyte", "Ask for less at once.")
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise UsageError("the statement is not text", "Write it in UTF-8.") from None


def _rows(count: int) -> str:
    return f"{count or 'no'} row{'' if count == 1 else 's'}"


def _look(columns: Sequence[str]) -> Look[Row]:
    keys = _distinct(columns)

    def as_object(row: Row) -> Mapping[str, Cell]:
        return dict(zip(keys, map(_cell, row), strict=True))

    return Look(
        keys=keys,
        as_object=as_object,
        header=keys,
        as_row=lambda row: [_cell(value) for value in row],
    )


def _distinct(columns: Sequence[str]) -> list[str]:
    """The names, numbered where two columns have the same: an object can have a key once only."""
    taken: dict[str, None] = {}
    for column in columns:
        name, number = column, 1
        while name in taken:
            number += 1
            name = f"{column}:{number}"
        taken[name] = None
    return list(taken)


def _cell(value: "Stored") -> Cell:
    """What can be written in every form: JSON has neither octets nor infinity."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
