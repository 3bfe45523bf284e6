"""Who makes the traffic: the peers that obey, and iperf."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kernel.leftovers import start
from tests.kernel.net import SLOWNESS, Host
from tests.kernel.tcp_info import Witness

PATIENCE = 60 * SLOWNESS  # seconds for one order; a peer that needs longer hangs
_SCRIPT = Path(__file__).with_name("peer.py")


class Peer:
    """A process on a host that does with its sockets what it is told; see ``peer.py``."""

    def __init__(self, host: Host, comm: str) -> None:
        """Start it; from then on ``pid`` and ``comm`` are those of the owner of its sockets."""
        self.comm = comm
        self._process = start(
            host.argv(sys.executable, "-IS", str(_SCRIPT), comm),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.pid = self._process.pid
        self("tuples")  # its name is set once it answers

    def tell(self, order: str, **arguments: Any) -> None:
        """Give an order without waiting for the answer."""
        assert self._process.stdin is not None, "made with pipes"
        self._process.stdin.write(json.dumps({"do": order, **arguments}) + "\n")
        self._process.stdin.flush()

    def hear(self) -> Any:
        """The answer to the oldest order not heard of yet."""
        assert self._process.stdout is not None, "made with pipes"
        answer = json.loads(self._process.stdout.readline())
        if isinstance(answer, dict) and "error" in answer:
            raise RuntimeError(f"{self.comm}: {answer['error']}")
        return answer

    def __call__(self, order: str, **arguments: Any) -> Any:
        """Give an order and wait for the answer."""
        self.tell(order, **arguments)
        return self.hear()

    def witnesses(self) -> list[Witness]:
        """What the kernel says about this end's connections now."""
        return [Witness.of(said) for said in self("witness")]

    def stop(self) -> None:
        """End the process, whatever it waits for; the kernel closes what it left open."""
        self._process.kill()
        self._process.communicate(timeout=PATIENCE)


@dataclass(frozen=True)
class Pair:
    """A client and a server between which connections stand."""

    client: Peer
    server: Peer

    @property
    def peers(self) -> tuple[Peer, Peer]:
        """Both ends."""
        return self.client, self.server

    def open(self, host: Host, family: int, port: int, count: int) -> None:
        """Let the server listen and the client open this many connections to it."""
        address = host.address(family)
        self.server("listen", address=address, port=port)
        self.server.tell("accept", count=count)
        self.client("connect", address=address, port=port, count=count)
        self.server.hear()

    def exchange(self, rounds: int, size: int) -> None:
        """Let the client write and the server echo, so many times on every connection."""
        self.server.tell("echo", rounds=rounds, size=size)
        self.client("exchange", rounds=rounds, size=size)
        self.server.hear()

    def half_close(self) -> None:
        """Close from the client's side first, and wait until both ends are in CLOSE."""
        self.client("half_close")
        self.server("hear_end")
        self.server("half_close")
        for peer in self.peers:
            peer("settle")


@contextmanager
def pair(client: Host, server: Host) -> Iterator[Pair]:
    """A client and a server on two hosts, or on one; their sockets end with them."""
    with ExitStack() as stops:
        peers = []
        for host, comm in ((client, "kt-client"), (server, "kt-server")):
            peers.append(Peer(host, comm))
            stops.callback(peers[-1].stop)
        yield Pair(*peers)


@contextmanager
def listening(host: Host, *argv: str) -> Iterator[None]:
    """Run a server until the end of the block, which begins once its port 5001 listens."""
    process = start(host.argv(*argv), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        while not host.run("ss", "-Hltn", "sport = :5001"):
            assert process.poll() is None, f"{argv[0]} ended at once"
        yield
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


@dataclass(frozen=True)
class Stream:
    """One data connection of iperf3 as its sender saw it."""

    local_port: int
    retransmits: int


def iperf3_streams(report: str) -> list[Stream]:
    """The data connections in the output of ``iperf3 -J``."""
    said = json.loads(report)
    assert "error" not in said, said["error"]
    ports = {c["socket"]: c["local_port"] for c in said["start"]["connected"]}
    senders = [stream["sender"] for stream in said["end"]["streams"]]
    return [Stream(ports[s["socket"]], s["retransmits"]) for s in senders]
