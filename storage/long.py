"""Statements that take long: Ctrl-C ends them, and whoever waits sees how far they are."""

import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection

#: Called now and then with how far it is, a share of 1, or None where that is not known.
Progress = Callable[[float | None], None]

_INSTRUCTIONS: Final = 100_000  # of SQLite's machine, between two looks


def untold(_share: float | None) -> None:
    """Nobody waits."""


@contextmanager
def interruptible(connection: Connection, look: Callable[[], None]) -> Generator[None]:
    """Within it SQLite stops now and then for a ``look``, and for signals.

    Without that Ctrl-C would wait until a statement ends. Raises KeyboardInterrupt, and a
    transaction that is open is to be rolled back as after an error.
    """
    database = connection.connection.driver_connection
    assert isinstance(database, sqlite3.Connection), "storage.engine opens SQLite only"

    def at_rest() -> int:
        look()
        return 0

    database.set_progress_handler(at_rest, _INSTRUCTIONS)
    try:
        yield
    except Exception as error:
        # What is raised in the handler, which is by the signal only, comes as this.
        original = getattr(error, "orig", error)  # SQLAlchemy's has it inside
        if getattr(original, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            raise KeyboardInterrupt from None
        raise
    finally:
        database.set_progress_handler(None, 0)
