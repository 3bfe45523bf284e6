"""A run and snapshots to store, made in memory."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from bpf.catalogue import stored_in
from bpf.meters import METERS, Run, Snapshot
from bpf.record import CONNECTION, Flag, new_bit, sample_dtype
from bpf.variable import REFERRED, SAMPLED, Table
from storage.writer import Writer
from tests.runs import a_run
from tests.storage.contents import MakeSnapshot


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Where a database could be; there is none yet."""
    return tmp_path / "flows.db"


@pytest.fixture
def run() -> Run:
    """One life of a collector."""
    return a_run(
        started_us=1_700_000_000_000_000,
        host="host.example",
        kernel="6.1.0",
        boot_id="5a8c0a4e-6b6a-4a57-9d6c-1a1f4ab0b3f1",
        source="replay",
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
    """Snapshots of the connections 1 to ``many``; value i of row j is ``first`` + 100 i + j."""
    numbers = count(1)

    def make(many: int = 3, *, first: int = 0, tables: tuple[Table, ...] = SAMPLED) -> Snapshot:
        connections = np.zeros(many, CONNECTION)
        connections["connect_index"] = np.arange(1, many + 1)
        connections["opened_us"] = 1_700_000_000_000_000
        connections["flags"] = Flag.IPV4 | Flag.ACTIVE
        samples = np.zeros(many if tables else 0, sample_dtype(tables))
        samples["connect_index"] = connections["connect_index"][: len(samples)]
        for group in REFERRED:
            samples[group.value] = [next(numbers) for _ in samples]
            samples["new"] |= np.uint64(new_bit(group))
        for table in tables:
            block = samples["blocks"][table.value]
            block["known"] = (1 << len(stored_in(table))) - 1
            for place, variable in enumerate(stored_in(table)):
                block[variable.column] = first + 100 * place + np.arange(many)
        return Snapshot(
            cut_ns=1,
            taken_us=1_700_000_001_000_000 + first,
            interval_us=1_000_000,
            meters={name: place for place, name in enumerate(METERS)},
            connections=connections,
            samples=samples,
        )

    return make
