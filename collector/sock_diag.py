"""The TCP sockets of this network namespace with their TCP_INFO, asked of the kernel by inet_diag.

Netlink is spoken through the standard library: the request is one 72-byte struct, and what costs
is decoding the answer. pyroute2 decodes each message in Python and gives its bytes away only to
a replaced parser, so it would bring 2 MB of code and spare us none. Here message headers are
walked once and all the rest is done for many messages at a time.

Layouts are the kernel's own (``linux/netlink.h``, ``linux/inet_diag.h``), in host byte order.
"""

import errno
import os
import socket
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bpf.errors import EnvironmentLacksError
from collector.tcp_info import TCP_INFO

Array = npt.NDArray[Any]

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST = 0x001
NLM_F_DUMP = 0x300
NLM_F_DUMP_INTR = 0x010
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLA_TYPE_MASK = 0x3FFF
INET_DIAG_INFO = 2
INET_DIAG_SKV6ONLY = 11
INET_DIAG_CGROUP_ID = 21

#: All kernel TCP states but LISTEN and TIME_WAIT, which are not connections of a socket.
STATES = sum(1 << state for state in (1, 2, 3, 4, 5, 7, 8, 9, 11))
LISTENING = 1 << 10

DATAGRAM_BYTES_MAX = 1 << 16  # the kernel fills at most 32 KiB for one recv
BLOCK_BYTES = 1 << 20  # decoded at a time
SLACK_BYTES = TCP_INFO.itemsize  # so that a window over the last attribute stays inside
ATTEMPTS_MAX = 3
TIMEOUT_SECONDS = 5.0

_HEADER = struct.Struct("=IHHII")
_ERRNO = struct.Struct("=i")
_REQUEST = struct.Struct("=BBBxI48x")

#: ``struct nlmsghdr`` and ``struct inet_diag_msg``.
MESSAGE: np.dtype[Any] = np.dtype(
    [
        ("header", "u1", _HEADER.size),
        ("family", "u1"),
        ("state", "u1"),
        ("timer", "u1"),
        ("retrans", "u1"),
        ("local_port", ">u2"),
        ("rem_port", ">u2"),
        ("local_address", "u1", 16),
        ("rem_address", "u1", 16),
        ("interface", "u4"),
        ("cookie", "u8"),
        ("expires", "u4"),
        ("rqueue", "u4"),
        ("wqueue", "u4"),
        ("uid", "u4"),
        ("inode", "u4"),
    ]
)
assert MESSAGE.itemsize == 88, "the C structs have these sizes"

#: A socket as the kernel told it. ``info`` is 0 from octet ``info_size`` on: this kernel's struct
#: ends there. ``cgroup`` is 0 where the kernel does not tell it. ``v6only`` is told of listeners.
SOCKET: np.dtype[Any] = np.dtype(
    [
        ("message", MESSAGE),
        ("cgroup", "u8"),
        ("info_size", "u4"),
        ("info", TCP_INFO),
        ("v6only", "u1"),
    ]
)


@dataclass(frozen=True, slots=True)
class Dump:
    """The answer to one question: ``sockets`` has dtype ``SOCKET``.

    ``skipped`` messages were damaged. In a dump that is not ``complete`` a socket may be missing
    that still exists.
    """

    sockets: Array
    skipped: int
    complete: bool


@dataclass(slots=True)
class Walk:
    """Where the sockets' messages lie in a block, and how the answer ended."""

    starts: list[int] = field(default_factory=list[int])
    ends: list[int] = field(default_factory=list[int])
    skipped: int = 0
    error: int = 0
    interrupted: bool = False
    done: bool = False

    def add(self, block: memoryview, start: int, end: int) -> None:
        """Take in the datagram that lies between two offsets of ``block``; any bytes will do."""
        while start < end and not self.done:
            if end - start < _HEADER.size:
                self.skipped += 1
                return
            length, kind, flags, _, _ = _HEADER.unpack_from(block, start)
            stop = start + length
            if length < _HEADER.size or stop > end:
                self.skipped += 1  # and with it the rest: nothing says where the next begins
                return
            self.interrupted |= bool(flags & NLM_F_DUMP_INTR)
            if kind in (NLMSG_ERROR, NLMSG_DONE):
                self.done = True
                if length >= _HEADER.size + _ERRNO.size:
                    self.error = max(0, -_ERRNO.unpack_from(block, start + _HEADER.size)[0])
            elif kind == SOCK_DIAG_BY_FAMILY and length >= MESSAGE.itemsize:
                self.starts.append(start)
                self.ends.append(stop)
            else:
                self.skipped += 1
            start += (length + 3) & ~3


def dump(family: socket.AddressFamily, states: int = STATES) -> Dump:
    """All sockets of ``family`` in ``states``, asked again if the kernel was interrupted.

    Raises EnvironmentLacksError if this host has no inet_diag or forbids it.
    """
    answer = Dump(np.empty(0, SOCKET), 0, complete=False)
    for _ in range(ATTEMPTS_MAX):
        try:
            answer = _ask(family, states)
        except OSError as error:
            if isinstance(error, TimeoutError) or error.errno == errno.ENOBUFS:
                continue
            raise EnvironmentLacksError(
                f"the kernel does not list TCP sockets by inet_diag: {error.strerror}",
                "load the module tcp_diag (modprobe tcp_diag), or allow AF_NETLINK sockets",
            ) from error
        if answer.complete or answer.skipped:
            break
    return answer


def _ask(family: socket.AddressFamily, states: int) -> Dump:
    """One question on a socket of its own, so that no earlier answer can be in the way."""
    body = _REQUEST.pack(family, socket.IPPROTO_TCP, 1 << (INET_DIAG_INFO - 1), states)
    size = _HEADER.size + len(body)
    header = _HEADER.pack(size, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
    parts: list[Array] = []
    skipped, interrupted, walk = 0, False, Walk()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as link:
        link.settimeout(TIMEOUT_SECONDS)
        link.sendto(header + body, (0, 0))
        while not walk.done:
            block, walk = _receive(link)
            sockets, damaged = decode(block, walk.starts, walk.ends)
            parts.append(sockets)
            skipped += walk.skipped + damaged
            interrupted |= walk.interrupted
    if walk.error:
        raise OSError(walk.error, os.strerror(walk.error))
    return Dump(np.concatenate(parts, dtype=SOCKET), skipped, complete=not (skipped or interrupted))


def _receive(link: socket.socket) -> tuple[Array, Walk]:
    """The next datagrams of an answer, as many as fit in a block."""
    block = np.zeros(BLOCK_BYTES + SLACK_BYTES, "u1")
    view, used, walk = block.data, 0, Walk()
    while not walk.done and used + DATAGRAM_BYTES_MAX <= BLOCK_BYTES:
        size = link.recv_into(view[used : used + DATAGRAM_BYTES_MAX])
        walk.add(view, used, used + size)
        used += (size + 3) & ~3
    return block, walk


def decode(block: Array, starts: list[int], ends: list[int]) -> tuple[Array, int]:
    """The sockets (dtype ``SOCKET``) whose messages lie at these offsets, and how many are damaged.

    ``block`` is octets with ``SLACK_BYTES`` behind the last message. A message without TCP_INFO
    is a handshake or a TIME_WAIT remnant, not a socket, and is left out without being counted.
    """
    begin = np.array(starts, np.int64)
    places, sizes, damaged = _attributes(block, begin + MESSAGE.itemsize, np.array(ends, np.int64))
    full = np.flatnonzero((sizes[INET_DIAG_INFO] > 0) & ~damaged)
    sockets = np.zeros(len(full), SOCKET)
    sockets["message"] = _windows(block, begin[full], MESSAGE)
    info = _windows(block, places[INET_DIAG_INFO][full], TCP_INFO)
    size = np.minimum(sizes[INET_DIAG_INFO][full], TCP_INFO.itemsize)
    width = TCP_INFO.itemsize // 4
    info.view("u4").reshape(-1, width)[np.arange(width) >= size[:, None] // 4] = 0
    sockets["info"], sockets["info_size"] = info, size
    has_cgroup = sizes[INET_DIAG_CGROUP_ID][full] == 8
    cgroup = _windows(block, places[INET_DIAG_CGROUP_ID][full], np.dtype("u8"))
    sockets["cgroup"] = np.where(has_cgroup, cgroup, 0)
    has_v6only = sizes[INET_DIAG_SKV6ONLY][full] == 1
    sockets["v6only"] = np.where(has_v6only, block[places[INET_DIAG_SKV6ONLY][full]], 0)
    return sockets, int(np.count_nonzero(damaged))


def _attributes(
    block: Array, position: Array, ends: Array
) -> tuple[dict[int, Array], dict[int, Array], Array]:
    """Offset and size of the wanted attributes of all messages, and which are damaged.

    Each round looks at the next attribute of every message that still has one.
    """
    halves = block[: len(block) & ~1].view("u2")
    wanted = (INET_DIAG_INFO, INET_DIAG_CGROUP_ID, INET_DIAG_SKV6ONLY)
    places = {kind: np.zeros_like(ends) for kind in wanted}
    sizes = {kind: np.zeros_like(ends) for kind in places}
    damaged = np.zeros(len(ends), np.bool_)
    live = np.flatnonzero(position + 4 <= ends)
    while live.size:
        at = position[live]
        length = halves[at // 2].astype(np.int64)
        bad = (length < 4) | (at + length > ends[live])
        damaged[live[bad]] = True
        live, at, length = live[~bad], at[~bad], length[~bad]
        kinds = halves[at // 2 + 1] & NLA_TYPE_MASK
        for kind, place in places.items():
            hit = kinds == kind
            place[live[hit]] = at[hit] + 4
            sizes[kind][live[hit]] = length[hit] - 4
        position[live] = at + ((length + 3) & ~3)
        live = live[position[live] + 4 <= ends[live]]
    return places, sizes, damaged


def _windows(block: Array, places: Array, dtype: np.dtype[Any]) -> Array:
    """A copy of what lies at each of these offsets (multiples of 4), as ``dtype``."""
    words = block[: len(block) & ~3].view("u4")
    windows = np.lib.stride_tricks.sliding_window_view(words, dtype.itemsize // 4)
    return np.ascontiguousarray(windows[places // 4]).view(dtype)[:, 0]
