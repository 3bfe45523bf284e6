"""What can go wrong with the database, each with its cure.

StorageError
├── DatabaseMissingError       nothing has been collected there yet
├── NotADatabaseError          a directory, a device, or a file of something else
├── ForeignDatabaseError       SQLite's, but another program's
├── UnsafePathError            a symbolic link where the database would be written
├── DatabaseForbiddenError     permissions, or a read-only file system
├── DatabaseLockedError        another collector, or a busy process, holds it
├── DatabaseFullError          no room for what was to be written
├── DatabaseDeviceError        the disk failed to read or to write
├── DatabaseGoneError          deleted, or replaced by another file, while it was written
├── DatabaseDamagedError       SQLite finds its pages inconsistent
├── SchemaTooNewError          made by a newer estats
└── SchemaTooOldError          made by an older estats, not upgraded yet
"""

import errno
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from bpf.errors import StorageError


class DatabaseMissingError(StorageError):
    """Nothing has been collected there yet."""


class NotADatabaseError(StorageError):
    """A directory, a device, or a file of something else."""


class ForeignDatabaseError(StorageError):
    """An SQLite database, but another program's."""


class UnsafePathError(StorageError):
    """A symbolic link where the database would be written."""


class DatabaseForbiddenError(StorageError):
    """Permissions or a read-only file system are in the way."""


class DatabaseLockedError(StorageError):
    """Another collector, or a process that is busy with it, holds the database."""

    may_pass = True


class DatabaseFullError(StorageError):
    """There is no room for what was to be written."""

    may_pass = True


class DatabaseDeviceError(StorageError):
    """The disk, or what is taken for one, failed to read or to write."""

    may_pass = True


class DatabaseGoneError(StorageError):
    """The file was deleted, or another one is in its place, while it was written."""


class DatabaseDamagedError(StorageError):
    """SQLite finds the pages of the database inconsistent."""


class SchemaTooNewError(StorageError):
    """A newer estats made the database."""


class SchemaTooOldError(StorageError):
    """An older estats made the database, and it was not upgraded yet."""


#: SQLite's primary result code: the class, what to say after the path, and the cure.
_SQLITE = {
    sqlite3.SQLITE_NOTADB: (
        NotADatabaseError,
        "is not a database",
        "Name another file with --db; this one is left as it is.",
    ),
    sqlite3.SQLITE_FULL: (
        DatabaseFullError,
        "cannot grow: the disk is full",
        "Free some space; what is in the database stays valid.",
    ),
    sqlite3.SQLITE_IOERR: (
        DatabaseDeviceError,
        "cannot be read or written: the disk reports an error",
        "See `dmesg` for what the disk says, and `estats db check` for the database.",
    ),
    sqlite3.SQLITE_BUSY: (
        DatabaseLockedError,
        "is locked by another process",
        "Wait until that process is done with it, or end it.",
    ),
    sqlite3.SQLITE_CORRUPT: (
        DatabaseDamagedError,
        "is damaged",
        "Keep a copy, then save what can be read: sqlite3 FILE .recover | sqlite3 NEW.",
    ),
    sqlite3.SQLITE_READONLY: (
        DatabaseForbiddenError,
        "cannot be written",
        "Check the permissions of the file, its folder and its -wal and -shm files.",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        DatabaseForbiddenError,
        "cannot be opened",
        "Check the permissions of the file, its folder and its -wal and -shm files.",
    ),
}


def from_sqlite(error: sqlite3.Error, path: Path) -> StorageError:
    """The sentence for an error of SQLite."""
    # Errors that sqlite3 raises by itself, such as a closed connection, carry no code.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _SQLITE:
        kind, trouble, advice = _SQLITE[code]
        return kind(f"{path} {trouble}", advice)
    return StorageError(f"{path}: {error}", "See `estats db check` for the state of the database.")


def from_os(error: OSError, path: Path) -> StorageError:
    """The sentence for an error of the operating system."""
    if error.errno == errno.ENOENT:
        return DatabaseForbiddenError(
            f"{path} cannot be made: there is no folder {path.parent}", "Make the folder first."
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DatabaseFullError(
            f"{path} cannot be made: the disk is full", "Free some space, or name another file."
        )
    return DatabaseForbiddenError(
        f"{path} cannot be opened: {error.strerror}",
        "Name another file with --db, or check the permissions of this one and its folder.",
    )


@contextmanager
def storage_errors(path: Path) -> Generator[None]:
    """Within it, errors of SQLite and of the operating system become StorageErrors."""
    try:
        yield
    except sqlite3.Error as error:
        raise from_sqlite(error, path) from error
    except OSError as error:
        raise from_os(error, path) from error
    except UnicodeDecodeError as error:
        raise DatabaseDamagedError(
            f"{path} has text that is not UTF-8", "See `estats db check`."
        ) from error
    except Exception as error:
        # SQLAlchemy's, which is not imported for its name: the supervisor does without.
        if isinstance(original := getattr(error, "orig", None), sqlite3.Error):
            raise from_sqlite(original, path) from error
        raise
