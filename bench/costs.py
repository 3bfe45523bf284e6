"""What each kernel program costs, by the kernel's own run-time statistics."""

import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.beside import ESTATS, ONE_RECORD, Beside
from bench.effort import Effort
from bench.overhead import loads
from bench.pairs import Figures
from bench.paths import LOOPBACK, VETH, Way, way
from bench.processes import output
from bench.report import Cell, Section
from bench.shares import short_connections
from bench.workloads import BULK, PING, STORM, Workload
from bpf.probes import PROBES
from tests.kernel.net import Host

_SWITCH: Final = Path("/proc/sys/kernel/bpf_stats_enabled")
_NAME_MAX: Final = 15  # of a program, in the kernel
_ONE_RECORD: Final = ("one_received", "one_sent")
_LOADED: Final = (*((path, BULK) for path in (LOOPBACK, VETH)), (LOOPBACK, PING), (LOOPBACK, STORM))


@dataclass(frozen=True, slots=True)
class Runs:
    """How often a program ran, and for how long."""

    count: int
    time_ns: int

    def since(self, before: "Runs") -> "Runs":
        """What came since."""
        return Runs(self.count - before.count, self.time_ns - before.time_ns)

    @property
    def each_ns(self) -> float | None:
        """One run's time; None if there was none."""
        return self.time_ns / self.count if self.count else None


@dataclass(frozen=True, slots=True)
class Cost:
    """All programs over one workload, and how much of it there was."""

    programs: Mapping[str, Runs]
    segments: int
    figures: Figures

    def per_segment_ns(self) -> float:
        """All of them together, for each segment, which is sent here and arrives here."""
        return sum(runs.time_ns for runs in self.programs.values()) / self.segments

    def per_connection_ns(self) -> float | None:
        """All of them together for each connection, both its ends; None for other workloads."""
        connections = self.figures.get("connections")
        spent = sum(runs.time_ns for runs in self.programs.values())
        return spent / connections if connections else None


@contextmanager
def statistics() -> Generator[None]:
    """Run-time statistics are on for the length of a block, and then as they were."""
    before = _SWITCH.read_text()
    _SWITCH.write_text("1")
    try:
        yield
    finally:
        _SWITCH.write_text(before)


def runs_of(names: Sequence[str]) -> dict[str, Runs]:
    """The programs of these names in the kernel; several of one name count as one."""
    found: dict[str, Runs] = {}
    for program in json.loads(output(["bpftool", "-j", "prog", "show"])):
        for name in names:
            if program.get("name") == name[:_NAME_MAX]:
                before = found.get(name, Runs(0, 0))
                count, time_ns = program.get("run_cnt", 0), program.get("run_time_ns", 0)
                found[name] = Runs(before.count + count, before.time_ns + time_ns)
    return found


def run(effort: Effort) -> Sequence[Section]:
    """Each program of ours, and the sums beside the other design's."""
    ours = [p.function for p in PROBES]
    costs: dict[tuple[str, str], tuple[Cost, Cost]] = {}
    with loads() as programs, statistics():
        for path, workload in _LOADED:
            with way(path, programs) as found:
                costs[path, workload.name] = (
                    _cost(found, ESTATS, ours, workload, effort),
                    _cost(found, ONE_RECORD, _ONE_RECORD, workload, effort),
                )
    ours_alone = {key: mine for key, (mine, _) in costs.items()}
    return [_programs(ours_alone), _sums(costs), short_connections(effort)]


def _cost(
    path: Way, beside: Beside, names: Sequence[str], workload: Workload, effort: Effort
) -> Cost:
    hosts = {path.client, path.server}
    with beside.start():
        segments, runs = _segments(hosts), runs_of(names)
        figures = workload.run(path, effort.seconds)
        after = runs_of(names)
        spent = {name: after[name].since(runs[name]) for name in runs if name in after}
        return Cost(spent, _segments(hosts) - segments, figures)


def _segments(hosts: set[Host]) -> int:
    """Segments received so far in all these namespaces; each was sent in one of them."""
    return sum(host.mib()["Tcp:InSegs"] for host in hosts)


def _programs(costs: Mapping[tuple[str, str], Cost]) -> Section:
    rows: list[tuple[Cell, ...]] = []
    for (path, workload), cost in costs.items():
        for name, runs in cost.programs.items():
            if runs.count:
                often = runs.count / cost.segments
                rows.append((path, workload, f"`{name}`", runs.count, often, runs.each_ns))
    return Section(
        title="Kernel programs",
        means="The kernel's own count of the runs and the time of each program while the workload"
        " ran. The time has the switching on of these statistics in it, some tens of ns for each"
        " run, and what waited for memory that another processor had just written.",
        columns=("path", "workload", "program", "runs", "runs / segment", "ns / run"),
        rows=rows,
    )


def _sums(costs: Mapping[tuple[str, str], tuple[Cost, Cost]]) -> Section:
    rows: list[tuple[Cell, ...]] = []
    for (path, workload), (mine, other) in costs.items():
        a, b = mine.per_segment_ns(), other.per_segment_ns()
        rows.append((path, workload, "ns / segment", a, b, a / b))
        c, d = mine.per_connection_ns(), other.per_connection_ns()
        if c is not None and d is not None:
            rows.append((path, workload, "ns / connection", c, d, c / d))
    return Section(
        title="Kernel programs: all together",
        means="The time of all programs over the number of segments that arrived, sending and"
        " receiving together; for connections over those that were made, both ends together. Beside"
        " it the design that sends a record to a ring buffer for each variable that a segment"
        " changes, of 33 that nearly every segment moves and a field of the socket tells.",
        columns=("path", "workload", "unit", "estats", "a record each", "ratio"),
        rows=rows,
    )
