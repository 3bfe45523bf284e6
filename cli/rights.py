"""Whose the database is, and so as whom it is written."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from bpf.credentials import Identity, may_change_user
from bpf.errors import EnvironmentLacksError, StorageError
from collector.privileges import Rights, acting_as, named, owner_of_folder
from storage.ownership import (
    hand_over,
    refuse_open_folder,
    refuse_unsafe,
    refuse_unwritable_folder,
)


def rights(path: Path, user: str | None, group: int | None) -> Rights:
    """What the processes of a collector may do once the programs are loaded.

    The writer is ``user``, or else the owner of the folder: SQLite makes files in it, and who makes
    a file with no more rights than the folder's owner cannot be led anywhere by him. Raises
    EstatsError.
    """
    folder = path.absolute().parent
    asked = None if user is None else named(user)
    if not may_change_user():
        if asked and asked.uid != os.geteuid():
            raise EnvironmentLacksError(
                "this process cannot change its user, as --user wants",
                "run as root, in a service with CAP_SETUID, CAP_SETGID, CAP_SETPCAP and CAP_KILL",
            )
        return Rights(folder, group=group)
    writer = asked or owner_of_folder(path) or Identity(os.geteuid(), os.getegid())
    if group is not None:
        writer = writer._replace(gid=group)
    refuse_open_folder(path)
    return Rights(folder, writer, writer if asked else None, group)


def make_ready(path: Path, rights: Rights) -> None:
    """Let the database, if there is one, be the writer's. Raises StorageError."""
    who = rights.writer
    if who is None:
        refuse_unsafe(path, None)
        return
    with acting_as(who):
        refuse_unwritable_folder(path, who.name)
        is_roots = path.is_file() and path.lstat().st_uid == 0
    if rights.user and is_roots and who.uid:
        hand_over(path, who.uid, who.gid)
    with acting_as(who):
        refuse_unsafe(path, who.uid)


def share(path: Path, descriptor: int, group: int) -> None:
    """Let a group read the database. SQLite gives new side files what the database has.

    Raises StorageError where it is not this process's to give.
    """
    try:
        _share(descriptor, group)
        for suffix in ("-wal", "-shm"):
            _share_side(path.with_name(path.name + suffix), group)
    except PermissionError as e:
        raise StorageError(
            f"{path} cannot be given to the group {group}: {e.strerror}",
            "Collect as a member of that group (a service: SupplementaryGroups=), or as full root.",
        ) from e


def _share_side(side: Path, group: int) -> None:
    try:
        descriptor = os.open(side, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        _share(descriptor, group)
    finally:
        os.close(descriptor)


def _share(descriptor: int, group: int) -> None:
    os.fchown(descriptor, -1, group)
    os.fchmod(descriptor, 0o640)


@contextmanager
def as_owner(path: Path) -> Generator[None]:
    """Change a database as root with no more rights than the owner of its folder."""
    if not may_change_user():
        yield
        return
    refuse_open_folder(path)
    owner = owner_of_folder(path)
    refuse_unsafe(path, owner.uid if owner else None)
    with acting_as(owner):
        yield
