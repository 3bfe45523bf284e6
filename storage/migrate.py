"""Bring a database to the schema of this program.

All revisions that are missing are applied in one transaction: a migration that fails leaves the
database as it was.
"""

import logging
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine

from storage import revision
from storage.errors import DatabaseDamagedError, storage_errors
from storage.long import Progress, interruptible, untold

# What was applied is returned; that a migration context was made is nobody's business.
logging.getLogger("alembic").setLevel(logging.WARNING)


def upgrade(engine: Engine, progress: Progress = untold) -> list[str]:
    """Apply what is missing to a database opened for writing; returns those revisions in order.

    Raises SchemaTooNewError if a newer program made the database, and KeyboardInterrupt; nothing
    is changed then.
    """
    path = revision.path_of(engine)
    with storage_errors(path), _migrating(engine) as connection:
        before = revision.of(connection)
        revision.refuse_newer(engine, before)
        pending = [step for step in revision.known() if before is None or step > before]
        if pending:
            _apply(path, connection, len(pending), progress)
    return pending


def _apply(path: Path, connection: Connection, steps: int, progress: Progress) -> None:
    done = 0

    def note(**_: object) -> None:
        nonlocal done
        done += 1

    config = _config()
    config.attributes.update(connection=connection, on_version_apply=note)
    with interruptible(connection, lambda: progress(done / steps)):
        command.upgrade(config, "head")
        _check_references(path, connection)


def _config() -> Config:
    """Alembic's settings, without an alembic.ini: where the revisions are."""
    config = Config()
    # A configparser value: a per cent sign in the path would begin an interpolation.
    config.set_main_option("script_location", str(files("migrations")).replace("%", "%%"))
    return config


@contextmanager
def _migrating(engine: Engine) -> Generator[Connection]:
    """A transaction in which a table may be replaced while others refer to it.

    SQLite can alter little in place, so batch_alter_table drops a table and renames its successor.
    With foreign keys on, that drop would delete the rows; and they can only be switched before
    the transaction begins. The connection is closed at the end, and the setting goes with it.
    """
    with engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection), "storage.engine opens SQLite only"
        raw.execute("PRAGMA foreign_keys = OFF")
        with connection.begin():
            yield connection


def _check_references(path: Path, connection: Connection) -> None:
    """Do what SQLite did not while foreign keys were off."""
    if connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
        raise DatabaseDamagedError(
            f"{path} has rows that refer to missing ones, so it was not upgraded",
            "See `estats db check`; the database is as it was before.",
        )
