"""A database that the examples of the docs find something in."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from bpf.catalogue import stored_in
from bpf.meters import METERS, Snapshot
from bpf.record import CONNECTION, ENDPOINT, LISTENER_ROW, Flag
from bpf.variable import HISTORIES, SAMPLED, Table
from storage.writer import Writer
from tests.runs import a_run
from tests.samples import Samples

SECOND = 1_000_000


def write_database(path: Path) -> None:
    """Four connections and four listeners, in three snapshots of the last two minutes."""
    now = time.time_ns() // 1000
    run = a_run(
        started_us=now - 121 * SECOND,
        host="host",
        kernel="6.1",
        boot_id="boot",
        interval_us=SECOND,
        flush_us=SECOND // 10,
        shards=2,
        tables=tuple(t.value for t in HISTORIES),
    )
    writer = Writer(path, run)
    told = Samples()
    for step, age in enumerate((110, 70, 5)):
        writer.write(
            Snapshot(
                cut_ns=step,
                taken_us=now - age * SECOND,
                interval_us=SECOND,
                meters=dict.fromkeys(METERS, 0),
                connections=_connections(now),
                samples=told.of(_values(step)),
                listeners=_listeners(step),
                endpoints=_endpoints(now),
            )
        )
    writer.close("finished")


def _connections(now: int) -> np.ndarray[Any, Any]:
    """Two uploads to port 5001 (IPv4, IPv6), a web server's connection, and a closed one."""
    rows = np.zeros(4, CONNECTION)
    rows["connect_index"] = 1, 2, 3, 4
    rows["opened_us"] = now - 120 * SECOND
    rows["closed_us"][3] = now - 30 * SECOND
    ours = Flag.ACTIVE | Flag.OWNER
    rows["flags"] = ours | Flag.IPV4, ours, ours | Flag.IPV4, ours | Flag.IPV4 | Flag.FINAL
    rows["state"] = 1, 1, 1, 7
    rows["old_state"][3] = 9
    who = rows["identity"]
    who["cookie"] = 1, 2, 3, 4
    who["comm"] = b"iperf", b"iperf", b"nginx", b"curl"
    who["pid"] = 100
    who["local_address"] = who["rem_address"] = [*bytes(10), 255, 255, 192, 0, 2, 7]
    who["local_address"][1] = who["rem_address"][1] = [0x20, 1, 0x0D, 0xB8, *bytes(11), 7]
    who["local_port"] = 40000, 40002, 443, 40004
    who["rem_port"] = 5001, 5001, 50000, 80
    return rows


def _endpoints(now: int) -> np.ndarray[Any, Any]:
    """Four listeners of a web server, one of them on port 443."""
    rows = np.zeros(4, ENDPOINT)
    rows["listener_index"] = 1, 2, 3, 4
    rows["opened_us"] = now - 120 * SECOND
    rows["identity"]["local_port"] = 80, 443, 8080, 8443
    rows["identity"]["comm"] = b"nginx"
    rows["flags"] = Flag.OWNER
    return rows


def _values(step: int) -> dict[int, dict[str, int]]:
    """All variables of the four connections, each larger at every step."""
    stored = [v for table in SAMPLED for v in stored_in(table)]
    return {
        i: {v.name: (step + 1) * (v.id + i) for v in stored} | {"CurRwinRcvd": 1}
        for i in (1, 2, 3, 4)
    }


def _listeners(step: int) -> np.ndarray[Any, Any]:
    """Likewise of the four listeners."""
    rows = np.zeros(4, LISTENER_ROW)
    rows["listener_index"] = 1, 2, 3, 4
    _fill(rows["block"], Table.LISTENER, step)
    return rows


def _fill(block: np.ndarray[Any, Any], table: Table, step: int) -> None:
    block["known"] = (1 << len(stored_in(table))) - 1
    for v in stored_in(table):
        block[v.column] = [(step + 1) * (v.id + i) for i in range(4)]
