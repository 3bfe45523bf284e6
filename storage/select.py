"""The SELECT statements behind the reader: rows as of a snapshot, and one connection's rows.

Sampled tables are large and are only ever entered by (ConnectIndex, snapshot_id). A condition on
one of their columns would let SQLite begin a join there, so they are joined outwards only.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    FromClause,
    ScalarSelect,
    Select,
    and_,
    bindparam,
    case,
    func,
    select,
)

from bpf.variable import SAMPLED, Table, Variable
from storage.filters import conditions, endpoint_conditions
from storage.question import Period, Question
from storage.schema import CONNECTION, ENDPOINT, LISTENER, SNAPSHOT, TABLES

#: The collector did not see these begin: what they had counted before is not growth.
NOT_FROM_BIRTH: Final = ("backfill", "polled")

_INDEX = CONNECTION.c.ConnectIndex
_NOT_IN_ANSWERS = ("AddressType", "pid_start_ns", "cgroup_id", "cookie")


def sampled_tables(variables: Iterable[Variable]) -> tuple[Table, ...]:
    """The sampled tables these variables lie in, in the catalogue's order."""
    asked = {v.table for v in variables}
    return tuple(t for t in SAMPLED if t in asked)


def identity(variables: Sequence[Variable]) -> list[ColumnElement[Any]]:
    """The columns of ``connection`` that an answer with these variables is made of."""
    asked = {v.name for v in variables if v.table is Table.CONNECTION}
    return [c for c in CONNECTION.columns if c.name in asked or c.name not in _NOT_IN_ANSWERS]


def connections(variables: Sequence[Variable], question: Question) -> Select[Any]:
    """The connections alone: the columns of ``identity``."""
    return _ordered(select(*identity(variables)), CONNECTION, question)


def latest(variables: Sequence[Variable], question: Question, *, growth: bool) -> Select[Any]:
    """Each connection with its values as of the period's end.

    The columns of ``identity``; ``now_<id>`` for each sampled variable; ``taken_<table>``, the
    time of the snapshot they are from. With ``growth`` also ``base_<id>``, the values when the
    period began, and ``had_<table>``, the snapshot they are from.
    """
    source: FromClause = CONNECTION
    picked = identity(variables)
    for table in sampled_tables(variables):
        here = [v for v in variables if v.table is table]
        now = TABLES[table].alias(f"now_{table.value}")
        source = _joined(source, now, _newest(table, question.period.last))
        picked.append(_taken(now).label(f"taken_{table.value}"))
        picked += [now.c[v.name].label(f"now_{v.id}") for v in here]
        if growth:
            base = TABLES[table].alias(f"base_{table.value}")
            source = _joined(source, base, _base(table, question.period))
            picked.append(base.c.snapshot_id.label(f"had_{table.value}"))
            picked += [base.c[v.name].label(f"base_{v.id}") for v in here]
    return _ordered(select(*picked), source, question)


def series(table: Table, variables: Sequence[Variable], period: Period) -> Select[Any]:
    """One connection's rows of one table in the period, by time; parameter ``connect_index``.

    The row that stood when the period began comes first. Columns: snapshot_id, taken_us, and the
    variables in their order.
    """
    t = TABLES[table]
    earlier = t.alias("earlier")
    index = bindparam("connect_index", type_=t.c.ConnectIndex.type)
    standing = select(func.max(earlier.c.snapshot_id)).where(
        earlier.c.ConnectIndex == index, earlier.c.snapshot_id < period.first
    )
    return (
        select(t.c.snapshot_id, _taken(t).label("taken_us"), *(t.c[v.name] for v in variables))
        .where(
            t.c.ConnectIndex == index,
            t.c.snapshot_id >= func.coalesce(standing.scalar_subquery(), period.first),
            t.c.snapshot_id <= period.last,
        )
        .order_by(t.c.snapshot_id)
    )


def listeners(variables: Sequence[Variable], question: Question, *, history: bool) -> Select[Any]:
    """Each listener with its newest row up to the period's end, or with each row in the period.

    The columns of ``endpoint``; ``now_<id>`` for each variable; ``taken``, the time of its row.
    Without ``history`` also listeners that have no row.
    """
    row = LISTENER
    is_its = row.c.ListenerIndex == ENDPOINT.c.ListenerIndex
    period = question.period
    if history:
        of_period = row.c.snapshot_id.between(period.first, period.last)
        source = ENDPOINT.join(row, and_(is_its, of_period))
    else:
        n = LISTENER.alias("n")
        newest = select(func.max(n.c.snapshot_id)).where(
            n.c.ListenerIndex == ENDPOINT.c.ListenerIndex, n.c.snapshot_id <= period.last
        )
        is_newest = row.c.snapshot_id == newest.correlate(ENDPOINT).scalar_subquery()
        source = ENDPOINT.outerjoin(row, and_(is_its, is_newest))
    values = [row.c[v.name].label(f"now_{v.id}") for v in variables]
    return (
        select(*ENDPOINT.columns, _taken(row).label("taken"), *values)
        .select_from(source)
        .where(*endpoint_conditions(question.wanted, period))
        .order_by(ENDPOINT.c.ListenerIndex, row.c.snapshot_id)
    )


def _ordered(statement: Select[Any], source: FromClause, question: Question) -> Select[Any]:
    by = question.order.by
    keys: list[ColumnElement[Any]]
    if isinstance(by, str):
        key: ColumnElement[Any] = CONNECTION.c[by]
        keys = [key]
    else:
        row = TABLES[by.table].alias("order_row")
        source = _joined(source, row, _newest(by.table, question.period.last))
        key = row.c[by.name]
        # The upper half of the unsigned 64-bit values is stored as negative numbers.
        keys = [key < 0, key] if by.bits == 64 else [key]
    order: list[ColumnElement[Any]] = [
        k.desc() if question.order.descending else k.asc() for k in keys
    ]
    if key is not _INDEX:  # in that order SQLite finds them, and need not look at all to sort them
        order = [key.is_(None), *order, _INDEX]
    return (
        statement.select_from(source)
        .where(*conditions(question.wanted, question.period))
        .order_by(*order)
        .limit(question.limit)
    )


def _joined(source: FromClause, row: FromClause, snapshot: ColumnElement[Any]) -> FromClause:
    """Add one row of a sampled table, or NULLs: the connection's row of that snapshot."""
    is_it = and_(row.c.ConnectIndex == _INDEX, row.c.snapshot_id == snapshot)
    return source.outerjoin(row, is_it)


def _taken(row: FromClause) -> ScalarSelect[Any]:
    """When the snapshot of a row was taken."""
    is_its = SNAPSHOT.c.snapshot_id == row.c.snapshot_id
    return select(SNAPSHOT.c.taken_us).where(is_its).correlate(row).scalar_subquery()


def _newest(table: Table, last: int) -> ScalarSelect[Any]:
    """The snapshot of the connection's newest row in ``table`` up to the snapshot ``last``."""
    n = TABLES[table].alias("n")
    newest = select(func.max(n.c.snapshot_id)).where(
        n.c.ConnectIndex == _INDEX, n.c.snapshot_id <= last
    )
    return newest.correlate(CONNECTION).scalar_subquery()


def _base(table: Table, period: Period) -> ColumnElement[Any]:
    """The snapshot of the row that stood when the period began.

    A connection whose beginning was not seen has its first row instead. One that was opened in
    the period has none: it grew from nothing.
    """
    n = TABLES[table].alias("n")
    first = select(func.min(n.c.snapshot_id)).where(
        n.c.ConnectIndex == _INDEX, n.c.snapshot_id <= period.last
    )
    return func.coalesce(
        _newest(table, period.first - 1),
        case(
            (
                CONNECTION.c.origin.in_(NOT_FROM_BIRTH),
                first.correlate(CONNECTION).scalar_subquery(),
            )
        ),
    )
