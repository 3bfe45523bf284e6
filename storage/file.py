"""The database's file before SQLite opens it: made, looked at, and locked by one collector.

Without SQLAlchemy: what collects holds the lock, and leaves everything else to the writer process.
"""

import fcntl
import os
import stat
from pathlib import Path
from typing import Final

from storage.errors import (
    DatabaseLockedError,
    NotADatabaseError,
    UnsafePathError,
    storage_errors,
)

OUR_CURE: Final = "Name another file with --db; this one is left as it is."


def lock(path: Path) -> int:
    """Make the caller the database's only collector; returns the descriptor that holds the lock.

    The file is made if it is missing. Raises DatabaseLockedError if another collector has it.

    Closing any descriptor of a file drops all POSIX locks that the process has on it, SQLite's
    included. So this descriptor is taken before the process, or a child forked from it, opens
    the database, and is never closed: it goes with the last process that inherited it. That way
    a new collector is also kept out while the writer of a killed one is still writing.
    """
    path = path.absolute()
    with storage_errors(path):
        make_if_missing(path)
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise DatabaseLockedError(
                f"another collector is writing to {path}",
                "Stop that one first, or give this one a database of its own with --db.",
            ) from None
    return descriptor


def holder(path: Path) -> int | None:
    """The process that holds the lock, None if nobody does. Takes no lock itself.

    0 if it is hidden from this process, or has died and left the lock to its writer.
    """
    found = path.stat()
    for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
        match line.split():
            case [_, "FLOCK", _, "WRITE", pid, place, *_] if _is_place(place, found):
                return max(int(pid), 0)
            case _:
                pass
    return None


def _is_place(place: str, found: os.stat_result) -> bool:
    """Whether a line of /proc/locks is about this file: major:minor:inode, the first two in hex.

    Where a file system has no device of its own (btrfs), stat() makes one up for each of its parts.
    """
    major, minor, inode = place.split(":")
    if int(inode) != found.st_ino:
        return False
    device = int(major, 16), int(minor, 16)
    own = os.major(found.st_dev), os.minor(found.st_dev)
    return device == own or device[0] == own[0] == 0


def make_if_missing(path: Path) -> None:
    """Make an empty file of mode 0600, unless there is a regular file already."""
    if path.is_symlink():
        raise UnsafePathError(
            f"{path} is a symbolic link", "Name the file itself with --db: estats follows no link."
        )
    if look(path) is None:
        # The file is new, so nobody has locks on it that closing its descriptor could drop.
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(path, flags, 0o600))


def can_shrink(path: Path) -> bool:
    """Whether a database gives pages that are free back to the file system, or will, being new.

    SQLite's header says it. Not to be asked once this process has opened the database.
    """
    with path.open("rb") as file:
        header = file.read(56)
    return len(header) < 56 or any(header[52:])


def log_of(path: Path) -> Path:
    """SQLite's write-ahead log of a database."""
    return path.with_name(path.name + "-wal")


def file_bytes(path: Path) -> int:
    """What the database takes on disk, its write-ahead log included."""
    total = 0
    for part in (path, log_of(path)):
        try:
            total += part.stat().st_size
        except FileNotFoundError:
            continue
    return total


def look(path: Path) -> os.stat_result | None:
    """The state of a regular file, None if there is nothing; does not open it."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "not a regular file"
        raise NotADatabaseError(f"{path} is {what}, not a database", OUR_CURE)
    return found
