"""A few connections out of a database, into a small database of their own."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, insert, or_, select
from sqlalchemy import Table as SqlTable

from bpf.variable import REFERRED
from storage.engine import open_writable
from storage.errors import storage_errors
from storage.prepare import prepare
from storage.question import Period
from storage.schema import CONNECTION, GROUPS, RUN, SAMPLE, SNAPSHOT, THINNED, TUNING

_AT_ONCE = 400  # values in one condition: SQLite has room for more


@dataclass(frozen=True, slots=True)
class Part:
    """What to take: these connections; of each what it stood at when the period ended.

    ``is_stretch``: also what came before, back to what it stood at when the period began, and
    every snapshot of the period.
    """

    indexes: Sequence[int]
    period: Period
    is_stretch: bool


def write_excerpt(source: Connection, part: Part, target: Path) -> int:
    """Make a new database with that part of another one; returns how many samples it has.

    ``source`` is in a transaction. A connection that closed after the period is open there, and a
    run that goes on ends with its last snapshot. Raises StorageError; no half of a file is left.
    """
    engine = open_writable(target)
    try:
        prepare(engine)
        with storage_errors(target), engine.begin() as into:
            count = _copy(source, part, into)
        with engine.connect() as whole:
            # One file, which can be handed on.
            whole.connection.driver_connection.execute("PRAGMA journal_mode = DELETE")  # type: ignore[union-attr]
    except BaseException:
        engine.dispose()
        target.unlink(missing_ok=True)
        raise
    engine.dispose()
    return count


def _copy(source: Connection, part: Part, into: Connection) -> int:
    """In the order in which rows refer to one another."""
    connections = _rows(source, CONNECTION, "ConnectIndex", part.indexes)
    samples = [row for index in part.indexes for row in _samples(source, part, index)]
    snapshots = _snapshots(source, part, samples, {row["run_id"] for row in connections})
    runs = _rows(source, RUN, "run_id", {row["run_id"] for row in snapshots})
    newest = {row["run_id"]: row["taken_us"] for row in snapshots}
    for run in runs:
        if run["ended_us"] is None:
            run |= {"ended_us": newest[run["run_id"]], "end_reason": "recorded"}
    for row in connections:
        if not _had_closed(row, part.period):
            row |= {"closed_us": None, "close_reason": None}
    _put(into, RUN, runs)
    _put(into, SNAPSHOT, snapshots)
    _put(into, THINNED, _some(source, THINNED))
    _put(into, CONNECTION, connections)
    _put(into, TUNING, _tuned(source, part))
    for group in REFERRED:
        key = f"{group.value}_id"
        _put(into, GROUPS[group], _rows(source, GROUPS[group], key, {row[key] for row in samples}))
    _put(into, SAMPLE, samples)
    return len(samples)


def _tuned(source: Connection, part: Part) -> list[dict[str, Any]]:
    """What had been set of the connections when the period ended."""
    until_us = part.period.until_us
    rows = _rows(source, TUNING, "ConnectIndex", part.indexes)
    return [row for row in rows if until_us is None or row["tuned_us"] <= until_us]


def _had_closed(connection: Mapping[str, Any], period: Period) -> bool:
    until_us = period.until_us
    return until_us is None or (connection["closed_us"] or 0) <= until_us


def _samples(source: Connection, part: Part, index: int) -> list[dict[str, Any]]:
    """One connection's samples in the part."""
    number, period = SAMPLE.c.snapshot_id, part.period
    is_its = SAMPLE.c.ConnectIndex == index
    before = period.first if part.is_stretch else period.last + 1
    standing = source.scalar(select(func.max(number)).where(is_its, number < before))
    first = before if standing is None else standing
    return _some(source, SAMPLE, and_(is_its, number.between(first, period.last)))


def _snapshots(
    source: Connection, part: Part, samples: Iterable[Mapping[str, Any]], runs: set[int]
) -> list[dict[str, Any]]:
    """Those that the samples are from, and the last of each run: until then they are known."""
    number, period = SNAPSHOT.c.snapshot_id, part.period
    lasts = (
        select(func.max(number))
        .where(number <= period.last, or_(SNAPSHOT.c.run_id.in_(runs), number == period.last))
        .group_by(SNAPSHOT.c.run_id)
    )
    numbers = {row["snapshot_id"] for row in samples} | set(source.scalars(lasts))
    if part.is_stretch:
        own = select(number).where(number.between(period.first, period.last))
        numbers |= set(source.scalars(own))
    return _rows(source, SNAPSHOT, "snapshot_id", numbers)


def _rows(
    source: Connection, table: SqlTable, key: str, values: Iterable[int]
) -> list[dict[str, Any]]:
    """The rows whose key is one of these, by key."""
    wanted = sorted(values)
    parts = (wanted[i : i + _AT_ONCE] for i in range(0, len(wanted), _AT_ONCE))
    return [row for some in parts for row in _some(source, table, table.c[key].in_(some))]


def _some(
    source: Connection, table: SqlTable, *conditions: ColumnElement[bool]
) -> list[dict[str, Any]]:
    """Rows without their computed columns, by primary key or as they were written."""
    columns = [c for c in table.columns if c.computed is None]
    asked = select(*columns).where(*conditions).order_by(columns[0])
    return [dict(row) for row in source.execute(asked).mappings()]


def _put(into: Connection, table: SqlTable, rows: list[dict[str, Any]]) -> None:
    if rows:
        into.execute(insert(table), rows)
