"""What a process in the place of a dead one must know of the run: numbers, and open connections.

The other way round than ``storage.cells``: from cells to what the collector hands over.
"""

import socket
import sqlite3
from collections.abc import Mapping, Sequence
from ipaddress import IPv6Address
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bpf.meters import Inherited
from bpf.record import CONNECTION, Flag
from bpf.variable import REFERRED
from storage.cells import CONNECTION_COLUMNS
from storage.schema import METADATA

NUMBERED: Final = ("connection", "endpoint", *(group.value for group in REFERRED))

_NO_UID: Final = 0xFFFFFFFF
_U64: Final = (1 << 64) - 1
_ORIGINS: Final = {
    "polled": Flag.POLLED,
    "backfill": Flag.BACKFILL,
    "active": Flag.ACTIVE,
    "passive": Flag.PASSIVE,
}
#: Open, or closed in one of the last snapshots: batches of these may be on their way still.
_CONNECTIONS: Final = (
    f"SELECT {', '.join(CONNECTION_COLUMNS)} FROM connection"  # noqa: S608  (names of the schema)
    " WHERE run_id = :run AND closed_us IS NULL"
    " UNION ALL"
    f" SELECT {', '.join(CONNECTION_COLUMNS)} FROM connection"
    " WHERE run_id = :run AND closed_us >= :since"
)
_LAST: Final = (
    "SELECT taken_us, interval_us FROM snapshot WHERE run_id = ? ORDER BY snapshot_id DESC LIMIT 2"
)


def largest_numbers(database: sqlite3.Connection) -> dict[str, int]:
    """The largest number in use in each table whose rows the collector numbers."""
    return {table: _largest(database, table) for table in NUMBERED}


def inherited(database: sqlite3.Connection, run_id: int) -> Inherited:
    """What there is of a run."""
    last = database.execute(_LAST, (run_id,)).fetchall()
    since_us = min((taken - interval for taken, interval in last), default=0)
    found = database.execute(_CONNECTIONS, {"run": run_id, "since": since_us}).fetchall()
    taken_us = last[0][0] if last else 0
    return Inherited(largest_numbers(database), connections(found), taken_us)


def connections(found: Sequence[Sequence[Any]]) -> npt.NDArray[Any]:
    """Rows of ``CONNECTION_COLUMNS`` as dtype ``record.CONNECTION``."""
    made = np.zeros(len(found), CONNECTION)
    if not found:
        return made
    cells: dict[str, Sequence[Any]] = {
        name: [row[place] for row in found] for place, name in enumerate(CONNECTION_COLUMNS)
    }
    for name, column in (("connect_index", "ConnectIndex"), ("opened_us", "opened_us")):
        made[name] = _numbers(cells[column])
    made["closed_us"], made["lost"] = _numbers(cells["closed_us"]), cells["lost"]
    made["flags"] = [_flags(*of) for of in _together(cells, ("origin", "AddressType", "pid"))]
    who = made["identity"]
    for name in ("pid", "pid_start_ns", "netns", "cookie"):
        who[name] = _numbers(cells[name])
    who["cgroup"] = _numbers(cells["cgroup_id"])
    who["uid"] = [_NO_UID if uid is None else uid for uid in cells["uid"]]
    who["comm"] = [(name or "").encode()[:15] for name in cells["comm"]]
    for name, end in (("local", "Local"), ("rem", "Rem")):
        octets = b"".join(map(_octets, cells[f"{end}Address"]))
        who[f"{name}_address"] = np.frombuffer(octets, "u1").reshape(-1, 16)
        who[f"{name}_port"] = cells[f"{end}Port"]
    return made


def _together(cells: Mapping[str, Sequence[Any]], names: Sequence[str]) -> "zip[tuple[Any, ...]]":
    return zip(*(cells[name] for name in names), strict=True)


def _flags(origin: str, address_type: int, pid: int | None) -> int:
    ipv4 = Flag.IPV4 if address_type == 1 else 0
    return int(_ORIGINS[origin] | ipv4 | (0 if pid is None else Flag.OWNER))


def _numbers(cells: Sequence[int | None]) -> list[int]:
    """As u64: SQLite has the signed integer of the same bits, and NULL where we have 0."""
    return [(cell or 0) & _U64 for cell in cells]


def _octets(address: str) -> bytes:
    if ":" in address:
        return IPv6Address(address).packed
    return b"\0" * 10 + b"\xff\xff" + socket.inet_aton(address)


def _largest(database: sqlite3.Connection, table: str) -> int:
    (key,) = METADATA.tables[table].primary_key
    statement = f"SELECT max({key.name}) FROM {table}"  # noqa: S608  (names of the schema)
    (largest,) = database.execute(statement).fetchone()
    return largest or 0
