"""A service manager that listens, and a collector that it started."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

HOME = Path(__file__).resolve().parents[2]
PATIENCE = 60.0  # seconds; whatever takes longer hangs


class Manager:
    """A datagram socket, and the words that came to it."""

    def __init__(self, address: str) -> None:
        """``address`` is a path, or @ and a name."""
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1) if address[0] == "@" else address)

    def next(self, seconds: float = PATIENCE) -> dict[str, str]:
        """The words of the next datagram; none if that long nothing comes."""
        self._socket.settimeout(seconds)
        try:
            text = self._socket.recv(4096).decode()
        except TimeoutError:
            return {}
        return dict(line.split("=", 1) for line in text.split("\n"))

    def forget(self) -> None:
        """What has come so far."""
        while self.next(0.01):
            pass

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()


@contextmanager
def collecting(
    database: Path, *options: object, address: str = "", watchdog_us: int = 0
) -> Iterator[subprocess.Popen[str]]:
    """``estats collect`` by inet_diag in a process of its own, stopped at the end if it is not."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("NOTIFY", "WATCHDOG"))}
    if address:
        environment["NOTIFY_SOCKET"] = address
    if watchdog_us:
        environment["WATCHDOG_USEC"] = str(watchdog_us)
    source = [] if "--replay" in options else ["--source", "diag"]
    command = [sys.executable, "estats.py", "collect", "--db", database, *source, *options]
    process = subprocess.Popen(
        list(map(str, command)), cwd=HOME, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        for pid in [*children(process.pid).values(), process.pid]:
            with_signal(pid, signal.SIGCONT)
        process.terminate()
        process.communicate(timeout=PATIENCE)


def children(pid: int) -> dict[str, int]:
    """The children of a process, by name."""
    try:
        pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return {Path(f"/proc/{child}/comm").read_text().strip(): int(child) for child in pids}
    except FileNotFoundError:  # it has ended
        return {}


def with_signal(pid: int, number: signal.Signals) -> None:
    """Send it, if there is somebody to send it to."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def until(answer: int, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Repeat a command until it ends with that code."""
    end = time.monotonic() + PATIENCE
    while True:
        done = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=False)
        if done.returncode == answer or time.monotonic() > end:
            return done
        time.sleep(0.1)
