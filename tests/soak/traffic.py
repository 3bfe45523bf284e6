"""Connections, namespaces and processes that come and go, each of them counted."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from bench.paths import serving
from bench.processes import Running, running
from tests.kernel.net import HERE, Net, network
from tests.kernel.tcp_info import Witness
from tests.kernel.traffic import Pair, pair

#: Below those that the kernel gives to clients, and not those of the benchmarks.
STORM_PORT: Final = 26_001
HOLD_PORT: Final = 26_002
PEER_PORT: Final = 26_003
REFUSED_PORT: Final = 26_004  # nobody listens there
STAYING_PORT: Final = 26_005
PORTS: Final = (STORM_PORT, HOLD_PORT, PEER_PORT, REFUSED_PORT, STAYING_PORT)

_STORM_RATE: Final = 150  # connections a second
_HELD: Final = 200
_STAYING: Final = 8
_COMPARED, _SHORT, _ABORTED, _REFUSED, _ABANDONED = 10, 40, 5, 3, 20
_LOSS: Final = 20  # per mille


class Traffic:
    """All of it. ``made`` are the ends that had come by now, by what made them."""

    def __init__(self, storm: Running, held: Running, staying: Pair) -> None:
        """It flows already."""
        self.made: dict[str, int] = {}
        self.generations = 0
        self._storm, self._held, self._staying = storm, held, staying

    def is_on(self) -> bool:
        """Whether the storm, which knows the time, still blows."""
        assert self._held.is_alive(), "the connections that are held have ended"
        return self._storm.is_alive()

    def generation(self) -> list[Witness]:
        """Two namespaces, two processes, and all kinds of connections between them.

        The answer is what the sockets of some of them said when they had closed, both ends.
        """
        family = 4 + 2 * (self.generations % 2)
        with network() as net:
            for host in net.hosts:
                host.sysctl("net.ipv4.tcp_ecn", 0)
            with pair(net.client, net.server) as peers:
                found = self._live(net, peers, family)
        self._staying.exchange(1, 2_000)
        self.generations += 1
        return found

    def _live(self, net: Net, peers: Pair, family: int) -> list[Witness]:
        address = net.server.address(family)
        peers.server("listen", address=address, port=PEER_PORT)
        _open(peers, address, PEER_PORT, _COMPARED)
        net.lose(_LOSS)
        peers.exchange(4, 20_000)
        net.lose(0)
        peers.half_close()
        found = [witness for peer in peers.peers for witness in peer.witnesses()]
        for peer in peers.peers:
            peer("close")
        peers.server.tell("answer", count=_SHORT)
        peers.client("call", address=address, port=PEER_PORT, count=_SHORT)
        peers.server.hear()
        _open(peers, address, PEER_PORT, _ABORTED)
        peers.exchange(1, 100)
        peers.client("reset")
        peers.server("close")
        for _ in range(_REFUSED):
            peers.client("attempt", address=address, port=REFUSED_PORT)
        # They are silent until their processes are killed.
        _open(peers, address, PEER_PORT, _ABANDONED)
        self._add("with loss, closed in order", 2 * _COMPARED)
        self._add("short", 2 * _SHORT)
        self._add("aborted", 2 * _ABORTED)
        self._add("refused", _REFUSED)
        self._add("of processes that are killed", 2 * _ABANDONED)
        return found

    def end(self) -> list[Witness]:
        """Let all of it come to its end; what the sockets of those that stayed say."""
        ended, failed, _ = map(int, self._storm.line().split())
        assert not failed, f"{failed} connections of the storm failed"
        self._add("storm", 2 * ended)
        self._held.stop()
        self._add("held all the time, a request a second", 2 * _HELD)
        self._staying.half_close()
        self._add("held all the time, with pauses", 2 * _STAYING)
        return [witness for peer in self._staying.peers for witness in peer.witnesses()]

    def _add(self, what: str, ends: int) -> None:
        self.made[what] = self.made.get(what, 0) + ends


def _open(peers: Pair, address: str, port: int, count: int) -> None:
    peers.server.tell("accept", count=count)
    peers.client("connect", address=address, port=port, count=count)
    peers.server.hear()


@contextmanager
def traffic(programs: Path, seconds: int) -> Iterator[Traffic]:
    """It flows for so long; whatever is left ends with the block."""
    with ExitStack() as ends:
        ends.enter_context(serving(HERE, programs, STORM_PORT, "close"))
        ends.enter_context(serving(HERE, programs, HOLD_PORT, "echo"))
        staying = ends.enter_context(pair(HERE, HERE))
        staying.server("listen", address=HERE.v4, port=STAYING_PORT)
        _open(staying, HERE.v4, STAYING_PORT, _STAYING)
        hold = [str(programs / "hold"), HERE.v4, str(HOLD_PORT), str(_HELD)]
        held = ends.enter_context(running(hold))
        held.line()
        storm = [str(programs / "storm"), HERE.v4, str(STORM_PORT), str(seconds), str(_STORM_RATE)]
        yield Traffic(ends.enter_context(running(storm)), held, staying)
