"""Snapshots into SQLite: time, processor time and octets of a flow-sample, and how they grow."""

import sqlite3
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from bench.effort import Effort
from bench.flows import Flows, run_row
from bench.footprint import database_octets
from bench.report import Cell, Section
from bpf.meters import Snapshot
from bpf.variable import Group
from storage.cells import group_rows
from storage.writer import Writer

_CONNECTIONS: Final = (1_000, 10_000, 100_000)
_SHARES: Final = {"all": 1.0, "10 %": 0.1, "none": 0.0}


@dataclass(frozen=True, slots=True)
class Written:
    """One snapshot's cost; ``octets`` is how much the database grew, its indexes included."""

    rows: int
    seconds: float
    cpu_seconds: float
    octets: int


def run(effort: Effort) -> Sequence[Section]:
    """One table for growth, one against the bare driver."""
    counts = _CONNECTIONS[:2] if effort.quick else _CONNECTIONS
    rows: list[tuple[Cell, ...]] = []
    for count in counts:
        for share, part in _SHARES.items():
            rows.append((count, share, *_row(_measured(count, int(count * part)), count * part)))
    return [
        Section(
            title="Snapshot",
            means="One snapshot of so many open connections, of which a part has moved since the"
            " last one, from arrays to a committed transaction. A flow-sample is all that changed"
            " of one connection: a row of sample, and of event and setup what differs there."
            " The values are made up, after those of bulk transfers."
            " Growth of the file is counted with its indexes.",
            columns=(
                "connections",
                "moved",
                "rows",
                "ms",
                "µs CPU / flow-sample",
                "octets / flow-sample",
            ),
            rows=rows,
        ),
        _against_the_driver(effort),
    ]


def _row(snapshots: Sequence[Written], samples: float) -> tuple[Cell, ...]:
    milliseconds = median(s.seconds for s in snapshots) * 1e3
    rows = snapshots[-1].rows
    if not samples:
        return rows, milliseconds, None, None
    cpu_us = median(s.cpu_seconds for s in snapshots) / samples * 1e6
    return rows, milliseconds, cpu_us, median(s.octets for s in snapshots) / samples


def _measured(connections: int, active: int) -> list[Written]:
    """Into a new database."""
    with tempfile.TemporaryDirectory(prefix="estats-bench-") as folder:
        return written(Path(folder, "flows.db"), connections, active, 5)


def written(
    path: Path, connections: int, active: int, times: int, *, known: bool = False
) -> list[Written]:
    """The first snapshot has every connection; the next ones are measured.

    Where they are ``known``, they go on being the first ones that the database has.
    """
    writer = Writer(path, run_row())
    first = {"connection": 0} if known else {}
    flows = Flows(connections, {**writer.numbered, **first})
    writer.write(flows.snapshot(connections))
    found = []
    for _ in range(times):
        snapshot = flows.snapshot(active)
        octets, began, cpu = database_octets(path), time.perf_counter(), time.process_time()
        rows = writer.write(snapshot)
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
        found.append(Written(rows, seconds, cpu_seconds, database_octets(path) - octets))
    writer.close("measured")
    return found


def _against_the_driver(effort: Effort) -> Section:
    connections = 1_000 if effort.quick else 10_000
    with tempfile.TemporaryDirectory(prefix="estats-bench-") as folder:
        path = Path(folder, "flows.db")
        flows = Flows(connections)
        writer = Writer(path, run_row())
        writer.write(flows.snapshot(connections))
        ratios, ours, theirs = [], [], []
        for number in range(effort.pairs):
            snapshot = flows.snapshot(connections)
            began = time.perf_counter()
            writer.write(snapshot)
            ours.append(time.perf_counter() - began)
            theirs.append(_by_the_driver(path, flows.snapshot(connections), 1_000_000 + number))
            ratios.append(ours[-1] / theirs[-1])
        writer.close("measured")
    spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
    row = (
        connections,
        median(theirs) * 1e3,
        median(ours) * 1e3,
        median(ratios),
        spread,
        len(ratios),
    )
    return Section(
        title="Snapshot: against the bare driver",
        means="The rows of a snapshot of which all connections moved, written by the writer, and"
        " the same cells, made ready before the clock starts, by Python's sqlite3 with one insert"
        " for each row in one transaction, into the same tables.",
        columns=("connections", "driver, ms", "writer, ms", "ratio", "spread", "pairs"),
        rows=[row],
    )


def _by_the_driver(path: Path, snapshot: Snapshot, number: int) -> float:
    every = {g: group_rows(g, snapshot.samples, number) for g in Group}
    cells = {g: rows.cells.tolist() for g, rows in every.items()}
    with closing(sqlite3.connect(path, isolation_level=None)) as base:
        base.execute("PRAGMA synchronous = NORMAL")
        began = time.perf_counter()
        base.execute("BEGIN IMMEDIATE")
        for group, (columns, _, same) in every.items():
            places = ", ".join(["?"] * len(columns) + list(same.values()))
            insert = f"INSERT INTO {group.value} ({', '.join([*columns, *same])}) VALUES ({places})"  # noqa: S608  (our names)
            base.executemany(insert, cells[group])
        base.execute("COMMIT")
        return time.perf_counter() - began
