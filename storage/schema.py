"""SQLAlchemy Core tables, made from the catalogue, plus ``run``, ``snapshot`` and the views.

Columns that RFC 4898 or Web10G name are spelled as they spell them; ours are snake_case. A sample
stands from its snapshot until the connection's next one: it is written when anything changed. Of
that only what moves with traffic lies in ``sample`` itself; what changes more rarely lies in rows
of ``event`` and ``setup`` that many samples refer to. The RFC's tables (``perf``, ``path`` …) are
views over the three. Times end in ``_us`` (UTC microseconds since 1970) or ``_ns``. Unsigned
64-bit values are stored as the signed integer of the same bits (see ``storage.u64``).
"""

import re
from collections.abc import Iterable, Mapping
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

from bpf.catalogue import BY_NAME, in_group, in_table
from bpf.meters import LATER_METERS, METERS
from bpf.variable import REFERRED, SAMPLED, Group, Status, Table, Variable

METADATA = MetaData()

_WORD = re.compile(r"\w+")
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

#: How far the history was thinned: up to a snapshot, in each step just every connection's newest
#: sample is kept. Step 0 is all of it: what was forgotten, but for what stood then.
THINNED = SqlTable(
    "thinned",
    METADATA,
    Column("step_us", _INTEGER, primary_key=True),
    Column("snapshot_id", Integer, nullable=False),
    Column("taken_us", _INTEGER, nullable=False),
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

#: What `estats tune` set, a row for each value: what it was, was to be, and is. Values are text, as
#: the command writes them: a number, or a word.
TUNING = SqlTable(
    "tuning",
    METADATA,
    Column("tuning_id", Integer, primary_key=True),
    Column("ConnectIndex", _INTEGER, nullable=False),
    Column("tuned_us", _INTEGER, nullable=False),
    Column("uid", Integer, nullable=False, comment="who logged in, or else whose process it was"),
    Column("variable", Text, nullable=False),
    Column("before", Text, nullable=False),
    Column("wanted", Text, comment="NULL: it came along with another"),
    Column("accepted", Text, comment="what the kernel made of it; NULL: not set, or not known"),
    Column("refused", Text, comment="why it was not set"),
    Column("reverted_us", _INTEGER),
    Column("reverted", Text, comment="what the kernel made of that; NULL: it cannot be restored"),
    Index("ix_tuning_connectindex", "ConnectIndex"),
)


def column(v: Variable) -> Column[int]:
    """The SQL column of one variable: stored, or computed when read."""
    if v.status is Status.DERIVED:
        assert v.derived is not None, "a derived variable has its expression"
        return Column(v.name, _INTEGER, Computed(v.derived, persisted=False), comment=v.summary)
    return Column(v.name, _INTEGER, comment=v.summary)


def _referred(group: Group) -> SqlTable:
    """What changes more rarely than with every sample: a row stands until the next one."""
    return SqlTable(
        group.value,
        METADATA,
        Column(f"{group.value}_id", _INTEGER, primary_key=True),
        Column("ConnectIndex", _INTEGER, nullable=False),
        *(column(v) for v in in_group(group)),
    )


#: The history of connections: by time through snapshot_id, by connection through the unique index.
#: Rows are appended in time order (a rowid table): clustering them by connection would write to
#: random leaves and costs half of the insert rate.
SAMPLE = SqlTable(
    Group.SAMPLE.value,
    METADATA,
    Column("snapshot_id", Integer, nullable=False),
    Column("ConnectIndex", _INTEGER, nullable=False),
    *(
        Column(f"{g.value}_id", _INTEGER, nullable=False, comment=f"the row of {g.value}")
        for g in REFERRED
    ),
    *(column(v) for v in in_group(Group.SAMPLE)),
    Index("ux_sample", "ConnectIndex", "snapshot_id", unique=True),
    Index("ix_sample_snapshot_id", "snapshot_id"),
)
EVENT, SETUP = map(_referred, REFERRED)
GROUPS = {Group.SAMPLE: SAMPLE, Group.EVENT: EVENT, Group.SETUP: SETUP}

LISTENER = SqlTable(
    Table.LISTENER.value,
    METADATA,
    Column("snapshot_id", Integer, nullable=False),
    Column("ListenerIndex", _INTEGER, nullable=False),
    *(column(v) for v in in_table(Table.LISTENER)),
    Index("ux_listener", "ListenerIndex", "snapshot_id", unique=True),
    Index("ix_listener_snapshot_id", "snapshot_id"),
)
HOST = {
    table: SqlTable(
        table.value,
        METADATA,
        Column("snapshot_id", Integer, primary_key=True),
        *(column(v) for v in in_table(table)),
    )
    for table in (Table.SCALAR, Table.CONTROL)
}


def groups_of(v: Variable) -> set[Group]:
    """The groups in which that lies which a variable of ``SAMPLED`` is made of."""
    if v.derived is not None:
        return {BY_NAME[name.lower()].group for name in _named(v.derived)}
    return {v.group} if v.status is Status.COLLECTED else set()


def expression(v: Variable, rows: Mapping[Group, str]) -> str:
    """SQL for a variable of ``SAMPLED``; ``rows`` are the names of its groups' rows in a query."""

    def place(name: re.Match[str]) -> str:
        found = BY_NAME.get(name[0].lower())
        return name[0] if found is None else f"{rows[found.group]}.{found.name}"

    if v.derived is not None:
        return _WORD.sub(place, v.derived)
    return f"{rows[v.group]}.{v.name}" if v.status is Status.COLLECTED else "NULL"


def _named(derived: str) -> list[str]:
    return [word for word in _WORD.findall(derived) if word.lower() in BY_NAME]


def views() -> dict[str, str]:
    """The statements that make the views, by name: a query names tables as the RFC does."""
    tables = {table.value: in_table(table) for table in SAMPLED}
    every = tuple(v for variables in tables.values() for v in variables)
    return {
        **{name: _view(name, variables) for name, variables in tables.items()},
        "history": _view("history", every),
        "latest": _latest_view(every),
        "latest_listener": _latest_listener_view(),
    }


def _view(name: str, variables: Iterable[Variable]) -> str:
    """Some variables in each sample. SQLite leaves out a left join that gives no column asked."""
    columns = ["sample.snapshot_id", "sample.ConnectIndex", *_columns(variables)]
    return _lines(f"CREATE VIEW {name} AS SELECT", columns, "FROM sample", *_JOINS)


def _latest_view(variables: Iterable[Variable]) -> str:
    """``latest``: every connection with its newest sample."""
    columns = [f"c.{c.name}" for c in CONNECTION.columns] + _columns(variables)
    newest = _newest("sample", "c", "ConnectIndex")
    return _lines("CREATE VIEW latest AS SELECT", columns, "FROM connection AS c", newest, *_JOINS)


def _latest_listener_view() -> str:
    """``latest_listener``: every listening endpoint with its newest row of ``listener``."""
    columns = [f"e.{c.name}" for c in ENDPOINT.columns]
    columns += [f"listener.{v.name}" for v in in_table(Table.LISTENER)]
    newest = _newest("listener", "e", "ListenerIndex")
    return _lines("CREATE VIEW latest_listener AS SELECT", columns, "FROM endpoint AS e", newest)


_JOINS = [f"LEFT JOIN {g.value} ON {g.value}.{g.value}_id = sample.{g.value}_id" for g in REFERRED]


def _columns(variables: Iterable[Variable]) -> list[str]:
    rows = {group: group.value for group in Group}
    return [f"{expression(v, rows)} AS {v.name}" for v in variables]


def _lines(begin: str, columns: Iterable[str], *source: str) -> str:
    return "\n".join([begin, ",\n".join(columns), *source])


def _newest(table: str, owner: str, key: str) -> str:
    return (
        f"LEFT JOIN {table} ON {table}.rowid = (SELECT rowid FROM {table} AS n"  # noqa: S608
        f" WHERE n.{key} = {owner}.{key} ORDER BY n.snapshot_id DESC LIMIT 1)"
    )
