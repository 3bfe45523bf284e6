"""The network namespaces of this host, for what sees only the one that it is opened in."""

import contextlib
import os
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Final

from bpf.libc import LIBC, checked

_CLONE_NEWNET: Final = 0x40000000
_OWN: Final = "/proc/self/ns/net"


def visit(wanted: Container[int] | None = None) -> Iterator[int]:
    """Enter each of them once, its own first; the process is in its own again at the end.

    Gives the inode of the one that it is in. ``wanted`` are the only ones to be entered, by inode.
    """
    seen: set[int] = set()
    own = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for path in _paths():
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue  # its last process has gone
            try:
                inode = os.fstat(fd).st_ino
                if inode not in seen and (wanted is None or inode in wanted):
                    seen.add(inode)
                    # One that is not ours to enter: its connections appear with their next segment.
                    with contextlib.suppress(OSError):
                        if path != _OWN:
                            _enter(fd)
                        yield inode
            finally:
                os.close(fd)
    finally:
        with contextlib.suppress(OSError):
            _enter(own)
        os.close(own)


def _paths() -> list[str]:
    """Every process's network namespace, and those that a mount alone keeps alive."""
    held = [
        line.split()[4]
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if " - nsfs " in line
    ]
    processes = [f"/proc/{pid}/ns/net" for pid in os.listdir("/proc") if pid.isdigit()]
    return [_OWN, *processes, *held]


def _enter(fd: int) -> None:
    checked(LIBC.setns(fd, _CLONE_NEWNET))
