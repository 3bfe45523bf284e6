"""A collector in the test's own process, and what its database says afterwards."""

import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bpf.meters import Run
from collector import fleet
from collector.fleet import Source, Watch
from collector.settings import Settings
from collector.supervisor import Progress
from collector.writing import Prepare, Sink
from storage.writer import Writer

Row = dict[str, Any]

PATIENCE_SECONDS = 60  # whatever takes longer hangs
INTERVAL_US = 20_000

DIAG = Settings(interval_us=INTERVAL_US)


def ignore(_: Progress) -> None:
    """Let it run."""


@dataclass
class Collected:
    """How a run is told to go on, and what it said."""

    database: Path
    on_progress: Callable[[Progress], None] = ignore
    said: list[str] = field(default_factory=list[str])
    progress: list[Progress] = field(default_factory=list[Progress])

    def run(
        self,
        settings: Settings = DIAG,
        source: Source = Source.DIAG,
        prepare: Prepare | None = None,
    ) -> str:
        """Collect until something ends it; its reason. Raises TimeoutError if nothing does."""
        watch = Watch(progress=self._note, say=lambda event: self.said.append(event.message))
        before = signal.signal(signal.SIGALRM, _hang)
        signal.alarm(PATIENCE_SECONDS)
        try:
            return fleet.collect(settings, source, prepare or self.storage, "0.1.0", watch)
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)

    def storage(self) -> Callable[[Run], Sink]:
        """The real one."""
        return lambda run: Writer(self.database, run)

    def ask(self, sql: str) -> list[Row]:
        """The rows of one statement."""
        with closing(sqlite3.connect(self.database)) as base:
            base.row_factory = sqlite3.Row
            return [dict(row) for row in base.execute(sql)]

    def one(self, sql: str) -> Any:
        """The only value of one statement."""
        (row,) = self.ask(sql)
        (value,) = row.values()
        return value

    def _note(self, progress: Progress) -> None:
        self.progress.append(progress)
        self.on_progress(progress)


def _hang(_number: int, _frame: object) -> None:
    raise TimeoutError("the collector hangs")


def children() -> dict[str, int]:
    """The processes of this one, by name."""
    pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {Path(f"/proc/{pid}/comm").read_text().strip(): int(pid) for pid in pids}
