"""What can be set of a live socket: names, units, ranges, and what comes along. Rows, and words."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Final

from bpf.catalogue import BY_NAME
from bpf.errors import UsageError
from bpf.tuner import Option, State

#: A number in the setting's unit, or a word.
Value = int | str

UNLIMITED: Final = "unlimited"
ON, OFF = "on", "off"

_U32_MAX: Final = (1 << 32) - 1
_INT_MAX: Final = (1 << 31) - 1
_WINDOW_MAX: Final = 65535 << 14  # RFC 7323
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,14}", re.ASCII)
_NUMBER: Final = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,9})?) ?([kmg]?)(i?)(b|bit)?", re.ASCII)
_PLAIN: Final = re.compile(r"[0-9]{1,10}", re.ASCII)
_POWERS: Final[Mapping[str, int]] = {"": 0, "k": 1, "m": 2, "g": 3}
_AVAILABLE: Final = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")


class Lock(Enum):
    """Bits of SO_BUF_LOCK: a buffer that is locked is not sized by the kernel any more."""

    SEND = 1
    RECEIVE = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Setting:
    """One thing that can be set: by an ``option`` of the kernel program, or a ``lock``.

    Numbers lie between ``least`` and ``most``; ``words`` stand for others. ``read`` takes it from a
    socket's state. ``also`` is what comes along, or has to be known, for whoever is asked.
    """

    name: str
    unit: str
    summary: str
    read: Callable[[State], Value]
    option: Option | None = None
    lock: Lock | None = None
    least: int = 1
    most: int = _U32_MAX - 1
    words: Mapping[str, int] = field(default_factory=dict[str, int])
    also: str = ""

    def number(self, value: Value) -> int | str:
        """A value as the kernel's option takes it."""
        if self.option is Option.CONGESTION:
            return value
        plain = self.words[value] if isinstance(value, str) else value
        # The kernel doubles it, to have room for its own structures.
        return (plain + 1) // 2 if self.option in (Option.RCVBUF, Option.SNDBUF) else plain


def _limit(state: State) -> Value:
    octets = state.cwnd * state.mss
    return UNLIMITED if octets >= _U32_MAX else octets


def _pacing(state: State) -> Value:
    return UNLIMITED if state.pacing >= _U32_MAX else state.pacing


def _lowat(state: State) -> Value:
    return {0: "default", _U32_MAX: UNLIMITED}.get(state.lowat, state.lowat)


def _autotuning(lock: Lock) -> Callable[[State], Value]:
    return lambda state: OFF if state.locks & lock.value else ON


SETTINGS: Final = (
    Setting(
        name="LimCwnd",
        unit="octets",
        summary="most that the congestion window may be",
        read=_limit,
        option=Option.CWND,
        words={UNLIMITED: _U32_MAX},
        also="a larger one comes down when next it limits; the slow-start threshold is set, too",
    ),
    Setting(
        name="LimRwin",
        unit="octets",
        summary="most that is advertised as receive window",
        read=lambda state: state.rwin,
        option=Option.RWIN,
        most=_WINDOW_MAX,
        words={UNLIMITED: _WINDOW_MAX},
        also="the kernel sets it anew when larger segments arrive: rcvbuf bounds it for good",
    ),
    Setting(
        name="rcvbuf",
        unit="octets",
        summary="receive buffer, as `ss -m` has it (rb)",
        read=lambda state: state.rcvbuf,
        option=Option.RCVBUF,
        most=_INT_MAX - 1,
        also="the kernel does not size it by itself any more",
    ),
    Setting(
        name="sndbuf",
        unit="octets",
        summary="send buffer, as `ss -m` has it (tb)",
        read=lambda state: state.sndbuf,
        option=Option.SNDBUF,
        most=_INT_MAX - 1,
        also="the kernel does not size it by itself any more",
    ),
    Setting(
        name="rcvbuf-autotuning",
        unit="on, off",
        summary="whether the kernel sizes it, and LimRwin too",
        read=_autotuning(Lock.RECEIVE),
        lock=Lock.RECEIVE,
    ),
    Setting(
        name="sndbuf-autotuning",
        unit="on, off",
        summary="whether the kernel sizes it",
        read=_autotuning(Lock.SEND),
        lock=Lock.SEND,
    ),
    Setting(
        name="congestion",
        unit="name",
        summary="congestion control: reno, cubic, bbr ...",
        read=lambda state: state.congestion,
        option=Option.CONGESTION,
        also="it begins anew, with the congestion window that there is",
    ),
    Setting(
        name="pacing",
        unit="octets/s",
        summary="most that is sent; 10M, or 80Mbit: the same",
        read=_pacing,
        option=Option.PACING,
        # A pause is as long as what was sent takes at this rate, and is not taken back.
        least=1000,
        words={UNLIMITED: _U32_MAX},
        also="the kernel goes on pacing the connection, also without a limit, at a rate of its own",
    ),
    Setting(
        name="notsent-lowat",
        unit="octets",
        summary="most that may wait unsent; or default",
        read=_lowat,
        option=Option.LOWAT,
        words={UNLIMITED: _U32_MAX, "default": 0},
    ),
)
BY_WORD: Final = {setting.name.lower(): setting for setting in SETTINGS}

#: What may change with another setting, and cannot be set: shown and kept, never restored.
ALONG: Final[Mapping[str, Callable[[State], Value]]] = {
    "CurSsthresh": lambda s: UNLIMITED if s.ssthresh >= _INT_MAX else s.ssthresh * s.mss,
    "kernel-pacing": lambda s: ON if s.is_paced else OFF,
}
#: And why not.
NOT_RESTORED: Final[Mapping[str, str]] = {
    "CurSsthresh": "it goes with LimCwnd, and cannot be set by itself",
    "kernel-pacing": "once begun, the kernel does not end it",
}

_REFUSED: Final = {
    "limmss": (
        "TCP_MAXSEG is taken by a live socket, and changes nothing there",
        "For connections to come: ip route change ... advmss N, or ... mtu N, which live ones to"
        " that destination obey, too.",
    ),
    "limssthresh": (
        "the kernel has no limit on the slow-start threshold",
        "For connections to come: ip route change ... ssthresh N. LimCwnd bounds the window itself,"
        " and brings the threshold down with it.",
    ),
}


def parse(text: str) -> tuple[Setting, Value]:
    """``NAME=VALUE``. Raises UsageError for what cannot be set, or not to that."""
    name, equals, value = text.partition("=")
    setting = _setting(name.strip())
    if not equals or not value.strip():
        raise UsageError(
            f"--set {text!r} has no value", f"Write {setting.name}=VALUE ({setting.unit})."
        )
    return setting, parse_value(setting, value.strip())


def parse_value(setting: Setting, text: str) -> Value:
    """A value of this setting. Raises UsageError."""
    word = text.lower()
    if setting.lock is not None:
        return _one_of(setting, word, (ON, OFF))
    if setting.option is Option.CONGESTION:
        if not _NAME.fullmatch(text):
            raise UsageError(f"{text!r} is no name of a congestion control", _available_ones())
        return text
    if word in setting.words:
        return word
    return _in_range(setting, text, _parsed_number(setting, word))


def restored(setting: Setting, text: str) -> Value:
    """A value as it was written when it was read from a socket. Raises ValueError for another.

    What its owner had set may lie outside of what is offered here.
    """
    if setting.lock is not None:
        is_one = text in (ON, OFF)
    elif setting.option is Option.CONGESTION:
        is_one = _NAME.fullmatch(text) is not None
    elif _PLAIN.fullmatch(text) and int(text) <= _U32_MAX:
        return int(text)
    else:
        is_one = text in setting.words
    if not is_one:
        raise ValueError(f"{text!r} is no value of {setting.name}")
    return text


def require_available(congestion: str) -> None:
    """Raises UsageError if the kernel has not loaded that congestion control.

    The program cannot have it loaded. Where the host hides which there are, the kernel will say.
    """
    known = _available()
    if known and congestion not in known:
        raise UsageError(
            f"this kernel has loaded no congestion control {congestion!r}",
            f"{_available_ones()} Others may be modules: modprobe tcp_{congestion}.",
        )


def _setting(name: str) -> Setting:
    word = name.lower()
    if word in BY_WORD:
        return BY_WORD[word]
    names = ", ".join(setting.name for setting in SETTINGS)
    if word in _REFUSED:
        reason, cure = _REFUSED[word]
        raise UsageError(f"{BY_NAME[word].name} cannot be set on a live socket: {reason}", cure)
    if word in BY_NAME:
        raise UsageError(
            f"{BY_NAME[word].name} is what a connection does or did, not a limit on it",
            f"What can be set: {names}.",
        )
    raise UsageError(f"there is nothing to be set by the name {name!r}", f"There are {names}.")


def _one_of(setting: Setting, word: str, words: tuple[str, ...]) -> str:
    if word not in words:
        raise UsageError(f"{setting.name}={word!r} is neither {' nor '.join(words)}")
    return word


def _parsed_number(setting: Setting, word: str) -> int:
    match = _NUMBER.fullmatch(word)
    is_rate = setting.option is Option.PACING
    if match is None or (match[4] == "bit" and not is_rate):
        others = "".join(f", or {other}" for other in setting.words)
        example = "10M, 80Mbit" if is_rate else "65536, 64Ki, 10M"
        raise UsageError(
            f"{setting.name}={word!r} is no number of {setting.unit}", f"Write {example}{others}."
        )
    base = 1024 if match[3] else 1000
    amount = int(Fraction(match[1]) * base ** _POWERS[match[2]])
    return amount // 8 if match[4] == "bit" else amount


def _in_range(setting: Setting, text: str, number: int) -> int:
    if not setting.least <= number <= setting.most:
        raise UsageError(
            f"{setting.name}={text} is out of range",
            f"It lies between {setting.least} and {setting.most} {setting.unit}"
            + "".join(f", or is {word}" for word in setting.words)
            + ".",
        )
    return number


def _available() -> list[str]:
    try:
        return _AVAILABLE.read_text(encoding="ascii").split()
    except OSError:
        return []


def _available_ones() -> str:
    return f"Loaded are {', '.join(_available())}."
