"""What runs beside a workload: our collector, parts of it, and others that look at TCP."""

import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.paths import ECHO_PORT, Way
from bench.processes import BenchError, Running, running, until
from cli.configuration import NO_FILE

_SETTLING_SECONDS: Final = 1.5  # for programs that do not say when they are ready


@dataclass(frozen=True, slots=True)
class Beside:
    """Something that can run beside a workload.

    ``lacks`` is what it needs and is not here; ``lags`` says that it writes down what it saw when
    the workload is over, which is part of its cost.
    """

    name: str
    start: Callable[[], AbstractContextManager[Running]] = field(repr=False)
    lacks: str | None = None
    lags: bool = False


def collector(*options: str, database: Path | None = None) -> AbstractContextManager[Running]:
    """``estats collect`` at its default settings but for ``options``, once it has a snapshot."""
    return _collector(options, database)


def collecting(database: Path) -> list[str]:
    """The command of a collector by the kernel programs; the host's configuration says nothing."""
    command = [sys.executable, "-m", "estats", "collect", "--config", NO_FILE, "--source", "bpf"]
    return [*command, "--db", str(database)]


@contextmanager
def _collector(options: Sequence[str], database: Path | None) -> Generator[Running]:
    with tempfile.TemporaryDirectory(prefix="estats-bench-") as folder:
        path = database or Path(folder, "flows.db")
        with running([*collecting(path), *options], is_quiet=True) as process:
            until("the first snapshot", lambda: snapshots(path, process) > 0)
            yield process


def snapshots(database: Path, process: Running) -> int:
    """How many snapshots a running collector has written, those that it forgot since included.

    Raises BenchError if it died.
    """
    if not process.is_alive():
        raise BenchError("the collector ended by itself: try it with `make run`")
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as base:
            sql = "SELECT coalesce(max(snapshot_id), 0) FROM snapshot"
            return int(base.execute(sql).fetchone()[0])
    except sqlite3.OperationalError:
        return 0  # it is just being made


def wait_for_snapshots(database: Path, process: Running, count: int) -> None:
    """Until a running collector has written so many more."""
    start = snapshots(database, process)
    until("snapshots", lambda: snapshots(database, process) >= start + count)


@contextmanager
def holding(path: Way, count: int) -> Generator[tuple[Path, Running]]:
    """A collector beside so many open connections, each with a request a second: its database."""
    argv = path.client.argv(str(path.programs / "hold"), path.address, str(ECHO_PORT), str(count))
    with tempfile.TemporaryDirectory(prefix="estats-bench-") as folder, running(argv) as held:
        held.line()
        database = Path(folder, "flows.db")
        with collector(database=database) as process:
            yield database, process


@contextmanager
def program(*argv: str) -> Generator[Running]:
    """One of our modules, which says when it is ready."""
    with running([sys.executable, "-m", *argv]) as process:
        process.line()
        yield process


@contextmanager
def _foreign(*argv: str) -> Generator[Running]:
    """A program of others, which does not; its output is thrown away."""
    with running(argv, is_quiet=True) as process:
        time.sleep(_SETTLING_SECONDS)
        if not process.is_alive():
            raise BenchError(f"{argv[0]} does not run here")
        yield process


def _ss(seconds: str) -> Beside:
    loop = f"while ss -tinOHe >/dev/null; do sleep {seconds}; done"
    return Beside(
        f"`ss -tinOHe` and {seconds} s pause, repeated", lambda: _foreign("sh", "-c", loop)
    )


def _tool(name: str) -> Beside:
    path = shutil.which(name, path="/usr/sbin:/usr/bin")
    lacks = None if path else "libbpf-tools is not installed"
    return Beside(f"{name} of libbpf-tools", lambda: _foreign(path or name), lacks)


ESTATS: Final = Beside("estats, all tables", collector, lags=True)
KERNEL_ALONE: Final = Beside("its kernel side alone", lambda: program("bench.drain"))
BARE_HOOKS: Final = Beside("its hooks with empty programs", lambda: program("bench.bare_hooks"))
PERF_ALONE: Final = Beside("estats, table perf", lambda: collector("--tables", "perf"), lags=True)
ONE_RECORD: Final = Beside(
    "a record for each variable at each segment", lambda: program("bench.one_record")
)


def peers() -> list[Beside]:
    """Others that look at TCP connections, and ours."""
    polling = Beside("inet_diag, decoded, every 10 ms", lambda: program("bench.poll_diag"))
    tools = [_tool("tcplife"), _tool("tcpstates")]
    return [ESTATS, _ss("1"), _ss("0.01"), polling, *tools, ONE_RECORD]
