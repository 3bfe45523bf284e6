"""An attack on a live connection, segment by segment, and what must be true after it.

The kernel's sockets are this process's own, in the namespace of a TUN device; the attacker knows
where the connection stands, as one on the path would. Beside it an innocent connection goes on.
"""

import contextlib
import os
import select
import socket
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

from bench.footprint import Object, objects
from tests.kernel.collecting import Collector, Row, agree_with_socket
from tests.kernel.hostile import (
    AUTHENTICATED_MIN,
    AUTHENTICATION,
    MD5,
    STAMPS,
    Ends,
    Hostile,
    is_malformed,
    packet,
    sacked,
    walked,
)
from tests.kernel.inside import begin, connect, cookie, listen, reset
from tests.kernel.net import Host
from tests.kernel.peer import Peer
from tests.kernel.script import ACK, FIN, SYN, Wire, stamps
from tests.kernel.tcp_info import Witness
from tests.kernel.validation import agree

FAR_V6: Final = "fd00:24::2"
INTERVAL: Final = ("--interval", "100ms")
OPENING: Final = bytes((2, 4, 3, 232, 4, 2, 3, 3, 7))  # MSS 1000, SACK, a scale of 7
#: What two hosts of the same settings would agree on, and how the socket's own window is told.
AGREED: Final = ("TimeStamps", "WillSendSACK", "WillUseSACK", "ECN", "WinScaleSent",
                 "WinScaleRcvd", "CurRwinSent")  # fmt: skip
#: What TCP_INFO tells in segments, exact to the octet only while nothing is outstanding; and it
#: forgets what was when a reset came.
OUTSTANDING: Final = ("PipeSize", "CurRetxQueue", "InRecovery")
LOOKS_MAX: Final = 20  # looks at a socket before it is called restless
ENDED: Final = (1, 11)  # no socket says that its connection has gone on to TIME_WAIT
_PORTS: Final = count(20_001)
_TIMESTAMPS, _SACK_OK = 1, 2  # bits of tcpi_options
_SYN_SENT, _SYN_RECV, _CLOSE = 2, 3, 7
_MASK: Final = 0xFFFFFFFF

WRITTEN: Final = 2_500  # octets, by one act
#: What the application does between two segments.
Act = str
WRITE, READ, SHUT = "write", "read", "shut"
ACTS: Final = (WRITE, READ, SHUT)


class Attacker:
    """The far end; ``seq``, ``ack`` and ``una`` are what the kernel's own segments say."""

    def __init__(self, link: Wire, ends: Ends) -> None:
        """Nothing is sent yet."""
        self._link, self._ends = link, ends
        self.seq, self.ack, self.una = 1_000_000, 0, 0
        self._is_heard = False
        self._stamp: bytes | None = None

    def send(self, h: Hostile) -> None:
        """One segment, and what the kernel answers at once."""
        os.write(self._link.fd, packet(h, self._ends, self.seq, self.ack, self.una))
        self.listen()

    def listen(self, seconds: float = 0.0) -> None:
        """Take note of what the kernel has sent."""
        while select.select([self._link.fd], [], [], seconds)[0]:
            self._note(os.read(self._link.fd, 1 << 16))

    def calm(self) -> Hostile:
        """What an honest end would send now."""
        if not self._stamp:
            return Hostile()
        now = time.monotonic_ns() // 1_000_000 & _MASK
        return Hostile(options=(bytes((1, 1)) + stamps(now, int.from_bytes(self._stamp, "big")),))

    def echoing(self, opening: bytes) -> bytes:
        """An offer whose timestamps answer the kernel's, or it would not be taken for an answer."""
        at = opening.find(bytes((STAMPS, 10)))
        if at < 0 or not self._stamp:
            return opening
        return opening[: at + 6] + self._stamp + opening[at + 10 :]

    def _note(self, octets: bytes) -> None:
        at = 40 if octets[0] >> 4 == 6 else (octets[0] & 15) * 4
        tcp = octets[at:]
        if (octets[6] if at == 40 else octets[9]) != socket.IPPROTO_TCP:
            return
        ports = int.from_bytes(tcp[:2], "big"), int.from_bytes(tcp[2:4], "big")
        if ports != (self._ends.to, self._ends.port):
            return
        size, flags = (tcp[12] >> 4) * 4, tcp[13]
        seq, ack = int.from_bytes(tcp[4:8], "big"), int.from_bytes(tcp[8:12], "big")
        end = (seq + len(tcp) - size + bool(flags & SYN) + bool(flags & FIN)) & _MASK
        if not self._is_heard:
            self.una = self.ack = seq
        self._is_heard = True
        if 0 < (end - self.ack) & _MASK < 1 << 31:
            self.ack = end
        if flags & ACK:
            self.seq = ack
        for kind, value in walked(tcp[20:size]):
            if kind == STAMPS:
                self._stamp = value[:4]


@dataclass(frozen=True, kw_only=True)
class Attack:
    """How it begins - who opens, by which IP, with which options - and what comes then."""

    family: int = 4
    is_passive: bool = True
    opening: bytes = OPENING
    steps: Sequence[Hostile | Act] = ()


@dataclass
class Target:
    """A namespace under attack, the collector beside it, and an innocent connection."""

    link: Wire
    collector: Collector
    innocent: tuple[socket.socket, socket.socket]
    objects: set[Object]
    segments: int = 0
    restless: int = 0  # that never stood still long enough to be compared
    unopened: int = 0  # whose answer was not taken for one
    ended: list[int] = field(default_factory=list)

    def suffer(self, attack: Attack) -> None:
        """The whole of an attack, and every judgement on it."""
        with _attacked(self.link, attack) as (victim, attacker):
            if victim is None:
                self.unopened += 1
            else:
                owed = self._attack(victim, attacker, attack)
                talk(self.innocent)
                self._judge(victim, attacker, owed)
                self.ended.append(cookie(victim))
        self._is_well()

    def _attack(self, victim: socket.socket, attacker: Attacker, attack: Attack) -> "_Owed":
        """Step by step; what the counters owe for it."""
        owed = _Owed()
        for step in attack.steps:
            if isinstance(step, str):
                _ACTS[step](victim)
                attacker.listen()
                continue
            owed.note(step, attacker.una)
            attacker.send(step)
            self.segments += 1
        for _ in range(3):
            attacker.send(attacker.calm())
        return owed

    def _judge(self, victim: socket.socket, attacker: Attacker, owed: "_Owed") -> None:
        """Row and socket are one, of the innocent to the last variable."""
        database = self.collector.database
        socks = (victim, *self.innocent)
        for _ in range(LOOKS_MAX):
            before = [described(sock) for sock in socks]
            database.catch_up()
            rows = [database.latest(witness.cookie) for witness in before]
            moved = [described(s).still() != w.still() for s, w in zip(socks, before, strict=True)]
            if not any(moved):
                break
            attacker.listen()
        assert not any(moved[1:]), "the innocent connection must come to rest"
        for row, witness in zip(rows[1:], before[1:], strict=True):
            agree_with_socket(row, witness)
        if moved[0]:
            self.restless += 1
        elif rows[0]["CurMSS"] is None and _was_never_open(before[0]):
            self.unopened += 1
        else:
            agree_with_socket(rows[0], before[0], _incomparable(before[0]))
            _agree_on_options(rows[0], before[0])
            owed.judge(rows[0])

    def _is_well(self) -> None:
        """The collector runs, with all its programs, and nothing went unaccounted."""
        assert self.collector.process.poll() is None, self.collector.log.read_text()
        held = objects(self.collector.processes())
        assert self.objects <= held, f"gone: {self.objects - held}"
        assert self.collector.database.lost() == 0


class _Owed:
    """What the counters of segments must have counted: exactly, while each one surely came."""

    def __init__(self) -> None:
        self.options = self.blocks = 0
        self.is_exact = True

    def note(self, h: Hostile, una: int) -> None:
        """A segment to be sent. One that may be thrown away before any hook makes it a bound."""
        header = h.header(una)
        kinds = {kind for kind, _ in walked(header)}
        if h.damaged or h.before[1] or h.octets < 0 or h.words < 5 or h.ttl == 0:
            self.is_exact = False
        if kinds & {MD5, AUTHENTICATION} or any(kind in header for kind in (MD5, AUTHENTICATION)):
            self.is_exact = False
        # For MD5 and AO the kernel walks all options that might hold one, before any hook.
        if is_malformed(header) and len(header) >= AUTHENTICATED_MIN:
            self.is_exact = False
        if h.flags & 6:  # SYN and RST: no acknowledgement, and perhaps the end
            self.is_exact = False
            return
        blocks = sacked(header)
        if blocks is not None:
            self.options += 1
            self.blocks += blocks

    def judge(self, row: Row) -> None:
        """Hold a row against it."""
        ours = row["SACKsRcvd"], row["SACKBlocksRcvd"]
        assert ours[0] <= self.options and ours[1] <= self.blocks, (ours, self.options, self.blocks)
        if self.is_exact and row["closed_us"] is None:
            agree("packet script", row, {"SACKsRcvd": self.options, "SACKBlocksRcvd": self.blocks})


def described(sock: socket.socket) -> Witness:
    """What the kernel says of a socket."""
    return Witness.of(Peer().describe(sock))


def _incomparable(w: Witness) -> Collection[str]:
    if w["tcpi_state"] == _CLOSE:
        return (*AGREED, *OUTSTANDING, "State")
    return (*AGREED, *OUTSTANDING) if w["tcpi_unacked"] else AGREED


def _was_never_open(w: Witness) -> bool:
    return w["tcpi_state"] in (_SYN_SENT, _SYN_RECV, _CLOSE) and not w["tcpi_bytes_acked"]


def _agree_on_options(row: Row, w: Witness) -> None:
    """Ours is in force where the kernel took the peer's offer for one, and only there."""
    if w["tcpi_state"] == _CLOSE:
        assert row["State"] in ENDED
        return
    for name, bit in (("TimeStamps", _TIMESTAMPS), ("WillUseSACK", _SACK_OK)):
        assert (row[name] == 1) == w.option(bit), (name, row[name], w.raw.hex())


def _write(sock: socket.socket) -> None:
    sock.send(bytes(WRITTEN))


def _read(sock: socket.socket) -> None:
    while sock.recv(1 << 16):
        pass


def _shut(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)


def _tried(act: Callable[[socket.socket], Any]) -> Callable[[socket.socket], None]:
    def attempt(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):  # reset, not connected yet, nothing to read
            act(sock)

    return attempt


_ACTS: Final = {WRITE: _tried(_write), READ: _tried(_read), SHUT: _tried(_shut)}


def talk(both: tuple[socket.socket, socket.socket]) -> None:
    """Some octets to and fro."""
    for one, other in (both, both[::-1]):
        one.sendall(bytes(700))
        got = 0
        while got < 700:
            select.select([other], [], [], 10)
            got += len(other.recv(700 - got))


@contextmanager
def _attacked(link: Wire, attack: Attack) -> Iterator[tuple[socket.socket | None, Attacker]]:
    """The victim after the handshake, and who attacks it; None if a listener took no offer."""
    host, port = link.host, next(_PORTS)
    ours, far = (host.v6, FAR_V6) if attack.family == 6 else (host.v4, link.far)
    if attack.is_passive:
        listener = sock = listen(host, ours, port)
        attacker = Attacker(link, Ends(far, ours, next(_PORTS), port))
        attacker.send(Hostile(flags=SYN, options=(attack.opening,)))
        attacker.send(attacker.calm())
        with contextlib.suppress(BlockingIOError):
            sock, _ = listener.accept()
    else:
        listener, sock = None, begin(host, far, port)
        attacker = Attacker(link, Ends(far, ours, port, sock.getsockname()[1]))
        attacker.listen()
        attacker.send(Hostile(flags=SYN | ACK, options=(attacker.echoing(attack.opening),)))
        attacker.seq = 1_000_001
    sock.setblocking(False)
    attacker.una = attacker.ack
    try:
        yield None if sock is listener else sock, attacker
    finally:
        reset(sock)
        if listener:
            listener.close()


@contextmanager
def target(link: Wire, collector: Collector) -> Iterator[Target]:
    """A namespace ready to be attacked, over both IP versions; all is accounted for at the end."""
    _both_families(link.host)
    listener = listen(link.host, link.host.v4, 0)
    one = connect(link.host, link.host.v4, listener.getsockname()[1])
    other, _ = listener.accept()  # over loopback the handshake is through
    complaints = _complaints()
    made = Target(link, collector, (one, other), objects(collector.processes()))
    try:
        yield made
        made.collector.database.catch_up()
        sql = "SELECT count(*) FROM connection WHERE cookie = ? AND closed_us IS NOT NULL"
        for number in made.ended:
            assert collector.database.value(sql, number) == 1, f"the end of {number} is missing"
        assert _complaints() == complaints
    finally:
        for sock in (one, other, listener):
            sock.close()


def _both_families(host: Host) -> None:
    host.sysctl("net.ipv6.conf.all.disable_ipv6", 0)
    devices = [line.split(": ")[1] for line in host.run("ip", "-o", "link").splitlines()]
    (device,) = (name for name in devices if name.startswith("es"))
    host.run("ip", "addr", "replace", f"{host.v6}/64", "dev", device, "nodad")
    host.run("ip", "link", "set", "lo", "up")
    host.sysctl("net.ipv4.tcp_ecn", 1)


def _complaints() -> list[str]:
    """What the kernel has warned of: a fault in it that a program reached, say."""
    fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    found: list[str] = []
    try:
        while True:
            try:
                record = os.read(fd, 8192).decode(errors="replace")
            except BlockingIOError:
                return found
            except BrokenPipeError:
                continue  # the oldest ones were overwritten
            if any(word in record for word in ("WARNING:", "BUG:", "Oops", "verifier")):
                found.append(record)
    finally:
        os.close(fd)
