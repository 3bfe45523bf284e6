"""Reads and changes live sockets of this host through the program in ``tune.bpf.c``.

It speaks in the program's own numbers: what they mean to a person is ``tuning``'s business.
"""

import contextlib
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Final, NamedTuple, Self

from bpf import bytecode, compiler, maps, namespaces, syscall
from bpf.btf import Btf
from bpf.cache import Cache
from bpf.errors import EnvironmentLacksError
from bpf.loader import attach_program, is_available, load_program
from bpf.probes import Hook, Probe

_SOURCE: Final = Path(__file__).with_name("tune.bpf.c")
_PROBE: Final = Probe(
    function="on_tune",
    hook=Hook.ITERATOR,
    target="tcp",
    since="5.15",
    purpose="reads and changes live sockets for `estats tune`",
)
_TASKS_MAX: Final = 1024  # sockets of one run of the iterator
_NAME_BYTES: Final = 16  # TCP_CA_NAME_MAX
_OPTIONS: Final = 7
_COOKIE: Final = struct.Struct("=Q")
_WISH: Final = struct.Struct(f"=16s16sHHI6I{_NAME_BYTES}s")
_ANSWER: Final = struct.Struct(f"=QI{_OPTIONS}i")
_STATE: Final = struct.Struct(f"=Q9I{_NAME_BYTES}s4x")
_TASK_BYTES: Final = _WISH.size + _ANSWER.size + 2 * _STATE.size

#: What loading the program and changing a socket take; CAP_SYS_ADMIN was all of them once.
_CAPABILITIES: Final = {"CAP_NET_ADMIN": 12, "CAP_PERFMON": 38, "CAP_BPF": 39}
_SYS_ADMIN: Final = 21
_MAPPED: Final = bytes(10) + b"\xff\xff"


class Option(IntEnum):
    """What the program can set, in the order in which it does."""

    CONGESTION = 0
    CWND = 1
    RCVBUF = 2
    SNDBUF = 3
    RWIN = 4
    PACING = 5
    LOWAT = 6


#: struct tune_wish has them in this order.
_NUMBERS: Final = (
    Option.CWND,
    Option.RCVBUF,
    Option.SNDBUF,
    Option.RWIN,
    Option.PACING,
    Option.LOWAT,
)


class Outcome(IntEnum):
    """What became of a task."""

    UNSEEN = 0
    OTHER_ENDS = 1
    DONE = 2


class End(NamedTuple):
    """One end of a connection."""

    address: str
    port: int


class Socket(NamedTuple):
    """A socket that is looked for: its cookie, its two ends, and where."""

    netns: int
    cookie: int
    local: End
    rem: End


#: Values to be set, as the kernel's options take them; a name for congestion control.
Wish = Mapping[Option, int | str]


@dataclass(frozen=True, slots=True)
class State:
    """What a socket may do. ``cwnd`` and ``ssthresh`` are segments, all else octets.

    ``locks`` are the bits of SO_BUF_LOCK: 1 the send buffer, 2 the receive buffer.
    """

    pacing: int
    cwnd: int
    ssthresh: int
    mss: int
    rcvbuf: int
    sndbuf: int
    rwin: int
    lowat: int
    locks: int
    is_paced: bool
    congestion: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A socket that was found: as it was and as it is; ``errors`` are numbers of errno(3).

    ``inode`` is by what /proc shows it among the descriptors of a process; 0 if nobody has one.
    """

    inode: int
    before: State
    after: State
    errors: Mapping[Option, int] = field(default_factory=dict[Option, int])


class Tuner:
    """The program in the kernel, for the length of a block."""

    def __init__(self, cache: Path | None = None) -> None:
        """Load it; ``cache`` is another folder to keep its bytecode in.

        Raises EnvironmentLacksError where this process may not, or this kernel cannot.
        """
        _require_capabilities()
        btf = Btf()
        if not is_available(_PROBE, btf):
            raise EnvironmentLacksError(
                "this kernel has no iterator over TCP sockets",
                f"Kernels from {_PROBE.since} on have it.",
            )
        text = _SOURCE.read_text()
        places = (("socket_alloc", "vfs_inode"), ("inode", "i_ino"))
        defines = {
            "TUNE_TASKS_MAX": _TASKS_MAX,
            "TUNE_INODE_OFFSET": sum(btf.fields(struct)[member] for struct, member in places),
        }
        functions = [_PROBE.function]
        made, _ = Cache(cache).bytecode(
            compiler.key(text, defines, functions),
            lambda: compiler.compile_programs(btf, text, defines, functions),
        )
        self._held = contextlib.ExitStack()
        with contextlib.ExitStack() as held:
            fds = maps.make_maps(made.maps)
            for fd in fds.values():
                held.callback(os.close, fd)
            self._tasks = fds["tasks"]
            code = bytecode.linked(made.programs[_PROBE.function], fds)
            program = _loaded(code, btf)
            held.callback(os.close, program)
            self._link = attach_program(_PROBE, program, -1)
            held.callback(os.close, self._link)
            self._held = held.pop_all()

    def __enter__(self) -> Self:
        """It is loaded already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take the program out of the kernel."""
        self._held.close()

    def look(self, sockets: Iterable[Socket]) -> dict[Socket, Answer]:
        """Those of them that are there, as they are. Nothing is changed."""
        return self.change({socket: {} for socket in sockets})

    def change(self, wishes: Mapping[Socket, Wish]) -> dict[Socket, Answer]:
        """Set what is wished, each option by itself, on those sockets that are there.

        A socket is there if the cookie and both ends are the same, which the program looks at
        under the socket's lock. Raises OSError.
        """
        found: dict[Socket, Answer] = {}
        waiting = list(wishes.items())
        while waiting:
            now: dict[bytes, tuple[Socket, Wish]] = {}
            later: list[tuple[Socket, Wish]] = []
            for socket, wish in waiting:
                cookie = _COOKIE.pack(socket.cookie)
                # A socket that was connected twice has had two pairs of ends.
                if cookie in now or len(now) == _TASKS_MAX:
                    later.append((socket, wish))
                else:
                    now[cookie] = socket, wish
            found |= self._change(now)
            waiting = later
        return found

    def _change(self, wishes: Mapping[bytes, tuple[Socket, Wish]]) -> dict[Socket, Answer]:
        """The same of as many as the map has room for, by their cookies."""
        for cookie, (socket, wish) in wishes.items():
            task = _packed(socket, wish).ljust(_TASK_BYTES, b"\0")
            syscall.set_element(self._tasks, cookie, task)
        try:
            for _ in namespaces.visit({socket.netns for socket, _ in wishes.values()}):
                syscall.iterate(self._link)
            tasks = syscall.take_elements(self._tasks, _COOKIE.size, _TASK_BYTES)
        finally:
            for cookie in wishes:
                syscall.delete_element(self._tasks, cookie)
        found: dict[Socket, Answer] = {}
        for cookie, task in tasks:
            socket, wish = wishes[cookie]
            if answer := _unpacked(task[_WISH.size :], wish):
                found[socket] = answer
        return found


def _loaded(code: bytes, btf: Btf) -> int:
    """The program. An older kernel has the iterator, and not what it calls."""
    try:
        return load_program(_PROBE, code, btf)
    except EnvironmentLacksError as e:
        raise EnvironmentLacksError(
            e.message,
            f"Kernels from {_PROBE.since} on take it, and this is {os.uname().release}: if that is"
            " one, please report this line.",
        ) from e


def _packed_address(text: str) -> bytes:
    """16 octets; IPv4 is mapped."""
    address = ip_address(text)
    return address.packed if isinstance(address, IPv6Address) else _MAPPED + address.packed


def _packed(socket: Socket, wish: Wish) -> bytes:
    name = wish.get(Option.CONGESTION, "")
    assert isinstance(name, str), "congestion control has a name"
    numbers = (int(wish.get(o, 0)) for o in _NUMBERS)
    return _WISH.pack(
        _packed_address(socket.local.address),
        _packed_address(socket.rem.address),
        socket.local.port,
        socket.rem.port,
        sum(1 << option for option in wish),
        *numbers,
        name.encode("ascii"),
    )


def _unpacked(octets: bytes, wish: Wish) -> Answer | None:
    """An answer; None if the socket was not there."""
    inode, outcome, *codes = _ANSWER.unpack_from(octets)
    if outcome != Outcome.DONE:
        return None
    before, after = (_state(octets, _ANSWER.size + number * _STATE.size) for number in range(2))
    errors = {option: -codes[option] for option in wish if codes[option]}
    return Answer(inode, before, after, errors)


def _state(octets: bytes, offset: int) -> State:
    """One struct tune_state; the fields of State stand in its order."""
    *numbers, is_paced, name = _STATE.unpack_from(octets, offset)
    pacing, cwnd, ssthresh, mss, rcvbuf, sndbuf, rwin, lowat, locks = numbers
    return State(
        pacing=pacing,
        cwnd=cwnd,
        ssthresh=ssthresh,
        mss=mss,
        rcvbuf=rcvbuf,
        sndbuf=sndbuf,
        rwin=rwin,
        lowat=lowat,
        locks=locks,
        is_paced=bool(is_paced),
        congestion=name.partition(b"\0")[0].decode("ascii", "backslashreplace"),
    )


def _require_capabilities() -> None:
    """Raises EnvironmentLacksError with the ones that are missing."""
    status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    (line,) = (line for line in status.splitlines() if line.startswith("CapEff:"))
    held = int(line.split()[1], 16)
    missing = [name for name, bit in _CAPABILITIES.items() if not held >> bit & 1]
    if missing and not held >> _SYS_ADMIN & 1:
        raise EnvironmentLacksError(
            "this process may not look into and change the sockets of others: it has no "
            + ", ".join(missing),
            "Run it as root; in a container these must be granted.",
        )
