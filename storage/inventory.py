"""What a database holds, and whether it holds together: for `estats db info` and `check`."""

from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, String, Table, exists, func, or_, select

from storage.schema import (
    CONNECTION,
    ENDPOINT,
    GROUPS,
    LISTENER,
    METADATA,
    SAMPLE,
    SNAPSHOT,
    TUNING,
    views,
)


def row_counts(connection: Connection) -> dict[str, int]:
    """How many rows each table has."""
    return {
        table.name: connection.scalars(select(func.count()).select_from(table)).one()
        for table in METADATA.sorted_tables
    }


def faults(connection: Connection) -> list[str]:
    """What is wrong with the database, a sentence for each fault; reads every page of it.

    Damaged pages and indexes, tables and indexes that are missing, values of another type than
    their column's, references to missing rows, and rows of a connection, an endpoint or a
    snapshot that does not exist.
    """
    found = [
        f"page check: {line}"
        for line in connection.exec_driver_sql("PRAGMA integrity_check").scalars()
        if line != "ok"
    ]
    if missing := sorted(_needed() - _present(connection)):
        return [*found, *(f"{name} is missing" for name in missing)]
    for table in METADATA.sorted_tables:
        is_odd = or_(*(_is_odd(column) for column in table.columns if column.computed is None))
        odd = connection.scalars(select(func.count()).select_from(table).where(is_odd)).one()
        if odd:
            found.append(f"{table.name}: {odd} rows with a value that is not of its column's type")
    found += [
        f"{table} row {rowid} refers to a {parent} that is missing"
        for table, rowid, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check")
    ]
    for table, key, parent in _references():
        is_known = exists().where(parent.c[key] == table.c[key])
        orphans = connection.scalars(select(func.count()).select_from(table).where(~is_known)).one()
        if orphans:
            found.append(f"{table.name}: {orphans} rows whose {parent.name} is missing")
    return found


def _is_odd(column: Column[Any]) -> ColumnElement[bool]:
    """Whether a value is of another type than its column: SQLite takes any."""
    kind = "text" if isinstance(column.type, String) else "integer"
    return func.typeof(column).not_in([kind, "null"])


def _references() -> list[tuple[Table, str, Table]]:
    """Table, column and the table it refers to, where writing does without a foreign key."""
    groups = [table for table in GROUPS.values() if table is not SAMPLE]
    return [
        *((table, "ConnectIndex", CONNECTION) for table in (*GROUPS.values(), TUNING)),
        *((SAMPLE, f"{table.name}_id", table) for table in groups),
        *((table, "snapshot_id", SNAPSHOT) for table in (SAMPLE, LISTENER)),
        (LISTENER, "ListenerIndex", ENDPOINT),
    ]


def _needed() -> set[str]:
    """The tables, indexes and views of the schema."""
    tables = METADATA.tables.values()
    indexes = (index.name for table in tables for index in table.indexes)
    return {*views(), *METADATA.tables, *(str(name) for name in indexes)}


def _present(connection: Connection) -> set[str]:
    return set(connection.exec_driver_sql("SELECT name FROM sqlite_schema").scalars())
