"""Bars: for whoever waits at a terminal, and in nobody's way."""

import gzip
import io
import re
import shutil
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from cli import progress
from tests.cli.conftest import Estats

OLDEST = Path(__file__).parent.parent / "storage" / "databases" / "0001.db.gz"
LONG = {"upgrade": "upgrading", "check": "checking", "compact": "compacting"}


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        """Yes."""
        return True


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars wait for nothing, and SQLite stops every few instructions."""
    monkeypatch.setattr(progress, "_PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(progress, "_APART_SECONDS", 0.0)
    monkeypatch.setattr("storage.long._INSTRUCTIONS", 200)
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture
def database(estats: Estats, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """One of the first revision, brought to the newest unless that is what is tried."""
    path = tmp_path / "flows.db"
    path.write_bytes(gzip.decompress(OLDEST.read_bytes()))
    if request.node.callspec.params["command"] != "upgrade":
        assert estats("db", "upgrade", "--db", path).code == 0
        path = unlocked(path)
    return path


def _all_of(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        return list(database.iterdump())


def unlocked(path: Path) -> Path:
    """A copy of it: this process keeps the locks that it takes until it ends."""
    return Path(shutil.copy(path, path.with_name(f"of-{path.name}")))


every_long_command = pytest.mark.parametrize("command", LONG)


@every_long_command
@pytest.mark.usefixtures("at_once")
def test_a_bar_is_drawn_on_a_terminal_and_gone_at_the_end(
    estats: Estats, database: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Its last word to the terminal is that the line is empty and the cursor is back."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert estats("db", command, "--db", database).code == 0
    drawn = terminal.getvalue()

    assert LONG[command] in drawn
    assert drawn.count("\x1b[?25l") == drawn.count("\x1b[?25h") == 1  # the cursor: away, and back
    assert drawn.rindex("\x1b[2K") > drawn.rindex(LONG[command])


@pytest.mark.usefixtures("at_once")
def test_a_bar_has_no_colours_where_none_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where $NO_COLOR is set, whatever $FORCE_COLOR says; else it has."""
    colour = re.compile(r"\x1b\[[0-9;]*(3[0-9]|38;[0-9;]+)m")
    for is_wanted in (True, False):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("NO_COLOR", "" if is_wanted else "1")
        with progress.bar("working") as show:
            show(0.5)
        assert bool(colour.search(terminal.getvalue())) == is_wanted


@every_long_command
@pytest.mark.usefixtures("at_once")
def test_nothing_is_drawn_where_it_could_not_be_taken_back(
    estats: Estats, database: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """In a file or a pipe, whatever $FORCE_COLOR says, and on a terminal without a cursor."""
    again = unlocked(database)
    monkeypatch.setenv("FORCE_COLOR", "1")
    answer = estats("db", command, "--db", database)
    assert answer.code == 0
    assert LONG[command] not in answer.err and "\x1b" not in answer.err

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "dumb")
    assert estats("db", command, "--db", again).code == 0
    assert LONG[command] not in terminal.getvalue() and "\x1b" not in terminal.getvalue()


@every_long_command
@pytest.mark.usefixtures("at_once")
def test_ctrl_c_ends_it_and_changes_nothing(
    estats: Estats, database: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """In the middle of a statement, with the shell's code; the next try does it."""

    def interrupt(_self: object, _share: float | None) -> None:
        signal.raise_signal(signal.SIGINT)

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    before, contents = (
        signal.signal(signal.SIGINT, signal.default_int_handler),
        _all_of(database),
    )
    try:
        with monkeypatch.context() as patched:
            patched.setattr("cli.progress.Bar.show", interrupt)
            answer = estats("db", command, "--db", database)
    finally:
        signal.signal(signal.SIGINT, before)

    assert (answer.code, answer.out) == (130, "")
    assert "Traceback" not in terminal.getvalue()
    assert _all_of(database) == contents
    again = unlocked(database)
    assert estats("db", command, "--db", again).code == 0
    assert estats("db", "check", "--db", again).out == "ok\n"


@pytest.mark.usefixtures("at_once")
def test_rows_that_go_elsewhere_are_counted_on_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All come through, and the count is not among them; those on the terminal need none."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    assert list(progress.counted(range(101), io.StringIO())) == list(range(101))
    assert "100 rows" in terminal.getvalue()
    terminal.truncate(0)
    assert list(progress.counted(range(101), Terminal())) == list(range(101))
    assert terminal.getvalue() == ""
