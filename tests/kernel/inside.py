"""Sockets of this process in another network namespace: they stay there once they are made."""

import ctypes
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kernel.net import Host

SO_COOKIE = 57
_CLONE_NEWNET = 0x40000000
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER


def _enter(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        assert ctypes.CDLL(None, use_errno=True).setns(fd, _CLONE_NEWNET) == 0, "not root"
    finally:
        os.close(fd)


@contextmanager
def inside(host: Host) -> Iterator[None]:
    """Let sockets made in this block belong to a host."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if host.name:
            _enter(Path("/run/netns", host.name))
        yield
    finally:
        _enter(Path(f"/proc/self/fd/{here}"))
        os.close(here)


def listen(
    host: Host, address: str, port: int = 0, backlog: int = 64, *options: tuple[int, int, int]
) -> socket.socket:
    """A listening socket that does not wait in accept(); options as for setsockopt()."""
    with inside(host):
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    for option in options:
        made.setsockopt(*option)
    made.bind((address, port))
    made.listen(backlog)
    made.setblocking(False)
    return made


def connect(host: Host, address: str, port: int) -> socket.socket:
    """A connection from a host."""
    with inside(host):
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    made.settimeout(10)
    made.connect((address, port))
    return made


def begin(host: Host, address: str, port: int) -> socket.socket:
    """A connection that is tried, whatever comes of it."""
    with inside(host):
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    made.setblocking(False)
    made.connect_ex((address, port))
    return made


def reset(sock: socket.socket) -> None:
    """End a connection by RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    sock.close()


def cookie(sock: socket.socket) -> int:
    """What the kernel calls a socket."""
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), sys.byteorder)
