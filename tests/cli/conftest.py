"""The database of ``story``, and the command line to ask it with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.app import run as run_estats
from tests.cli.story import write_story


@dataclass(frozen=True)
class Answer:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


Estats = Callable[..., Answer]


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of ``write_story``; not to be changed."""
    path = tmp_path_factory.mktemp("story") / "flows.db"
    write_story(path)
    return path


@pytest.fixture
def estats(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Estats:
    """The command line, in an empty folder, without $ESTATS_DB and this host's configuration."""
    # What it gives up here, this process would lack in the tests to come: tests/kernel has it done.
    monkeypatch.setattr("collector.fleet.keep_for_supervising", lambda **_: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cli.configuration.SYSTEM_FILE", tmp_path / "etc" / "estats.toml")
    for name in ("ESTATS_DB", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: object) -> Answer:
        capsys.readouterr()
        code = run_estats([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return Answer(code, out, err)

    return call
