"""Landlock: a process gives up the right to change files, but for one folder, and to connect.

It may give up to read others, too.

The kernel has it from 5.13 on, where it was built with it, as Debian's are; what a kernel does not
know yet is left out. It holds for whatever the process may become, and nothing takes it back.
Descriptors that are open already go on as they were.
"""

import contextlib
import ctypes as ct
import os
import struct
from collections.abc import Iterable
from enum import IntFlag
from pathlib import Path
from typing import Final

from bpf.libc import LIBC, checked

_CREATE_RULESET: Final = 444  # the same on all architectures but alpha
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_ASK_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_TCP_BIND_AND_CONNECT: Final = 3
_ABSTRACT_SOCKETS_AND_SIGNALS: Final = 3
_NETWORK_SINCE: Final = 4
_SCOPES_SINCE: Final = 6


class Access(IntFlag):
    """What may be done to files."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14


#: Those that its first version does not know.
_SINCE: Final = {Access.REFER: 2, Access.TRUNCATE: 3}
_READING: Final = Access.READ_FILE | Access.READ_DIR
#: What SQLite does to a database and the files beside it.
_OF_A_DATABASE: Final = Access.WRITE_FILE | Access.REMOVE_FILE | Access.MAKE_REG | Access.TRUNCATE


def version() -> int:
    """What this kernel has of it: 0 is nothing."""
    return max(0, int(LIBC.syscall(_CREATE_RULESET, None, ct.c_size_t(0), _ASK_VERSION)))


def restrict(folder: Path | None, readable: Iterable[Path] | None = None) -> None:
    """Keep this thread from changing or executing any file, but for changes in ``folder``.

    It reads what is in the folders ``readable``, those of them that exist, and everything where
    this is None. It connects to nobody by TCP and, from Linux 6.12 on, signals nobody. It needs
    no_new_privs. Raises OSError.
    """
    known = version()
    if not known:
        return
    ungoverned = _READING if readable is None else 0
    handled = sum(r for r in Access if known >= _SINCE.get(r, 1) and not r & ungoverned)
    attributes = struct.pack("=Q", handled)
    if known >= _NETWORK_SINCE:
        attributes += struct.pack("=Q", _TCP_BIND_AND_CONNECT)
    if known >= _SCOPES_SINCE:
        attributes += struct.pack("=Q", _ABSTRACT_SOCKETS_AND_SIGNALS)
    rules = _call(_CREATE_RULESET, attributes, ct.c_size_t(len(attributes)), 0)
    try:
        if folder is not None:
            _allow(rules, folder, _OF_A_DATABASE & handled)
        for place in readable or ():
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                _allow(rules, place, _READING)
        _call(_RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)


def _allow(rules: int, folder: Path, rights: int) -> None:
    """These rights for all that is beneath a folder. Raises OSError."""
    place = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _call(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", rights, place), 0)
    finally:
        os.close(place)


def _call(number: int, *arguments: object) -> int:
    return checked(LIBC.syscall(number, *arguments))
