"""Which rights each process keeps, once the programs are loaded: next to none.

Workers and writer read what remote hosts and other users had a hand in. So they are nobody who
could do harm: another user, no capability, none to be had again. docs/security.md says who is who.

Nothing here is undone: children call ``Rights.in_worker`` and what ``as_writer`` makes, the
supervisor ``keep_for_supervising``.
"""

import ctypes as ct
import os
import pwd
import re
import resource
import struct
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final, NamedTuple

from bpf.children import die_with
from bpf.errors import UsageError
from bpf.libc import LIBC, checked, prctl
from bpf.meters import Run
from collector import landlock
from collector.writing import Prepare, Sink

_PR_SET_DUMPABLE: Final = 4
_PR_CAPBSET_DROP: Final = 24
_PR_SET_SECUREBITS: Final = 28
_NO_SETUID_FIXUP: Final = 1 << 2
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_CAPABILITY_VERSION_3: Final = 0x20080522

#: Ids that no distribution, directory service or container manager gives to anybody: systemd lists
#: them as unused. Added to the number of a process they are that process's alone.
_ANONYMOUS_IDS: Final = 1_879_048_192
_NOBODY: Final = 65_534


class Capability(IntEnum):
    """Those that are spoken of here, by their bit."""

    DAC_READ_SEARCH = 2
    KILL = 5
    SETGID = 6
    SETUID = 7
    SETPCAP = 8
    SYS_ADMIN = 21
    BPF = 39


#: To make a child another user's and take its capabilities, and to end it: without CAP_KILL the
#: kernel does not even let a child of another user die with its parent.
_OF_A_PARENT: Final = frozenset(
    (Capability.KILL, Capability.SETGID, Capability.SETUID, Capability.SETPCAP)
)
#: From this kernel on the descriptor of a map or a link is enough to use it.
_DESCRIPTORS_SUFFICE: Final = (5, 19)
#: A writer that begins reads our own code, which may lie where its new user cannot go; and the
#: supervisor may have to begin another one.
_OF_A_BEGINNER: Final = frozenset((Capability.DAC_READ_SEARCH,))


class Identity(NamedTuple):
    """A user and the one group it has."""

    uid: int
    gid: int

    @property
    def name(self) -> str:
        """The user's name, or its number where it has none."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)


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
        _give_up(self.user or (_anonymous() if self.writer else None), None, to_use_maps())

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


def may_change_user() -> bool:
    """Whether this process can make its children another user's, and end them all the same."""
    return os.geteuid() == 0 and _held(_OF_A_PARENT) == _bits(_OF_A_PARENT)


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
    kept = _held(_OF_A_PARENT | _OF_A_BEGINNER | timing | to_use_maps())
    _no_new_privileges()
    _narrow(kept)
    _set_capabilities(kept)


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
        _set_capabilities(0)
        return begin

    return prepared


def _give_up(
    who: Identity | None, folder: Path | None, wanted: frozenset[Capability] = frozenset()
) -> None:
    """Become ``who``, with no way to more rights; change files in ``folder`` only."""
    parent, kept = os.getppid(), _held(wanted)
    _no_new_privileges()
    _narrow(0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if who is not None:
        # What is kept is said below, not by the change; access(2) goes by it, too.
        prctl(_PR_SET_SECUREBITS, _NO_SETUID_FIXUP)
        os.setgroups([who.gid])
        os.setresgid(who.gid, who.gid, who.gid)
        os.setresuid(who.uid, who.uid, who.uid)
        prctl(_PR_SET_DUMPABLE, 0)  # nobody of that user looks into it
    _set_capabilities(kept)
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))  # it starts no other
    landlock.restrict(folder)
    die_with(parent)  # once more: the change of the user took it back


def _anonymous() -> Identity:
    """A user that nobody is but this process; nobody, where such numbers do not exist."""
    number = _ANONYMOUS_IDS + os.getpid()
    return Identity(number, number) if _is_mapped(number) else Identity(_NOBODY, _NOBODY)


def _is_mapped(number: int) -> bool:
    """Whether our user namespace has this id: a container may have few."""
    for line in Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines():
        first, _, length = map(int, line.split())
        if first <= number < first + length:
            return True
    return False


def _no_new_privileges() -> None:
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def _narrow(kept: int) -> None:
    """Take all but these out of the ambient and the bounding set.

    Without CAP_SETPCAP the latter stays; with no_new_privs nothing is to be had from it.
    """
    prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="ascii"))
    with suppress(PermissionError):
        for bit in range(last + 1):
            if not kept >> bit & 1:
                prctl(_PR_CAPBSET_DROP, bit)


def _bits(capabilities: frozenset[Capability]) -> int:
    return sum(1 << capability for capability in capabilities)


def _held(wanted: frozenset[Capability]) -> int:
    """Those of them that this thread has, as bits."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    data = ct.create_string_buffer(24)
    checked(LIBC.capget(header, data))
    low, _, _, high, _, _ = struct.unpack("=6I", data.raw)
    return (int(high) << 32 | int(low)) & _bits(wanted)


def _set_capabilities(kept: int) -> None:
    """These are effective and permitted, none is inheritable."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    low, high = kept & 0xFFFFFFFF, kept >> 32
    checked(LIBC.capset(header, struct.pack("=6I", low, low, 0, high, high, 0)))
