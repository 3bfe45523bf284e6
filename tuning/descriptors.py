"""Somebody else's descriptor of a socket, for what the kernel lets nobody but a holder set.

pidfd_getfd(2) gives a copy, for which it wants the right to trace that process. Between the look
into /proc and the copy the process may have closed it and opened something else: so it is the copy
that is asked for its cookie, before anything is done with it.
"""

import contextlib
import os
import socket
import sys
from collections.abc import Collection, Generator, Iterator
from typing import Final

from bpf.libc import LIBC, checked

_PIDFD_GETFD: Final = 438  # the same on all machines
_SO_COOKIE: Final = 57
_SO_BUF_LOCK: Final = 72


class NoDescriptorError(Exception):
    """Why there is none to be had; ends the sentence that tells it."""


class Holders:
    """Who holds which sockets, as /proc had it when this was made."""

    def __init__(self, inodes: Collection[int]) -> None:
        """Look for these, in all processes that let us."""
        self._of: dict[int, list[tuple[int, int]]] = {inode: [] for inode in inodes if inode}
        for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if self._of else ():
            with contextlib.suppress(OSError):  # it has ended, or is not ours to look into
                for inode, fd in _sockets(pid):
                    if inode in self._of:
                        self._of[inode].append((pid, fd))

    @contextlib.contextmanager
    def borrow(self, inode: int, cookie: int) -> Generator[socket.socket]:
        """A copy of a descriptor of that very socket. Raises NoDescriptorError."""
        reason = "no process has a descriptor of it"
        for pid, fd in self._of.get(inode, ()):
            try:
                copy = _copy(pid, fd)
            except OSError as e:
                reason = f"its descriptor in process {pid} cannot be had: {e.strerror}"
                continue
            with contextlib.closing(copy):
                if _cookie(copy) == cookie:
                    yield copy
                    return
        raise NoDescriptorError(reason)


def set_lock(held: socket.socket, bit: int, *, is_locked: bool) -> None:
    """Have a buffer not be sized by the kernel, or be sized again. Raises OSError before 5.14."""
    locks = held.getsockopt(socket.SOL_SOCKET, _SO_BUF_LOCK)
    held.setsockopt(socket.SOL_SOCKET, _SO_BUF_LOCK, locks | bit if is_locked else locks & ~bit)


def _sockets(pid: int) -> Iterator[tuple[int, int]]:
    """Inode and number of the sockets that a process has open."""
    folder = f"/proc/{pid}/fd"
    for name in os.listdir(folder):
        with contextlib.suppress(OSError):
            kind, _, rest = os.readlink(f"{folder}/{name}").partition(":[")
            if kind == "socket":
                yield int(rest.rstrip("]")), int(name)


def _copy(pid: int, fd: int) -> socket.socket:
    process = os.pidfd_open(pid)
    try:
        return socket.socket(fileno=checked(LIBC.syscall(_PIDFD_GETFD, process, fd, 0)))
    finally:
        os.close(process)


def _cookie(held: socket.socket) -> int:
    octets = held.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8)
    return int.from_bytes(octets, sys.byteorder)
