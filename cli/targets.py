"""Which live sockets `estats tune` is about, and what each of them is to be set to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bpf.tuner import End, Socket
from bpf.variable import Variable
from cli.notice import counted
from cli.render import say
from storage.question import Question
from tuning.settings import BY_WORD, Setting, Value, restored

if TYPE_CHECKING:
    from storage.reader import Reader
    from storage.tuned import Logged

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_NO_VARIABLES: Final[tuple[Variable, ...]] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """A connection, and the values it is to have; for a revert with what was logged of it."""

    connection: Mapping[str, Any]
    wanted: Mapping[Setting, Value]
    logged: "tuple[Logged, ...]" = field(default=())


Targets = dict[Socket, Target]


def chosen(reader: "Reader", question: Question, wanted: Mapping[Setting, Value]) -> Targets:
    """The connections that are asked for, each to have these values."""
    return {socket: Target(row, wanted) for socket, row in _open_here(reader, question).items()}


def tuned_before(reader: "Reader", question: Question | None) -> Targets:
    """Those of them that were changed, each to have what it had before; None: whichever it was.

    Raises ValueError for values in the log that nothing can be set to.
    """
    by_socket: dict[Socket, list[Logged]] = {}
    for logged in reader.tuned(_boot()):
        by_socket.setdefault(socket_of(logged.connection), []).append(logged)
    asked = by_socket.keys() if question is None else _open_here(reader, question).keys()
    return {
        socket: Target(logged[-1].connection, _before(logged), tuple(logged))
        for socket, logged in by_socket.items()
        if socket in asked
    }


def socket_of(connection: Mapping[str, Any]) -> Socket:
    """The socket that a row of ``connection`` is about."""
    return Socket(
        connection["netns"] or 0,
        connection["cookie"],
        End(connection["LocalAddress"], connection["LocalPort"]),
        End(connection["RemAddress"], connection["RemPort"]),
    )


def _open_here(reader: "Reader", question: Question) -> dict[Socket, Mapping[str, Any]]:
    """What is asked for and may be there: several rows may be about one socket, the last counts."""
    runs, boot = reader.runs(), _boot()
    here: dict[Socket, Mapping[str, Any]] = {}
    elsewhere = 0
    for sample in reader.latest(_NO_VARIABLES, question):
        row = sample.connection
        if runs[row["run_id"]]["boot_id"] == boot:
            here[socket_of(row)] = row
        else:
            elsewhere += 1
    if elsewhere:
        who = counted(elsewhere, "connection")
        say(f"{who} of an earlier boot or of another host: left as they are")
    elif not here:
        say("no open connection matches")
    return here


def _before(logged: "Iterable[Logged]") -> dict[Setting, Value]:
    """What there was before the first of these changes, of all that can be set."""
    first: dict[Setting, Value] = {}
    for each in logged:
        setting = BY_WORD.get(each.entry.variable.lower())
        if setting is not None:
            first.setdefault(setting, restored(setting, each.entry.before))
    return first


def _boot() -> str:
    return _BOOT.read_text(encoding="ascii").strip()
