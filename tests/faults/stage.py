"""Where a fault is played: a load, a collector that watches it, and a look at what is left."""

import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.account import Account, account
from tests.faults.load import Load
from tests.kernel.collecting import Collector, until
from tests.kernel.leftovers import SETTLE_SECONDS, bpf_objects, processes

INTERVAL_SECONDS = 0.1


@dataclass
class Stage:
    """A load and its collectors, which share one database."""

    folder: Path
    load: Load
    collector: Collector | None = None
    chance: random.Random = field(default_factory=random.Random)

    def begin(
        self, *options: str, program: str = "estats", env: Mapping[str, str] | None = None
    ) -> Collector:
        """A collector that is not ready yet."""
        asked = ["--interval", str(INTERVAL_SECONDS), "--port", str(self.load.port)]
        asked += ["--source", "bpf", "--shards", "2", *options]
        self.collector = Collector(self.folder, *asked, program=program, environment=env)
        return self.collector

    def collect(self, *options: str, **how: Any) -> Collector:
        """A collector that is ready."""
        collector = self.begin(*options, **how).ready()
        self.load.begin()
        return collector

    def children(self) -> dict[str, int]:
        """The collector's processes by name; the supervisor is ``estats``, a loader has no name."""
        assert self.collector, "it was begun"
        pid = self.collector.process.pid
        found = {"estats": pid}
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            try:
                name = Path(f"/proc/{child}/comm").read_text().strip()
            except (FileNotFoundError, ProcessLookupError):
                continue
            found[name if name.startswith("estats-") else "loader"] = int(child)
        return found

    def some_worker(self) -> int:
        """The pid of one of the workers."""
        workers = [pid for name, pid in self.children().items() if name.startswith("estats-worker")]
        return self.chance.choice(workers)

    def pause(self, seconds: float) -> None:
        """Any time up to so long."""
        time.sleep(self.chance.uniform(0, seconds))

    def value(self, sql: str) -> Any:
        """One value of the database."""
        assert self.collector, "it was begun"
        return self.collector.database.value(sql)

    def catch_up(self) -> None:
        """Until nothing that happened before now can be missing."""
        assert self.collector, "it was begun"
        self.collector.database.catch_up()

    def until_log(self, words: str) -> None:
        """Wait until the collector says so."""
        collector = self.collector
        assert collector, "it was begun"
        until(words, lambda: words in collector.log.read_text())

    def until_gone(self) -> None:
        """Wait until no process of the collector is there."""
        collector = self.collector
        assert collector, "it was begun"
        until("the end of its processes", lambda: not collector.processes())

    def end(self) -> None:
        """The load first; then the collector, in order."""
        self.load.finish()
        if self.collector and self.collector.process.poll() is None:
            self.catch_up()
            code = self.collector.stop()
            assert code == 0, self.collector.log.read_text()


Act = Callable[[Stage, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One fault: what came of it."""

    fault: str
    rounds: int
    seconds: float
    account: Account
    left: str

    @property
    def is_good(self) -> bool:
        """Whether everything is accounted for, and nothing is left."""
        return self.account.is_good and not self.left


@contextmanager
def staged() -> Iterator[Stage]:
    """A load in a folder of its own; whatever still runs at the end is ended."""
    with tempfile.TemporaryDirectory(prefix="estats-fault-") as name:
        load = Load()
        stage = Stage(Path(name), load)
        try:
            yield stage
        finally:
            load.finish()
            if stage.collector:
                stage.collector.destroy()


def played(fault: str, act: Act, rounds: int) -> Outcome:
    """Play it, settle the account, and look for what is left."""
    objects, began = bpf_objects(), time.monotonic()
    with staged() as stage:
        act(stage, rounds)
        stage.end()
        settled = account(stage.folder / "flows.db", stage.load.finish())
        seconds = time.monotonic() - began
        left = _left(objects)
    return Outcome(fault=fault, rounds=rounds, seconds=seconds, account=settled, left=left)


def _left(before: set[tuple[str, int]]) -> str:
    """BPF objects and processes that were not there before, once the kernel had time to settle."""
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        objects, running = bpf_objects() - before, processes()
        if not (objects or running) or time.monotonic() > end:
            break
        time.sleep(0.05)
    found = [f"{kind} {number}" for kind, number in sorted(objects)]
    return ", ".join(found + [f"process {pid}" for pid in sorted(running)])


def kill(pid: int, signum: int) -> None:
    """A signal to a process that may have ended by itself."""
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return
