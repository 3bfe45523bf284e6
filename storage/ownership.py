"""Whose the files of a database are, looked at before root has them written.

In a folder that others may write to, they may have put something there beforehand: a link, a file
of theirs under the name of SQLite's log, another name of a file of ours.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from storage.errors import DatabaseForbiddenError, UnsafePathError, storage_errors
from storage.file import OUR_CURE

_SIDES: Final = ("-wal", "-shm", "-journal")
_HEADER_BYTES: Final = 100
_APPLICATION_ID: Final = slice(68, 72)  # of SQLite's header
_OURS: Final = b"EST1"


def refuse_unsafe(path: Path, owner: int | None) -> None:
    """Raise UnsafePathError where the database or a file beside it is not ``owner``'s alone.

    What is missing is safe. ``owner`` None: whoever it is, but no link, and one name for each.
    """
    for file in (path, *sides(path)):
        with storage_errors(path):
            try:
                found = file.lstat()
            except FileNotFoundError:
                continue
        if stat.S_ISLNK(found.st_mode):
            raise UnsafePathError(
                f"{file} is a symbolic link",
                "Name the file itself with --db: estats follows no link."
                if file == path
                else "Remove it: estats follows no link.",
            )
        if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
            raise UnsafePathError(
                f"{file} has a second name, a hard link", "Remove that, or name another file."
            )
        if owner is not None and found.st_uid != owner:
            raise UnsafePathError(
                f"{file} belongs to the user {found.st_uid}, not to {owner}, who is to write it",
                "Name its owner with --user, or another file with --db."
                if file == path
                else "Remove it if no estats collects there, or name another file with --db.",
            )


def refuse_open_folder(path: Path) -> None:
    """Raise UnsafePathError where anybody may exchange the files of a database."""
    with storage_errors(path):
        mode = path.absolute().parent.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise UnsafePathError(
            f"anybody may remove files in {path.absolute().parent}, also root's",
            f"chmod o-w {path.absolute().parent}, or name a file elsewhere with --db.",
        )


def refuse_unwritable_folder(path: Path, user: str) -> None:
    """Raise DatabaseForbiddenError where this process, which acts as ``user``, may not write."""
    folder = path.absolute().parent
    with suppress(PermissionError):
        if not folder.is_dir():
            return  # which is another error, and told by whoever makes the database
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        raise DatabaseForbiddenError(
            f"{user} may not write to the folder {folder}, as SQLite must",
            f"install -d -o {user} -m 0750 FOLDER makes one; or name another --user.",
        )


def hand_over(path: Path, uid: int, gid: int) -> None:
    """Make root's database another user's: nothing is changed unless it is a database of ours.

    Raises UnsafePathError as ``refuse_unsafe`` does.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    refuse_unsafe(path, 0)
    with storage_errors(path):
        for file in (path, *(side for side in sides(path) if side.exists())):
            descriptor = os.open(file, flags)
            try:
                found = os.fstat(descriptor)
                header = os.read(descriptor, _HEADER_BYTES) if file == path else b""
                is_ours = not header or header[_APPLICATION_ID] == _OURS
                if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or not is_ours:
                    raise UnsafePathError(f"{file} is no database of estats", OUR_CURE)
                os.fchown(descriptor, uid, gid)
            finally:
                os.close(descriptor)


def sides(path: Path) -> list[Path]:
    """The files that SQLite makes beside a database."""
    return [Path(f"{path.absolute()}{suffix}") for suffix in _SIDES]
