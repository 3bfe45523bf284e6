"""Bring a database to the schema of this program, or say why that cannot be.

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
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from storage.errors import (
    DatabaseDamagedError,
    SchemaTooNewError,
    SchemaTooOldError,
    storage_errors,
)

# What was applied is returned; that a migration context was made is nobody's business.
logging.getLogger("alembic").setLevel(logging.WARNING)


def upgrade(engine: Engine) -> list[str]:
    """Apply what is missing to a database opened for writing; returns those revisions in order.

    Raises SchemaTooNewError, without a change, if a newer program made the database.
    """
    config = _config()
    script = ScriptDirectory.from_config(config)
    with storage_errors(path_of(engine)), _migrating(engine) as connection:
        before = _revision(connection)
        if before is not None and before not in _known(script):
            raise _too_new(engine, before)
        pending = [step.revision for step in script.iterate_revisions("head", before or "base")]
        if pending:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            _check_references(engine, connection)
    return pending[::-1]


def current(engine: Engine) -> str | None:
    """The revision of the database; None if it never got its tables."""
    with storage_errors(path_of(engine)), engine.connect() as connection:
        return _revision(connection)


def head() -> str:
    """The revision that this program needs."""
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    assert newest is not None, "there is a first revision"
    return newest


def check(engine: Engine) -> None:
    """Raise SchemaTooNewError or SchemaTooOldError unless the database has this schema."""
    found = current(engine)
    if found == head():
        return
    if found is not None and found not in _known(ScriptDirectory.from_config(_config())):
        raise _too_new(engine, found)
    raise SchemaTooOldError(
        f"{path_of(engine)} has schema {found or 'none'}, this estats needs {head()}",
        "Run `estats db upgrade` as a user who may write to it.",
    )


def path_of(engine: Engine) -> Path:
    """The file behind an engine of ``storage.engine``."""
    assert engine.url.database is not None, "storage.engine names the file in the URL"
    return Path(engine.url.database)


def _config() -> Config:
    """Alembic's settings, without an alembic.ini: where the revisions are."""
    config = Config()
    # A configparser value: a per cent sign in the path would begin an interpolation.
    config.set_main_option("script_location", str(files("migrations")).replace("%", "%%"))
    return config


def _known(script: ScriptDirectory) -> set[str]:
    """All revisions that this program has."""
    return {step.revision for step in script.walk_revisions()}


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


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


def _check_references(engine: Engine, connection: Connection) -> None:
    """Do what SQLite did not while foreign keys were off."""
    if connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
        raise DatabaseDamagedError(
            f"{path_of(engine)} has rows that refer to missing ones, so it was not upgraded",
            "See `estats db check`; the database is as it was before.",
        )


def _too_new(engine: Engine, found: str) -> SchemaTooNewError:
    return SchemaTooNewError(
        f"{path_of(engine)} has schema {found}, this estats knows up to {head()}",
        "Use the estats that made it, or a newer one; the database is as it was.",
    )
