"""Segments that no TCP would send, as octets for a TUN device: IPv4 and IPv6, headers and all."""

import socket
import struct
from dataclasses import dataclass
from typing import Final

from tests.kernel.script import ACK, checksum

_TCP: Final = struct.Struct("!HHIIBBHHH")
_MASK: Final = 0xFFFFFFFF
OPTIONS_MAX: Final = 40  # octets, of TCP's as of IPv4's
END, NOP, MSS, SCALE, SACK_OK, SACK, STAMPS = 0, 1, 2, 3, 4, 5, 8
MD5, AUTHENTICATION = 19, 29
AUTHENTICATED_MIN: Final = 18  # octets of options, the shortest that may have an MD5 option


@dataclass(frozen=True)
class Blocks:
    """A SACK option; its edges count from the oldest octet that the kernel has outstanding."""

    edges: tuple[tuple[int, int], ...]
    length: int | None = None  # what it claims to be long; None: as long as it is

    def octets(self, una: int) -> bytes:
        """As on the wire."""
        body = b"".join(
            struct.pack("!II", (una + a) & _MASK, (una + b) & _MASK) for a, b in self.edges
        )
        length = 2 + len(body) if self.length is None else self.length
        return bytes((SACK, length)) + body


@dataclass(frozen=True, kw_only=True)
class Hostile:
    """One segment. Sequence numbers count from what the kernel waits for and from its last octet.

    ``before`` is what stands between the IP and the TCP header: IPv4 options, or an IPv6 extension
    header with its number. ``doff`` is in words, None what the options take; ``urgent`` a pointer.
    """

    seq: int = 0
    ack: int = 0
    flags: int = ACK
    window: int = 60_000
    urgent: int = 0
    options: tuple[bytes | Blocks, ...] = ()
    payload: int = 0
    doff: int | None = None
    tos: int = 0
    ttl: int = 64
    before: tuple[int, bytes] = (0, b"")
    damaged: bool = False

    def said(self, una: int) -> bytes:
        """The TCP options as on the wire, cut and filled up to what a header can hold."""
        octets = b"".join(o if isinstance(o, bytes) else o.octets(una) for o in self.options)
        octets = octets[:OPTIONS_MAX]
        return octets + bytes((NOP,)) * (-len(octets) % 4)

    @property
    def words(self) -> int:
        """Its length of header in words, as it claims."""
        return 5 + len(self.said(0)) // 4 if self.doff is None else self.doff

    def header(self, una: int) -> bytes:
        """The options as a receiver finds them: what the header's claim has room for."""
        return (self.said(una) + bytes(self.payload))[: max(0, self.words * 4 - _TCP.size)]

    @property
    def octets(self) -> int:
        """Of payload, as a receiver counts them."""
        return _TCP.size + len(self.said(0)) + self.payload - self.words * 4


@dataclass(frozen=True)
class Ends:
    """Both addresses and ports, the far side's first."""

    far: str
    host: str
    port: int
    to: int

    @property
    def family(self) -> socket.AddressFamily:
        """IPv4 or IPv6."""
        return socket.AF_INET6 if ":" in self.far else socket.AF_INET

    @property
    def addresses(self) -> tuple[bytes, bytes]:
        """Packed."""
        return socket.inet_pton(self.family, self.far), socket.inet_pton(self.family, self.host)


def packet(h: Hostile, ends: Ends, seq: int, ack: int, una: int) -> bytes:
    """The whole packet, where the connection stands at ``seq`` and ``ack``."""
    seq, ack = (seq + h.seq) & _MASK, (ack + h.ack) & _MASK
    numbers = ends.port, ends.to, seq, ack, h.words % 16 << 4, h.flags & 255, h.window, 0, h.urgent
    tcp = _TCP.pack(*numbers) + h.said(una) + bytes(h.payload)
    is_v6 = ends.family == socket.AF_INET6
    shape = "!I3xB" if is_v6 else "!xBH"
    what = (len(tcp), socket.IPPROTO_TCP) if is_v6 else (socket.IPPROTO_TCP, len(tcp))
    total = checksum(b"".join(ends.addresses) + struct.pack(shape, *what) + tcp)
    tcp = tcp[:16] + struct.pack("!H", total ^ 0x5555 * h.damaged) + tcp[18:]
    return _v6(h, ends, tcp) if is_v6 else _v4(h, ends, tcp)


def _v4(h: Hostile, ends: Ends, tcp: bytes) -> bytes:
    options = h.before[1][:OPTIONS_MAX]
    options += bytes(-len(options) % 4)
    size = 20 + len(options)
    head = struct.pack(
        "!BBHHHBBH", 0x40 | size // 4, h.tos, size + len(tcp), 0, 0, h.ttl, socket.IPPROTO_TCP, 0
    )
    head += b"".join(ends.addresses) + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + tcp


def _v6(h: Hostile, ends: Ends, tcp: bytes) -> bytes:
    kind, body = h.before
    first, extension = socket.IPPROTO_TCP, b""
    if body:
        extension = bytes((socket.IPPROTO_TCP,)) + body[1:]
        extension += bytes(-len(extension) % 8)
        first = kind
    length = len(extension) + len(tcp)
    head = struct.pack("!IHBB", 6 << 28 | h.tos << 20, length, first, h.ttl)
    return head + b"".join(ends.addresses) + extension + tcp


def walked(options: bytes) -> list[tuple[int, bytes]]:
    """The options that come before a malformed one, the plain way: kind and value."""
    return _walk(options)[0]


def is_malformed(options: bytes) -> bool:
    """Whether the walk ends at an option that cannot be."""
    return _walk(options)[1]


def _walk(options: bytes) -> tuple[list[tuple[int, bytes]], bool]:
    found: list[tuple[int, bytes]] = []
    while options and options[0] != END:
        if options[0] == NOP:
            options = options[1:]
            continue
        if len(options) < 2 or not 2 <= options[1] <= len(options):
            return found, True
        found.append((options[0], options[2 : options[1]]))
        options = options[options[1] :]
    return found, False


def sacked(options: bytes) -> int | None:
    """How many blocks a header reports; None if it has no SACK option, or none that makes sense."""
    for kind, value in walked(options):
        if kind == SACK:
            return len(value) // 8 if value and not len(value) % 8 else None
    return None
