"""Connections that something known limits, each on a path made for it.

The client calls, and but for one situation it is the end that sends; a situation ends with the
connection, as soon as all has been said. Nothing here asks estats anything.
"""

import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import Final

from tests.kernel.edges import bulk
from tests.kernel.net import Net
from tests.kernel.relay import Relay, Weather, relayed
from tests.kernel.traffic import Pair, pair

AT_ONCE: Final = 3  # with more relays two processors would be the bottleneck
_PORTS: Final = count(7701)
_MAX_PACING: Final = 250_000  # octets in a second


@dataclass(frozen=True)
class Path:
    """Where a situation takes place, while it does."""

    net: Net
    relay: Relay
    peers: Pair


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What is done, and what there is to find out; ``verdict`` is a name in diagnosis/rules.py.

    The options are of sockets, as level, name and value; ``end`` is whose view is asked for.
    """

    name: str
    verdict: str
    weather: Weather
    act: Callable[[Path], None]
    client: Sequence[tuple[int, int, int]] = ()
    server: Sequence[tuple[int, int, int]] = ()
    congestion: str = "cubic"
    cwnd: int = 0  # segments; the route locks the congestion window at so many
    end: str = "client"


def _bulk(octets: int) -> Callable[[Path], None]:
    def act(path: Path) -> None:
        bulk(path.peers.client, path.peers.server, octets)

    return act


def _in_pieces(path: Path) -> None:
    """Write after write of a segment's size, without a pause but where the buffer is full."""
    path.peers.server.tell("receive", size=800 * 1448)
    path.peers.client("send", size=1448, times=800)
    path.peers.server.hear()


def _slow_sender(path: Path) -> None:
    for _ in range(16):
        bulk(path.peers.client, path.peers.server, 20_000)
        time.sleep(0.2)


def _slow_reader(path: Path) -> None:
    path.peers.client.tell("send", size=6_000_000)
    for _ in range(16):
        path.peers.server("receive", size=50_000)
        time.sleep(0.2)
    path.peers.server("receive", size=6_000_000 - 16 * 50_000)
    path.peers.client.hear()


def _slow_both(path: Path) -> None:
    """As long the one as the other."""
    path.peers.client.tell("send", size=3_000_000)
    time.sleep(2)
    path.peers.server("receive", size=3_000_000)
    path.peers.client.hear()
    time.sleep(2)
    bulk(path.peers.client, path.peers.server, 1000)


def _paced(path: Path) -> None:
    path.peers.client("pace", octets=_MAX_PACING)
    bulk(path.peers.client, path.peers.server, 4 * _MAX_PACING)


def _blackout(path: Path) -> None:
    path.peers.server.tell("receive", size=1_500_000)
    path.peers.client.tell("send", size=1_500_000)
    time.sleep(0.5)
    path.relay.weather(Weather(lose=1000))
    time.sleep(2.5)
    path.relay.weather(Weather(delay_ms=10, mbit=8))
    path.peers.client.hear()
    path.peers.server.hear()


def _writes_in_two(path: Path) -> None:
    """Requests whose second half Nagle's rule holds back until the first is acknowledged."""
    for _ in range(60):
        path.peers.client("send", size=100)
        path.peers.client("send", size=100)
        path.peers.server("receive", size=200)
        path.peers.server("send", size=50)
        path.peers.client("receive", size=50)


_LARGE_RCVBUF: Final = ((socket.SOL_SOCKET, socket.SO_RCVBUF, 2 << 20),)
_RCVBUF: Final = ((socket.SOL_SOCKET, socket.SO_RCVBUF, 8192),)
#: At once: the kernel does not look at the limit while a part of a segment waits for Nagle's rule.
_SNDBUF: Final = (
    (socket.SOL_SOCKET, socket.SO_SNDBUF, 8000),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)
_MAXSEG: Final = ((socket.IPPROTO_TCP, socket.TCP_MAXSEG, 216),)

SITUATIONS: Final = (
    Situation(
        name="a slow sender: 20 kB every 200 ms",
        verdict="application",
        weather=Weather(delay_ms=10),
        act=_slow_sender,
    ),
    Situation(
        name="a small send buffer: 8 kB on a path of 40 ms",
        verdict="send buffer",
        weather=Weather(delay_ms=20),
        client=_SNDBUF,
        act=_in_pieces,
    ),
    Situation(
        name="a slow reader: 50 kB every 200 ms",
        verdict="slow reader",
        weather=Weather(delay_ms=5),
        act=_slow_reader,
    ),
    Situation(
        name="the same slow reader, seen from the reader's end",
        verdict="slow reader",
        weather=Weather(delay_ms=5),
        act=_slow_reader,
        end="server",
    ),
    Situation(
        name="a small receive buffer: 8 kB on a path of 40 ms",
        verdict="receive buffer",
        weather=Weather(delay_ms=20),
        server=_RCVBUF,
        act=_bulk(600_000),
    ),
    Situation(
        name="the same small receive buffer, seen from the reader's end",
        verdict="receive buffer",
        weather=Weather(delay_ms=20),
        server=_RCVBUF,
        act=_bulk(600_000),
        end="server",
    ),
    Situation(
        name="1 % loss on a path of 50 ms",
        verdict="loss",
        weather=Weather(delay_ms=25, lose=10),
        act=_bulk(1_200_000),
    ),
    Situation(
        name="a shallow queue: 5 ms before a link of 8 Mbit/s, 30 ms away",
        verdict="loss",
        weather=Weather(delay_ms=15, mbit=8, queue_ms=5),
        act=_bulk(2_500_000),
    ),
    Situation(
        name="a deep queue: a second before a link of 8 Mbit/s, 10 ms away",
        verdict="bufferbloat",
        weather=Weather(delay_ms=5, mbit=8, queue_ms=1000),
        act=_bulk(4_000_000),
    ),
    Situation(
        name="the same deep queue, seen from the reader's end",
        verdict="can't tell",
        weather=Weather(delay_ms=5, mbit=8, queue_ms=1000),
        act=_bulk(4_000_000),
        end="server",
    ),
    Situation(
        name="reordering: 3 % of the segments 40 ms late on a path of 20 ms",
        verdict="reordering",
        weather=Weather(delay_ms=10, late=30, late_ms=40, mbit=16),
        act=_bulk(2_500_000),
    ),
    Situation(
        name="small segments: an MSS of 216 and 0.5 % loss on a path of 40 ms",
        verdict="small MSS",
        weather=Weather(delay_ms=20, lose=5),
        client=_MAXSEG,
        act=_bulk(300_000),
    ),
    Situation(
        name="an outage of 2.5 s",
        verdict="timeouts",
        weather=Weather(delay_ms=10, mbit=8),
        act=_blackout,
    ),
    Situation(
        name="a start: 600 kB on a path of 200 ms",
        verdict="startup",
        weather=Weather(delay_ms=100),
        server=_LARGE_RCVBUF,
        act=_bulk(600_000),
    ),
    Situation(
        name="requests written in two parts, without TCP_NODELAY",
        verdict="delayed ACKs",
        weather=Weather(delay_ms=2),
        act=_writes_in_two,
    ),
    Situation(
        name="SO_MAX_PACING_RATE of 250 kB/s",
        verdict="pacing",
        weather=Weather(delay_ms=10),
        act=_paced,
    ),
    Situation(
        name="BBR over a link of 8 Mbit/s",
        verdict="pacing",
        weather=Weather(delay_ms=25, mbit=8, queue_ms=200),
        congestion="bbr",
        act=_bulk(5_000_000),
    ),
    Situation(
        name="a congestion window locked at 10 segments, on a clean path of 40 ms",
        verdict="congestion window",
        weather=Weather(delay_ms=20),
        cwnd=10,
        act=_bulk(1_200_000),
    ),
    Situation(
        name="a slow reader for 2 s, then a slow sender for 2 s",
        verdict="can't tell",
        weather=Weather(delay_ms=5),
        act=_slow_both,
    ),
)


@dataclass(frozen=True)
class Played:
    """A situation that took place, and the port of the server in it."""

    situation: Situation
    port: int

    @property
    def choice(self) -> tuple[str, str]:
        """The option that asks for the end whose view is wanted."""
        return "--dport" if self.situation.end == "client" else "--sport", str(self.port)


def played(situations: Iterable[Situation]) -> Iterator[Played]:
    """Let them take place, some at a time, and say where: each in namespaces of its own."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        yield from threads.map(play, situations)


def play(situation: Situation) -> Played:
    """One of them, from the handshake to the end."""
    port = next(_PORTS)
    with relayed() as (net, relay), pair(net.client, net.server) as peers:
        if situation.cwnd:
            _lock_window(net, situation.cwnd)
        for peer, options in ((peers.client, situation.client), (peers.server, situation.server)):
            peer("prepare", congestion=situation.congestion, options=options)
        relay.weather(situation.weather)
        peers.open(net.server, 4, port, 1)
        situation.act(Path(net, relay, peers))
        peers.half_close()
    return Played(situation, port)


def _lock_window(net: Net, segments: int) -> None:
    """The route limits the window, which the kernel heeds once it has measured the way there."""
    route = ["10.23.0.0/24", "dev", "eth0", "src", net.client.v4]
    net.client.run("ip", "route", "change", *route, "cwnd", "lock", str(segments))
    with pair(net.client, net.server) as first:
        first.open(net.server, 4, next(_PORTS), 1)
        bulk(first.client, first.server, 10_000)
        first.half_close()
