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

from bpf.catalogue import stored_in
from bpf.record import Flag, key_of
from bpf.variable import Table
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
def sampled_columns(table: Table) -> tuple[str, ...]:
    """Columns of a table with a history in the order of ``sampled_cells``: what is collected."""
    key = "ListenerIndex" if table is Table.LISTENER else "ConnectIndex"
    return ("snapshot_id", key, *(v.name for v in stored_in(table)))


def sampled_cells(table: Table, rows: Array, snapshot_id: int) -> Array:
    """Rows of dtype ``record.row_dtype(table)``; a value whose known-bit is not set is NULL."""
    variables = stored_in(table)
    block = rows["block"]
    cells = np.empty((len(rows), 2 + len(variables)), np.int64)
    cells[:, 0] = snapshot_id
    cells[:, 1] = u64.encode(rows[key_of(table)])
    for place, variable in enumerate(variables, start=2):
        values = block[variable.column]
        cells[:, place] = u64.encode(values) if variable.dtype == "u8" else values
    every = np.uint64((1 << len(variables)) - 1)
    if np.all(block["known"] & every == every):
        return cells
    bits = np.array([1 << place for place in range(len(variables))], np.uint64)
    unknown = block["known"][:, np.newaxis] & bits == 0
    nullable = cells.astype(object)
    nullable[:, 2:][unknown] = None
    return nullable


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
