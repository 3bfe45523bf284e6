"""The one place that opens SQLite, and that says whether a file is ours to open.

A file is ours if it carries our application id, or nothing at all. Anything else is refused
before SQLite could write to it, and so is a symbolic link where the database would be made.
"""

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool

from storage.errors import (
    DatabaseForbiddenError,
    DatabaseMissingError,
    ForeignDatabaseError,
    NotADatabaseError,
    storage_errors,
)
from storage.file import OUR_CURE, log_of, look, make_if_missing

#: "EST1" in the header of the file, where file(1) and we look for it.
APPLICATION_ID: Final = 0x45535431

_BUSY_SECONDS = 5.0
_HANDED_OVER_SECONDS = 1.0
_RETRY_SECONDS = 0.02
#: A statement that has what all rows share as literals takes 180 KB, and may never come again.
_CACHED_STATEMENTS = 32
_COLLECT_FIRST = "Run `estats collect` first, or name another file with --db."

_NEW = (
    # Half of SQLite's own default: with a long history each sample of a busy
    # connection writes a page of the index by connection, and reading a series reads one for each.
    "PRAGMA page_size = 2048",
    # What is forgotten can be given back to the file system.
    "PRAGMA auto_vacuum = INCREMENTAL",
)
_WRITABLE = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA foreign_keys = ON",
    # Keep those pages, and copy them into the file once for several snapshots (32 MiB).
    "PRAGMA cache_size = -32768",
    "PRAGMA wal_autocheckpoint = 16000",
    "PRAGMA trusted_schema = OFF",
)
_READONLY = ("PRAGMA query_only = ON", "PRAGMA trusted_schema = OFF")


def open_writable(path: Path) -> Engine:
    """Open the database for its one writer; make it, with mode 0600, if there is none.

    A transaction begun on the engine holds SQLite's write lock from its first statement. Raises
    StorageError; a file that is not ours is not touched.
    """
    path = path.absolute()
    with storage_errors(path):
        make_if_missing(path)
        if not (os.access(path, os.R_OK | os.W_OK) and os.access(path.parent, os.W_OK)):
            raise DatabaseForbiddenError(
                f"{path} or its folder cannot be written by this user",
                "Run estats as its owner, or name another file with --db.",
            )
        blank = _is_blank(path)
        pragmas = (_temporary_files_beside(path), *(_NEW if blank else ()), *_WRITABLE)
        engine = _engine(path, partial(_connect_writer, path, pragmas), begin="BEGIN IMMEDIATE")
        if blank:
            with engine.begin() as connection:
                connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
    return engine


def open_readonly(path: Path) -> Engine:
    """Open the database for queries, while it is written too, and without a right to write.

    Everything read through one connection before its rollback is of one moment. Raises
    StorageError.
    """
    path = path.absolute()
    with storage_errors(path):
        if look(path) is None:
            raise DatabaseMissingError(f"there is no database {path}", _COLLECT_FIRST)
        if not os.access(path, os.R_OK):
            raise DatabaseForbiddenError(
                f"{path} cannot be read by this user",
                "Ask its owner for the right to read it, its -wal and its -shm file.",
            )
        if _is_blank(path):
            raise DatabaseMissingError(f"{path} is still empty", _COLLECT_FIRST)
        connect = partial(_connect, path, _readonly_mode(path), _READONLY)
        return _engine(path, connect, begin="BEGIN")


def _temporary_files_beside(path: Path) -> str:
    """What SQLite cannot hold in memory lies where a writer may write, and where the room is.

    $SQLITE_TMPDIR would come too late: Python has SQLite read it when sqlite3 is imported.
    """
    folder = str(path.parent).replace("'", "''")
    return f"PRAGMA temp_store_directory = '{folder}'"


def _is_blank(path: Path) -> bool:
    """Whether nothing has been written to the file; refuses one that is another program's."""
    if path.stat().st_size == 1:  # SQLite takes a single octet, whatever it is, for no file
        raise NotADatabaseError(f"{path} is not a database", OUR_CURE)
    # With mode=ro SQLite leaves a -wal file behind, so look at a file at rest as if it could
    # not change: one that turns out to be another's must not even get a neighbour.
    mode = "mode=ro" if _wal(path).exists() else "mode=ro&immutable=1"
    with closing(_connect(path, mode, ())) as database:
        (application,) = database.execute("PRAGMA application_id").fetchone()
        (objects,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application == APPLICATION_ID:
        return False
    if application or objects:
        raise ForeignDatabaseError(f"{path} is the database of another program", OUR_CURE)
    return True


def _readonly_mode(path: Path) -> str:
    """How to open for reading: shared with the writer, or immutable where that cannot be.

    SQLite shares through the -shm file and has to make it if it is missing, which takes a right
    to write to the folder. Without a -wal file there is no writer to share with.
    """
    try:
        with closing(_connect(path, "mode=ro", _READONLY)) as database:
            database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.OperationalError:
        if _wal(path).exists():
            raise
        return "mode=ro&immutable=1"
    return "mode=ro"


def _wal(path: Path) -> Path:
    """The write-ahead log beside the database; SQLite puts it beside the target of a link."""
    return log_of(path.resolve())


def _connect(path: Path, mode: str, pragmas: tuple[str, ...]) -> sqlite3.Connection:
    """A connection without sqlite3's own idea of when a transaction begins."""
    uri = f"file://{quote(os.fsencode(path))}?{mode}"
    database = sqlite3.connect(
        uri,
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        cached_statements=_CACHED_STATEMENTS,
    )
    try:
        for pragma in pragmas:
            database.execute(pragma)
    except sqlite3.Error:
        database.close()
        raise
    return database


def _connect_writer(path: Path, pragmas: tuple[str, ...]) -> sqlite3.Connection:
    """A connection that may write, also where root begins to read at the same moment.

    SQLite has root make the -shm file, and only then give it to whom the database belongs.
    """
    until = time.monotonic() + _HANDED_OVER_SECONDS
    while True:
        try:
            return _connect(path, "mode=rw", pragmas)
        except sqlite3.OperationalError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # (none where sqlite3 itself fails)
            passing = code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
            if not passing or time.monotonic() > until:
                raise
            time.sleep(_RETRY_SECONDS)


def _engine(path: Path, connect: Callable[[], sqlite3.Connection], *, begin: str) -> Engine:
    """An engine without a pool: no descriptor outlives the connection it belongs to."""
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        creator=connect,
        poolclass=NullPool,
    )

    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "begin", on_begin)
    return engine
