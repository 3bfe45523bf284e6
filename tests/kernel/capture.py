"""What really passed: tcpdump at a host, and what each variable must be by its RFC's own words.

Offloads are off, so a captured packet is a segment. The capture is read by a parser and counted by
rules that share nothing with the kernel programs.
"""

import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.kernel.collecting import PATIENCE
from tests.kernel.leftovers import start
from tests.kernel.net import Host

SNAP_OCTETS: Final = 128  # Ethernet, IPv6 and the longest TCP header: 114
FIN, SYN, RST, ACK, ECE = 1, 2, 4, 16, 64
#: Of duplicates that reordering made: to be told from loss only where the path loses nothing.
RUNS: Final = ("NonRecovDA", "NonRecovDAEpisodes", "SumOctetsReordered")
_WINDOW_SCALE, _SACK = 3, 5  # kinds of options
_CE: Final = 3

Flow = tuple[int, int]  # local and remote port, as the captured host sees them


@dataclass(frozen=True)
class Segment:
    """One TCP segment; ``sacks`` is the number of SACK blocks, None without the option."""

    seconds: float
    source: str
    flow: Flow  # from source port to destination port
    seq: int
    ack: int
    flags: int
    window: int  # as on the wire, not scaled
    octets: int
    ttl: int
    tos: int
    sacks: int | None
    scale: int | None

    @property
    def is_bare(self) -> bool:
        """Nothing but an acknowledgement."""
        return not self.octets and self.flags & (SYN | FIN | RST | ACK) == ACK

    @property
    def end(self) -> int:
        """The sequence number after this segment."""
        size = self.octets + bool(self.flags & SYN) + bool(self.flags & FIN)
        return (self.seq + size) & 0xFFFFFFFF


def by_kind(octets: bytes) -> dict[int, bytes]:
    """TCP's options by kind, without their padding."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(octets) and octets[at]:
        if octets[at] == 1:
            at += 1
            continue
        found[octets[at]] = octets[at + 2 : at + octets[at + 1]]
        at += octets[at + 1]
    return found


def _segment(seconds: float, frame: bytes) -> Segment:
    packet = frame[14:]
    if packet[0] >> 4 == 4:
        header, size = (packet[0] & 15) * 4, int.from_bytes(packet[2:4], "big")
        tos, ttl, source = packet[1], packet[8], socket.inet_ntop(socket.AF_INET, packet[12:16])
    else:
        header, size = 40, 40 + int.from_bytes(packet[4:6], "big")
        tos, ttl = (packet[0] & 15) << 4 | packet[1] >> 4, packet[7]
        source = socket.inet_ntop(socket.AF_INET6, packet[8:24])
    tcp = packet[header:]
    here, there, seq, ack, offset, flags, window = struct.unpack_from("!HHIIBBH", tcp)
    words = offset >> 4
    options = by_kind(tcp[20 : words * 4])
    return Segment(
        seconds=seconds,
        source=source,
        flow=(here, there),
        seq=seq,
        ack=ack,
        flags=flags,
        window=window,
        octets=size - header - words * 4,
        ttl=ttl,
        tos=tos,
        sacks=len(options[_SACK]) // 8 if _SACK in options else None,
        scale=options[_WINDOW_SCALE][0] if _WINDOW_SCALE in options else None,
    )


def segments(path: Path) -> Iterator[Segment]:
    """All segments of a capture of TCP on Ethernet, in the order they passed."""
    data = path.read_bytes()
    at = 24
    while at < len(data):
        whole, part, kept, _ = struct.unpack_from("=IIII", data, at)
        yield _segment(whole + part / 1e6, data[at + 16 : at + 16 + kept])
        at += 16 + kept


def _is_after(a: int, b: int) -> bool:
    """Whether sequence number ``a`` comes after ``b``."""
    return 0 < (a - b) & 0xFFFFFFFF < 1 << 31


@dataclass
class Direction:
    """The last acknowledgement and window that one side told, and the scale of its windows."""

    ack: int | None = None
    window: int | None = None
    scale: int = 0
    is_duplicate: bool = False

    def tell(self, segment: Segment) -> None:
        """Remember what a segment said."""
        if self.ack is None or _is_after(segment.ack, self.ack):
            self.ack = segment.ack
        self.window = segment.window


@dataclass
class End:
    """One end of a connection: the variables that what it sent and received determines."""

    passive: bool = False
    values: dict[str, int] = field(default_factory=dict)
    sent: Direction = field(default_factory=Direction)
    received: Direction = field(default_factory=Direction)
    snd_max: int | None = None
    discarded: int = 0  # segments of which nothing is read: they begin below what was acknowledged
    is_echoing: bool = False
    duplicates: int = 0  # since the last acknowledgement that advanced
    repaired: int | None = None  # below it, what was sent again is not acknowledged yet
    runs: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RUNS, 0))

    def add(self, name: str, by: int = 1) -> None:
        """Count."""
        self.values[name] = self.values.get(name, 0) + by

    def top(self, name: str, value: int) -> None:
        """Keep the maximum."""
        self.values[name] = max(self.values.get(name, 0), value)

    def send(self, s: Segment) -> None:
        """A segment left this end."""
        if s.flags & SYN:
            self.sent.scale = s.scale or 0
        self.top("MaxRwinSent", s.window << (0 if s.flags & SYN else self.sent.scale))
        if self.snd_max is None or _is_after(s.end, self.snd_max):
            self.snd_max = s.end
        elif s.octets:
            self.repaired, self.duplicates = self.snd_max, 0
        self.values["IpTosOut"] = s.tos
        if s.flags & (SYN | RST):
            return
        if not s.window and self.sent.window:
            self.add("ZeroRwinSent")
        if s.ack != self.sent.ack:
            self.sent.is_duplicate = False
        elif s.is_bare and s.window == self.sent.window and s.sacks:
            # Answers to probes repeat the last one too, but report nothing that came.
            self.add("DupAcksOut")
            self.add("DupAckEpisodes", not self.sent.is_duplicate)
            self.sent.is_duplicate = True
        is_echo = bool(s.flags & ECE)
        self.add("ECESent", is_echo and not self.is_echoing)
        self.is_echoing = is_echo
        self.sent.tell(s)

    def receive(self, s: Segment) -> None:
        """A segment came to this end."""
        self.values["IpTtl"], self.values["IpTosIn"] = s.ttl, s.tos
        if s.flags & SYN:
            self.received.scale = s.scale or 0
            if not self.passive:
                self.top("MaxRwinRcvd", s.window)
            return
        if s.flags & RST:
            return
        is_discarded = self.sent.ack is not None and _is_after(self.sent.ack, s.seq)
        self.discarded += is_discarded
        self.add("HCDataOctetsIn", s.octets)
        self.add("DataSegsIn", bool(s.octets))
        self.add("CERcvd", s.tos & _CE == _CE)
        self.add("ECNsignals", bool(s.flags & ECE))
        self.top("MaxRwinRcvd", s.window << self.received.scale)
        if s.sacks is not None:
            self.add("SACKsRcvd")
            self.add("SACKBlocksRcvd", s.sacks)
        told = self.received
        if told.ack is not None and _is_after(told.ack, s.ack):
            return  # overtaken on its way: RFC 9293 takes no window from it
        if not s.window and told.window:
            self.add("ZeroRwinRcvd")
        if (
            s.is_bare
            and (s.ack, s.window) == (told.ack, told.window)
            and self.snd_max is not None
            and _is_after(self.snd_max, s.ack)
            and not is_discarded  # data overtook it
        ):
            self.add("DupAcksIn")
            self.duplicates += 1
        elif told.ack is not None and _is_after(s.ack, told.ack):
            self.advance(s.ack, s.ack - told.ack)
        told.tell(s)

    def advance(self, ack: int, octets: int) -> None:
        """An acknowledgement of new data: a run of duplicates before it was reordering or loss."""
        if self.duplicates and self.repaired is None:
            self.runs["NonRecovDA"] += self.duplicates
            self.runs["NonRecovDAEpisodes"] += 1
            self.runs["SumOctetsReordered"] += octets & 0xFFFFFFFF
        self.duplicates = 0
        if self.repaired is not None and not _is_after(self.repaired, ack):
            self.repaired = None


def ends(path: Path, address: str) -> dict[Flow, End]:
    """By local and remote port, the ends at this address that a capture tells of."""
    found: dict[Flow, End] = {}
    for segment in segments(path):
        is_ours = segment.source == address
        flow = segment.flow if is_ours else (segment.flow[1], segment.flow[0])
        end = found.setdefault(flow, End(passive=not is_ours))
        (end.send if is_ours else end.receive)(segment)
    return found


@contextmanager
def capturing(host: Host, path: Path, port: int) -> Iterator[None]:
    """Capture one port's packets at a host; the file is whole after the block."""
    argv = ["tcpdump", "-i", "eth0", "-s", str(SNAP_OCTETS), "-B", "16384", "-Z", "root", "-n"]
    argv += ["--immediate-mode", "-U", "-w", str(path), "tcp", "port", str(port)]
    process = start(host.argv(*argv), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None, "made with a pipe"
    try:
        while "listening" not in (line := process.stderr.readline()):
            assert line, "tcpdump ended at once"
        yield
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=PATIENCE)[1]
        assert "\n0 packets dropped by kernel" in said, said
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)
