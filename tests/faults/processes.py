"""Every process killed and stopped, at random moments."""

import signal
import time
from collections.abc import Iterator, Mapping
from typing import Final

from tests.faults.stage import Act, Stage, kill
from tests.kernel.collecting import Collector, until

_STOPPED_SECONDS: Final = 0.3
_SUSPENDED_SECONDS: Final = 30
_LATE_SECONDS: Final = 5


def _replaced(stage: Stage) -> int:
    return int(stage.value("SELECT coalesce(sum(replaced), 0) FROM snapshot"))


def kill_worker(stage: Stage, rounds: int) -> None:
    """One worker at a time; another takes its place and its connections."""
    stage.collect()
    for done in range(1, rounds + 1):
        stage.pause(0.2)
        kill(stage.some_worker(), signal.SIGKILL)
        until("a replacement", lambda done=done: _replaced(stage) >= done)


def kill_writer(stage: Stage, rounds: int) -> None:
    """The writer; another one takes its place, and writes what it had not."""
    stage.collect()
    for done in range(1, rounds + 1):
        stage.pause(0.2)
        kill(stage.children()["estats-writer"], signal.SIGKILL)
        until("a replacement", lambda done=done: _replaced(stage) >= done)


def kill_supervisor(stage: Stage, rounds: int) -> None:
    """All die with it; the next collector goes on in the same database."""
    for _ in range(rounds):
        collector = stage.collect()
        stage.pause(0.3)
        kill(collector.process.pid, signal.SIGKILL)
        collector.process.wait()
        stage.until_gone()
    stage.collect()


def kill_all(stage: Stage, rounds: int) -> None:
    """Every process at once."""
    for _ in range(rounds):
        collector = stage.collect()
        stage.pause(0.3)
        for pid in collector.processes():
            kill(pid, signal.SIGKILL)
        collector.process.wait()
        stage.until_gone()
    stage.collect()


def _loader(stage: Stage) -> int | None:
    """The pid of the loader, None if it has done its work or the collector has ended."""
    collector = stage.collector
    assert collector, "it was begun"
    end = time.monotonic() + 30
    while collector.process.poll() is None and time.monotonic() < end:
        try:
            found = stage.children()
        except (FileNotFoundError, ProcessLookupError):
            return None
        if "estats-worker-0" in found:
            return None
        if "estats-writer" in found and "loader" in found:
            return found["loader"]
    return None


def _starts(stage: Stage, rounds: int, seconds: float) -> Iterator[tuple[Collector, int | None]]:
    """Collectors at some moment of their start, each with the pid of its loader if it had one."""
    stage.load.begin()
    for _ in range(rounds):
        collector = stage.begin()
        loader = _loader(stage)
        stage.pause(seconds)
        yield collector, loader
    stage.collect()


def kill_loader(stage: Stage, rounds: int) -> None:
    """While it loads: the collector ends with a sentence, and the next one begins as ever."""
    for collector, loader in _starts(stage, rounds, 0.3):
        if loader:
            kill(loader, signal.SIGKILL)
        if "estats-worker-0" not in _children_or_none(stage):
            code = collector.process.wait()
            assert code == 3, collector.log.read_text()
        else:  # it had done its work
            collector.ready()
            assert collector.stop() == 0, collector.log.read_text()


def _children_or_none(stage: Stage) -> Mapping[str, int]:
    """The collector's processes once it is clear whether it runs."""
    collector = stage.collector
    assert collector, "it was begun"

    def clear() -> Mapping[str, int]:
        if collector.process.poll() is not None:
            return {"gone": 0}
        try:
            found = stage.children()
        except (FileNotFoundError, ProcessLookupError):
            return {"gone": 0}
        return found if "estats-worker-0" in found else {}

    found: Mapping[str, int] = until("its fate", clear)
    return found


def _stop(stage: Stage, rounds: int, name: str) -> None:
    stage.collect()
    for _ in range(rounds):
        stage.pause(0.2)
        pid = stage.some_worker() if name == "worker" else stage.children()[name]
        kill(pid, signal.SIGSTOP)
        time.sleep(_STOPPED_SECONDS)
        kill(pid, signal.SIGCONT)


def stop_worker(stage: Stage, rounds: int) -> None:
    """A worker that stands still for a while only lags."""
    _stop(stage, rounds, "worker")


def stop_writer(stage: Stage, rounds: int) -> None:
    """Snapshots come late."""
    _stop(stage, rounds, "estats-writer")


def stop_supervisor(stage: Stage, rounds: int) -> None:
    """No ticks meanwhile."""
    _stop(stage, rounds, "estats")


def stop_loader(stage: Stage, rounds: int) -> None:
    """The start takes so much longer."""
    for collector, loader in _starts(stage, rounds, 0.2):
        if loader:
            kill(loader, signal.SIGSTOP)
            time.sleep(_STOPPED_SECONDS)
            kill(loader, signal.SIGCONT)
        collector.ready()
        assert collector.stop() == 0, collector.log.read_text()


def late_worker(stage: Stage, rounds: int) -> None:
    """A worker that does nothing for five seconds."""
    stage.collect()
    for _ in range(rounds):
        pid = stage.some_worker()
        kill(pid, signal.SIGSTOP)
        time.sleep(_LATE_SECONDS)
        kill(pid, signal.SIGCONT)
        stage.catch_up()


def suspend(stage: Stage, rounds: int) -> None:
    """All processes of the collector stand still, while the load goes on."""
    collector = stage.collect()
    for _ in range(rounds):
        for signum, seconds in ((signal.SIGSTOP, _SUSPENDED_SECONDS), (signal.SIGCONT, 0)):
            for pid in collector.processes():
                kill(pid, signum)
            time.sleep(seconds)
        stage.catch_up()


#: By name; these are played as often as the command line says.
MANY: Final[Mapping[str, Act]] = {
    "kill worker": kill_worker,
    "kill writer": kill_writer,
    "kill supervisor": kill_supervisor,
    "kill loader": kill_loader,
    "stop worker": stop_worker,
    "stop writer": stop_writer,
    "stop supervisor": stop_supervisor,
    "stop loader": stop_loader,
}
