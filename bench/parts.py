"""The parts of the benchmark, in the order in which they run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bench import churn, costs, ingest, loss, overhead, peers, query, snapshot, start
from bench.effort import Effort
from bench.report import Section


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part: its name on the command line, and what it finds out."""

    name: str
    says: str
    run: Callable[[Effort], Sequence[Section]]


PARTS: Final = (
    Part(name="overhead", says="the same traffic without and with a collector", run=overhead.run),
    Part(name="costs", says="ns for each run of each kernel program", run=costs.run),
    Part(name="peers", says="the same traffic beside others that look at TCP", run=peers.run),
    Part(name="ingest", says="operands a second from ring memory to tables", run=ingest.run),
    Part(name="loss", says="what is too much, and whether every loss is counted", run=loss.run),
    Part(name="snapshot", says="what a flow-sample takes on its way to SQLite", run=snapshot.run),
    Part(name="query", says="questions to ten million flow-samples", run=query.run),
    Part(name="start", says="time to the first row, memory, octets on disk", run=start.run),
    Part(name="churn", says="whether a collector grows while connections pass", run=churn.run),
)
