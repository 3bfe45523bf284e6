"""Carries plans out, and tells what the kernel made of them."""

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bpf.tuner import Answer, Option, Socket, Tuner
from tuning.descriptors import Holders, NoDescriptorError, set_lock
from tuning.plan import Change
from tuning.settings import ALONG, OFF, ON, SETTINGS, Setting, Value

#: What is to be done to each socket, as ``plan`` says.
Plans = Mapping[Socket, Sequence[Change]]
#: The reasons why a buffer of a socket could not be locked or let go.
_Refused = dict[Socket, dict[Setting, str]]

_AUTOTUNING: Final = tuple(setting for setting in SETTINGS if setting.lock is not None)


@dataclass(frozen=True, slots=True)
class Effect:
    """What became of one thing that was to be set, or came along: then ``wanted`` is None.

    ``accepted`` is what the kernel has now; None if it was not set, and ``refused`` says why.
    """

    name: str
    before: Value
    wanted: Value | None
    accepted: Value | None
    refused: str = ""


def apply(tuner: Tuner, plans: Plans) -> dict[Socket, list[Effect]]:
    """Set it all. A socket that was no longer there is missing from the answer.

    What one setting changes of another is told, too. A buffer is locked before anything is set of
    it, and let go after that, so that the kernel does not size it in between.
    """
    first = tuner.look(plans)
    has_locks = any(change.setting.lock for changes in plans.values() for change in changes)
    holders = Holders({found.inode for found in first.values()} if has_locks else ())
    refused: _Refused = {socket: {} for socket in first}
    _set_locks(holders, first, plans, OFF, refused)
    done = tuner.change({socket: _wish(plans[socket]) for socket in first})
    _set_locks(holders, done, plans, ON, refused)
    last = tuner.look(done)
    return {
        socket: [
            *_of_options(plans[socket], answer),
            *_of_locks(plans[socket], first[socket], last.get(socket, answer), refused[socket]),
            *_along(answer),
        ]
        for socket, answer in done.items()
    }


def _wish(changes: Sequence[Change]) -> dict[Option, int | str]:
    return {
        change.setting.option: change.setting.number(change.wanted)
        for change in changes
        if change.setting.option is not None
    }


def _set_locks(
    holders: Holders, found: Mapping[Socket, Answer], plans: Plans, to: str, refused: _Refused
) -> None:
    """Switch autotuning on or off where that is planned; note where it cannot be."""
    for socket, answer in found.items():
        for change in plans[socket]:
            lock = change.setting.lock
            if lock is None or change.wanted != to:
                continue
            try:
                with holders.borrow(answer.inode, socket.cookie) as held:
                    set_lock(held, lock.value, is_locked=to == OFF)
            except NoDescriptorError as e:
                refused[socket][change.setting] = str(e)
            except OSError as e:
                old = "kernels from 5.14 on can do it" if e.errno == errno.ENOPROTOOPT else ""
                refused[socket][change.setting] = old or os.strerror(e.errno or 0)


def _of_options(changes: Sequence[Change], answer: Answer) -> list[Effect]:
    """What the kernel program set, as the socket was right before and right after."""
    effects: list[Effect] = []
    for change in changes:
        setting = change.setting
        if setting.option is None:
            continue
        code = answer.errors.get(setting.option)
        after = setting.read(answer.after) if code is None else None
        reason = "" if code is None else os.strerror(code)
        before = setting.read(answer.before)
        effects.append(Effect(setting.name, before, change.wanted, after, reason))
    return effects


def _of_locks(
    changes: Sequence[Change], first: Answer, last: Answer, refused: Mapping[Setting, str]
) -> list[Effect]:
    """Whether the kernel sizes the buffers by itself: where that was planned, or came along."""
    wanted = {change.setting: change.wanted for change in changes}
    effects: list[Effect] = []
    for setting in _AUTOTUNING:
        before, after = setting.read(first.before), setting.read(last.after)
        if setting in wanted or before != after:
            reason = refused.get(setting, "")
            accepted = None if reason else after
            effects.append(Effect(setting.name, before, wanted.get(setting), accepted, reason))
    return effects


def _along(answer: Answer) -> list[Effect]:
    """What else changed with it, and cannot be set."""
    pairs = ((name, read(answer.before), read(answer.after)) for name, read in ALONG.items())
    return [Effect(name, before, None, after) for name, before, after in pairs if before != after]
