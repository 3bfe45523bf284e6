"""Who a process is and what it may do: its user and its capabilities, of which it only gives up.

Nothing here is undone. docs/security.md says who becomes what.
"""

import ctypes as ct
import os
import pwd
import resource
import struct
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import Final, NamedTuple

from bpf.children import die_with
from bpf.libc import LIBC, checked, prctl

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
OF_A_PARENT: Final = frozenset(
    (Capability.KILL, Capability.SETGID, Capability.SETUID, Capability.SETPCAP)
)


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


def may_change_user() -> bool:
    """Whether this process can make its children another user's, and end them all the same."""
    return os.geteuid() == 0 and held(OF_A_PARENT) == OF_A_PARENT


def anonymous() -> Identity:
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


def give_up(who: Identity | None, wanted: frozenset[Capability] = frozenset()) -> None:
    """In a child: become ``who``, with no way to more rights and to no child of its own.

    Of its capabilities it keeps those that are ``wanted``; None stays who it is. Raises OSError.
    """
    parent, kept = os.getppid(), held(wanted)
    no_new_privileges()
    narrow(frozenset())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if who is not None:
        # What is kept is said below, not by the change; access(2) goes by it, too.
        prctl(_PR_SET_SECUREBITS, _NO_SETUID_FIXUP)
        os.setgroups([who.gid])
        os.setresgid(who.gid, who.gid, who.gid)
        os.setresuid(who.uid, who.uid, who.uid)
        prctl(_PR_SET_DUMPABLE, 0)  # nobody of that user looks into it
    keep(kept)
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))  # it starts no other
    die_with(parent)  # once more: the change of the user took it back


def no_new_privileges() -> None:
    """Whatever is executed from here on gives none."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def narrow(kept: frozenset[Capability]) -> None:
    """Take all but these out of the ambient and the bounding set.

    Without CAP_SETPCAP the latter stays; with no_new_privs nothing is to be had from it.
    """
    prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="ascii"))
    with suppress(PermissionError):
        for bit in range(last + 1):
            if bit not in kept:
                prctl(_PR_CAPBSET_DROP, bit)


def held(wanted: frozenset[Capability]) -> frozenset[Capability]:
    """Those of them that this thread has."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    data = ct.create_string_buffer(24)
    checked(LIBC.capget(header, data))
    low, _, _, high, _, _ = struct.unpack("=6I", data.raw)
    return frozenset(c for c in wanted if (int(high) << 32 | int(low)) >> c & 1)


def keep(kept: frozenset[Capability]) -> None:
    """These are effective and permitted, none is inheritable."""
    bits = sum(1 << capability for capability in kept)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    checked(LIBC.capset(header, struct.pack("=6I", low, low, 0, high, high, 0)))
