"""Others that look at TCP connections, beside the same traffic as ours."""

from collections.abc import Sequence
from typing import Final

from bench.beside import ESTATS, Beside, peers
from bench.effort import Effort
from bench.overhead import COMPARED_COLUMNS, cells, loads, own_cpu, with_own_cpu
from bench.pairs import Figures, Pair, compare
from bench.paths import LOOPBACK, Way, way
from bench.processes import BenchError
from bench.report import Cell, Section
from bench.workloads import PING, STORM

_WORKLOADS: Final = (PING, STORM)

_SECONDS: Final = 1  # some ten thousand round trips or connections


def run(effort: Effort) -> Sequence[Section]:
    """One table: everything that runs here, beside two workloads."""
    rows: list[tuple[Cell, ...]] = []
    absent: list[str] = []
    with loads() as programs, way(LOOPBACK, programs) as path:
        for beside in peers():
            try:
                rows += _beside(path, beside, effort)
            except BenchError as e:
                absent.append(f"{beside.name}: {e}")
    missing = " Not measured: " + "; ".join(absent) + "." if absent else ""
    columns = ("beside it", "workload", "figure", *COMPARED_COLUMNS)
    return [
        Section(
            title="Beside others",
            means="What stands beside the workload does different work: `ss` and inet_diag see the"
            " sockets that are open when they look, tcplife one line for each connection that ends,"
            " tcpstates one for each change of state, and none of these keeps a history. A ratio"
            " under 1 is a loss for rates, one over 1 for round trips. Over loopback."
            f"{missing} {ahead(columns, rows)}",
            columns=columns,
            rows=rows,
        )
    ]


def ahead(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Where others cost less than estats does, figure by figure, in a sentence."""
    ratios: dict[str, dict[str, float]] = {}
    for row in rows:
        found = dict(zip(columns, row, strict=True))
        cost = float(found["ratio"] or 0)
        figure = f"{found['workload']}, {found['figure']}"
        ratios.setdefault(figure, {})[str(found["beside it"])] = cost
    said = []
    for figure, costs in ratios.items():
        is_rate = figure.endswith("/s")
        ours = costs.pop(ESTATS.name)
        better = {name: c for name, c in costs.items() if (c > ours if is_rate else c < ours)}
        if better:
            them = ", ".join(f"{name} ({cost:.3f})" for name, cost in better.items())
            said.append(f"{figure}: {them}, where estats has {ours:.3f}")
    return f"Cheaper than estats: {'; '.join(said)}." if said else "None is cheaper than estats."


def _beside(path: Way, beside: Beside, effort: Effort) -> list[tuple[Cell, ...]]:
    """It is started once for each pair, and all workloads run beside it."""
    if beside.lacks:
        raise BenchError(beside.lacks)
    pairs: list[list[Pair]] = [[] for _ in _WORKLOADS]
    for _ in range(effort.pairs):
        without = [w.run(path, _SECONDS) for w in _WORKLOADS]
        having: list[Figures] = []
        with beside.start() as process:
            having += [with_own_cpu(beside, process, path, w, _SECONDS) for w in _WORKLOADS]
        for place, pair in enumerate(zip(without, having, strict=True)):
            pairs[place].append(pair)
    return [
        (
            beside.name,
            w.name,
            figure,
            *cells(compare(measured, figure)),
            own_cpu([b for _, b in measured]),
        )
        for w, measured in zip(_WORKLOADS, pairs, strict=True)
        for figure in w.figures
    ]
