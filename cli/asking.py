"""Ask a database about connections: open it, and say which file and period the answer is from."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bpf.variable import Variable
from cli.notice import say_source, say_unknown
from cli.options import database, period_limits
from storage.filters import Filter
from storage.reader import Reader, open_reader
from storage.select import Order, Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the options that all questions share said."""

    db: Path | None
    since: str | None
    until: str | None
    wanted: Filter
    order: Order
    limit: int | None


@contextmanager
def asking(
    asked: Asked, variables: Sequence[Variable]
) -> Generator[tuple[Reader, Question], None, None]:
    """A reader, and the question to put to it. Raises UsageError and StorageError."""
    limits = period_limits(asked.since, asked.until)
    path = database(asked.db)
    with open_reader(path) as reader:
        period = reader.period(*limits)
        parts = reader.parts(period)
        say_source(path, parts)
        say_unknown(variables, parts)
        yield reader, Question(period, asked.wanted, asked.order, asked.limit)
