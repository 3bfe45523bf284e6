"""Connections that come and go at a rate: whether every end has its row or its count."""

import sqlite3
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.beside import collector, wait_for_snapshots
from bench.effort import Effort
from bench.pairs import Figures
from bench.paths import BULK_PORT, CLOSE_PORT, Way
from bench.report import Cell, Section
from bench.workloads import BULK, storm

_STORMS: Final = (1_024, 5_000, 10_000, 0)  # a second; 0: as many as can be
_BESIDE_BULK: Final = 1_024
_BESIDE_BULK_SECONDS: Final = 60
_KEPT: Final = ("--port", str(CLOSE_PORT), "--port", str(BULK_PORT))

COLUMNS: Final = ("ends", "rows with final values", "lost", "lost finals", "neither")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """What became of both ends of some connections; ``untracked`` and the lost are as counted."""

    made: int
    rows: int
    lost: int
    lost_finals: int
    untracked: int

    @property
    def neither(self) -> int:
        """Those that have no row with final values, nor were counted: there are to be none."""
        return self.made - self.rows - self.lost_finals - self.untracked

    @property
    def cells(self) -> tuple[Cell, ...]:
        """What a table shows of them, under ``COLUMNS``."""
        return self.made, self.rows, self.lost, self.lost_finals, self.neither


def ends(database: Path, figures: Figures, port: int) -> Ends:
    """Of the storm on a port that had these figures; the collector has stopped."""
    with closing(sqlite3.connect(database)) as base:
        (rows,) = base.execute(
            "SELECT count(*) FROM connection WHERE ? IN (LocalPort, RemPort)"
            " AND closed_us IS NOT NULL AND close_reason != 'close not seen'",
            (port,),
        ).fetchone()
        (lost, lost_finals, untracked) = base.execute(
            "SELECT sum(lost), sum(lost_finals), sum(untracked) FROM snapshot"
        ).fetchone()
    return Ends(
        made=int(2 * figures["connections"]),
        rows=rows,
        lost=lost,
        lost_finals=lost_finals,
        untracked=untracked,
    )


def alone(path: Way, effort: Effort) -> Section:
    """Storms of all strengths, and nothing else."""
    rows: list[tuple[Cell, ...]] = []
    for rate in _STORMS:
        figures, found = _storm(path, rate, 2 * effort.seconds)
        asked = f"{rate:,}" if rate else "all it can"
        rows.append((asked, figures["connections/s"], *found.cells))
    return Section(
        title="Loss: new connections",
        means="Connections that are made and closed at a rate, over loopback, with the collector on"
        " the same processors, at its default settings but that it keeps no others (--port), for"
        " what was lost of those would be counted here; each has two ends, and each end is to have"
        " one row, closed by its final batch. Lost batches are those for which a ring had no room;"
        " what they would have said came with a later one, unless they were final. Lost finals are"
        " ends that it knows that it did not see: where no hook runs in the context of some task,"
        " as on a virtual machine whose kernel hides its managing process, there are some also"
        " without any overload. The last column is how many ends are in neither count.",
        columns=("asked, /s", "made, /s", *COLUMNS),
        rows=rows,
    )


def beside_bulk(path: Way, effort: Effort) -> Section:
    """A lasting storm while a bulk stream takes what is left of the processors."""
    seconds = 4 if effort.quick else _BESIDE_BULK_SECONDS
    figures, found = _storm(path, _BESIDE_BULK, seconds, is_beside_bulk=True)
    made, rate = figures["connections/s"], figures["Gbit/s"]
    return Section(
        title="Loss: new connections beside a bulk stream",
        means=f"{_BESIDE_BULK:,} connections a second, as above, and over the same time a bulk"
        " stream of iperf3, which takes all processor time that it can get. Each end is to have its"
        " row with final values, and nothing is to be lost.",
        columns=("seconds", "made, /s", "stream, Gbit/s", *COLUMNS),
        rows=[(seconds, made, rate, *found.cells)],
    )


def _storm(
    path: Way, rate: int, seconds: int, *, is_beside_bulk: bool = False
) -> tuple[Figures, Ends]:
    with tempfile.TemporaryDirectory(prefix="estats-bench-") as folder:
        database = Path(folder, "flows.db")
        with collector(*_KEPT, database=database) as process, ThreadPoolExecutor() as beside:
            bulk = beside.submit(BULK.run, path, seconds) if is_beside_bulk else None
            figures = {**storm(path, seconds, rate), **(bulk.result() if bulk else {})}
            wait_for_snapshots(database, process, 2)
        return figures, ends(database, figures, CLOSE_PORT)


def sections(path: Way, effort: Effort) -> Sequence[Section]:
    """Both."""
    return [alone(path, effort), beside_bulk(path, effort)]
