"""SQLAlchemy Core tables, made from the catalogue, plus ``run``, ``snapshot`` and a view.

Columns that RFC 4898 or Web10G name are spelled as they spell them; ours are snake_case. A row of
a sampled table stands from its snapshot until the connection's next row in the same table: only
changed rows are written. Times end in ``_us`` (UTC microseconds since 1970) or ``_ns``. Unsigned
64-bit values are stored as the signed integer of the same bits (see ``storage.u64``).
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Computed,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Text,
)
from sqlalchemy import (
    Table as SqlTable,
)

from bpf.catalogue import in_table
from bpf.meters import LATER_METERS, METERS
from bpf.variable import SAMPLED, Status, Table, Variable

METADATA = MetaData()

_INTEGER = BigInteger().with_variant(Integer, "sqlite")

RUN = SqlTable(
    "run",
    METADATA,
    Column("run_id", Integer, primary_key=True),
    Column("started_us", _INTEGER, nullable=False),
    Column("ended_us", _INTEGER, comment="NULL while it runs, or after it was killed"),
    Column("end_reason", Text),
    Column("host", Text, nullable=False),
    Column("kernel", Text, nullable=False),
    Column("boot_id", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("source", Text, nullable=False, comment="bpf, diag or replay"),
    Column("interval_us", _INTEGER, nullable=False),
    Column("flush_us", _INTEGER, nullable=False),
    Column("shards", Integer, nullable=False),
    Column("tables", Text, nullable=False, comment="comma-separated"),
    Column("filters", Text, nullable=False, comment="JSON object"),
    Column("unavailable", Text, nullable=False, comment="JSON object: variable to reason"),
)

SNAPSHOT = SqlTable(
    "snapshot",
    METADATA,
    Column("snapshot_id", Integer, primary_key=True),
    Column("run_id", Integer, ForeignKey("run.run_id"), nullable=False),
    Column("taken_us", _INTEGER, nullable=False, index=True),
    Column("interval_us", _INTEGER, nullable=False),
    *(
        Column(name, _INTEGER, nullable=name in LATER_METERS, comment=text)
        for name, text in METERS.items()
    ),
)


def _socket(pid: str) -> tuple[Column[Any], ...]:
    """Which socket a row is about and whose it is; ``pid`` says who the process is."""
    return (
        Column("pid", Integer, comment=pid),
        Column("pid_start_ns", _INTEGER),
        Column("comm", Text),
        Column("uid", Integer),
        Column("cgroup_id", _INTEGER),
        Column("netns", _INTEGER, comment="inode of the network namespace"),
        Column("cookie", _INTEGER, nullable=False, comment="the kernel's socket cookie"),
    )


CONNECTION = SqlTable(
    "connection",
    METADATA,
    Column("ConnectIndex", _INTEGER, primary_key=True),
    Column("run_id", Integer, ForeignKey("run.run_id"), nullable=False),
    Column("AddressType", Integer, nullable=False, comment="1=ipv4 2=ipv6, on the wire"),
    Column("LocalAddress", Text, nullable=False),
    Column("LocalPort", Integer, nullable=False),
    Column("RemAddress", Text, nullable=False),
    Column("RemPort", Integer, nullable=False),
    Column("opened_us", _INTEGER, nullable=False, comment="when the row was made"),
    Column("closed_us", _INTEGER, comment="NULL: not seen to close"),
    Column("close_reason", Text, comment="closed, aborted, refused …: see storage.closing"),
    Column("origin", Text, nullable=False, comment="active, passive, backfill or polled"),
    *_socket("NULL: never seen in process context"),
    Column("lost", Integer, nullable=False, comment="batches of this connection that were lost"),
    Index("ix_connection_local_port", "LocalPort"),
    Index("ix_connection_rem_port", "RemPort"),
    Index("ix_connection_closed_us", "closed_us"),
)

ENDPOINT = SqlTable(
    "endpoint",
    METADATA,
    Column("ListenerIndex", _INTEGER, primary_key=True),
    Column("run_id", Integer, ForeignKey("run.run_id"), nullable=False),
    Column("LocalAddressType", Integer, nullable=False, comment="0=both 1=ipv4 2=ipv6"),
    Column("LocalAddress", Text, nullable=False, comment="empty: any, of both kinds"),
    Column("LocalPort", Integer, nullable=False),
    Column("opened_us", _INTEGER, nullable=False, comment="when the row was made"),
    Column("closed_us", _INTEGER, comment="NULL: not seen to close"),
    Column("origin", Text, nullable=False, comment="listen, backfill or polled"),
    *_socket("who called listen(); NULL: not seen"),
    Index("ix_endpoint_local_port", "LocalPort"),
)


def column(v: Variable) -> Column[int]:
    """The SQL column of one variable: stored, or computed when read."""
    if v.status is Status.DERIVED:
        assert v.derived is not None, "a derived variable has its expression"
        return Column(v.name, _INTEGER, Computed(v.derived, persisted=False), comment=v.summary)
    return Column(v.name, _INTEGER, comment=v.summary)


def _define(table: Table, row: str) -> SqlTable:
    """A sampled table: by time through snapshot_id, by connection through the unique index.

    Rows are appended in time order (a rowid table): clustering them by connection would write to
    random leaves and costs half of the insert rate.
    """
    return SqlTable(
        table.value,
        METADATA,
        Column("snapshot_id", Integer, nullable=False),
        Column(row, _INTEGER, nullable=False),
        *(column(v) for v in in_table(table)),
        Index(f"ux_{table.value}", row, "snapshot_id", unique=True),
        Index(f"ix_{table.value}_snapshot_id", "snapshot_id"),
    )


TABLES = {table: _define(table, "ConnectIndex") for table in SAMPLED}
LISTENER = _define(Table.LISTENER, "ListenerIndex")
HOST = {
    table: SqlTable(
        table.value,
        METADATA,
        Column("snapshot_id", Integer, primary_key=True),
        *(column(v) for v in in_table(table)),
    )
    for table in (Table.SCALAR, Table.CONTROL)
}


def latest_view() -> str:
    """``latest``: every connection with its newest row of every sampled table.

    Each table is joined by rowid, so SQLite leaves out the tables a query takes no column from.
    """
    columns = [f"c.{c.name}" for c in CONNECTION.columns]
    joins: list[str] = []
    for table in SAMPLED:
        columns += [f"{table.value}.{v.name}" for v in in_table(table)]
        joins.append(_newest(table.value, "c", "ConnectIndex"))
    return "\n".join(
        ["CREATE VIEW latest AS SELECT", ",\n".join(columns), "FROM connection AS c", *joins]
    )


def latest_listener_view() -> str:
    """``latest_listener``: every listening endpoint with its newest row of ``listener``."""
    columns = [f"e.{c.name}" for c in ENDPOINT.columns]
    columns += [f"listener.{v.name}" for v in in_table(Table.LISTENER)]
    join = _newest("listener", "e", "ListenerIndex")
    return "\n".join(
        ["CREATE VIEW latest_listener AS SELECT", ",\n".join(columns), "FROM endpoint AS e", join]
    )


def _newest(table: str, owner: str, key: str) -> str:
    return (
        f"LEFT JOIN {table} ON {table}.rowid = (SELECT rowid FROM {table} AS n"  # noqa: S608
        f" WHERE n.{key} = {owner}.{key} ORDER BY n.snapshot_id DESC LIMIT 1)"
    )
