"""One snapshot in one transaction: what the collector hands over, on its way into SQLite.

This is the hot path of storage: rows go from numpy to SQLite as one matrix for each table, in
statements of many rows, on the raw connection.
"""

import json
import sqlite3
import time
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from functools import lru_cache
from itertools import chain, product
from pathlib import Path
from typing import Final

from bpf.meters import METERS, Inherited, Run, Snapshot
from bpf.variable import Group
from storage.bounds import Bounds
from storage.cells import (
    CONNECTION_COLUMNS,
    ENDPOINT_COLUMNS,
    Array,
    Rows,
    connection_rows,
    endpoint_rows,
    group_rows,
    listener_rows,
)
from storage.engine import open_writable
from storage.errors import DatabaseGoneError, storage_errors
from storage.file import file_bytes
from storage.inherited import inherited, largest_numbers
from storage.prepare import prepare
from storage.retention import Retention

#: Bound parameters of one statement: SQLite is fastest with 256 to 1000.
_PARAMETERS: Final = 500
_ROWS: Final = 4_096  # made ready together
_AT_ONCE: Final = 100  # runs of a statement whose values are made ready together
_REPLAY: Final = "replay"  # of which several runs may begin at the same moment


def _upsert(columns: tuple[str, ...]) -> str:
    key, *others = columns
    changed = ", ".join(f"{name} = excluded.{name}" for name in others)
    return f" ON CONFLICT ({key}) DO UPDATE SET {changed}"


_UPSERT_CONNECTION: Final = _upsert(CONNECTION_COLUMNS)
_UPSERT_ENDPOINT: Final = _upsert(ENDPOINT_COLUMNS)


class Writer:
    """The database's one writer, for one run of the collector."""

    #: The largest number in use in each table whose rows the collector numbers.
    numbered: Mapping[str, int]

    def __init__(self, path: Path, run: Run, bounds: Bounds | None = None) -> None:
        """Open, make or upgrade the database, and begin the run; ``bounds`` says what it keeps.

        A run that was begun already, by a writer that died, goes on. Raises StorageError.
        """
        self._path = path.absolute()
        engine = open_writable(self._path)
        self._place = self._look()
        prepare(engine)
        with storage_errors(self._path):
            # The wrapper closes the connection when it is collected, so it lives as long.
            self._wrapper = engine.raw_connection()
            database = self._wrapper.driver_connection
            assert isinstance(database, sqlite3.Connection), "storage.engine opens SQLite only"
            self._database = database
            try:
                self._run_id = self._begin(run)
                self.numbered = largest_numbers(database)
                self._retention = Retention(database, self._path, bounds) if bounds else None
                self._told = (0, 0)
            except BaseException:
                self._wrapper.close()
                raise

    def write(self, snapshot: Snapshot) -> int:
        """Write all of a snapshot or nothing; returns how many rows, its own not counted.

        Raises StorageError. The database is then as it was, and what could not be written may
        come again, merged with what is newer. DatabaseGoneError: the snapshot may be in a file
        that has no name any more.
        """
        with self._transaction() as database:
            snapshot_id = _insert_one(
                database,
                "snapshot",
                run_id=self._run_id,
                taken_us=snapshot.taken_us,
                interval_us=snapshot.interval_us,
                **{name: snapshot.meters.get(name) for name in METERS},
            )
            for connections in _parts(snapshot.connections):
                rows = connection_rows(connections, self._run_id)
                _insert(database, "connection", rows, _UPSERT_CONNECTION)
            endpoints = endpoint_rows(snapshot.endpoints, self._run_id)
            _insert(database, "endpoint", endpoints, _UPSERT_ENDPOINT)
            written = 0
            for group, samples in product(Group, _parts(snapshot.samples)):
                rows = group_rows(group, samples, snapshot_id)
                _insert(database, group.value, rows)
                written += len(rows.cells)
            _insert(database, "listener", listener_rows(snapshot.listeners, snapshot_id))
            for table, values in snapshot.host.items():
                _insert_one(database, table.value, snapshot_id=snapshot_id, **values)
        self._check_place()
        if self._retention:
            self._retention.wrote(snapshot, snapshot_id)
        parts = (snapshot.connections, snapshot.endpoints, snapshot.listeners, snapshot.host)
        return written + sum(map(len, parts))

    def forget(self) -> bool:
        """Forget a little of what is not to be kept; False if there was nothing to do.

        A slice takes some milliseconds and is a transaction of its own. Raises StorageError.
        """
        if self._retention is None:
            return False
        with self._transaction():
            found = self._retention.slice()
        with storage_errors(self._path):
            return found or self._retention.give_back()

    def forgotten(self) -> dict[str, int]:
        """Meters for the next snapshot: what was forgotten since they were last asked for."""
        if self._retention is None:
            return {}
        (samples, connections), told = self._told, self._retention
        self._told = (told.samples, told.connections)
        return {
            "forgotten_samples": told.samples - samples,
            "forgotten_connections": told.connections - connections,
            "oversize": int(told.oversize),
        }

    def inherited(self) -> Inherited:
        """What a process in the place of a dead one must know of this run. Raises StorageError."""
        with storage_errors(self._path):
            return inherited(self._database, self._run_id)

    def database_bytes(self) -> int:
        """What the database takes on disk: the file and its write-ahead log."""
        return file_bytes(self._path)

    def close(self, reason: str) -> None:
        """End the run, fold the write-ahead log into the file, and close. Raises StorageError."""
        with closing(self._wrapper), storage_errors(self._path):
            with self._transaction() as database:
                database.execute(
                    "UPDATE run SET ended_us = ?, end_reason = ? WHERE run_id = ?",
                    (time.time_ns() // 1000, reason, self._run_id),
                )
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        with storage_errors(self._path):
            try:
                self._database.execute("BEGIN IMMEDIATE")
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                # On some errors, a full disk among them, SQLite has rolled back by itself.
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    def _look(self) -> tuple[int, int] | None:
        """Which file the path names, None if it names none."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _check_place(self) -> None:
        """SQLite goes on in a file that was deleted, and nobody would ever see it again."""
        place = self._look()
        if place != self._place:
            what = "was deleted" if place is None else "is another file now"
            raise DatabaseGoneError(
                f"{self._path} {what}: what was collected into the old one is gone with it",
                "Start anew, and stop the collector before the file is moved or deleted;"
                " `--keep` and `--max-db-size` keep it small.",
            )

    def _begin(self, run: Run) -> int:
        with self._transaction() as database:
            begun = database.execute(
                "SELECT run_id FROM run WHERE started_us = ? AND boot_id = ? AND source != ?"
                " AND ended_us IS NULL",
                (run.started_us, run.boot_id, _REPLAY),
            ).fetchone()
            if begun:
                return int(begun[0])
            return _insert_one(
                database,
                "run",
                started_us=run.started_us,
                host=run.host,
                kernel=run.kernel,
                boot_id=run.boot_id,
                version=run.version,
                source=run.source,
                interval_us=run.interval_us,
                flush_us=run.flush_us,
                shards=run.shards,
                tables=",".join(run.tables),
                filters=run.filters,
                unavailable=json.dumps(dict(run.unavailable)),
            )


def _parts(array: Array) -> list[Array]:
    """Views of so many rows: what is made of all of them at once would be the writer's size."""
    return [array[start : start + _ROWS] for start in range(0, len(array), _ROWS)]


def _insert_one(database: sqlite3.Connection, table: str, **values: int | str | None) -> int:
    """Insert a row and return its key."""
    cursor = database.execute(_statement(table, tuple(values), 1), tuple(values.values()))
    assert cursor.lastrowid is not None, "an insert makes a row"
    return cursor.lastrowid


def _insert(database: sqlite3.Connection, table: str, rows: Rows, on_conflict: str = "") -> None:
    """Insert rows: as many as fit into each statement, the rest one by one."""
    columns, cells, same = rows
    together = max(1, _PARAMETERS // len(columns))
    full = len(cells) // together * together
    many = cells[:full].reshape(-1, together * len(columns))
    literals = tuple(same.items())
    statement = _statement(table, columns, together, literals) + on_conflict
    # Not all of them as lists at once: of a large snapshot these are most of the writer's memory.
    parts = (many[at : at + _AT_ONCE] for at in range(0, len(many), _AT_ONCE))
    database.executemany(statement, chain.from_iterable(part.tolist() for part in parts))
    statement = _statement(table, columns, 1, literals) + on_conflict
    database.executemany(statement, cells[full:].tolist())


@lru_cache(maxsize=32)
def _statement(
    table: str, columns: tuple[str, ...], rows: int, literals: tuple[tuple[str, str], ...] = ()
) -> str:
    """The text of an insert, the same for each call, so that sqlite3 finds it prepared."""
    places = ["?"] * len(columns) + [literal for _, literal in literals]
    names = (*columns, *(name for name, _ in literals))  # of the schema, never a user's
    row = f"({', '.join(places)})"
    values = ", ".join([row] * rows)
    # What fails ends the transaction in any case; told so, SQLite need not keep of each statement
    # what the pages were before it, which it would write to a file of its own.
    return f"INSERT OR ROLLBACK INTO {table} ({', '.join(names)}) VALUES {values}"  # noqa: S608
