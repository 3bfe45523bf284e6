"""A database with two runs, told in full below, to be asked."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bpf.meters import METERS, Run, Snapshot
from bpf.record import CONNECTION, Flag
from storage.writer import Writer
from tests.runs import a_run
from tests.samples import Samples

#: 2023-11-14T22:13:20Z; times in this file are seconds after it.
EPOCH_US = 1_700_000_000_000_000
HOSTILE = b"\x1b]0;owned\x07"
HUGE = 2**64 - 5


def at(seconds: float) -> int:
    """UTC microseconds of a time in the story."""
    return EPOCH_US + round(seconds * 1_000_000)


def connection(
    index: int,
    local: tuple[str, int],
    remote: tuple[str, int],
    flags: Flag,
    *,
    opened: float,
    closed: float | None = None,
    owner: tuple[int, bytes] | None = None,
    **fields: int,
) -> npt.NDArray[Any]:
    """One row of dtype ``record.CONNECTION``."""
    row = np.zeros(1, CONNECTION)
    row["connect_index"] = index
    identity = row["identity"]
    for end, (text, port) in (("local", local), ("rem", remote)):
        address = ip_address(text)
        if isinstance(address, IPv4Address):
            address = ip_address(f"::ffff:{text}")
            flags |= Flag.IPV4
        identity[f"{end}_address"] = np.frombuffer(address.packed, np.uint8)
        identity[f"{end}_port"] = port
    identity["cookie"], identity["netns"], identity["uid"] = index, 4026531840, 1000
    if owner is not None:
        flags |= Flag.OWNER
        identity["pid"], identity["comm"] = owner
    row["opened_us"] = at(opened)
    if closed is not None:
        flags |= Flag.FINAL
        row["closed_us"] = at(closed)
    row["flags"] = flags
    for name, value in fields.items():
        row[name] = value
    return row


def snapshot(
    seconds: float,
    samples: npt.NDArray[Any],
    connections: Sequence[npt.NDArray[Any]] = (),
    **meters: int,
) -> Snapshot:
    """What changed up to a time of the story."""
    return Snapshot(
        cut_ns=1,
        taken_us=at(seconds),
        interval_us=1_000_000,
        meters={name: meters.get(name, 0) for name in METERS},
        connections=np.concatenate([np.zeros(0, CONNECTION), *connections]),
        samples=samples,
    )


def one_run(started: float, tables: Sequence[str], unavailable: Mapping[str, str]) -> Run:
    """One life of the collector."""
    return a_run(
        started_us=at(started),
        host="host.example",
        kernel="6.1.0",
        boot_id="5a8c0a4e-6b6a-4a57-9d6c-1a1f4ab0b3f1",
        source="replay",
        shards=2,
        tables=tuple(tables),
        unavailable=unavailable,
    )


ALL = ("global", "perf", "path", "stack", "app", "tune", "extras")
ACTIVE, PASSIVE, BACKFILL = Flag.ACTIVE, Flag.PASSIVE, Flag.BACKFILL


def write_story(path: Path) -> None:
    """Two runs; the first was killed, in the second two batches and more were lost.

    1 iperf over IPv4, closed; 2 a server over IPv6, its owner unknown, open when run 1 ended;
    3 an ssh session that is older than run 2; 4 a hostile name and counters that wrap.
    """
    iperf = (("10.0.0.1", 40000), ("10.0.0.2", 5001), ACTIVE)
    server = (("fd00::1", 5001), ("fd00::2", 40001), PASSIVE)
    ssh = (("192.0.2.9", 22), ("198.51.100.7", 51000), BACKFILL)
    evil = (("10.0.0.1", 40002), ("10.0.0.2", 5001), ACTIVE)
    first = Writer(path, one_run(0, ALL, {}))
    told = Samples()
    born = connection(1, *iperf, opened=0.5, owner=(42, b"iperf"))
    first.write(
        snapshot(
            1,
            told.of({1: {"SegsRetrans": 2, "HCDataOctetsOut": 1000, "State": 5}, 2: {"State": 5}}),
            [born, connection(2, *server, opened=0.75)],
        )
    )
    first.write(snapshot(2, told.of({1: {"SegsRetrans": 5, "HCDataOctetsOut": 3000}})))
    first.write(snapshot(3, told.of({1: {"State": 6}})))
    done = connection(1, *iperf, opened=0.5, closed=3.5, owner=(42, b"iperf"), old_state=5)
    end = told.of({1: {"SegsRetrans": 7, "HCDataOctetsOut": 9000, "State": 1}})
    first.write(snapshot(4, end, [done]))
    first.close("killed")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE run SET ended_us = NULL, end_reason = NULL")
    second = Writer(path, one_run(100, ALL, {"IpTtl": "no hook for incoming headers"}))
    session = connection(3, *ssh, opened=100.5, owner=(77, b"sshd"), lost=2)
    second.write(
        snapshot(
            101,
            told.of(
                {
                    3: {"SegsRetrans": 100, "HCDataOctetsOut": 50_000, "State": 5},
                    4: {"SegsRetrans": 2**32 - 3, "HCDataOctetsOut": HUGE, "State": 5},
                }
            ),
            [session, connection(4, *evil, opened=100.75, owner=(66, HOSTILE))],
            lost=2,
        )
    )
    second.write(
        snapshot(
            103,
            told.of(
                {
                    3: {"SegsRetrans": 110, "HCDataOctetsOut": 50_500},
                    4: {"SegsRetrans": 4, "HCDataOctetsOut": 5},
                }
            ),
            lost_finals=1,
            untracked=3,
        )
    )
    second.close("stopped")
