"""Bytecode kept on disk from one start to the next; whatever is wrong with it, it is compiled anew.

What lies here is loaded into the kernel. So the folder and its files must be ours alone, whoever
runs us, and a file that is not whole is none. They may be deleted at any time.
"""

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final

from bpf.bytecode import Bytecode, as_json, from_json

FOLDER: Final = Path("/var/cache/estats")

_FORMAT: Final = b"estats bytecode 1"
_FILES_MAX: Final = 8  # the least recently used one goes
_BYTES_MAX: Final = 16 << 20
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


class _UnusableError(Exception):
    """Why there is nothing to be had from the cache; ends the sentence that tells it."""


class Cache:
    """Files in a folder, each named by all that went into it."""

    def __init__(self, folder: Path | None = None) -> None:
        """The folder, of the host if no other is named, is made when something is to be kept."""
        self._folder = folder or FOLDER

    def bytecode(self, key: str, make: Callable[[], Bytecode]) -> tuple[Bytecode, str]:
        """What was kept under ``key``, else what ``make`` makes, which is kept; where it is from.

        A cache that cannot be used costs the time of ``make``, and is told.
        """
        origin = "compiled"
        try:
            with self._open() as folder:
                return self._read(folder, key), "from the cache"
        except FileNotFoundError:
            pass
        except (OSError, _UnusableError) as e:
            origin += f", for {self._reason(e)}"
        made = make()
        try:
            with contextlib.suppress(FileExistsError):
                self._folder.mkdir(0o700)
            with self._open() as folder:
                _write(folder, key, made)
                _prune(folder)
        except (OSError, _UnusableError) as e:
            origin = f"compiled; not kept, for {self._reason(e)}"
        return made, origin

    def empty(self) -> None:
        """Delete all that is kept; what cannot be used is not touched."""
        with contextlib.suppress(OSError, _UnusableError), self._open() as folder:
            _prune(folder, 0)

    def is_empty(self) -> bool:
        """Whether nothing is kept, be it because nothing can be."""
        with contextlib.suppress(OSError, _UnusableError), self._open() as folder:
            return not os.listdir(folder)
        return True

    def _reason(self, error: Exception) -> str:
        words = error.strerror if isinstance(error, OSError) else str(error)
        return f"{self._folder}: {words}"

    @contextlib.contextmanager
    def _open(self) -> Generator[int]:
        """The folder, whoever may rename it meanwhile. Raises OSError or _UnusableError."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self._folder, flags)
        try:
            what = os.fstat(fd)
            if what.st_uid != os.geteuid() or what.st_mode & _OTHERS:
                raise _UnusableError("it is not this user's alone (want mode 0700)")
            yield fd
        finally:
            os.close(fd)

    def _read(self, folder: int, key: str) -> Bytecode:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(key, flags, dir_fd=folder)
        try:
            what = os.fstat(fd)
            is_ours = stat.S_ISREG(what.st_mode) and what.st_uid == os.geteuid()
            if not is_ours or what.st_mode & _OTHERS_WRITE:
                raise _UnusableError(f"{key[:8]}… is not this user's file alone")
            with open(fd, "rb", closefd=False) as file:
                made = _unpacked(key, file.read(_BYTES_MAX))
            with contextlib.suppress(OSError):
                os.utime(fd)  # it was used
            return made
        finally:
            os.close(fd)


def _head(key: str) -> bytes:
    return _FORMAT + b" " + key.encode() + b"\n"


def _checksum(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode() + b"\n"


def _packed(key: str, made: Bytecode) -> bytes:
    """A line that says what it is, the content, and a line with the checksum of both."""
    text = _head(key) + as_json(made).encode() + b"\n"
    return text + _checksum(text)


def _unpacked(key: str, packed: bytes) -> Bytecode:
    """Raises _UnusableError where it is not what was written, whole and under this name."""
    end = packed.rfind(b"\n", 0, -1) + 1
    text, checksum = packed[:end], packed[end:]
    head = _head(key)
    if checksum != _checksum(text) or not text.startswith(head):
        raise _UnusableError(f"{key[:8]}… is damaged")
    return from_json(text[len(head) :])


def _write(folder: int, key: str, made: Bytecode) -> None:
    """Under another name first, so that nobody reads half of it.

    Nothing is forced to the disk: what a crash left of it fails its checksum.
    """
    name = f".{key}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(name, flags, 0o600, dir_fd=folder), "wb") as file:
            file.write(_packed(key, made))
        os.rename(name, key, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=folder)
        raise


def _prune(folder: int, keep: int = _FILES_MAX) -> None:
    """Delete all but the files used last; also what a killed writer left under another name."""

    def used(name: str) -> float:
        try:
            return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime
        except OSError:
            return 0.0  # another collector has just deleted it

    for name in sorted(os.listdir(folder), key=used, reverse=True)[keep:]:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=folder)
