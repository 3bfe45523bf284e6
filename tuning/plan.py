"""What is to be changed on one socket: from what was asked for and what it is now."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bpf.tuner import State
from tuning.settings import BY_WORD, OFF, ON, Setting, Value

_LIM_RWIN: Final = BY_WORD["limrwin"]
_RECEIVE_AUTOTUNING: Final = BY_WORD["rcvbuf-autotuning"]
#: A buffer that is set is not sized by the kernel any more.
_LOCKED_BY: Final = {
    "rcvbuf": _RECEIVE_AUTOTUNING,
    "sndbuf": BY_WORD["sndbuf-autotuning"],
}


@dataclass(frozen=True, slots=True)
class Change:
    """A value that one setting shall have; ``because`` says why where nobody asked for it."""

    setting: Setting
    before: Value
    wanted: Value
    because: str = ""


def plan(state: State, wanted: Mapping[Setting, Value]) -> tuple[Change, ...]:
    """What has to be done so that a socket is as wanted; nothing for what is so already."""
    changes = [
        Change(setting, before, value)
        for setting, value in wanted.items()
        if (before := setting.read(state)) != value or _is_to_be_locked(setting, state)
    ]
    if _LIM_RWIN in wanted and _RECEIVE_AUTOTUNING not in wanted and not _locks(wanted):
        before = _RECEIVE_AUTOTUNING.read(state)
        if before == ON:
            why = "else the kernel raises LimRwin again as its owner reads"
            changes.append(Change(_RECEIVE_AUTOTUNING, before, OFF, why))
    return tuple(changes)


def _is_to_be_locked(setting: Setting, state: State) -> bool:
    lock = _LOCKED_BY.get(setting.name)
    return lock is not None and lock.read(state) == ON


def _locks(wanted: Mapping[Setting, Value]) -> bool:
    """Whether the receive buffer is set, and locked by that."""
    return any(_LOCKED_BY.get(setting.name) is _RECEIVE_AUTOTUNING for setting in wanted)
