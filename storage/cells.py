"""What the collector hands over, as matrices of the values that SQLite stores.

A matrix has a row for each row to write and a column for each name of ``*_COLUMNS``. It is of
``i8``, or of objects where some value is NULL or text.
"""

import socket
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from ipaddress import IPv6Address
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bpf.catalogue import in_group, stored_in
from bpf.record import Flag, known_bit, new_bit
from bpf.variable import REFERRED, Group, Table, Variable
from storage import u64
from storage.closing import close_reasons

Array = npt.NDArray[Any]

_NO_UID = 0xFFFFFFFF  # what the kernel calls an invalid uid

#: Columns of ``connection`` in the order of ``connection_cells``; the first one is its key.
CONNECTION_COLUMNS: Final = (
    "ConnectIndex",
    "run_id",
    "AddressType",
    "LocalAddress",
    "LocalPort",
    "RemAddress",
    "RemPort",
    "opened_us",
    "closed_us",
    "close_reason",
    "origin",
    "pid",
    "pid_start_ns",
    "comm",
    "uid",
    "cgroup_id",
    "netns",
    "cookie",
    "lost",
)


#: Columns of ``endpoint`` in the order of ``endpoint_cells``; the first one is its key.
ENDPOINT_COLUMNS: Final = (
    "ListenerIndex",
    "run_id",
    "LocalAddressType",
    "LocalAddress",
    "LocalPort",
    "opened_us",
    "closed_us",
    "origin",
    "pid",
    "pid_start_ns",
    "comm",
    "uid",
    "cgroup_id",
    "netns",
    "cookie",
)


@cache
def group_columns(group: Group, tables: tuple[Table, ...]) -> tuple[str, ...]:
    """Columns of a group in the order of ``group_cells``: what these tables have in it."""
    names = (v.name for v in in_group(group) if v.table in tables)
    if group in REFERRED:
        return (f"{group.value}_id", "ConnectIndex", *names)
    return ("snapshot_id", "ConnectIndex", *(f"{g.value}_id" for g in REFERRED), *names)


def group_cells(group: Group, samples: Array, snapshot_id: int) -> Array:
    """Samples of dtype ``record.sample_dtype``: all, or those whose row of the group is new.

    A value whose known-bit is not set is NULL.
    """
    if group in REFERRED:
        samples = samples[samples["new"] & new_bit(group) != 0]
        first = [samples[group.value], samples["connect_index"]]
    else:
        referred = [samples[g.value] for g in REFERRED]
        first = [np.full(len(samples), snapshot_id), samples["connect_index"], *referred]
    blocks = samples["blocks"]
    variables = [v for v in in_group(group) if v.table.value in (blocks.dtype.names or ())]
    values = [blocks[v.table.value][v.column] for v in variables]
    known = [blocks[v.table.value]["known"] & _known_bit(v) for v in variables]
    return _integers(first, values, known)


def listener_columns() -> tuple[str, ...]:
    """Columns of the table of listeners in the order of ``listener_cells``."""
    return ("snapshot_id", "ListenerIndex", *(v.name for v in stored_in(Table.LISTENER)))


def listener_cells(rows: Array, snapshot_id: int) -> Array:
    """Rows of dtype ``record.LISTENER_ROW``; a value whose known-bit is not set is NULL."""
    variables, block = stored_in(Table.LISTENER), rows["block"]
    first = [np.full(len(rows), snapshot_id), rows["listener_index"]]
    values = [block[v.column] for v in variables]
    return _integers(first, values, [block["known"] & _known_bit(v) for v in variables])


def _integers(first: Sequence[Array], values: Sequence[Array], known: Sequence[Array]) -> Array:
    """A matrix of integer columns, the ones after the ``first`` with NULL where not known."""
    columns = [*first, *values]
    cells = np.empty((len(columns[0]), len(columns)), np.int64)
    for place, column in enumerate(columns):
        cells[:, place] = u64.encode(column) if column.dtype == "u8" else column
    if all(map(np.all, known)):
        return cells
    nullable = cells.astype(object)
    for place, is_known in enumerate(known, start=len(first)):
        nullable[is_known == 0, place] = None
    return nullable


@cache
def _known_bit(v: Variable) -> np.uint64:
    return np.uint64(1 << known_bit(v.table, v.column))


def connection_cells(connections: Array, run_id: int) -> Array:
    """Rows of dtype ``record.CONNECTION``."""
    identity, flags = connections["identity"], connections["flags"]
    closed = connections["closed_us"] != 0
    ipv4 = flags & Flag.IPV4 != 0
    columns: dict[str, Array | int] = {
        "ConnectIndex": u64.encode(connections["connect_index"]),
        "run_id": run_id,
        "AddressType": np.where(ipv4, 1, 2),
        "LocalAddress": _addresses(identity["local_address"], ipv4),
        "LocalPort": identity["local_port"],
        "RemAddress": _addresses(identity["rem_address"], ipv4),
        "RemPort": identity["rem_port"],
        "close_reason": _reasons(connections, closed),
        "origin": _origins(flags),
        "lost": connections["lost"],
        **_owned(connections),
    }
    return _matrix(columns, CONNECTION_COLUMNS, len(connections))


def endpoint_cells(endpoints: Array, run_id: int) -> Array:
    """Rows of dtype ``record.ENDPOINT``."""
    identity, kind = endpoints["identity"], endpoints["address_type"]
    addresses = _addresses(identity["local_address"], kind == 1)
    addresses[kind == 0] = ""
    columns: dict[str, Array | int] = {
        "ListenerIndex": u64.encode(endpoints["listener_index"]),
        "run_id": run_id,
        "LocalAddressType": kind,
        "LocalAddress": addresses,
        "LocalPort": identity["local_port"],
        "origin": _origins(endpoints["flags"], "listen"),
        **_owned(endpoints),
    }
    return _matrix(columns, ENDPOINT_COLUMNS, len(endpoints))


def _owned(sockets: Array) -> dict[str, Array | int]:
    """What connections and listeners have alike: their times, and whose they are."""
    identity, closed_us = sockets["identity"], sockets["closed_us"]
    owned = sockets["flags"] & Flag.OWNER != 0
    return {
        "opened_us": u64.encode(sockets["opened_us"]),
        "closed_us": _or_null(u64.encode(closed_us), closed_us != 0),
        "pid": _or_null(identity["pid"], owned),
        "pid_start_ns": _or_null(u64.encode(identity["pid_start_ns"]), owned),
        "comm": _or_null(_names(identity["comm"]), owned),
        "uid": _or_null(identity["uid"], identity["uid"] != _NO_UID),
        "cgroup_id": _or_null(u64.encode(identity["cgroup"]), identity["cgroup"] != 0),
        "netns": _or_null(identity["netns"], identity["netns"] != 0),
        "cookie": u64.encode(identity["cookie"]),
    }


def _matrix(columns: Mapping[str, Array | int], names: Sequence[str], rows: int) -> Array:
    cells = np.empty((rows, len(names)), object)
    for place, name in enumerate(names):
        cells[:, place] = columns[name]
    return cells


def _or_null(values: Array, known: npt.NDArray[np.bool_]) -> Array:
    nullable = values.astype(object)
    nullable[~known] = None
    return nullable


def _reasons(connections: Array, closed: npt.NDArray[np.bool_]) -> Array:
    reasons = np.full(len(connections), None, dtype=object)
    reasons[closed] = close_reasons(connections[closed])
    return reasons


def _origins(flags: Array, otherwise: str = "backfill") -> Array:
    """How the socket came to be known; a connection not seen to begin is a backfill."""
    of_flag = (
        (Flag.POLLED, "polled"),
        (Flag.BACKFILL, "backfill"),
        (Flag.ACTIVE, "active"),
        (Flag.PASSIVE, "passive"),
    )
    return np.select([flags & f != 0 for f, _ in of_flag], [o for _, o in of_flag], otherwise)


def _addresses(octets: Array, ipv4: npt.NDArray[np.bool_]) -> Array:
    """16 octets each, in network order, as text."""
    together = octets.tobytes()  # a slice of it is ten times cheaper than a row of the array
    starts = range(0, len(together), 16)
    pairs = zip(starts, ipv4.tolist(), strict=True)
    texts = [_address(together[at : at + 16], is_ipv4) for at, is_ipv4 in pairs]
    return np.array(texts, dtype=object)


@lru_cache(maxsize=65536)
def _address(octets: bytes, is_ipv4: bool) -> str:
    """Dotted quad, or RFC 5952."""
    if is_ipv4:
        return socket.inet_ntop(socket.AF_INET, octets[-4:])
    return IPv6Address(octets).compressed


def _names(comms: Array) -> Array:
    return np.array([_name(comm) for comm in comms.tolist()], dtype=object)


@lru_cache(maxsize=4096)
def _name(comm: bytes) -> str:
    """A process's name as text that no terminal obeys: it chose those octets itself."""
    text = comm.partition(b"\0")[0].decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
