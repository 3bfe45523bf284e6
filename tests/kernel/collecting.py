"""A running collector, and what its database says."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from cli.configuration import NO_FILE
from tests.kernel.leftovers import bpf_objects, owned, processes, start
from tests.kernel.net import SLOWNESS
from tests.kernel.tcp_info import OPTIONS, Witness, said
from tests.kernel.validation import agree

HOME = Path(__file__).parents[2]
INTERVAL_SECONDS = 0.5
PATIENCE = 60 * SLOWNESS  # seconds; whatever takes longer hangs

Row = dict[str, Any]


def until(what: str, come: Any) -> Any:
    """Wait for the first true answer, and give it."""
    end = time.monotonic() + PATIENCE
    while not (answer := come()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)
    return answer


class Database:
    """A database that may be written at the same time; each question sees one snapshot."""

    def __init__(self, path: Path) -> None:
        """Nothing is opened yet: the file may come later."""
        self.path = path

    def ask(self, sql: str, *values: object) -> list[Row]:
        """The rows of one statement, as dictionaries."""
        with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True)) as base:
            base.row_factory = sqlite3.Row
            return [dict(row) for row in base.execute(sql, values)]

    def one(self, sql: str, *values: object) -> Row:
        """The only row of one statement."""
        (row,) = self.ask(sql, *values)
        return row

    def value(self, sql: str, *values: object) -> Any:
        """The only value of one statement."""
        (value,) = self.one(sql, *values).values()
        return value

    def latest(self, cookie: int) -> Row:
        """A connection, by its socket's cookie, with its newest values."""
        return self.one("SELECT * FROM latest WHERE cookie = ?", cookie)

    def snapshots(self, since_us: int) -> int:
        """How many snapshots were taken after a moment."""
        if not self.path.exists():
            return 0
        try:
            return int(self.value("SELECT count(*) FROM snapshot WHERE taken_us > ?", since_us))
        except sqlite3.OperationalError:
            return 0  # it is just being made

    def catch_up(self) -> None:
        """Wait until nothing that happened before now can be missing: for two whole intervals."""
        now_us = time.time_ns() // 1000
        until("three snapshots", lambda: self.snapshots(now_us) >= 3)

    def lost(self) -> int:
        """Batches lost and connections not tracked or not seen to close, ever."""
        return int(self.value("SELECT sum(lost + lost_finals + untracked) FROM snapshot"))


class Collector:
    """An ``estats collect`` process and its database."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        db: Path | None = None,
        program: str = "estats",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it, with more in its environment; it is of use once ``ready`` has returned."""
        self.database = Database(db or folder / "flows.db")
        self.log = folder / f"collector-{time.monotonic_ns()}.log"
        self._objects = bpf_objects()
        self._began_us = time.time_ns() // 1000
        argv = [sys.executable, "-m", program, "collect", "--config", NO_FILE]
        argv += ["--db", str(self.database.path)]
        argv += ["--interval", str(INTERVAL_SECONDS), *options]
        with self.log.open("w") as log:
            self.process = start(
                argv,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=HOME,
                env={**os.environ, **(environment or {})},
            )

    def ready(self) -> "Collector":
        """Wait for its first snapshot: from then on no connection can escape it."""

        def snapshot() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return self.database.snapshots(self._began_us) > 0

        until("the first snapshot", snapshot)
        self._objects = bpf_objects() - self._objects
        owned(self._objects)
        return self

    @property
    def objects(self) -> set[tuple[str, int]]:
        """The BPF programs, maps and links that came with it."""
        return self._objects

    def processes(self) -> set[int]:
        """The pids of all its processes."""
        return processes(self.process.pid)

    def stop(self, signum: int = signal.SIGINT) -> int:
        """Ask it to end, and give its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signum)
        return self.process.wait(PATIENCE)

    def destroy(self) -> None:
        """End all its processes, whatever state they are in."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue  # it ended by itself
        self.process.wait(PATIENCE)


@contextmanager
def collecting(
    folder: Path, *options: str, db: Path | None = None, program: str = "estats"
) -> Iterator[Collector]:
    """A collector that is ready; it is gone after the block, and ended well if it still ran."""
    collector = Collector(folder, *options, db=db, program=program)
    try:
        yield collector.ready()
        assert collector.stop() == 0, collector.log.read_text()
    finally:
        collector.destroy()


def agree_with_socket(row: Row, witness: Witness, but: Iterable[str] = ()) -> None:
    """Hold a connection's row against what the kernel says of its socket.

    ``but`` names what the row knows and the socket does not.
    """
    values = {name: value for name, value in said(witness).items() if name not in but}
    agree("socket options", row, {name: values.pop(name) for name in OPTIONS})
    agree("TCP_INFO", row, values)
