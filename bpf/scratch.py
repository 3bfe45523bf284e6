"""A folder for children to work in, that goes with whoever has it open, kill -9 included.

It is a file system in memory that is mounted nowhere: no path of the host's leads to it, only a
descriptor does, and the kernel takes it away with the last one.
"""

import ctypes as ct
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bpf.libc import LIBC, checked

_FSOPEN: Final = 430  # the same on all architectures but alpha
_FSCONFIG: Final = 431
_FSMOUNT: Final = 432
_FLAG_CLOEXEC: Final = 1
_CONFIG_SET_STRING: Final = 1
_CONFIG_CREATE: Final = 6
_NOSUID_NODEV_NOEXEC: Final = 2 | 4 | 8
#: Far more than is written; in case of a fault it is not all of the memory.
_OPTIONS: Final = {"mode": "0711", "size": "64m"}


@contextmanager
def folder() -> Generator[Path]:
    """An empty folder of ours, in which nobody else may look around. Raises OSError.

    Who knows what is in it may read that, as far as its mode allows. The path is good in this
    process and in those that it forks. Without CAP_SYS_ADMIN, or where mounting is refused, it is a
    folder for temporary files, which ``kill -9`` leaves.
    """
    try:
        mount = _mounted_nowhere()
    except OSError:
        with tempfile.TemporaryDirectory(prefix="estats-") as name:
            Path(name).chmod(0o711)
            yield Path(name)
        return
    try:
        yield Path(f"/proc/self/fd/{mount}")
    finally:
        os.close(mount)


def _mounted_nowhere() -> int:
    """The descriptor of a new file system. Raises OSError."""
    context = _call(_FSOPEN, b"tmpfs", _FLAG_CLOEXEC)
    try:
        for key, value in _OPTIONS.items():
            _call(_FSCONFIG, context, _CONFIG_SET_STRING, key.encode(), value.encode(), 0)
        _call(_FSCONFIG, context, _CONFIG_CREATE, None, None, 0)
        return _call(_FSMOUNT, context, _FLAG_CLOEXEC, _NOSUID_NODEV_NOEXEC)
    finally:
        os.close(context)


def _call(number: int, *arguments: int | bytes | None) -> int:
    return checked(LIBC.syscall(ct.c_long(number), *arguments))
