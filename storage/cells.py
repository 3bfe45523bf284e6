"""What the collector hands over, as matrices of the values that SQLite stores."""

import socket
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from ipaddress import IPv6Address
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from bpf.catalogue import in_group, stored_in
from bpf.record import Flag, known_bit, new_bit, raw
from bpf.variable import REFERRED, Group, Table, Variable
from storage import u64
from storage.closing import close_reasons

Array = npt.NDArray[Any]

_NO_UID = 0xFFFFFFFF  # what the kernel calls an invalid uid
_NEAR: Final = 256  # rows that the processor's cache has room for
_MANY: Final = 1000  # rows: for fewer of them, a statement of their own is not worth its making

#: A table's part of each row, in which of its fields they differ, and the variables wanted of it.
_Block = tuple[Array, Any, Sequence[Variable]]

#: The first one is the key.
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


#: The first one is the key.
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


class Rows(NamedTuple):
    """Rows for one table.

    ``cells`` has a row for each of them and a column for each of ``columns``. It is of ``i8``, or
    of objects where some value is NULL or text. ``same`` are further columns, with the SQL literal
    that all rows have in them: binding the zeros of connections that came and went would be half
    of the work.
    """

    columns: tuple[str, ...]
    cells: Array
    same: Mapping[str, str]


def group_rows(group: Group, samples: Array, snapshot_id: int) -> Rows:
    """Samples of dtype ``record.sample_dtype``: all, or those whose row of the group is new.

    A value whose known-bit is not set is NULL.
    """
    if group in REFERRED:
        is_new = samples["new"] & new_bit(group) != 0
        samples = samples if is_new.all() else raw(samples)[is_new].view(samples.dtype)
        keys = {f"{group.value}_id": samples[group.value]}
    else:
        keys = {"snapshot_id": np.full(len(samples), snapshot_id)}
        keys |= {f"{g.value}_id": samples[g.value] for g in REFERRED}
    keys["ConnectIndex"] = samples["connect_index"]
    blocks, differing = samples["blocks"], _differing(samples)["blocks"]
    tables = [t for t in Table if t.value in (blocks.dtype.names or ())]
    variables = {t: [v for v in in_group(group) if v.table is t] for t in tables}
    return _rows(keys, [(blocks[t.value], differing[t.value], variables[t]) for t in tables])


def listener_rows(rows: Array, snapshot_id: int) -> Rows:
    """Rows of dtype ``record.LISTENER_ROW``; a value whose known-bit is not set is NULL."""
    keys = {
        "snapshot_id": np.full(len(rows), snapshot_id),
        "ListenerIndex": rows["listener_index"],
    }
    block = (rows["block"], _differing(rows)["block"], stored_in(Table.LISTENER))
    return _rows(keys, [block])


def _rows(keys: Mapping[str, Array], blocks: Sequence[_Block]) -> Rows:
    """The keys, and the variables of all blocks."""
    columns, same = dict(keys), {}
    nullable: dict[str, Array] = {}
    (count,) = {len(key) for key in keys.values()}
    for block, differing, variables in blocks:
        known = block["known"]
        always, ever = np.bitwise_and.reduce(known), np.bitwise_or.reduce(known)
        for v in variables:
            bit = _known_bit(v)
            if count < _MANY or (ever & bit and (not always & bit or differing[v.column])):
                columns[v.name] = block[v.column]
                if not always & bit:
                    nullable[v.name] = known & bit == 0
            else:
                same[v.name] = str(_signed(block[v.column][:1])[0]) if ever & bit else "NULL"
    return Rows(tuple(columns), _integers(columns, nullable), same)


def _differing(rows: Array) -> Any:
    """One element of the same dtype: a field of it is zero if it is equal in all rows.

    To look at all of a row is one pass through the memory, to look at one column of all is, too.
    """
    words = rows.view("u8").reshape(len(rows), rows.itemsize // 8)
    found = np.zeros(words.shape[1], "u8")
    for start in range(0, len(words), _NEAR):
        found |= np.bitwise_or.reduce(words[start : start + _NEAR] ^ words[0], axis=0)
    return found.view(rows.dtype)[0]


def _signed(values: Array) -> Array:
    """As SQLite stores them."""
    return u64.encode(values) if values.dtype == "u8" else values


def _integers(columns: Mapping[str, Array], nullable: Mapping[str, Array]) -> Array:
    """A matrix of integer columns; ``nullable`` tells of some which values are none."""
    (count,) = {len(values) for values in columns.values()}
    cells = np.empty((count, len(columns)), np.int64)
    for place, values in enumerate(columns.values()):
        cells[:, place] = _signed(values)
    if not nullable:
        return cells
    objects = cells.astype(object)
    for place, name in enumerate(columns):
        if name in nullable:
            objects[nullable[name], place] = None
    return objects


@cache
def _known_bit(v: Variable) -> np.uint64:
    return np.uint64(1 << known_bit(v.table, v.column))


def connection_rows(connections: Array, run_id: int) -> Rows:
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


def endpoint_rows(endpoints: Array, run_id: int) -> Rows:
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


def _matrix(columns: Mapping[str, Array | int], names: tuple[str, ...], rows: int) -> Rows:
    cells = np.empty((rows, len(names)), object)
    for place, name in enumerate(names):
        cells[:, place] = columns[name]
    return Rows(names, cells, {})


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
    return spelled(comm.partition(b"\0")[0])


def spelled(octets: bytes) -> str:
    """Octets as text, with escapes for what is not UTF-8 or not to be printed."""
    text = octets.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
