"""Ask a database about connections: open it, and say which file and period the answer is from."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bpf.errors import StorageError
from bpf.variable import Variable
from cli.notice import say_nothing, say_source, say_thinned, say_unknown
from cli.options import database, period_limits
from storage.question import Filter, Order, Question

if TYPE_CHECKING:
    from storage.reader import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the options that all questions share said.

    ``live`` and ``replay`` are those of commands that can make their own database: see cli.live.
    ``called`` is what a person is told of such a database, whose path says nothing to them.
    """

    db: Path | None
    since: str | None
    until: str | None
    wanted: Filter
    order: Order
    limit: int | None
    live: bool = False
    replay: Path | None = None
    called: str | None = None


@contextmanager
def reading(path: Path) -> Generator["Reader", None, None]:
    """A database, open for the length of a command. Raises StorageError.

    SQLite keeps a text in a column of numbers, and a time beyond all calendars: what estats does
    not write itself is met wherever it is reckoned with, and all of a command does so.
    """
    # SQLAlchemy takes longer to import than most questions to answer, and the collector's
    # processes, which begin at the same command line, have no use for it.
    from storage.reader import open_reader  # noqa: PLC0415

    try:
        with open_reader(path) as reader:
            yield reader
    except UnicodeEncodeError:  # (the terminal's)
        raise
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise StorageError(
            f"{path} has a value that estats does not write: {error}",
            "Another program changed it, or it is damaged: see `estats db check`. If that finds"
            " nothing, the fault may be ours: please report it.",
        ) from error


@contextmanager
def asking(
    asked: Asked, variables: Sequence[Variable]
) -> Generator[tuple["Reader", Question], None, None]:
    """A reader, and the question to put to it. Raises UsageError and StorageError."""
    limits = period_limits(asked.since, asked.until)
    path = database(asked.db)
    name = asked.called or str(path)
    with reading(path) as reader:
        period = reader.period(*limits)
        if parts := reader.parts(period):
            say_source(name, parts)
        else:
            say_nothing(name, reader.parts(reader.period()))
        say_thinned(reader.thinned(period))
        say_unknown(variables, parts)
        yield reader, Question(period, asked.wanted, asked.order, asked.limit)
