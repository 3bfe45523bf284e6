"""What a machine does to a collector: its clock, its processor, its memory, its descriptors."""

import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.faults.load import Load
from tests.faults.processes import late_worker, suspend
from tests.faults.shim import Shim
from tests.faults.stage import Act, Stage, kill
from tests.kernel.collecting import PATIENCE, until

_HOUR: Final = 3600
_CROWD: Final = 10_000
_GROUPS: Final = Path("/sys/fs/cgroup")
_STARVED_SECONDS: Final = 8


def clock(stage: Stage, rounds: int) -> None:
    """The wall clock is set back by an hour, and forward again."""
    shim = Shim(stage.folder)
    stage.collect(env=shim.environment)
    for _ in range(rounds):
        for seconds in (-_HOUR, 0, _HOUR, 0):
            shim.set(clock_seconds=seconds)
            time.sleep(1)
    stage.catch_up()


def overload(stage: Stage, rounds: int) -> None:
    """Ten times as many closings as rings and overflow together have room for."""
    stage.collect(program="tests.faults.tiny_rings")
    for _ in range(rounds):
        workers = [p for name, p in stage.children().items() if name.startswith("estats-worker")]
        pairs = [stage.load.connect() for _ in range(500)]
        for pid in workers:
            kill(pid, signal.SIGSTOP)
        stage.load.close(pairs)
        for pid in workers:
            kill(pid, signal.SIGCONT)
        stage.catch_up()


def crowd(stage: Stage, rounds: int) -> None:
    """Ten thousand connections, whose both ends two processes close at once."""
    context = multiprocessing.get_context("fork")  # each has descriptors for half of them
    stage.collect()
    for _ in range(rounds):
        opened, told = context.Queue(), context.Queue()
        go = context.Event()
        halves = [
            context.Process(target=_half, args=(address, opened, go, told))
            for address in ("127.0.0.2", "127.0.0.3")
        ]
        for half in halves:
            half.start()
        made = sum(opened.get(timeout=PATIENCE) for _ in halves)
        assert made == _CROWD, "all are open"
        stage.catch_up()
        go.set()
        for _ in halves:
            stage.load.ends += told.get(timeout=PATIENCE)
        for half in halves:
            half.join()
        stage.catch_up()


def _half(address: str, opened: Any, go: Any, told: Any) -> None:
    """Half of the crowd, of one process."""
    load = Load(address)
    pairs = [load.connect() for _ in range(_CROWD // 2)]
    opened.put(len(pairs))
    go.wait(PATIENCE)
    load.close(pairs)
    told.put(load.finish())


def few_descriptors(stage: Stage, rounds: int) -> None:
    """No descriptor is left: a start is refused in words, and one that runs ends so."""
    for _ in range(rounds):
        collector = stage.collect()
        pid = collector.process.pid
        used = max(int(fd.name) for fd in Path(f"/proc/{pid}/fd").iterdir())
        most = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used // 2, most))
        assert collector.process.wait(60) == 3, collector.log.read_text()
        said = collector.log.read_text()
        assert "descriptor" in said, said
    stage.collect()


@contextmanager
def _group(controller: str, pids: set[int]) -> Iterator[Path]:
    """A control group (v1) with these processes; they are back in the root at the end."""
    folder = _GROUPS / controller / f"estats-faults-{os.getpid()}"
    folder.mkdir()
    try:
        for pid in pids:
            (folder / "cgroup.procs").write_text(str(pid))
        yield folder
    finally:
        for left in (folder / "cgroup.procs").read_text().split():
            (folder.parent / "cgroup.procs").write_text(left)
        folder.rmdir()


def starved(stage: Stage, rounds: int) -> None:
    """A twentieth of one processor, for all processes of the collector."""
    collector = stage.collect()
    for _ in range(rounds):
        with _group("cpu", collector.processes()) as group:
            (group / "cpu.cfs_period_us").write_text("100000")
            (group / "cpu.cfs_quota_us").write_text("5000")
            time.sleep(_STARVED_SECONDS)
        stage.catch_up()


def little_memory(stage: Stage, rounds: int) -> None:
    """The kernel kills one process after another, for the group has no memory left."""
    for _ in range(rounds):
        collector = stage.collect()
        with _group("memory", collector.processes()) as group:
            (group / "memory.limit_in_bytes").write_text(str(1 << 20))
            kills = group / "memory.oom_control"
            until(
                "the kernel's killer",
                lambda kills=kills: "oom_kill 0" not in kills.read_text(),
            )
            time.sleep(1)
            (group / "memory.limit_in_bytes").write_text("-1")
        until("its fate", lambda: _has_ended(stage) or _goes_on(stage))
        if not _has_ended(stage):
            assert collector.stop() == 0, collector.log.read_text()
        stage.until_gone()
    stage.collect()


def _has_ended(stage: Stage) -> bool:
    collector = stage.collector
    assert collector, "it was begun"
    return collector.process.poll() is not None


def _goes_on(stage: Stage) -> bool:
    collector = stage.collector
    assert collector, "it was begun"
    return collector.database.snapshots(time.time_ns() // 1000 - 200_000) > 0


FAULTS: Final[Mapping[str, Act]] = {
    "clock stepped": clock,
    "ring overflow": overload,
    "10,000 close at once": crowd,
    "worker 5 s late": late_worker,
    "no memory": little_memory,
    "no descriptor": few_descriptors,
    "CPU at 5 %": starved,
    "suspended": suspend,
}
