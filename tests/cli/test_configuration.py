"""estats.toml and the environment: what they say is obeyed in order, and never by mistake."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cli import collect, configuration, live
from cli.configuration import PREFIX
from collector.settings import Settings
from tests.cli.conftest import Answer, Estats

Run = Callable[..., tuple[Answer, Settings | None]]


@pytest.fixture
def run(estats: Estats, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``estats collect`` up to where the collector would begin, and what that would be told."""
    made: list[Settings] = []

    def note(settings: Settings, *_: object) -> str:
        made.append(settings)
        return "duration"

    monkeypatch.setattr(collect, "run_collector", note)
    for name in [name for name in os.environ if name.startswith((PREFIX, "ESTATS_CONFIG"))]:
        monkeypatch.delenv(name)

    def call(*arguments: object) -> tuple[Answer, Settings | None]:
        here = Path("flows.db")  # where to, if nothing else says so
        here.unlink(missing_ok=True)  # this process has the lock of the one before
        here.touch()
        answer = estats("collect", *arguments)
        return answer, made.pop() if made else None

    return call


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration file of three options; written to while it is made, and by its owner only."""
    path = tmp_path / "mine.toml"
    path.touch(0o644)
    path.write_text('[collect]\ninterval = "5s"\nport = [80, "443"]\nmax-overhead = 0.02\n')
    return path


def test_the_order_is_line_environment_file_default(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is asked only where the one before says nothing."""
    from_file = run("--config", file)[1]
    monkeypatch.setenv("ESTATS_COLLECT_INTERVAL", "4s")
    from_environment = run("--config", file)[1]
    from_line = run("--config", file, "--interval", "3s")[1]

    assert from_file and from_environment and from_line
    told = (from_file, from_environment, from_line)
    assert [each.interval_us for each in told] == [5_000_000, 4_000_000, 3_000_000]
    assert all(each.filters.ports == (80, 443) and each.max_overhead == 0.02 for each in told)
    assert all(each.flush_us == 250_000 for each in told), "of which nobody spoke"


def test_which_options_came_from_elsewhere_is_told(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collector that leaves half of all connections out does not do so for an unknown reason."""
    assert "options" not in run()[0].err

    monkeypatch.setenv("ESTATS_COLLECT_SHARDS", "3")
    answer, settings = run("--config", file)

    assert settings and settings.shards == 3
    sentence = f"options from {file}: interval, port, max-overhead and from the environment: shards"
    assert answer.err.splitlines()[0].endswith(f" estats: {sentence}")
    failed = run("--config", file, "--tables", "nonsense")[0]
    assert failed.code == 2 and failed.err.splitlines()[-1].endswith(f"; {sentence}")


def test_the_system_file_is_read_and_a_file_of_the_folder_is_not(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write to a folder could steer root from there."""
    Path("estats.toml").write_text(file.read_text())
    nothing = run()[1]
    system = configuration.SYSTEM_FILE
    system.parent.mkdir()
    system.write_text(file.read_text())
    found = run()[1]
    refused = run("--config", "none")[1]
    monkeypatch.setenv("ESTATS_CONFIG", "none")
    refused_by_variable = run()[1]

    assert nothing and found and refused and refused_by_variable
    assert found.interval_us == 5_000_000
    assert nothing == refused == refused_by_variable
    assert str(system) != "/etc/estats/estats.toml", "this host's own"


def test_the_database_of_the_environment_comes_before_that_of_the_file(
    run: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """$ESTATS_DB is every command's, $ESTATS_COLLECT_DB that of this one."""
    file.write_text('[collect]\ndb = "of-file.db"\n')
    for name, value in ((None, "of-file"), ("ESTATS_DB", "all"), ("ESTATS_COLLECT_DB", "mine")):
        if name:
            monkeypatch.setenv(name, f"{value}.db")
        assert run("--config", file)[0].code == 0
        assert (tmp_path / f"{value}.db").exists()


def test_a_list_of_the_environment_is_divided_by_spaces(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Click has it."""
    monkeypatch.setenv("ESTATS_COLLECT_DPORT", "80 443")
    settings = run()[1]
    assert settings and settings.filters.dports == (80, 443)


@pytest.mark.parametrize(
    ("text", "sentence", "cure"),
    [
        ("[collect]\nintervall = 1", "no key below [collect] 'intervall'", "mean interval?"),
        ("[collect]\nflush_interval = 1", "'flush_interval'", "mean flush-interval?"),
        ("[colect]\ninterval = 1", "there is no table 'colect'", "mean collect?"),
        ("collect = 1", "collect is no table", "[collect]"),
        ("[collect]\nconfig = 'x'", "'config'", "Did you mean|There is"),
        ("[collect]\nkeep = true", "keep cannot be true or false", "a text or a number"),
        ("[collect]\nkeep = 2026-01-31", "keep cannot be a time", "a text or a number"),
        ("[collect]\nkeep = ['1d']", "keep cannot be a list", "a text or a number"),
        ("[collect.keep]\nage = 1", "keep cannot be a table", "a text or a number"),
        ("[collect]\nport = [[80]]", "port cannot be a list", "or a list of them"),
        ("[collect]\nshards = 'four'", "shards: ", "estats collect --help"),
        ("[collect]\nshards = 2.5", "shards: ", "estats collect --help"),
        ("[collect]\nsource = 'bfp'", "source: 'bfp' is not one of", "estats collect --help"),
        ("interval = ", "is no TOML: ", "[collect]"),
        ("x = " + "[" * 5000, "is no TOML: ", "[collect]"),
        ("\udcff", "is no TOML: ", "[collect]"),
    ],
)
def test_what_is_wrong_is_told_with_file_key_and_cure(
    run: Run, file: Path, text: str, sentence: str, cure: str
) -> None:
    """Two lines, exit code 2, and nothing is collected."""
    file.write_text(text, errors="surrogateescape")
    answer, settings = run("--config", file)
    first, second = answer.err.splitlines()

    assert (answer.code, settings) == (2, None)
    assert str(file) in first and sentence in first
    assert any(each in second for each in cure.split("|"))


def test_a_file_that_is_named_must_be_there(run: Run, tmp_path: Path) -> None:
    """Neither is a folder one, nor what could make the collector wait."""
    os.mkfifo(tmp_path / "pipe")
    for name in ("missing.toml", ".", "pipe"):
        answer, settings = run("--config", tmp_path / name)
        assert (answer.code, settings) == (2, None)
        assert "--config none" in answer.err


def test_a_variable_that_names_no_option_is_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would say nothing, and nobody would know."""
    monkeypatch.setenv("ESTATS_COLLECT_INTERVALL", "5s")
    answer, settings = run()
    assert (answer.code, settings) == (2, None)
    assert "$ESTATS_COLLECT_INTERVALL" in answer.err
    assert "Did you mean ESTATS_COLLECT_INTERVAL?" in answer.err


@pytest.mark.parametrize(
    ("owner", "group", "mode", "is_safe"),
    [
        (0, 0, 0o644, True),
        (0, 0, 0o600, True),
        (0, 0, 0o664, True),
        (0, 65534, 0o664, False),
        (0, 0, 0o646, False),
        (65534, 0, 0o644, False),
    ],
)
def test_root_obeys_only_what_root_alone_can_have_written(
    run: Run, file: Path, owner: int, group: int, mode: int, is_safe: bool
) -> None:
    """The same rule as sudo's; without root anybody's file will do."""
    if os.geteuid() != 0:
        file.chmod(0o666)
        assert run("--config", file)[0].code == 0
        return
    os.chown(file, owner, group)
    file.chmod(mode)
    answer, settings = run("--config", file)
    assert (settings is not None) == is_safe, answer.err
    if not is_safe:
        assert answer.code == 2
        cure = "chown root" if owner else "chmod go-w"
        assert f"{cure} {file}" in answer.err


def test_a_collector_for_the_moment_is_told_by_its_command_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What `estats why --live` sees is not what the service on this host was told to keep."""
    monkeypatch.setenv("ESTATS_COLLECT_DPORT", "443")
    monkeypatch.setenv("ESTATS_CONFIG", "/nowhere.toml")
    started: list[tuple[list[str], dict[str, str]]] = []

    def note(command: list[str], *, env: dict[str, str], **_: object) -> None:
        started.append((command, env))

    monkeypatch.setattr(subprocess, "Popen", note)
    live.Collector(tmp_path, ["--duration", "1s"])
    ((command, environment),) = started

    assert command[command.index("--config") + 1] == "none"
    assert not [name for name in environment if name.startswith(("ESTATS_COLLECT", "ESTATS_CON"))]
    assert environment.items() <= os.environ.items()
