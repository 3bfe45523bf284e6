"""What a database has, a snapshot of one connection to put into it, and no room to do so."""

import resource
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bpf.meters import Snapshot
from storage.engine import open_readonly

MakeSnapshot = Callable[..., Snapshot]


def rows(path: Path, statement: str) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    with open_readonly(path).connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(statement)]


def select(path: Path, columns: Iterable[str], table: str, rest: str = "") -> list[tuple[Any, ...]]:
    """Columns of all rows of a table."""
    return rows(path, f"SELECT {', '.join(columns)} FROM {table} {rest}")  # noqa: S608


def one_connection(make_snapshot: MakeSnapshot, **fields: object) -> Snapshot:
    """A snapshot of one connection with these fields of CONNECTION or of its identity."""
    snapshot = make_snapshot(1, tables=())
    for name, value in fields.items():
        of_identity = name in (snapshot.connections.dtype["identity"].names or ())
        place = snapshot.connections["identity"] if of_identity else snapshot.connections
        place[name] = value
    return snapshot


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
