"""One SQL statement of somebody else's, which may read the database and do nothing besides.

Three fences, each of which would do: the file is opened without a right to write, SQLite is told
``query_only``, and an authorizer knows the few things that a statement may do. The last also
keeps other files out of it: without, ATTACH and VACUUM INTO could make them.
"""

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bpf.errors import UsageError
from storage import revision
from storage.engine import open_readonly
from storage.errors import DatabaseDamagedError, from_sqlite

Stored = int | float | str | bytes | None

_READING: Final = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
    }
)
#: Pragmas about the object that they name.
_DESCRIBING: Final = frozenset(
    {
        "foreign_key_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "table_info",
        "table_list",
        "table_xinfo",
    }
)
#: Pragmas that tell a number, as long as they are not given one.
_TELLING: Final = frozenset(
    {"application_id", "encoding", "freelist_count", "page_count", "page_size", "user_version"}
)
_FORBIDDEN_FUNCTIONS: Final = frozenset({"load_extension", "fts3_tokenizer"})
#: What the authorizer is asked about, in words; whatever else there is, it refuses all the same.
_WORDS: Final = {
    sqlite3.SQLITE_ATTACH: "ATTACH or VACUUM",
    sqlite3.SQLITE_DETACH: "DETACH",
    sqlite3.SQLITE_TRANSACTION: "a transaction",
    sqlite3.SQLITE_SAVEPOINT: "a transaction",
    sqlite3.SQLITE_INSERT: "a change of {}",
    sqlite3.SQLITE_UPDATE: "a change of {}",
    sqlite3.SQLITE_DELETE: "a change of {}",
    sqlite3.SQLITE_PRAGMA: "PRAGMA {}",
}
#: Table-valued functions: SQLite makes these tables when they are first named, and asks the
#: authorizer whether it may. So they are named once before there is one.
_TABLE_FUNCTIONS: Final = (
    "json_each('[]')",
    "json_tree('[]')",
    *(f"pragma_{name}('')" for name in sorted(_DESCRIBING)),
)
#: A value that takes more is refused: nothing that is stored here comes near.
_VALUE_BYTES_MAX: Final = 64 << 20
#: Instructions of SQLite's machine between two looks at whether somebody pressed Ctrl-C.
_INSTRUCTIONS: Final = 20_000

_COPY: Final = 'To change something, change a copy: sqlite3 FILE ".backup COPY", then sqlite3 COPY.'
_NAMES: Final = "docs/schema.md says what there is; so does SELECT name FROM sqlite_schema."


@dataclass(frozen=True, slots=True)
class Rows:
    """What a statement gives: the names of its columns, and its rows as they are found."""

    columns: tuple[str, ...]
    rows: Iterator[tuple[Stored, ...]]


@contextmanager
def rows_of(path: Path, statement: str) -> Generator[Rows]:
    """Run one statement that reads; a database of another schema will do, too.

    Text that is not UTF-8 comes with escapes. Raises UsageError for a statement that is none, or
    that does more than read; StorageError for a database that cannot be read. Both may also come
    with a row, and so may KeyboardInterrupt.
    """
    engine = open_readonly(path)
    try:
        pooled = engine.raw_connection()
        database = pooled.driver_connection
        assert isinstance(database, sqlite3.Connection), "storage.engine opens SQLite only"
        run = _Run(path, database)
        try:
            yield run.rows(statement)
        finally:
            pooled.close()
    finally:
        engine.dispose()


class _Run:
    """A connection behind its fences, and what the last statement wanted beyond them."""

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self._path, self._database = path, database
        self._refused: str | None = None

    def rows(self, statement: str) -> Rows:
        """Begin the statement."""
        with self._told():
            self._put_up_fences()
            cursor = self._database.execute(statement)
            if cursor.description is None:
                raise UsageError(
                    "the statement gives no rows", "Write one that does, such as a SELECT."
                )
            names = tuple(name for name, *_ in cursor.description)
        return Rows(names, self._fetched(cursor))

    def _fetched(self, cursor: sqlite3.Cursor) -> Iterator[tuple[Stored, ...]]:
        with self._told():
            yield from cursor

    def _put_up_fences(self) -> None:
        database = self._database
        for function in _TABLE_FUNCTIONS:
            # A table of that name may be in the way; any other trouble the statement has, too.
            with suppress(sqlite3.Error):
                database.execute(f"SELECT 1 FROM {function} LIMIT 0")  # noqa: S608  (ours)
        database.text_factory = _text
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _VALUE_BYTES_MAX)
        database.set_authorizer(self._permit)
        # It has nothing to do: that Python runs it is what lets a signal be seen.
        database.set_progress_handler(lambda: 0, _INSTRUCTIONS)

    def _permit(self, action: int, first: str | None, second: str | None, *_: str | None) -> int:
        """Whether a statement may do that, as SQLite's own constants say it."""
        if action == sqlite3.SQLITE_PRAGMA:
            is_harmless = first in _DESCRIBING or (first in _TELLING and second is None)
        else:
            is_harmless = action in _READING and second not in _FORBIDDEN_FUNCTIONS
        if is_harmless:
            return sqlite3.SQLITE_OK
        called = f"the function {second}" if action == sqlite3.SQLITE_FUNCTION else None
        self._refused = called or _WORDS.get(action, "this statement").format(first)
        return sqlite3.SQLITE_DENY

    @contextmanager
    def _told(self) -> Generator[None]:
        """Within it, SQLite's errors are those of the statement or of the database."""
        try:
            yield
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise self._sentence(error) from error
        except UnicodeEncodeError as error:
            raise UsageError("the statement is not text", "Write it in UTF-8.") from error
        except UnicodeDecodeError as error:  # a name in the schema, or in a message about it
            raise DatabaseDamagedError(
                f"{self._path} has a name that is not UTF-8", "See `estats db check`."
            ) from error

    def _sentence(self, error: sqlite3.Error | sqlite3.Warning) -> BaseException:
        if self._refused:
            return UsageError(f"only reading is allowed: {self._refused} is refused", _COPY)
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_INTERRUPT:  # only ever by the signal, within the progress handler
            return KeyboardInterrupt()
        if "one statement" in str(error):
            return UsageError("there is more than one statement", "Ask them one by one.")
        if not isinstance(error, sqlite3.Error) or code in _OF_STATEMENTS:
            return UsageError(f"SQLite says: {error}", self._advice())
        return from_sqlite(error, self._path)

    def _advice(self) -> str:
        """Where the names are; first of all, which names, if they are another schema's."""
        self._database.set_authorizer(None)
        try:
            found = self._database.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.Error:
            return _NAMES
        has, needed = str(found[0]) if found else "none", revision.head()
        if has == needed:
            return _NAMES
        return f"The database has schema {has}, docs/schema.md is about {needed}. {_NAMES}"


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "backslashreplace")


#: Results that are about the statement, not about the database; 0 is sqlite3's own.
_OF_STATEMENTS: Final = frozenset(
    {
        0,
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_RANGE,
        sqlite3.SQLITE_TOOBIG,
    }
)
