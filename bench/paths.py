"""Where the traffic flows: over loopback, or between two network namespaces, servers included."""

import os
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.processes import HOME, output, running, until
from tests.kernel.net import HERE, Host, network

#: Below those that the kernel gives to clients: one of theirs may wait in TIME_WAIT.
BULK_PORT: Final = 27_001
ECHO_PORT: Final = 27_002
CLOSE_PORT: Final = 27_003

#: The server that echoes stays on the first one.
FIRST_CPU: Final = min(os.sched_getaffinity(0))
LAST_CPU: Final = max(os.sched_getaffinity(0))

#: Names of the two paths, as the tables have them.
LOOPBACK: Final = "loopback"
VETH: Final = "veth, offloads off"


@dataclass(frozen=True, slots=True)
class Way:
    """A client's host, the host of the servers, and the compiled programs."""

    name: str
    client: Host
    server: Host
    programs: Path

    @property
    def address(self) -> str:
        """Of the servers."""
        return self.server.v4

    def run(self, *argv: str, seconds: float) -> str:
        """A program on the client's host; ``seconds`` is how long it takes by itself."""
        return output(self.client.argv(*argv), seconds + 30)

    def load(self, name: str, *arguments: object, seconds: float, cpu: int | None = None) -> str:
        """One of the programs of ``bench/loads``, the address first; on one CPU if it is given."""
        pinned = () if cpu is None else ("taskset", "-c", str(cpu))
        words = (str(self.programs / name), self.address, *map(str, arguments))
        return self.run(*pinned, *words, seconds=seconds)


def compile_loads(folder: Path) -> None:
    """Compile the programs of ``bench/loads`` into ``folder``."""
    for source in sorted((HOME / "bench" / "loads").glob("*.c")):
        output(
            [
                "gcc",
                "-D_GNU_SOURCE",
                "-O2",
                "-Wall",
                "-Werror",
                "-o",
                str(folder / source.stem),
                str(source),
            ]
        )


@contextmanager
def serving(server: Host, programs: Path, port: int, manner: str) -> Generator[int]:
    """One of our servers, once it may be connected to: its port, a free one for 0."""
    pinned = ("taskset", "-c", str(FIRST_CPU)) if manner == "echo" else ()
    with running(server.argv(*pinned, str(programs / "serve"), str(port), manner)) as process:
        yield int(process.line().split()[1])


@contextmanager
def way(name: str, programs: Path) -> Generator[Way]:
    """One of the paths, with all servers running at its end."""
    with ExitStack() as undo:
        client, server = HERE, HERE
        if name == VETH:
            net = undo.enter_context(network())
            client, server = net.client, net.server
        undo.enter_context(
            running(server.argv("iperf3", "-s", "-p", str(BULK_PORT)), is_quiet=True)
        )
        for port, manner in ((ECHO_PORT, "echo"), (CLOSE_PORT, "close")):
            undo.enter_context(serving(server, programs, port, manner))
        listens = f":{BULK_PORT:04X} "
        until("iperf3", lambda: listens in server.run("cat", "/proc/net/tcp", "/proc/net/tcp6"))
        yield Way(name, client, server, programs)
