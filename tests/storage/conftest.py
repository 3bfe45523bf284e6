"""A run and snapshots to store, made in memory."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bpf.catalogue import stored_in
from bpf.meters import METERS, Run, Snapshot
from bpf.record import CONNECTION, Flag, row_dtype
from bpf.variable import SAMPLED, Table
from storage.writer import Writer

MakeSnapshot = Callable[..., Snapshot]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Where a database could be; there is none yet."""
    return tmp_path / "flows.db"


@pytest.fixture
def run() -> Run:
    """One life of a collector."""
    return Run(
        started_us=1_700_000_000_000_000,
        host="host.example",
        kernel="6.1.0",
        boot_id="5a8c0a4e-6b6a-4a57-9d6c-1a1f4ab0b3f1",
        version="0.1.0",
        source="replay",
        interval_us=1_000_000,
        flush_us=100_000,
        shards=2,
        tables=("perf", "path"),
        filters='{"dport": [5001]}',
        unavailable={"IpTtl": "no hook"},
    )


@pytest.fixture
def writer(database: Path, run: Run) -> Iterator[Writer]:
    """A writer on a new database."""
    writer = Writer(database, run)
    yield writer
    writer.close("end of test")


@pytest.fixture
def make_snapshot() -> MakeSnapshot:
    """Snapshots of the connections 1 to ``count``; value i of row j is ``first`` + 100 i + j."""

    def make(count: int = 3, *, first: int = 0, tables: tuple[Table, ...] = SAMPLED) -> Snapshot:
        connections = np.zeros(count, CONNECTION)
        connections["connect_index"] = np.arange(1, count + 1)
        connections["opened_us"] = 1_700_000_000_000_000
        connections["flags"] = Flag.IPV4 | Flag.ACTIVE
        rows = {}
        for table in tables:
            rows[table] = np.zeros(count, row_dtype(table))
            rows[table]["connect_index"] = np.arange(1, count + 1)
            rows[table]["block"]["known"] = (1 << len(stored_in(table))) - 1
            for place, variable in enumerate(stored_in(table)):
                values = first + 100 * place + np.arange(count)
                rows[table]["block"][variable.column] = values
        return Snapshot(
            cut_ns=1,
            taken_us=1_700_000_001_000_000 + first,
            interval_us=1_000_000,
            meters={name: place for place, name in enumerate(METERS)},
            connections=connections,
            rows=rows,
        )

    return make
