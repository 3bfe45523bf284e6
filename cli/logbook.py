"""Where `estats tune` keeps what it did: the database that it asked, or nowhere."""

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bpf.errors import StorageError
from bpf.tuner import Answer, Socket
from cli.answers import ends
from cli.render import say
from cli.rights import as_owner
from cli.targets import Target, Targets
from cli.times import now_us
from tuning.apply import Effect
from tuning.plan import Change
from tuning.settings import BY_WORD, Value

if TYPE_CHECKING:
    from storage.tuned import Entry

Plans = Mapping[Socket, Sequence[Change]]
Effects = Mapping[Socket, Sequence[Effect]]

_LOGIN: Final = Path("/proc/self/loginuid")
_NOBODY: Final = (1 << 32) - 1


class Logbook:
    """The log of one use of the command; without a path nothing is kept.

    It is written with no more rights than the owner of the database's folder has.
    """

    def __init__(self, path: Path | None) -> None:
        """Raises StorageError where it may not be written."""
        self._path = path
        if path is None:
            return
        from storage.tuned import Log  # noqa: PLC0415  (SQLAlchemy, as in cli.asking)

        try:
            with as_owner(path):
                self._log = Log(path, now_us(), _who())
        except StorageError as error:
            error.advice += " Or leave the log out: --no-log."
            raise

    def intend(self, targets: Targets, plans: Plans) -> None:
        """Before anything is done. Raises StorageError."""
        if self._path is None:
            return
        entries = [
            _entry(targets[socket], change.setting.name, change.before, change.wanted)
            for socket, changes in plans.items()
            for change in changes
        ]
        with as_owner(self._path):
            self._log.intend(entries)

    def settle(self, targets: Targets, effects: Effects) -> None:
        """When it is done; without a log it is told how it is undone. Raises StorageError."""
        if self._path is None:
            _tell_how_back(targets, effects)
            return
        entries = [
            _entry(targets[socket], e.name, e.before, e.wanted, e.accepted, e.refused)
            for socket, every in effects.items()
            for e in every
        ]
        with as_owner(self._path):
            self._log.settle(entries)

    def reverted(self, targets: Targets, found: Mapping[Socket, Answer], effects: Effects) -> None:
        """What was logged of those that were found, as set back, but for what was refused."""
        assert self._path is not None, "what is reverted comes from a log"
        values: dict[int, str | None] = {}
        for socket, answer in found.items():
            after = {effect.name: effect for effect in effects.get(socket, ())}
            for logged in targets[socket].logged:
                name = logged.entry.variable
                if name not in BY_NAME:
                    values[logged.number] = None
                elif name not in after:
                    values[logged.number] = str(BY_NAME[name].read(answer.before))
                elif not after[name].refused:
                    values[logged.number] = str(after[name].accepted)
        with as_owner(self._path):
            self._log.revert(values)


BY_NAME: Final = {setting.name: setting for setting in BY_WORD.values()}


def _entry(
    target: Target,
    variable: str,
    before: Value,
    wanted: Value | None,
    accepted: Value | None = None,
    refused: str = "",
) -> "Entry":
    from storage.tuned import Entry  # noqa: PLC0415

    return Entry(
        connect_index=target.connection["ConnectIndex"],
        variable=variable,
        before=str(before),
        wanted=None if wanted is None else str(wanted),
        accepted=None if accepted is None else str(accepted),
        refused=refused or None,
    )


def _tell_how_back(targets: Targets, effects: Effects) -> None:
    """The commands that would undo it, for nothing else has what there was before."""
    for socket, every in effects.items():
        values = [f"{e.name}={e.before}" for e in every if not e.refused and e.name in BY_NAME]
        if values:
            words = [*ends(targets[socket].connection), *(f"--set {value}" for value in values)]
            say(f"to take it back: estats tune {' '.join(map(_quoted, words))}")


def _quoted(word: str) -> str:
    return word if word.startswith("--set ") else shlex.quote(word)


def _who() -> int:
    """Who logged in, where the kernel knows it, and else whose process this is."""
    try:
        login = int(_LOGIN.read_text(encoding="ascii"))
    except (OSError, ValueError):
        login = _NOBODY
    return os.getuid() if login == _NOBODY else login
