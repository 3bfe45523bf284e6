"""Whether a collector grows while connections come and go for a long time."""

import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from bench.beside import collector, wait_for_snapshots
from bench.effort import Effort
from bench.footprint import Footprint, database_octets, footprint
from bench.overhead import loads
from bench.pairs import Figures
from bench.paths import serving
from bench.processes import Running, running
from bench.report import Cell, Section
from bench.storms import COLUMNS, Ends, ends
from tests.kernel.net import HERE

_RATE: Final = 500  # connections a second
_SAMPLES: Final = 60  # over the whole time: one a minute in an hour
_PAUSE_SECONDS_MIN: Final = 0.5
_FILLING_HOURS: Final = 0.05  # the writer's page cache takes two to three minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a collector took ``hours`` after the first connection, and what it had stored."""

    hours: float
    taken: Footprint
    rows: int
    database: int


#: What the table shows of a sample, in MB or as it is.
_FIGURES: Final[dict[str, Callable[[Sample], float]]] = {
    "supervisor, MB": lambda s: s.taken.supervisor / 1e6,
    "writer, MB": lambda s: s.taken.writer / 1e6,
    "workers, MB": lambda s: s.taken.workers / 1e6,
    "processes together, MB": lambda s: s.taken.processes / 1e6,
    "kernel maps, MB": lambda s: s.taken.maps / 1e6,
    "descriptors": lambda s: s.taken.descriptors,
    "connections stored": lambda s: s.rows,
    "database, MB": lambda s: s.database / 1e6,
}


def run(effort: Effort) -> Sequence[Section]:
    """Both tables of this part."""
    seconds = round(effort.minutes * 60)
    with (
        tempfile.TemporaryDirectory(prefix="estats-bench-") as folder,
        loads() as programs,
        serving(HERE, programs, 0, "close") as port,  # it lasts: others may be measured beside it
    ):
        database = Path(folder, "flows.db")
        storm = [str(programs / "storm"), HERE.v4, str(port), str(seconds), str(_RATE)]
        with collector("--port", str(port), database=database) as process:
            figures, samples = _watched(storm, database, process, seconds)
            wait_for_snapshots(database, process, 2)
        found = ends(database, figures, port)
    return [growth(samples), _complete(figures, found, seconds)]


def _watched(
    storm: Sequence[str], database: Path, process: Running, seconds: int
) -> tuple[Figures, list[Sample]]:
    """The storm's figures, and what was seen of the collector meanwhile."""
    samples: list[Sample] = []
    began = time.monotonic()
    with running(HERE.argv(*storm)) as load:
        pause = max(_PAUSE_SECONDS_MIN, seconds / _SAMPLES)
        while load.is_alive():
            time.sleep(pause)
            samples.append(_sample(database, process, (time.monotonic() - began) / 3600))
            print("churn:", asdict(samples[-1]), file=sys.stderr, flush=True)
        ended, failed, took_ns = map(int, load.line().split())
    rate = ended / took_ns * 1e9
    return {"connections/s": rate, "connections": ended, "failed": failed}, samples


def _sample(database: Path, process: Running, hours: float) -> Sample:
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as base:
        (rows,) = base.execute("SELECT count(*) FROM connection").fetchone()
    octets = database_octets(database)
    return Sample(hours=hours, taken=footprint(process), rows=rows, database=octets)


def growth(samples: Sequence[Sample]) -> Section:
    """From the end of the first tenth, when everything has its size, to the last sample."""
    whole = samples[-1].hours
    start = max(whole / 10, min(whole / 3, _FILLING_HOURS))
    later = [sample for sample in samples if sample.hours >= start]
    hours = [sample.hours for sample in later]
    rows: list[tuple[Cell, ...]] = []
    for name, figure in _FIGURES.items():
        values = [figure(sample) for sample in later]
        slope = float(np.polyfit(hours, values, 1)[0]) if len(later) > 1 else None
        rows.append((name, values[0], values[-1], min(values), max(values), slope))
    return Section(
        title="Churn: what a collector takes",
        means=f"{_RATE} connections a second are made and closed over loopback for"
        f" {whole * 60:.1f} minutes, with a collector that keeps them and nobody else's (--port);"
        f" {len(samples)} samples. Nothing but the database is to grow. Memory of processes is"
        " proportional set size, kernel maps are the collector's, rings included. The first figure"
        f" is that after {start * 60:.1f} minutes, a tenth of the time or what the writer's page"
        " cache takes to fill; the lowest and the highest are of the time since, and growth is the"
        " slope of the straight line through these samples: of a time shorter than an hour it is"
        " what an hour would bring.",
        columns=("", "at first", "at the end", "lowest", "highest", "growth / hour"),
        rows=rows,
    )


def _complete(figures: Figures, found: Ends, seconds: int) -> Section:
    return Section(
        title="Churn: whether each connection has its row",
        means="Both ends of all these connections, as in the tables of losses.",
        columns=("asked, /s", "seconds", "made, /s", *COLUMNS),
        rows=[(_RATE, seconds, figures["connections/s"], *found.cells)],
    )
