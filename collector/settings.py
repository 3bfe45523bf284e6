"""What a run is asked to do: frozen, with its limits."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bpf.errors import UsageError
from bpf.filters import Filters
from bpf.loader import CONNECTIONS_MAX
from bpf.variable import HISTORIES, Table

SHARDS_MAX: Final = 64
INTERVAL_US_MIN: Final = 10_000
FLUSH_US_MIN: Final = 1_000
CONNECTIONS_MAX_MIN: Final = 100  # what is less has no sixteenth to be short of


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One run of the collector.

    ``interval_us`` between two snapshots; ``flush_us`` the least time between two batches of a
    connection, in microseconds. ``duration_us`` None: until told to stop. RTT samples
    above ``rtt_threshold_us`` count as high. ``max_overhead`` is the share of one CPU that the
    kernel programs may take; None: whatever they take. No more than ``connections_max`` are
    tracked at a time. ``record`` and
    ``replay`` are paths of recordings, to write and to read. What is kept is storage's affair; here
    it is only told: ``keep_us`` in the RFC's control table, ``bounds`` as they were asked for.
    """

    tables: tuple[Table, ...] = HISTORIES
    shards: int = 1
    interval_us: int = 1_000_000
    flush_us: int = 250_000
    duration_us: int | None = None
    rtt_threshold_us: int = 100_000
    max_overhead: float | None = None
    connections_max: int = CONNECTIONS_MAX
    filters: Filters = field(default_factory=Filters)
    record: Path | None = None
    replay: Path | None = None
    keep_us: int | None = None
    bounds: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        """Raises UsageError for what no run can be."""
        if self.record and self.replay:
            raise UsageError("a replay is not recorded", "copy the recording instead")
        if self.replay and self.max_overhead is not None:
            raise UsageError(
                "a replay runs no kernel programs, so --max-overhead means nothing",
                "leave it out, or give it to the run that is recorded",
            )
        if not self.tables:
            raise UsageError("no table is chosen", "name one of " + ", ".join(table_names()))
        if not 1 <= self.shards <= SHARDS_MAX:
            raise UsageError(f"--shards {self.shards} is not between 1 and {SHARDS_MAX}")
        if self.interval_us < INTERVAL_US_MIN:
            raise UsageError(f"--interval is shorter than {INTERVAL_US_MIN} microseconds")
        if self.flush_us < FLUSH_US_MIN:
            raise UsageError(f"--flush-interval is shorter than {FLUSH_US_MIN} microseconds")
        if self.connections_max < CONNECTIONS_MAX_MIN:
            raise UsageError(
                f"--max-connections {self.connections_max} is less than {CONNECTIONS_MAX_MIN}",
                "to track fewer, say which: --port, --net, --comm",
            )
        if self.duration_us is not None and self.duration_us <= 0:
            raise UsageError("--duration is not longer than nothing")
        if self.max_overhead is not None and not 0 < self.max_overhead < math.inf:
            raise UsageError(
                f"--max-overhead {self.max_overhead} is no share of a CPU above 0",
                "write 2% or 0.02; without the option there is no limit",
            )

    def asked(self) -> dict[str, list[str]]:
        """For the ``run`` row: the filters, and every bound but those that nobody asked for."""
        most = {"max_connections": [str(self.connections_max)]}
        budget = {} if self.max_overhead is None else {"max_overhead": [str(self.max_overhead)]}
        kept = {name: [text] for name, text in self.bounds.items()}
        return self.filters.as_dict() | most | budget | kept


def table_names() -> list[str]:
    """What ``--tables`` may name."""
    return [table.value for table in HISTORIES]
