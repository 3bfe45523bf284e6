"""Which rights each process keeps, once the programs are loaded: next to none.

Workers and writer read what remote hosts and other users had a hand in. So they are nobody who
could do harm: another user, no capability, none to be had again. docs/security.md says who is who.

Nothing here is undone: children call ``Rights.in_worker`` and what ``as_writer`` makes, the
supervisor ``keep_for_supervising``.
"""

import os
import pwd
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bpf import credentials, landlock
from bpf.credentials import Capability, Identity
from bpf.errors import UsageError
from bpf.meters import Run
from collector.writing import Prepare, Sink

#: From this kernel on the descriptor of a map or a link is enough to use it.
_DESCRIPTORS_SUFFICE: Final = (5, 19)
#: A writer that begins reads our own code, which may lie where its new user cannot go; and the
#: supervisor may have to begin another one.
_OF_A_BEGINNER: Final = frozenset((Capability.DAC_READ_SEARCH,))


@dataclass(frozen=True, slots=True)
class Rights:
    """Who writer and workers become; ``writer`` None: all stay who they are, as without root.

    ``folder`` is that of the database, where the writer may change files; ``group`` may read what
    is made. ``user`` was asked for: workers are this one too, and the recording is its. Without it
    each worker is a user that nobody else is, and a recording belongs to the owner of its folder.
    """

    folder: Path
    writer: Identity | None = None
    user: Identity | None = None
    group: int | None = None

    def in_worker(self) -> None:
        """Before it reads anything: it opens nothing, all it needs is open."""
        nobody_else = credentials.anonymous() if self.writer else None
        _give_up(self.user or nobody_else, None, to_use_maps())

    def leaves_root_at_large(self) -> bool:
        """Whether the writer is root and no Landlock is there to keep it to its folder."""
        uid = self.writer.uid if self.writer else os.geteuid()
        return uid == 0 and landlock.version() == 0

    def maker_of(self, path: Path) -> Identity | None:
        """Whose a file shall be that is about to be made."""
        if self.writer is None or self.user is not None:
            return self.user
        owner = owner_of_folder(path)
        return owner if owner is None or self.group is None else owner._replace(gid=self.group)


def named(user: str) -> Identity:
    """Raises UsageError where there is no such user."""
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        raise UsageError(
            f"there is no user {user!r}",
            "name one of /etc/passwd, or make one: useradd -r estats",
        ) from None
    return Identity(found.pw_uid, found.pw_gid)


def owner_of_folder(path: Path) -> Identity | None:
    """The owner of the folder that ``path`` is in; None where there is none."""
    try:
        found = path.absolute().parent.stat()
    except OSError:
        return None
    return Identity(found.st_uid, found.st_gid)


@contextmanager
def acting_as(who: Identity | None) -> Generator[None]:
    """Open files with the rights of another user, and no more, so that no link of his misleads us.

    Of the process, not of a thread. Nothing is changed for None.
    """
    if who is None:
        yield
        return
    groups, gid, uid = os.getgroups(), os.getegid(), os.geteuid()
    os.setgroups([who.gid])
    os.setegid(who.gid)
    os.seteuid(who.uid)
    try:
        yield
    finally:
        os.seteuid(uid)
        os.setegid(gid)
        os.setgroups(groups)


def keep_for_supervising(*, times_programs: bool) -> None:
    """In the supervisor, once all is loaded: keep what it takes to fork, end and time.

    ``times_programs``: a budget has the kernel time its programs, which CAP_SYS_ADMIN alone may.
    """
    timing = {Capability.SYS_ADMIN} if times_programs else frozenset[Capability]()
    wanted = credentials.OF_A_PARENT | _OF_A_BEGINNER | timing | to_use_maps()
    kept = credentials.held(wanted)
    credentials.no_new_privileges()
    credentials.narrow(kept)
    credentials.keep(kept)


def to_use_maps(release: str | None = None) -> frozenset[Capability]:
    """What the kernel, this one if no other is named, wants of who uses maps that are open."""
    found = re.match(r"(\d+)\.(\d+)", release or os.uname().release)
    is_new = found is None or (int(found[1]), int(found[2])) >= _DESCRIPTORS_SUFFICE
    return frozenset() if is_new else frozenset((Capability.BPF,))


def as_writer(rights: Rights, prepare: Prepare) -> Prepare:
    """Opens storage as ``prepare`` does, in the writer and with no more than its rights."""

    def prepared() -> Callable[[Run], Sink]:
        _give_up(rights.writer, rights.folder, _OF_A_BEGINNER)
        begin = prepare()
        credentials.keep(frozenset())
        return begin

    return prepared


def _give_up(
    who: Identity | None, folder: Path | None, wanted: frozenset[Capability] = frozenset()
) -> None:
    """Become ``who``, with no way to more rights; change files in ``folder`` only."""
    credentials.give_up(who, wanted)
    landlock.restrict(folder)
