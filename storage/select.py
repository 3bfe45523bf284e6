"""The SELECT statements behind the reader: values as of a snapshot, and one connection's samples.

``sample`` is large and is only ever entered by (ConnectIndex, snapshot_id). A condition on one of
its columns would let SQLite begin a join there, so it is joined outwards only.
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
    literal_column,
    select,
)

from bpf.variable import REFERRED, Group, Kind, Table, Variable
from storage.filters import conditions, endpoint_conditions
from storage.question import Period, Question
from storage.schema import (
    CONNECTION,
    ENDPOINT,
    GROUPS,
    LISTENER,
    SAMPLE,
    SNAPSHOT,
    expression,
    groups_of,
)

#: The collector did not see these begin: what they had counted before is not growth.
NOT_FROM_BIRTH: Final = ("backfill", "polled")

_INDEX = CONNECTION.c.ConnectIndex
_NOT_IN_ANSWERS = ("AddressType", "pid_start_ns")


class _Rows:
    """A sample in a statement, and the rows that it refers to: ``now``, ``now_event`` ...."""

    def __init__(self, name: str, variables: Iterable[Variable]) -> None:
        """What these variables are made of, under this name."""
        self._names = {g: name if g is Group.SAMPLE else f"{name}_{g.value}" for g in Group}
        self._needed = set[Group]().union(*map(groups_of, variables))
        self.sample: FromClause = SAMPLE.alias(name)

    def value(self, v: Variable) -> ColumnElement[Any]:
        """One of the variables."""
        return literal_column(expression(v, self._names), type_=SAMPLE.c.ConnectIndex.type)

    def refer(self, source: FromClause) -> FromClause:
        """Add the rows that the sample in ``source`` refers to and a variable lies in."""
        for group in REFERRED:
            if group in self._needed:
                key = f"{group.value}_id"
                row = GROUPS[group].alias(self._names[group])
                source = source.outerjoin(row, row.c[key] == self.sample.c[key])
        return source

    def join(self, source: FromClause, snapshot: ColumnElement[Any]) -> FromClause:
        """Add the connection's sample of that snapshot and what it refers to, or NULLs."""
        row = self.sample
        is_it = and_(row.c.ConnectIndex == _INDEX, row.c.snapshot_id == snapshot)
        return self.refer(source.outerjoin(row, is_it))


def is_sampled(v: Variable) -> bool:
    """Whether a variable lies in samples, and not in the row of its connection."""
    return v.table is not Table.CONNECTION


def identity(variables: Sequence[Variable]) -> list[ColumnElement[Any]]:
    """The columns of ``connection`` that an answer with these variables is made of."""
    asked = {v.name for v in variables if v.table is Table.CONNECTION}
    return [c for c in CONNECTION.columns if c.name in asked or c.name not in _NOT_IN_ANSWERS]


def connections(variables: Sequence[Variable], question: Question) -> Select[Any]:
    """The connections alone: the columns of ``identity``."""
    return _ordered(select(*identity(variables)), CONNECTION, question)


def latest(variables: Sequence[Variable], question: Question, *, growth: bool) -> Select[Any]:
    """Each connection with its values as of the period's end.

    The columns of ``identity``; ``now_<id>`` for each sampled variable; ``taken``, the time of
    the snapshot they are from. With ``growth`` also ``base_<id>``, the values when the period
    began, and ``had``, the snapshot they are from.
    """
    sampled = [v for v in variables if is_sampled(v)]
    picked = identity(variables)
    source: FromClause = CONNECTION
    if sampled:
        now = _Rows("now", sampled)
        source = now.join(source, _newest(question.period.last))
        picked.append(_taken(now.sample).label("taken"))
        picked += [now.value(v).label(f"now_{v.id}") for v in sampled]
    if sampled and growth:
        base = _Rows("base", sampled)
        source = base.join(source, _base(question.period))
        picked.append(base.sample.c.snapshot_id.label("had"))
        picked += [base.value(v).label(f"base_{v.id}") for v in sampled]
    return _ordered(select(*picked), source, question)


def count(question: Question) -> Select[int]:
    """How many connections match, whatever the limit."""
    return (
        select(func.count())
        .select_from(CONNECTION)
        .where(*conditions(question.wanted, question.period))
    )


def series(variables: Sequence[Variable], period: Period) -> Select[Any]:
    """One connection's samples in the period, by time; parameter ``connect_index``.

    The one that stood when the period began comes first. Columns: snapshot_id, taken_us, and the
    variables in their order.
    """
    rows = _Rows("now", variables)
    now, earlier = rows.sample, SAMPLE.alias("earlier")
    index = bindparam("connect_index", type_=SAMPLE.c.ConnectIndex.type)
    standing = select(func.max(earlier.c.snapshot_id)).where(
        earlier.c.ConnectIndex == index, earlier.c.snapshot_id < period.first
    )
    return (
        select(now.c.snapshot_id, _taken(now).label("taken_us"), *map(rows.value, variables))
        .select_from(rows.refer(now))
        .where(
            now.c.ConnectIndex == index,
            now.c.snapshot_id >= func.coalesce(standing.scalar_subquery(), period.first),
            now.c.snapshot_id <= period.last,
        )
        .order_by(now.c.snapshot_id)
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
    elif question.order.grown and by.kind is Kind.COUNTER:
        source, key = _growth(source, by, question.period)
        keys = [key]
    else:
        row = _Rows("ordering", [by])
        source = row.join(source, _newest(question.period.last))
        key = row.value(by)
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


def _growth(
    source: FromClause, v: Variable, period: Period
) -> tuple[FromClause, ColumnElement[Any]]:
    """How far a counter came in the period; a 64-bit one wraps as SQLite's own integers do."""
    now, base = _Rows("ordering", [v]), _Rows("beginning", [v])
    source = base.join(now.join(source, _newest(period.last)), _base(period))
    from_birth = case((CONNECTION.c.origin.not_in(NOT_FROM_BIRTH), 0))
    had = base.sample.c.snapshot_id
    grown = now.value(v) - case((had.is_(None), from_birth), else_=base.value(v))
    return source, grown if v.bits == 64 else grown.op("&")(v.modulus - 1)


def _taken(row: FromClause) -> ScalarSelect[Any]:
    """When the snapshot of a row was taken."""
    is_its = SNAPSHOT.c.snapshot_id == row.c.snapshot_id
    return select(SNAPSHOT.c.taken_us).where(is_its).correlate(row).scalar_subquery()


def _newest(last: int) -> ScalarSelect[Any]:
    """The snapshot of the connection's newest sample up to the snapshot ``last``."""
    n = SAMPLE.alias("n")
    newest = select(func.max(n.c.snapshot_id)).where(
        n.c.ConnectIndex == _INDEX, n.c.snapshot_id <= last
    )
    return newest.correlate(CONNECTION).scalar_subquery()


def _base(period: Period) -> ColumnElement[Any]:
    """The snapshot of the sample that stood when the period began.

    A connection whose beginning was not seen has its first sample instead, unless that is of the
    last snapshot: at one moment nothing grows. One that was opened in the period has none: it grew
    from nothing.
    """
    n = SAMPLE.alias("n")
    first = select(func.min(n.c.snapshot_id)).where(
        n.c.ConnectIndex == _INDEX, n.c.snapshot_id < period.last
    )
    return func.coalesce(
        _newest(period.first - 1),
        case(
            (
                CONNECTION.c.origin.in_(NOT_FROM_BIRTH),
                first.correlate(CONNECTION).scalar_subquery(),
            )
        ),
    )
