"""SQL, escapes and nonsense in any argument of any command: an error or no match, no more."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import typer

from cli.app import application
from tests.cli.conftest import Estats

HOSTILE: Final = (
    "' OR 1=1 --",
    "x'; DROP TABLE connection; --",
    '"; DELETE FROM run; --',
    "1); ATTACH 'evil.db' AS e; --",
    "UNION SELECT sql FROM sqlite_schema",
    "\x1b]0;owned\x07\x1b[2J",
    "\u202e\x9b31m\udcff",
    "a\nestats: all is well",
)
#: They collect, or write a database anew; what comes of their options is asked apart.
WRITERS: Final = {"collect", "db upgrade", "db compact"}


def _commands() -> Iterator[tuple[str, list[str]]]:
    """Every command and its options that take a value, arguments as ``""``."""

    def walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
        children: dict[str, Any] = getattr(command, "commands", {})
        for name, child in children.items():
            yield from walk(child, (*words, name))
        if not children:
            takes = [p for p in command.params if not getattr(p, "is_flag", False)]
            yield (
                " ".join(words),
                ["" if not p.opts[0].startswith("-") else p.opts[0] for p in takes],
            )

    yield from walk(typer.main.get_command(application()), ())


TAKING: Final = [(command, option) for command, options in _commands() for option in options]


@pytest.fixture(scope="module")
def story(story: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: who collects holds the lock of a database as long as its process lives."""
    return Path(shutil.copy(story, tmp_path_factory.mktemp("words")))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_command_is_asked() -> None:
    """So that none is forgotten here."""
    commands = {command for command, _ in TAKING}
    assert commands > {"query", "connections", "listeners", "sql", "status", "collect", "db info"}
    options = {option for command, option in TAKING if command == "query"}
    assert options > {"--var", "--comm", "--dport", "--since", "--sort", "--pid", "--net"}


def _ask(estats: Estats, *arguments: str) -> int:
    """The exit code; what is said can steer no terminal, nor pass for a line of ours."""
    answer = estats(*arguments)
    text = answer.out + answer.err
    assert text.replace("\n", "").isprintable(), text
    assert "Traceback" not in text
    assert "estats: all is well" not in text.splitlines()
    return answer.code


@pytest.fixture
def folder(estats: Estats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where commands run; nothing else is there."""
    made = tmp_path / "empty"
    made.mkdir()
    monkeypatch.chdir(made)
    return made


@pytest.mark.parametrize(("command", "option"), [t for t in TAKING if t[0] not in WRITERS])
def test_no_argument_does_more_than_ask(
    estats: Estats, story: Path, folder: Path, command: str, option: str
) -> None:
    """The database is what it was, to the octet, and no file is made beside it."""
    before = _digest(story)
    for text in HOSTILE:
        is_asked = option != "--db" and command not in ("variables", "doctor")
        db = ["--db", str(story)] if is_asked else []
        statement = ["SELECT 1"] if command == "sql" and option else []
        given = [f"{option}={text}"] if option else ["--", text]
        assert _ask(estats, *command.split(), *db, *statement, *given) in (0, 2, 4, 7)
        assert _digest(story) == before
        assert not list(folder.iterdir()), "a file was made"


@pytest.mark.parametrize("option", [o for c, o in TAKING if c == "collect"])
def test_no_option_of_a_collector_is_sql(
    estats: Estats, story: Path, folder: Path, option: str
) -> None:
    """What is nonsense is refused before anything is written."""
    before = _digest(story)
    for text in HOSTILE:
        db = ["--db", str(story)] if option != "--db" else []
        code = _ask(estats, "collect", *db, "--replay", "none", f"{option}={text}")
        assert code in (2, 4, 5)
        assert _digest(story) == before
