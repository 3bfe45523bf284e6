"""A path that delays, loses, overtakes and queues: a relay between two hosts, frame by frame.

Runs as a script in a namespace of its own, between two links; each line on stdin is the
``Weather`` from then on. Frames that are not TCP are only delayed, so addresses resolve.
"""

import heapq
import json
import random
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import count
from typing import Final

from tests.kernel.leftovers import start
from tests.kernel.net import Host, Net, network, run

LINKS: Final = ("r0", "r1")
_OFFLOADS: Final = ("rx", "tx", "sg", "tso", "gso", "gro")
_BUFFER_OCTETS: Final = 16 << 20
_SO_RCVBUFFORCE: Final = 33
_IPV4, _TOS, _PROTOCOL, _CHECKSUM, _PAYLOAD = 14, 15, 23, 24, 34  # offsets in an Ethernet frame
_NEXT_HEADER: Final = 20
_CE: Final = 3


@dataclass(frozen=True)
class Weather:
    """What happens to TCP on the way; shares are per mille of the packets, at random."""

    delay_ms: float = 0
    lose: int = 0
    late: int = 0
    late_ms: float = 0  # so much later than the rest, which overtakes it
    twice: int = 0
    mark: int = 0  # of the packets that may be marked: CE instead of ECT
    held: bool = False  # nothing comes through until it is false again; nothing is lost
    mbit: float = 0  # so fast is the link of either direction; 0 is as fast as this machine
    queue_ms: float = 0  # and what would wait for longer in front of it is lost; 0 is for ever


class Relay:
    """The relay as the tests see it: a process that is told the weather."""

    def __init__(self, host: Host) -> None:
        """Start it; once this returns, frames pass."""
        argv = host.argv(sys.executable, "-m", "tests.kernel.relay")
        self._process = start(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.weather(Weather())

    def weather(self, weather: Weather) -> None:
        """Change what happens on the way, and wait until it is so."""
        assert self._process.stdin is not None, "made with pipes"
        assert self._process.stdout is not None, "made with pipes"
        self._process.stdin.write(json.dumps(asdict(weather)) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline(), "the relay has ended"

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate(timeout=10)


@contextmanager
def relayed() -> Iterator[tuple[Net, Relay]]:
    """Two fresh hosts as ``network`` makes them, with a relay between them."""
    with network() as net, ExitStack() as undo:
        middle = Host(f"{net.client.name}-relay", "", "")
        run("ip", "netns", "add", middle.name)
        undo.callback(run, "ip", "netns", "delete", middle.name)
        run("ip", "-n", net.client.name, "link", "delete", "eth0")
        for host, link in zip(net.hosts, LINKS, strict=True):
            _join(host, middle, link)
        while not all(host.is_up() for host in net.hosts):
            time.sleep(0.02)
        relay = Relay(middle)
        undo.callback(relay.stop)
        yield net, relay


def _join(host: Host, middle: Host, link: str) -> None:
    """Give a host a link that ends in the middle."""
    lines = [
        f"link add eth0 type veth peer name {link} netns {middle.name}",
        f"addr add {host.v4}/24 dev eth0",
        f"addr add {host.v6}/64 dev eth0 nodad",
        "link set eth0 up",
    ]
    run("ip", "-n", host.name, "-batch", "-", text="\n".join(lines))
    run("ip", "-n", middle.name, "link", "set", link, "up")
    off = [word for name in _OFFLOADS for word in (name, "off")]
    host.run("ethtool", "-K", "eth0", *off)
    middle.run("ethtool", "-K", link, *off)


def _is_tcp(frame: bytes) -> bool:
    """Whether this is TCP, over IPv4 or, without extension headers, IPv6."""
    if frame[12:14] == b"\x08\x00":
        return frame[_PROTOCOL] == socket.IPPROTO_TCP
    return frame[12:14] == b"\x86\xdd" and frame[_NEXT_HEADER] == socket.IPPROTO_TCP


def marked(frame: bytes) -> bytes:
    """The frame with CE where it had ECT(0) or ECT(1), and its header's checksum made good."""
    if frame[12:14] == b"\x86\xdd":
        ecn = frame[_TOS] >> 4 & _CE
        return frame[:_TOS] + bytes((frame[_TOS] | bool(ecn) * _CE << 4,)) + frame[_TOS + 1 :]
    if not frame[_TOS] & _CE:
        return frame
    changed = bytearray(frame)
    changed[_TOS] |= _CE
    changed[_CHECKSUM : _CHECKSUM + 2] = b"\0\0"
    octets = changed[_IPV4:_PAYLOAD]  # Linux puts no option into the header of TCP
    total = sum(int.from_bytes(octets[at : at + 2], "big") for at in range(0, len(octets), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    changed[_CHECKSUM : _CHECKSUM + 2] = (~total & 0xFFFF).to_bytes(2, "big")
    return bytes(changed)


class _Queue:
    """Frames on the way, by the time they are due and then in the order they came."""

    def __init__(self) -> None:
        self.weather = Weather()
        self._due: list[tuple[float, int, socket.socket, bytes]] = []
        self._numbers = count()
        self._free: dict[socket.socket, float] = {}
        self._random = random.Random(4898)  # noqa: S311  (a fair die, and each run the same)

    def _falls(self, per_mille: int) -> bool:
        return bool(per_mille) and self._random.randrange(1000) < per_mille

    def _through(self, frame: bytes, out: socket.socket) -> float | None:
        """When a frame has passed the link behind its queue; None: the queue is full."""
        weather, now = self.weather, time.monotonic()
        if not weather.mbit:
            return now
        starts = max(now, self._free.get(out, now))
        if weather.queue_ms and starts - now > weather.queue_ms / 1000:
            return None
        self._free[out] = starts + len(frame) * 8 / (weather.mbit * 1e6)
        return self._free[out]

    def take(self, frame: bytes, out: socket.socket) -> None:
        """A frame has come in: it will leave by ``out``, or be lost."""
        weather, delay = self.weather, self.weather.delay_ms
        if _is_tcp(frame):
            if self._falls(weather.lose):
                return
            if self._falls(weather.late):
                delay += weather.late_ms
            if self._falls(weather.mark):
                frame = marked(frame)
        through = self._through(frame, out)
        if through is None:
            return
        for _ in range(2 if _is_tcp(frame) and self._falls(weather.twice) else 1):
            entry = (through + delay / 1000, next(self._numbers), out, frame)
            heapq.heappush(self._due, entry)

    def give(self) -> None:
        """Send what is due."""
        while self._due and not self.weather.held and self._due[0][0] <= time.monotonic():
            _, _, out, frame = heapq.heappop(self._due)
            out.send(frame)

    def patience(self) -> float | None:
        """Seconds until the next frame is due; None: only something new ends the wait."""
        if not self._due or self.weather.held:
            return None
        return max(0.0, self._due[0][0] - time.monotonic())


def _drain(link: socket.socket, out: socket.socket, queue: _Queue) -> None:
    """Take all that waits on one link."""
    while True:
        try:
            frame, (_, _, kind, *_) = link.recvfrom(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        if kind != socket.PACKET_OUTGOING:
            queue.take(frame, out)


def main() -> None:
    """Relay until stdin ends."""
    links = []
    for name in LINKS:
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))  # ETH_P_ALL
        link.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_OCTETS)
        link.bind((name, 0))
        links.append(link)
    other = dict(zip(links, reversed(links), strict=True))
    queue = _Queue()
    while True:
        ready, _, _ = select.select([sys.stdin, *links], [], [], queue.patience())
        for link in links:
            if link in ready:
                _drain(link, other[link], queue)
        if sys.stdin in ready:
            line = sys.stdin.readline()
            if not line:
                return
            queue.weather = Weather(**json.loads(line))
            print("so it is", flush=True)
        queue.give()


if __name__ == "__main__":
    main()
