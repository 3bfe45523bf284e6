"""What a short connection takes of the processors, by the process that takes it."""

from collections import defaultdict
from collections.abc import Mapping
from statistics import median
from typing import Final

from bench.beside import ESTATS
from bench.effort import Effort
from bench.footprint import kind_of
from bench.overhead import loads, settle
from bench.paths import LOOPBACK, Way, way
from bench.processes import Running
from bench.report import Cell, Section
from bench.workloads import STORM

_KINDS: Final = ("supervisor", "writer", "workers")
_MODES: Final = ("user", "kernel")
#: Seconds, or µs a connection, by kind of process and mode.
_Times = Mapping[tuple[str, str], float]


def short_connections(effort: Effort) -> Section:
    """Of a collector at its default settings, medians of some storms."""
    with loads() as programs, way(LOOPBACK, programs) as path:
        measured = [_storm(path, effort) for _ in range(effort.pairs)]
    rows: list[tuple[Cell, ...]] = []
    for name, kinds in (*((kind, (kind,)) for kind in _KINDS), ("all of them", _KINDS)):
        by_mode = [_of(measured, kinds, (mode,)) for mode in _MODES]
        rows.append((name, *by_mode, _of(measured, kinds, _MODES)))
    return Section(
        title="A short connection's share",
        means="µs of processor time of the collector's processes for each connection that is made"
        " and closed over loopback, both its ends, which are two rows; in user mode, and in the"
        f" kernel for them. Medians of {effort.pairs} storms, until all was written. The kernel"
        " programs run in the connection's own time, which is not in it.",
        columns=("process", "user mode, µs", "in the kernel, µs", "together, µs"),
        rows=rows,
    )


def _of(measured: list[_Times], kinds: tuple[str, ...], modes: tuple[str, ...]) -> float:
    return median(sum(times[k, m] for k in kinds for m in modes) for times in measured)


def _storm(path: Way, effort: Effort) -> _Times:
    with ESTATS.start() as process:
        before = _times(process)
        connections = STORM.run(path, effort.seconds)["connections"]
        settle(process)
        after = _times(process)
    return {
        (kind, mode): (after[kind, mode] - before[kind, mode]) / connections * 1e6
        for kind in _KINDS
        for mode in _MODES
    }


def _times(process: Running) -> _Times:
    spent = defaultdict[tuple[str, str], float](float)
    for pid, seconds in process.times().items():
        for mode, of_mode in zip(_MODES, seconds, strict=True):
            spent[kind_of(pid), mode] += of_mode
    return spent
