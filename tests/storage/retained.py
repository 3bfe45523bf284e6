"""Histories to forget from: connections and listeners that come, change and go, over some runs."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from bpf.meters import METERS, OPTIONAL_METERS, Run, Snapshot
from bpf.record import CONNECTION, ENDPOINT, LISTENER_ROW, Flag
from bpf.variable import SAMPLED, Table
from storage.bounds import Bounds
from storage.engine import open_writable
from storage.migrate import upgrade
from storage.writer import Writer
from tests.runs import a_run
from tests.samples import Samples

SECOND = 1_000_000
MINUTE = 60 * SECOND
AT = 1_700_000_000 * SECOND


@dataclass(frozen=True, slots=True)
class Step:
    """What happens up to a snapshot: to connections by number, and to listeners by theirs.

    ``values`` are by how much variables grow; whoever is not open is opened.
    """

    seconds: int
    values: dict[int, tuple[int, int, int]]
    closing: frozenset[int]
    listening: dict[int, int]
    restarts: bool = False


_few = st.integers(0, 1)
steps = st.builds(
    Step,
    seconds=st.integers(1, 90),
    values=st.dictionaries(st.integers(1, 4), st.tuples(st.integers(0, 9), _few, _few), max_size=4),
    closing=st.frozensets(st.integers(1, 4), max_size=2),
    listening=st.dictionaries(st.integers(1, 2), st.integers(0, 9), max_size=2),
    restarts=st.sampled_from([False] * 9 + [True]),
)


Array = npt.NDArray[Any]


class Told:
    """Steps as snapshots; numbers of connections and listeners are never given twice."""

    def __init__(self) -> None:
        """Nothing has happened yet."""
        self._samples = Samples()
        self._numbers = iter(range(1, 1_000_000))
        self._totals: dict[int, list[int]] = {}
        self.taken_us = AT
        self.restart()

    def restart(self) -> None:
        """The next run knows nothing of what was open."""
        self._open: dict[int, Array] = {}
        self._listening: dict[int, int] = {}
        self._starts = True

    def snapshot(self, step: Step) -> Snapshot:
        """What one step makes of it."""
        self.taken_us += step.seconds * SECOND
        changed = [self._opened(who) for who in step.values if who not in self._open]
        values = {
            int(self._open[who]["connect_index"][0]): self._grown(who, by)
            for who, by in step.values.items()
        }
        changed += [self._closed(who) for who in sorted(step.closing & self._open.keys())]
        endpoints, listeners = self._listened(step.listening)
        started, self._starts = self._starts, False
        return Snapshot(
            cut_ns=self.taken_us * 1_000,
            taken_us=self.taken_us,
            interval_us=step.seconds * SECOND,
            meters=dict.fromkeys(METERS.keys() - OPTIONAL_METERS, 0) | {"lost": len(values)},
            connections=np.concatenate([np.zeros(0, CONNECTION), *changed]),
            samples=self._samples.of(values),
            endpoints=endpoints,
            listeners=listeners,
            host={Table.CONTROL: {"ControlPath": 1}} if started else {},
        )

    def _opened(self, who: int) -> Array:
        row = np.zeros(1, CONNECTION)
        row["connect_index"], row["opened_us"] = next(self._numbers), self.taken_us - SECOND // 2
        row["flags"] = Flag.IPV4 | (Flag.ACTIVE if who % 2 else Flag.BACKFILL)
        self._open[who], self._totals[who] = row, [0, 0, 0]
        return row.copy()

    def _closed(self, who: int) -> Array:
        row = self._open.pop(who)
        row["closed_us"], row["old_state"] = self.taken_us - SECOND // 4, 9
        row["flags"] |= np.uint32(Flag.FINAL)
        return row

    def _grown(self, who: int, by: tuple[int, int, int]) -> dict[str, int]:
        self._totals[who] = [a + b for a, b in zip(self._totals[who], by, strict=True)]
        return dict(zip(("SegsOut", "Timeouts", "LimMSS"), self._totals[who], strict=True))

    def _listened(self, changes: dict[int, int]) -> tuple[Array, Array]:
        """Rows of listeners that changed; 9 is the end of one."""
        endpoints, rows = np.zeros(len(changes), ENDPOINT), np.zeros(len(changes), LISTENER_ROW)
        for place, (who, value) in enumerate(changes.items()):
            number = self._listening.setdefault(who, next(self._numbers))
            for row in (endpoints[place], rows[place]):
                row["listener_index"] = number
            endpoints[place]["opened_us"] = AT
            if value == 9:
                endpoints[place]["closed_us"] = self.taken_us - SECOND // 4
                del self._listening[who]
            rows[place]["block"]["known"], rows[place]["block"]["hc_syn_rcvd"] = 2, value
        return endpoints, rows


def run_row() -> Run:
    """One life of the collector."""
    return a_run(
        started_us=AT,
        host="host.example",
        kernel="6.1.0",
        boot_id="5a8c0a4e",
        source="replay",
        interval_us=SECOND,
        flush_us=SECOND // 4,
        tables=tuple(t.value for t in SAMPLED),
    )


@cache
def _blank() -> bytes:
    """A database without rows."""
    with TemporaryDirectory(prefix="estats-test-") as made:
        path = Path(made, "blank.db")
        engine = open_writable(path)
        upgrade(engine)
        with closing(sqlite3.connect(path)) as base:
            base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return path.read_bytes()


def write(
    path: Path, told: Sequence[Step], bounds: Bounds | None, *, at_once: bool = False
) -> list[int]:
    """Write a history and forget what is not kept, as it goes or at the end; returns the times."""
    path.write_bytes(_blank())  # migrating would take longer than all else
    tale, times = Told(), list[int]()
    writer = Writer(path, run_row(), bounds)
    for n, step in enumerate(told):
        if step.restarts and n:
            writer.close("restarted")
            writer = Writer(path, run_row(), bounds)
            tale.restart()
        writer.write(tale.snapshot(step))
        times.append(tale.taken_us)
        while not at_once and writer.forget():
            pass
    while writer.forget():
        pass
    writer.close("done")
    return times
