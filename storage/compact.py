"""Write a database anew, without free pages; from then on it can shrink by itself."""

import shutil
import sqlite3
from pathlib import Path

from storage.engine import open_writable
from storage.errors import DatabaseFullError, storage_errors
from storage.file import log_of
from storage.long import Progress, interruptible


def compact(path: Path, progress: Progress) -> None:
    """Do it while nobody else writes: the caller holds the lock. ``progress`` gets a share of 1.

    SQLite makes a copy beside it and then writes that into the log: each of them takes the room of
    what is in use. Raises StorageError, DatabaseFullError before it begins among them, and
    KeyboardInterrupt, with the database as it was.
    """
    path = path.absolute()
    engine = open_writable(path)
    with storage_errors(path), engine.connect() as connection:
        database = connection.connection.driver_connection
        assert isinstance(database, sqlite3.Connection), "storage.engine opens SQLite only"
        pages, free, size = (
            int(database.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        needed = (pages - free) * size
        _check_room(path, 2 * needed)
        log = log_of(path)

        def look() -> None:
            written = log.stat().st_size if log.exists() else 0
            progress(min(0.99, written / max(1, needed)))

        with interruptible(connection, look):
            database.execute("PRAGMA auto_vacuum = INCREMENTAL")
            database.execute("VACUUM")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    engine.dispose()
    progress(1.0)


def _check_room(path: Path, needed: int) -> None:
    room = shutil.disk_usage(path.parent).free
    if room < needed:
        raise DatabaseFullError(
            f"{path.parent} has {room / 1e6:.0f} MB free, and {needed / 1e6:.0f} MB are needed",
            "Free some space, or copy the database to another disk and compact it there.",
        )
