"""What a collector costs the host: the same traffic without and with it, in turns."""

import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.beside import BARE_HOOKS, ESTATS, KERNEL_ALONE, PERF_ALONE, Beside
from bench.effort import Effort
from bench.pairs import Comparison, Figures, alternate, compare
from bench.paths import LOOPBACK, VETH, Way, compile_loads, way
from bench.processes import Running
from bench.report import Cell, Section
from bench.workloads import BULK, PING, STORM, WORKLOADS, Workload

#: Processor seconds of the processes beside the workload, for each second of it.
_OWN_CPU: Final = "own CPU"
_IDLE_SHARE: Final = 0.1  # of a processor: who uses less has nothing left to write
_LOOK_SECONDS: Final = 1.5  # longer than the interval between two snapshots
_LOOKS_MAX: Final = 20

_MORE: Final = {
    VETH: ((PERF_ALONE, BULK), (BARE_HOOKS, BULK), (KERNEL_ALONE, STORM)),
    LOOPBACK: (
        *((KERNEL_ALONE, workload) for workload in (STORM, PING)),
        *((BARE_HOOKS, workload) for workload in (BULK, STORM, PING)),
    ),
}

COMPARED_COLUMNS: Final = ("without", "with", "ratio", "spread", "pairs", "its own CPU")


@contextmanager
def loads() -> Generator[Path]:
    """The compiled loads, in a folder for the length of a block."""
    with tempfile.TemporaryDirectory(prefix="estats-bench-") as name:
        compile_loads(Path(name))
        yield Path(name)


def run(effort: Effort) -> Sequence[Section]:
    """One table: every workload on both paths."""
    rows: list[tuple[Cell, ...]] = []
    with loads() as programs:
        for path in (LOOPBACK, VETH):
            with way(path, programs) as found:
                for beside, workload in (*((ESTATS, w) for w in WORKLOADS), *_MORE[path]):
                    rows += _compared(found, beside, workload, effort)
    return [
        Section(
            title="Overhead",
            means="Each workload without and with the collector, at its default settings unless the"
            " row says otherwise. A ratio under 1 is a loss for rates, one over 1 for round trips"
            " (p50 and p99, with both ends on one processor, and on two) and for the processor time"
            " of a gigabyte (all of the machine's, both ends included). Between network namespaces"
            " without offloads every segment is a packet of its own: the worst case for a cost that"
            " is paid for each."
            " Both ends are on this host, so each segment is counted twice, where it is sent and"
            " where it arrives. The last column is the processor time of the collector's own"
            " processes, in seconds for each second of the workload; for connect and close, in µs"
            " for each connection, both ends of it.",
            columns=("path", "workload", "beside it", "figure", *COMPARED_COLUMNS),
            rows=rows,
        )
    ]


def _compared(
    path: Way, beside: Beside, workload: Workload, effort: Effort
) -> list[tuple[Cell, ...]]:
    def without() -> Figures:
        return workload.run(path, effort.seconds)

    def having() -> Figures:
        with beside.start() as process:
            return with_own_cpu(beside, process, path, workload, effort.seconds)

    pairs = alternate(without, having, effort.pairs)
    own = own_cpu([b for _, b in pairs])
    return [
        (path.name, workload.name, beside.name, figure, *cells(compare(pairs, figure)), own)
        for figure in workload.figures
    ]


def with_own_cpu(
    beside: Beside, process: Running, path: Way, workload: Workload, seconds: int
) -> Figures:
    """A workload's figures, and what the processes beside it used of the processors."""
    before = process.cpu_seconds()
    figures = workload.run(path, seconds)
    if beside.lags and "connections" in figures:
        settle(process)
    used = process.cpu_seconds() - before
    return {**figures, _OWN_CPU: used / figures.get("connections", seconds)}


def settle(process: Running) -> None:
    """Wait until it has nothing more to do."""
    for _ in range(_LOOKS_MAX):
        before = process.cpu_seconds()
        time.sleep(_LOOK_SECONDS)
        if process.cpu_seconds() - before < _IDLE_SHARE * _LOOK_SECONDS:
            return


def own_cpu(measured: Sequence[Figures]) -> str:
    """The median of what ``with_own_cpu`` added, for people."""
    median = sorted(f[_OWN_CPU] for f in measured)[len(measured) // 2]
    is_storm = "connections" in measured[0]
    return f"{median * 1e6:.1f} µs" if is_storm else f"{median:.3f} s"


def cells(found: Comparison) -> tuple[Cell, ...]:
    """What a table shows of a comparison."""
    return found.without, found.having, found.ratio, found.spread, found.pairs
