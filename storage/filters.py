"""Which connections a question is about, as SQL conditions."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address

from sqlalchemy import ColumnElement, Connection, Select, Text, and_, false, func, or_, select
from sqlalchemy import Table as SqlTable

from bpf.filters import Network
from storage.cells import spelled
from storage.question import Ends, Filter, Period
from storage.schema import CONNECTION, ENDPOINT, EVENT, SAMPLE


def define_net_test(connection: Connection, nets: tuple[Network, ...]) -> None:
    """Give SQLite, which has no type for addresses, the ``in_nets`` that ``conditions`` uses."""

    @lru_cache(maxsize=65_536)
    def in_nets(text: str) -> bool:
        address = ip_address(text or "::")  # a listener at any address of either kind
        return any(address in net for net in nets)

    driver = connection.connection.driver_connection
    assert driver is not None, "an open connection has a driver's"
    driver.create_function("in_nets", 1, in_nets, deterministic=True)


def conditions(wanted: Filter, period: Period) -> list[ColumnElement[bool]]:
    """The WHERE clause: every condition must hold. It names ``connection`` and no other table."""
    c = CONNECTION.c
    found = _local_end(CONNECTION, wanted, period)
    if wanted.indexes or wanted.ends:
        named = [c.ConnectIndex.in_(wanted.indexes)] if wanted.indexes else []
        found.append(or_(*named, *map(_has_ends, wanted.ends)))
    if wanted.rem_ports:
        found.append(_port_in(c.RemPort, wanted.rem_ports))
    if wanted.rem_addresses:
        found.append(c.RemAddress.in_(wanted.rem_addresses))
    if wanted.nets:
        found.append(func.in_nets(c.LocalAddress) | func.in_nets(c.RemAddress))
    if wanted.states:
        found.append(_state(period).scalar_subquery().in_(wanted.states))
    return found + [_has_text(text, wanted, period) for text in wanted.texts]


def _has_text(text: str, wanted: Filter, period: Period) -> ColumnElement[bool]:
    """That it is in the ends as people write them, in the process, or in a word for the state."""
    c = CONNECTION.c
    ends = ((c.LocalAddress, c.LocalPort), (c.RemAddress, c.RemPort))
    # Brackets as around an IPv6 address, so that what is seen of an end can be typed.
    written = [
        func.iif(func.instr(address, ":") > 0, "[" + address + "]", address) + ":" + port.cast(Text)
        for address, port in ends
    ]
    process = c.comm + "[" + c.pid.cast(Text) + "]"
    found = [func.instr(func.lower(each), text.lower()) > 0 for each in (*written, process)]
    states = [number for number, word in wanted.state_words if text.lower() in word.lower()]
    if states:
        found.append(_state(period).scalar_subquery().in_(states))
    return or_(*found)


def _has_ends(ends: Ends) -> ColumnElement[bool]:
    c = CONNECTION.c
    names = (c.LocalAddress, c.LocalPort, c.RemAddress, c.RemPort)
    return and_(*(column == value for column, value in zip(names, ends, strict=True)))


def endpoint_conditions(wanted: Filter, period: Period) -> list[ColumnElement[bool]]:
    """The same for listeners: ``endpoint`` alone, which has no other end and no state."""
    found = _local_end(ENDPOINT, wanted, period)
    if wanted.nets:
        found.append(func.in_nets(ENDPOINT.c.LocalAddress))
    return found


def _local_end(sockets: SqlTable, wanted: Filter, period: Period) -> list[ColumnElement[bool]]:
    """What connections and listeners have alike: this end, its owner and its life."""
    c = sockets.c
    found = _lived(sockets, period)
    if wanted.local_ports:
        found.append(_port_in(c.LocalPort, wanted.local_ports))
    if wanted.local_addresses:
        found.append(c.LocalAddress.in_(wanted.local_addresses))
    if wanted.pids:
        found.append(c.pid.in_(wanted.pids))
    if wanted.comms:
        found.append(or_(*(c.comm.op("GLOB")(glob) for glob in map(_glob, wanted.comms))))
    if wanted.is_open is not None:
        is_it = _still_open if wanted.is_open else _has_closed
        found.append(is_it(sockets, period))
    return found


def _lived(sockets: SqlTable, period: Period) -> list[ColumnElement[bool]]:
    """Sockets that were there, and looked at, at some time of the period."""
    if period.since_us is None and period.until_us is None:
        return []
    closed = sockets.c.closed_us
    found: list[ColumnElement[bool]] = [sockets.c.run_id.in_(list(period.runs))]
    if period.until_us is not None:
        found.append(sockets.c.opened_us <= period.until_us)
    if period.since_us is not None:
        found.append(or_(closed.is_(None), closed >= period.since_us))
    return found


def _still_open(sockets: SqlTable, period: Period) -> ColumnElement[bool]:
    """Not seen to close, by the run that was looking; what an earlier run left is unknown."""
    closed = sockets.c.closed_us
    is_unseen: ColumnElement[bool] = closed.is_(None)
    if period.until_us is not None:
        is_unseen = or_(is_unseen, closed > period.until_us)
    return and_(sockets.c.run_id == period.last_run, is_unseen)


def _has_closed(sockets: SqlTable, period: Period) -> ColumnElement[bool]:
    closed = sockets.c.closed_us
    return closed.is_not(None) if period.until_us is None else closed <= period.until_us


def _state(period: Period) -> Select[tuple[int]]:
    """The newest State. A subquery, not a join: a join could be begun at the large table."""
    row, event = SAMPLE.alias("state_row"), EVENT.alias("state_event")
    return (
        select(event.c.State)
        .join_from(row, event, row.c.event_id == event.c.event_id)
        .where(row.c.ConnectIndex == CONNECTION.c.ConnectIndex, row.c.snapshot_id <= period.last)
        .order_by(row.c.snapshot_id.desc())
        .limit(1)
        .correlate(CONNECTION)
    )


def _port_in(port: ColumnElement[int], ranges: Iterable[range]) -> ColumnElement[bool]:
    singles = [r.start for r in ranges if len(r) == 1]
    spans = [port.between(r.start, r.stop - 1) for r in ranges if len(r) > 1]
    return or_(port.in_(singles) if singles else false(), *spans)


def _glob(pattern: str) -> str:
    """Keep * and ? as wildcards; a bracket in a process name is a bracket.

    Names are stored with escapes where they are not to be printed, so they are asked for likewise.
    """
    return spelled(pattern.encode("utf-8", "surrogateescape")).replace("[", "[[]")
