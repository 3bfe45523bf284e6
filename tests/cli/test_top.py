"""estats top as a command: what its options say, and what it does with a screen and without.

The screen is tmux: a terminal of its own, whose contents can be asked for.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.top.command import is_unicode
from tests.cli.conftest import Estats
from tests.cli.writing import Written
from tests.kernel.collecting import until

ROOT = Path(__file__).resolve().parents[2]


def test_without_a_terminal_the_list_is_written_once(estats: Estats, story: Path) -> None:
    """The open connections; which file, which time and what was lost is beside it."""
    answer = estats("top", "--db", story)
    header, *rows = answer.out.splitlines()
    assert answer.code == 0
    assert header.split()[:4] == ["Connection", "Process", "State", "Out/s"]
    assert [row.split()[1] for row in rows] == ["198.51.100.7:51000", "10.0.0.2:5001"]
    assert r"\x1b]0;owned\x07[66]" in answer.out and "\x1b" not in answer.out
    assert "2023-11-14 22:15:03Z" in answer.err and "2 batches lost" in answer.err


def test_it_is_a_time_machine(estats: Estats, story: Path) -> None:
    """Of each time one sees who was connected then, and how fast."""
    answer = estats("top", "--db", story, "--at", "2023-11-14T22:13:22", "--var", "SegsRetrans")
    (row,) = [line for line in answer.out.splitlines() if "iperf" in line]
    assert "10.0.0.1:40000 10.0.0.2:5001" in row
    assert row.split()[4:6] == ["3", "2k"], "in the second before then"


def test_a_recording_is_listed_as_its_database_is(estats: Estats, story: Path) -> None:
    """A stretch has the same rates; in a moment nothing grows, so that none is known."""
    estats("record", "stretch.db", 3, 4, "--db", story, "--since", "2023-11-14T22:15:00")
    stretch = estats("top", "--replay", "stretch.db")
    assert stretch.code == 0
    assert stretch.out == estats("top", 3, 4, "--db", story).out
    assert stretch.out.splitlines()[1].split()[4:7] == ["250", "-", "5"]
    estats("record", "moment.db", 3, "--db", story)
    moment = estats("top", "--replay", "moment.db").out.splitlines()
    assert moment[1].split()[:4] == stretch.out.splitlines()[1].split()[:4]
    assert moment[1].split()[4:7] == ["-", "-", "-"]


def test_a_window_may_be_longer_than_an_interval(estats: Estats, story: Path) -> None:
    """Rates are over the time since --since."""
    at = ("--at", "2023-11-14T22:13:23", "--since", "2023-11-14T22:13:21", "--dport", "5001")
    (_, row) = estats("top", "--db", story, *at, "--var", "SegsRetrans").out.splitlines()[:2]
    assert row.split()[4:6] == ["1.5", "1k"]


def test_it_chooses_and_sorts_as_other_commands_do(estats: Estats, story: Path) -> None:
    """A variable that it is sorted by and no usual column has gets one."""
    answer = estats("top", "--db", story, "--sort", "-SegsOut", "--limit", 1, "--sport", 22)
    assert "SegsOut/s" in answer.out and len(answer.out.splitlines()) == 2
    assert "by SegsOut/s" in answer.err
    closed = estats("top", "--db", story, "--closed", "--at", "2023-11-14T22:13:24")
    assert "10.0.0.2:5001" in closed.out and "iperf" in closed.out
    assert "no connection matches" in estats("top", "--db", story, "--dport", 1).err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--interval", "1ms"), "--interval 1ms is too short"),
        (("--until", "now"), "estats top has no --until"),
        (("--since", "1h", "--at", "2h"), "--since '1h' is not before what is shown"),
        (("--at", "tomorrow"), "'tomorrow' is not a time"),
        (("--sort", "nothing"), "there is no variable 'nothing'"),
    ],
)
def test_what_makes_no_sense_is_refused(
    estats: Estats, words: tuple[str, ...], complaint: str
) -> None:
    """Before anything is opened or started."""
    answer = estats("top", *words)
    assert answer.code == 2 and complaint in answer.err


def test_a_database_that_cannot_be_read_is_told_as_ever(estats: Estats, tmp_path: Path) -> None:
    """With the exit code of all commands, and no screen."""
    answer = estats("top", "--db", tmp_path / "none.db")
    assert answer.code == 4 and "there is no database" in answer.err
    (tmp_path / "empty.db").touch()
    answer = estats("top", "--db", tmp_path / "empty.db")
    assert answer.code == 4 and "is still empty" in answer.err


def test_without_textual_it_says_what_to_do(
    estats: Estats, story: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal; elsewhere it is not needed."""
    monkeypatch.setitem(sys.modules, "textual", None)
    assert estats("top", "--db", story).code == 0
    monkeypatch.setattr("cli.top.command.has_screen", lambda: True)
    answer = estats("top", "--db", story)
    assert answer.code == 3
    assert "textual" in answer.err and "estats watch" in answer.err


def test_no_other_command_imports_textual() -> None:
    """It takes as long to import as most answers take."""
    code = (
        "import sys, cli.app; cli.app.application();"
        " sys.exit(bool({'textual', 'rich.text'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"LANG": "C.UTF-8"}, True),
        ({"LANG": "en_GB.utf8", "TERM": "xterm"}, True),
        ({"LC_ALL": "C", "LANG": "C.UTF-8"}, False),
        ({"LANG": "C.UTF-8", "TERM": "linux"}, False),
        ({}, False),
    ],
)
def test_the_locale_says_what_a_terminal_can_draw(
    environment: dict[str, str], *, expected: bool
) -> None:
    """The console of Linux lacks what curves are drawn with."""
    assert is_unicode(environment) == expected


class Terminal:
    """A real terminal, 80x24, with estats top in it."""

    def __init__(self, folder: Path, command: str, **environment: str) -> None:
        """Begin; ``command`` goes to a shell, whose exit code comes to the file ``code``."""
        self._tmux = ["tmux", "-S", str(folder / "tmux"), "-f", os.devnull]
        self._code = folder / "code"
        settings = " ".join(f"{name}={value}" for name, value in environment.items())
        line = f"{settings} {command}; echo $? > {self._code}; sleep 60"
        self._do("new-session", "-d", "-x", "80", "-y", "24", line)

    def _do(self, *words: str) -> str:
        ran = subprocess.run([*self._tmux, *words], capture_output=True, text=True, check=True)
        return ran.stdout

    def press(self, *keys: str) -> None:
        """Keys by their names."""
        self._do("send-keys", *keys)

    def seen(self, *, styled: bool = False) -> str:
        """What is on the screen, with its colours if they are wanted."""
        return self._do("capture-pane", "-p", *(("-e",) if styled else ()))

    def until(self, holds: Callable[[str], bool]) -> str:
        """What is on the screen once this holds."""

        def look() -> str | None:
            text = self.seen()
            return text if holds(text) else None

        return str(until("what is to be on the screen", look))

    def code(self) -> int:
        """The exit code of the command, once it has ended."""
        until("its end", lambda: self._code.exists() and self._code.read_text().strip())
        return int(self._code.read_text())

    def close(self) -> None:
        """Take the terminal away."""
        self._do("kill-server")


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Written]:
    """A database that is being written: in each second it sent as many octets as before."""
    told = {"HCDataOctetsIn": 0, "State": 5}
    writing = Written(tmp_path / "flows.db", lambda n: {"HCDataOctetsOut": 2**n * 1000, **told})
    yield writing
    writing.end()


@pytest.fixture
def terminal(tmp_path: Path, written: Written) -> Iterator[Callable[..., Terminal]]:
    """Makes terminals with estats top on that database."""
    made: list[Terminal] = []

    def make(*options: str, **environment: str) -> Terminal:
        words = [sys.executable, str(ROOT / "estats.py"), "top", "--db", str(written.path)]
        made.append(Terminal(tmp_path, " ".join([*words, *options]), **environment))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_real_terminal_follows_a_collector(
    terminal: Callable[..., Terminal], written: Written
) -> None:
    """A list that lives, a page with curves, time that stands; the terminal is left as it was."""
    top = terminal("--interval", "100ms", LANG="C.UTF-8", TERM="xterm-256color")
    first = top.until(lambda text: "iperf" in text and "? help" in text).splitlines()
    assert first[1].split()[-1] == "Limit" and first[23].startswith("? help")
    assert " 2k " in first[2]
    written.grow()
    top.until(lambda text: "22:13:22Z" in text)
    written.grow()
    top.until(lambda text: " 4k " in text)
    top.press("Enter")
    assert "iperf[42]" in top.until(lambda text: "█" in text).splitlines()[1]
    top.press("Space")
    top.until(lambda text: "stopped" in text)
    top.press("[")
    top.until(lambda text: "22:13:22Z  stopped" in text)
    top.press("Escape")
    top.until(lambda text: "1 connection" in text)
    top.press("q")
    assert top.code() == 0
    assert "iperf" not in top.until(lambda text: "Limit" not in text)


def test_a_poor_terminal_gets_what_it_has(terminal: Callable[..., Terminal]) -> None:
    """ASCII and no colours; Ctrl-C ends it in order, also while one types."""
    top = terminal(NO_COLOR="1", LC_ALL="C", TERM="vt100")
    top.until(lambda text: "iperf" in text)
    styled = top.seen(styled=True)
    assert "\x1b[7m" in styled or "\x1b[1m\x1b[7m" in styled or "\x1b[1;7m" in styled, "reverse"
    assert not any(f"\x1b[{n}m" in styled for n in (*range(30, 38), *range(40, 48)))
    assert styled.isascii()
    top.press("/")
    top.until(lambda text: "Esc forgets it" in text)
    top.press("C-c")
    assert top.code() == 0
