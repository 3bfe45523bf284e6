"""From the command to the first row, and memory against the number of connections."""

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Final

from bench.beside import collector, holding, wait_for_snapshots
from bench.effort import Effort
from bench.footprint import footprint
from bench.overhead import loads
from bench.paths import LOOPBACK, Way, way
from bench.processes import BenchError
from bench.report import Cell, Section
from bpf.cache import FOLDER, Cache

_CONNECTIONS: Final = (0, 1_000, 10_000)
#: Until the connections' maxima have come to rest and the crowd of their beginning is written.
_SETTLING_SNAPSHOTS: Final = 20
_MEASURED_SNAPSHOTS: Final = 5


def run(effort: Effort) -> Sequence[Section]:
    """Both tables of this part."""
    return [_start(effort), _memory(_CONNECTIONS[:2] if effort.quick else _CONNECTIONS)]


def _start(effort: Effort) -> Section:
    compiled, cached = [], []
    cache = Cache()
    for _ in range(effort.pairs):
        cache.empty()
        compiled.append(_seconds())
        if cache.is_empty():
            raise BenchError(f"{FOLDER} does not keep what was compiled: try `estats doctor`")
        cached.append(_seconds())
    ways = (("with the compiler", compiled), ("from the cache", cached))
    return Section(
        title="Start",
        means="From the command to the first committed snapshot, which has every connection that"
        " was open. The first start with these options on this kernel compiles the programs, on"
        " two processors where there are two; the next ones have them from the cache.",
        columns=("start", "median, s", "fastest", "slowest", "starts"),
        rows=[(name, median(took), min(took), max(took), len(took)) for name, took in ways],
    )


def _seconds() -> float:
    """One start."""
    began = time.monotonic()
    with collector():
        return time.monotonic() - began


def _memory(counts: Sequence[int]) -> Section:
    rows: list[tuple[Cell, ...]] = []
    with loads() as programs, way(LOOPBACK, programs) as path:
        rows += [_with_connections(path, count) for count in counts]
    return Section(
        title="Memory and disk",
        means="So many open connections over loopback, each with a request and its answer about"
        " once a second, and two ends on this host, of which each is a row. Proportional set"
        " size counts what processes share once. Kernel memory is that of the collector's maps,"
        " rings included; what a socket's own storage takes comes with each socket, and is"
        " not in it. Octets are those by which the database grows for each flow-sample,"
        f" indexes included, from the {_SETTLING_SNAPSHOTS}th snapshot on.",
        columns=(
            "connections",
            "supervisor, MB",
            "writer, MB",
            "workers, MB",
            "together, MB",
            "kernel maps, MB",
            "octets / flow-sample",
        ),
        rows=rows,
    )


def _with_connections(path: Way, count: int) -> tuple[Cell, ...]:
    with holding(path, max(count, 1)) as (database, process):
        wait_for_snapshots(database, process, _SETTLING_SNAPSHOTS)
        before = _size(database)
        wait_for_snapshots(database, process, _MEASURED_SNAPSHOTS)
        octets, samples = (b - a for a, b in zip(before, _size(database), strict=True))
        taken = footprint(process)
    memory = (taken.supervisor, taken.writer, taken.workers, taken.processes, taken.maps)
    return count, *(size / 1e6 for size in memory), octets / samples if count else None


def _size(database: Path) -> tuple[int, int]:
    """Octets of the database, and its flow-samples."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as base:
        base.execute("BEGIN")
        (pages,) = base.execute("PRAGMA page_count").fetchone()
        (page,) = base.execute("PRAGMA page_size").fetchone()
        (samples,) = base.execute("SELECT count(*) FROM sample").fetchone()
    return int(pages) * int(page), int(samples)
