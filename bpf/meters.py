"""Every counter about ourselves, one sentence each, and the cut they are read at.

All of them are amounts within one snapshot's interval unless the sentence says otherwise; each is
a column of the ``snapshot`` table, so that every answer can say how much was lost.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bpf.record import CONNECTION, ENDPOINT, LISTENER_ROW, Dtype, sample_dtype
from bpf.variable import Table

METERS: Final[Mapping[str, str]] = {
    "connections": "Connections open at the cut (a level, not an amount).",
    "batches": "Batches of ops applied.",
    "ops": "Operands in those batches: one for each known variable.",
    "lost": "Batches the kernel could not send, for its ring was full.",
    "lost_finals": "Ends that were not seen: the final batch, or a listener's last row, was lost"
    " for good, or no hook ran. A census closes the row, if there ever was one.",
    "untracked": "New connections beyond --max-connections, and listeners or connections for which"
    " the kernel had no memory: no row, or only from a later segment on (origin backfill).",
    "late": "Batches of a connection that arrived after its final one.",
    "merged": "Ticks without a snapshot of their own: an earlier one was still being written, or"
    " could not be, and came with a later one.",
    "lag_us": "From the cut until all workers had drained up to it, in microseconds.",
    "missed": "Runs of a kernel program that were skipped, for an interrupt had found it running on"
    " that CPU; the next hook makes up for most.",
    "bpf_ns": "Time in our kernel programs; what the hooks took is an estimate from a part of the"
    " interval.",
    "flush_interval_us": "The flush interval in force (a level).",
    "sampled": "Of so many new connections one was tracked (a level; 1: all).",
    "sampled_out": "New connections that were left out to keep to --max-overhead: no row at all.",
    "forgotten_samples": "Samples that --keep, --rollup or --max-db-size took out of the database.",
    "forgotten_connections": "Connections that went whole, likewise.",
    "oversize": "1: larger than --max-db-size, though all but the newest was forgotten (a level).",
    "replaced": "Processes of the collector that died and were replaced. What lived was told again;"
    " ends that could not be are in lost_finals.",
    "evicted": "Idle connections that made room for others, to keep to --max-connections: their"
    " rows end (close_reason evicted).",
}

#: Meters of what did not reach the database, or late, in any run.
LOSSES: Final = ("lost", "lost_finals", "untracked", "evicted", "late", "missed")
#: Meters of a run with a budget (``--max-overhead``): absent, and NULL, in the others.
BUDGET_METERS: Final = frozenset({"bpf_ns", "flush_interval_us", "sampled", "sampled_out"})
#: Meters of a run that forgets (``--keep`` and its like), likewise.
BOUND_METERS: Final = frozenset({"forgotten_samples", "forgotten_connections", "oversize"})
#: Meters that a run may do without.
OPTIONAL_METERS: Final = BUDGET_METERS | BOUND_METERS
#: Meters that came after the first schema: NULL in the snapshots of before.
LATER_METERS: Final = frozenset({"missed", "replaced", "evicted"}) | OPTIONAL_METERS
#: Meters that tell how it stands, not how much came to pass since the snapshot before.
LEVELS: Final = frozenset({"connections", "flush_interval_us", "sampled", "oversize"})


def _none_of(dtype: Dtype) -> Callable[[], npt.NDArray[Any]]:
    return lambda: np.zeros(0, dtype)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What changed up to one cut in time, on its way to storage.

    ``cut_ns`` is CLOCK_MONOTONIC, ``taken_us`` the same moment in UTC microseconds.
    ``connections`` has dtype ``record.CONNECTION``, ``samples`` ``record.sample_dtype`` of the
    tables that are collected, ``endpoints`` ``record.ENDPOINT`` and ``listeners``
    ``record.LISTENER_ROW``. ``host[t]`` are values of a table without rows, by name. A meter that
    is absent is unknown.
    """

    cut_ns: int
    taken_us: int
    interval_us: int
    meters: Mapping[str, int]
    connections: npt.NDArray[Any]
    samples: npt.NDArray[Any] = field(default_factory=_none_of(sample_dtype()))
    endpoints: npt.NDArray[Any] = field(default_factory=_none_of(ENDPOINT))
    listeners: npt.NDArray[Any] = field(default_factory=_none_of(LISTENER_ROW))
    host: Mapping[Table, Mapping[str, int]] = field(default_factory=dict[Table, Mapping[str, int]])


@dataclass(frozen=True, slots=True)
class Inherited:
    """What the database has of the run, for a process that takes the place of a dead one.

    ``connections`` (dtype ``record.CONNECTION``) are open, or were closed not long ago; of their
    identity there is what the database has, which is without ``start_ns``, and of their state
    nothing. ``numbered`` are the largest numbers in use, ``taken_us`` is when the last snapshot
    was taken, 0 before the first.
    """

    numbered: Mapping[str, int] = field(default_factory=dict[str, int])
    connections: npt.NDArray[Any] = field(default_factory=_none_of(CONNECTION))
    taken_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One life of the collector: what it was asked to do and on what machine.

    ``tables`` are the names given to ``--tables``; ``filters`` the command line's, as one JSON
    object; ``unavailable`` maps a variable to the reason why this kernel or source has none.
    """

    started_us: int
    host: str
    kernel: str
    boot_id: str
    version: str
    source: str
    interval_us: int
    flush_us: int
    shards: int
    tables: tuple[str, ...]
    filters: str
    unavailable: Mapping[str, str]
