"""A collector for the moment: its private database is there while a command asks, and gone then."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from bpf.children import die_with
from bpf.errors import CollectorError, EstatsError, UsageError
from bpf.variable import Variable
from cli.asking import Asked, asking
from cli.configuration import NO_FILE, without_variables
from cli.options import database, has_database
from cli.render import say
from collector.event import Level

if TYPE_CHECKING:
    from storage.question import Question
    from storage.reader import Reader

#: A database, or the options of the collector that has to make one.
Place = Path | tuple[str, ...]

_PROGRAM: Final = Path(__file__).resolve().parent.parent / "estats.py"
#: Short, so that a moment is one; what is open already is found before the first snapshot.
_PACE: Final = ("--interval", "200ms", "--flush-interval", "50ms")
_LOOK: Final = "400ms"
_SQLITE: Final = b"SQLite format 3\0"
_END_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.05


class Collector:
    """A collector of our own, into a database in a folder that only we may enter."""

    def __init__(self, folder: Path, options: Sequence[str]) -> None:
        """Start it; what it says goes to a file in the folder."""
        self.path = folder / "flows.db"
        self._log = folder / "log"
        self._read = 0
        command = [sys.executable, str(_PROGRAM), "collect", "--db", str(self.path)]
        command += ["--log-format", "json", "--config", NO_FILE, *options]
        parent = os.getpid()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  (ourselves)
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=without_variables(os.environ),  # (which are about another collector)
                # Whatever becomes of us, no kernel programs stay behind. No thread of ours could
                # hold a lock that this takes.
                preexec_fn=lambda: die_with(parent),  # noqa: PLW1509
            )

    def is_running(self) -> bool:
        """Whether there may be more snapshots."""
        return self._process.poll() is None

    def begin(self) -> None:
        """Wait for its first snapshot. Raises EstatsError if it ends without one."""
        while self.is_running() and not has_snapshot(self.path):
            time.sleep(_POLL_SECONDS)
        if not self.is_running():
            self.finish()
        self.tell()

    def finish(self) -> None:
        """Wait for its end. Raises EstatsError with its words if that is not an orderly one."""
        code = self._process.wait()
        error = self.tell()
        if code:
            raise error or CollectorError(f"the collector ended with exit code {code}")

    def stop(self) -> None:
        """End it, in order if it can."""
        self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def tell(self) -> EstatsError | None:
        """Pass on the warnings that are new in its log; returns the error that ended it."""
        with self._log.open("rb") as log:
            log.seek(self._read)
            text = log.read()
        self._read += len(text)
        error: EstatsError | None = None
        for line in text.decode(errors="backslashreplace").splitlines():
            entry = _parsed(line)
            if entry["level"] == Level.ERROR.value:
                error = EstatsError(entry["message"], entry["cure"] or "")
                error.exit_code = entry["exit_code"]
            elif entry["level"] == Level.WARNING.value:
                say(entry["message"])
        return error


@contextmanager
def collecting(*options: str) -> Generator[Collector]:
    """A collector that runs until the end of the block, or its own; its folder goes with it.

    Raises EstatsError.
    """
    with private_folder() as folder:
        collector = Collector(folder, options)
        try:
            yield collector
        finally:
            collector.stop()


@contextmanager
def at_hand(place: Place, lasting: str = _LOOK) -> Generator[Path]:
    """The database that is that place, or what a collector makes for us.

    That one collects for so long, or replays all of a recording, and has ended when the block
    begins. Raises EstatsError.
    """
    if isinstance(place, Path):
        yield place
    else:
        if place[0] != "--replay" and lasting != _LOOK:
            say(f"collecting for {lasting}")
        with collecting(
            *place, *(() if place[0] == "--replay" else ("--duration", lasting))
        ) as collector:
            collector.finish()
            yield collector.path


@contextmanager
def answering(
    asked: Asked, variables: Sequence[Variable], *, may_start: bool = False
) -> "Generator[tuple[Reader, Question]]":
    """What ``asking`` gives, of the database that the options name or have made.

    Raises EstatsError.
    """
    place = where(asked, may_start=may_start)
    with at_hand(place) as path, asking(found_at(asked, place, path), variables) as found:
        yield found


def found_at(asked: Asked, place: Place, path: Path) -> Asked:
    """The same, asked of a database that is at hand at ``path``; who made it has a name for it."""
    if place is path:
        return replace(asked, db=path)
    return replace(asked, db=path, called="live" if asked.replay is None else str(asked.replay))


def where(asked: Asked, *, may_start: bool = True) -> Place:
    """What the options name, or what there is; ``may_start`` a collector where there is nothing.

    Raises UsageError if they name several.
    """
    if sum((asked.db is not None, asked.live, asked.replay is not None)) > 1:
        raise UsageError("--db, --live and --replay exclude one another", "Name one place to ask.")
    if asked.replay is not None:
        return asked.replay if _is_database(asked.replay) else ("--replay", str(asked.replay))
    if not asked.live and (not may_start or has_database(asked.db)):
        return database(asked.db)
    if not asked.live:
        say("there is no database yet: a collector is started for the moment")
    return _PACE


def _is_database(path: Path) -> bool:
    """Whether it is SQLite's; what is no recording either is for the collector to tell."""
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError:
        return False


@contextmanager
def private_folder() -> Generator[Path]:
    """A folder that only we may enter, and that goes with the block.

    SIGTERM and SIGHUP end the block, too, as Ctrl-C does.
    """
    with (
        ended_by(signal.SIGTERM, signal.SIGHUP),
        tempfile.TemporaryDirectory(prefix="estats-") as folder,
    ):
        yield Path(folder)


@contextmanager
def ended_by(*signals: signal.Signals) -> Generator[None]:
    """Let these signals unwind the stack, so that what is to be cleaned up is."""

    def end(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, end) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def has_snapshot(path: Path) -> bool:
    """Whether there is a database with something in it."""
    from storage.reader import open_reader  # noqa: PLC0415  (SQLAlchemy, as in cli.asking)

    try:
        with open_reader(path) as reader:
            return reader.period().last > 0
    except EstatsError:  # it is just being made
        return False


def _parsed(line: str) -> dict[str, Any]:
    """A line of the log; one that is none is what ended it."""
    try:
        entry: dict[str, Any] = json.loads(line)
    except ValueError:
        return {
            "level": Level.ERROR.value,
            "message": line,
            "cure": "",
            "exit_code": CollectorError.exit_code,
        }
    return entry
