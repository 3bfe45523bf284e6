"""A peer that speaks TCP by hand: it sends exactly the segments that a test writes down.

It is the far end of a TUN device in a namespace of its own. Nothing but the script answers there,
so the kernel's socket sees these segments and no others.
"""

import fcntl
import json
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count

from tests.kernel.net import PREFIX, SLOWNESS, Host, run

FIN, SYN, RST, PSH, ACK, ECE, CWR = 1, 2, 4, 8, 16, 64, 128

NOP = b"\x01"
SACK_PERMITTED = b"\x04\x02"
PATIENCE = 5 * SLOWNESS  # seconds; far longer than the retransmission timer's first rounds
_TUNSETIFF = 0x400454CA
_TUN_NO_PI = 0x1001
_IP, _TCP = struct.Struct("!BBHHHBBH4s4s"), struct.Struct("!HHIIBBHHH")
_PORTS = count(40_001)
_MASK = 0xFFFFFFFF


def mss(octets: int) -> bytes:
    """The option of a SYN that says the largest segment."""
    return struct.pack("!BBH", 2, 4, octets)


def scale(shift: int) -> bytes:
    """The option of a SYN that says the window's scale."""
    return struct.pack("!BBB", 3, 3, shift)


def stamps(value: int, echo: int) -> bytes:
    """The timestamps option."""
    return struct.pack("!BBII", 8, 10, value, echo)


def sack(*blocks: tuple[int, int]) -> bytes:
    """A SACK option with these blocks of sequence numbers."""
    edges = b"".join(struct.pack("!II", low & _MASK, high & _MASK) for low, high in blocks)
    return bytes((5, 2 + len(edges))) + edges


@dataclass(frozen=True)
class Segment:
    """What the kernel sent: numbers as on the wire."""

    source: int
    to: int
    seq: int
    ack: int
    flags: int
    window: int
    options: bytes
    payload: bytes

    @classmethod
    def parse(cls, packet: bytes) -> "Segment":
        """From an IPv4 packet."""
        at = (packet[0] & 15) * 4
        source, to, seq, ack, offset, flags, window, _, _ = _TCP.unpack_from(packet, at)
        end = at + (offset >> 4) * 4
        options = packet[at + _TCP.size : end]
        return cls(source, to, seq, ack, flags, window, options, packet[end:])

    @property
    def stamp(self) -> int:
        """The value of its timestamps option, which Linux puts at the end of the options."""
        at = self.options.index(b"\x08\x0a")
        return int(struct.unpack_from("!I", self.options, at + 2)[0])


def checksum(data: bytes) -> int:
    """The Internet's checksum (RFC 1071)."""
    words = struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2))
    total: int = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclass(frozen=True)
class Wire:
    """The far side of the TUN device: ``host`` is the namespace with the kernel's sockets."""

    host: Host
    far: str
    fd: int

    def read(self, port: int, seconds: float) -> Segment | None:
        """The next segment for a port, or None when so long none came."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.fd], [], [], left)[0]:
                break
            packet = os.read(self.fd, 1 << 16)
            if packet[0] >> 4 == 4 and packet[9] == socket.IPPROTO_TCP:
                segment = Segment.parse(packet)
                if segment.to == port:
                    return segment
        return None

    def write(self, tcp: bytes, ttl: int, tos: int) -> None:
        """Send a TCP segment whose checksum is still 0."""
        ends = socket.inet_aton(self.far), socket.inet_aton(self.host.v4)
        pseudo = b"".join(ends) + struct.pack("!HH", socket.IPPROTO_TCP, len(tcp))
        tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
        head = [0x45, tos, _IP.size + len(tcp), 0, 0, ttl, socket.IPPROTO_TCP]
        ip = _IP.pack(*head, 0, *ends)
        os.write(self.fd, _IP.pack(*head, checksum(ip), *ends) + tcp)

    def route(self, *metrics: str) -> None:
        """Let the way to the far side have these metrics from now on."""
        self.host.run("ip", "route", "change", *self.host.run("ip", "route").split(), *metrics)

    def queue(self, action: str, *queue: str) -> None:
        """``add`` or ``delete`` the queue in front of the device, as tc calls it."""
        device = json.loads(self.host.run("ip", "-j", "route"))[0]["dev"]
        self.host.run("tc", "qdisc", action, "dev", device, "root", *queue)


@contextmanager
def wire() -> Iterator[Wire]:
    """A namespace with 10.24.0.1 on a TUN device whose far side is a script."""
    name = f"{PREFIX}-{os.getpid()}-script"
    device = f"es{os.getpid()}"
    with ExitStack() as undo:
        fd = os.open("/dev/net/tun", os.O_RDWR)
        undo.callback(os.close, fd)
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _TUN_NO_PI))
        run("ip", "netns", "add", name)
        undo.callback(run, "ip", "netns", "delete", name)
        run("ip", "link", "set", device, "netns", name)
        host = Host(name, "10.24.0.1", "fd00:24::1")  # IPv6 is off unless a test wants it
        host.sysctl("net.ipv6.conf.all.disable_ipv6", 1)
        run("ip", "-n", name, "addr", "add", f"{host.v4}/24", "dev", device)
        run("ip", "-n", name, "link", "set", device, "up")
        yield Wire(host, "10.24.0.2", fd)


class Script:
    """One connection: ``seq`` and ``ack`` are what this end sends by default."""

    def __init__(self, link: Wire, to: int) -> None:
        """To a port where the kernel listens, or from wherever it will connect to ours."""
        self.link, self.to = link, to
        self.port = next(_PORTS)
        self.seq = 1_000_000
        self.ack = 0
        self.window = 60_000

    def call(self, options: bytes, flags: int = SYN, payload: bytes = b"") -> Segment:
        """Two thirds of a handshake: the SYN, and the SYN-ACK, which is the answer."""
        self.send(flags, payload, options=options, ack=0)
        answer = self.hear()
        assert answer.flags & (SYN | ACK) == SYN | ACK
        self.seq = 1_000_001 + len(payload)
        self.ack = answer.seq + 1
        return answer

    def answer(self, options: bytes, flags: int = SYN | ACK) -> Segment:
        """The handshake when the kernel connects: its SYN is the answer."""
        syn = self.hear()
        self.to, self.ack = syn.source, syn.seq + 1
        self.send(flags, options=options)
        self.seq += 1
        assert self.hear().flags == ACK
        return syn

    def open(self, options: bytes, flags: int = SYN, window: int | None = None) -> Segment:
        """The handshake; ``seq`` and ``ack`` stand behind either SYN. The SYN-ACK is the answer."""
        answer = self.call(options, flags)
        echo = b""
        if b"\x08\x0a" in options:
            at = options.index(b"\x08\x0a")
            echo = options[at : at + 6] + struct.pack("!I", answer.stamp)
        self.send(window=window, options=echo)
        return answer

    def send(
        self,
        flags: int = ACK,
        payload: bytes = b"",
        *,
        seq: int | None = None,
        ack: int | None = None,
        window: int | None = None,
        options: bytes = b"",
        ttl: int = 64,
        tos: int = 0,
    ) -> None:
        """Send one segment; what is not said stands where the connection stands."""
        seq, ack = self.seq if seq is None else seq, self.ack if ack is None else ack
        window = self.window if window is None else window
        options += NOP * (-len(options) % 4)
        offset = (_TCP.size + len(options)) // 4 << 4
        head = self.port, self.to, seq & _MASK, ack & _MASK, offset, flags, window, 0, 0
        self.link.write(_TCP.pack(*head) + options + payload, ttl, tos)

    def hear(self) -> Segment:
        """The next segment of the kernel."""
        segment = self.link.read(self.port, PATIENCE)
        assert segment is not None, "the kernel says nothing"
        return segment

    def hear_data(self, octets: int) -> list[Segment]:
        """Segments with data until so many octets have come, pure acknowledgements left out."""
        heard: list[Segment] = []
        while octets > 0:
            if (segment := self.hear()).payload:
                heard.append(segment)
                octets -= len(segment.payload)
        return heard

    def silence(self, seconds: float = 0.02) -> list[Segment]:
        """What the kernel sends until it has been silent for so long."""
        heard = []
        while segment := self.link.read(self.port, seconds):
            heard.append(segment)
        return heard

    def reset(self) -> None:
        """End the connection: the kernel's socket is gone at once."""
        self.send(RST | ACK)
