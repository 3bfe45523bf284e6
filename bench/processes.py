"""Processes that a measurement starts: found again, told what they cost, and ended."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

HOME: Final = Path(__file__).resolve().parent.parent
_PATIENCE_SECONDS: Final = 60.0  # whatever takes longer hangs
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """A measurement that could not be made, and why."""


class Running:
    """A process in a session of its own, so that its children are counted with it."""

    def __init__(self, argv: Sequence[str], *, is_quiet: bool = False) -> None:
        """Start it; its standard output is kept for ``line`` unless it ``is_quiet``."""
        self._name = argv[0]
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL if is_quiet else subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            cwd=HOME,
        )

    def line(self) -> str:
        """The next line that it prints."""
        assert self._process.stdout is not None, "a quiet process is not asked"
        if not (said := self._process.stdout.readline()):
            raise BenchError(f"{self._name} ended, with {self._process.wait()}")
        return said

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def pids(self) -> list[int]:
        """It and its children, as far as they live."""
        return [
            int(entry.name)
            for entry in Path("/proc").glob("[0-9]*")
            if (words := _stat(entry)) and int(words[3]) == self._process.pid
        ]

    def times(self) -> dict[int, tuple[float, float]]:
        """Processor seconds of each of them that lives and of its children that ended.

        In user mode, and in the kernel.
        """
        found = {pid: _stat(Path("/proc", str(pid))) for pid in self.pids()}
        ticks = {pid: [int(w) for w in words[11:15]] for pid, words in found.items() if words}
        return {p: ((t[0] + t[2]) / _TICKS, (t[1] + t[3]) / _TICKS) for p, t in ticks.items()}

    def cpu_seconds(self) -> float:
        """All of these together."""
        return sum(sum(each) for each in self.times().values())

    def stop(self) -> int:
        """Ask it to end, with its children; insist after a while. Its exit code."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if self.is_alive():
                self._process.send_signal(number)
                try:
                    self._process.communicate(timeout=_PATIENCE_SECONDS / 6)
                except subprocess.TimeoutExpired:
                    continue
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        return code


@contextmanager
def running(argv: Sequence[str], *, is_quiet: bool = False) -> Generator[Running]:
    """A process for the length of a block."""
    process = Running(argv, is_quiet=is_quiet)
    try:
        yield process
    finally:
        process.stop()


def output(argv: Sequence[str], seconds: float = _PATIENCE_SECONDS) -> str:
    """What a program prints that ends by itself. Raises BenchError if it does not end well."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=seconds, check=False, cwd=HOME
        )
    except subprocess.TimeoutExpired as e:
        raise BenchError(f"{argv[0]} took longer than {seconds:.0f} s") from e
    if done.returncode:
        raise BenchError(f"{' '.join(argv)}: {(done.stderr or done.stdout).strip()[:500]}")
    return done.stdout


def until(what: str, come: Callable[[], bool], pause_seconds: float = 0.02) -> None:
    """Wait until ``come()`` is true. Raises BenchError if it never is."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while not come():
        if time.monotonic() > end:
            raise BenchError(f"waited in vain for {what}")
        time.sleep(pause_seconds)


def _stat(entry: Path) -> list[str] | None:
    """The words of /proc/PID/stat behind the name; None of a process that has gone."""
    try:
        return (entry / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
