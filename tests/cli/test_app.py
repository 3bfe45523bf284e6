"""The command line as a whole: help, exit codes, the default database, broken pipes."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cli.app
from bpf.errors import CollectorError, EnvironmentLacksError, EstatsError, RecordingError
from cli import db
from cli.health import NOT_WELL
from tests.cli.conftest import Estats

ROOT = Path(__file__).resolve().parent.parent.parent
READING = (
    ["query"],
    ["connections"],
    ["why"],
    ["sql", "SELECT 1"],
    ["variables"],
    ["db", "info"],
    ["db", "check"],
)


def test_help_teaches_the_exit_codes() -> None:
    """All of them, at the end of the main help."""
    result = CliRunner().invoke(cli.app.application(), ["--help"])
    assert result.exit_code == 0
    kinds = (EnvironmentLacksError, RecordingError, CollectorError)
    for code in (*(kind.exit_code for kind in kinds), NOT_WELL):
        assert f"\n  {code}  " in result.output.replace("    ", "  ")


COMMANDS = sorted(
    [str(each.name or each.callback.__name__)] if each.callback else []
    for each in cli.app.application().registered_commands
)
OF_DB = [
    ["db", str(each.callback.__name__)] for each in db.app.registered_commands if each.callback
]


@pytest.mark.parametrize("command", [*COMMANDS, *OF_DB], ids=" ".join)
def test_each_command_has_examples(command: list[str]) -> None:
    """They stand at the end of its help, and are of that command."""
    result = CliRunner().invoke(cli.app.application(), [*command, "--help"])
    assert result.exit_code == 0
    examples = result.output.partition("Examples:\n")[2].splitlines()
    assert examples and examples[0].startswith(f"    estats {' '.join(command)}")


def test_the_main_help_groups_the_commands() -> None:
    """Each below one heading, in columns that stand in line."""
    lines = CliRunner().invoke(cli.app.application(), ["--help"]).output.splitlines()
    heads = ["Collect:", "Ask about connections:", "Keep and hand on:", "Look up and look after:"]
    places = [lines.index(head) for head in heads]
    assert places == sorted(places)
    listed = [line for line in lines[places[0] :] if re.match(r"  [a-z]+ {2,}[A-Z]", line)]
    assert {line.split()[0] for line in listed} == {*(words[0] for words in COMMANDS), "db"}
    assert len({re.search("[A-Z]", line).start() for line in listed}) == 1  # type: ignore[union-attr]


@pytest.mark.parametrize("form", ["table", "json"])
@pytest.mark.parametrize(
    "command",
    [*COMMANDS, *OF_DB, ["query", "--nonsense"], ["query", "--db", "none.db"]],
    ids=" ".join,
)
def test_no_colours_get_into_what_is_piped(
    estats: Estats, story: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], form: str
) -> None:
    """Answers, help and errors are plain, whatever $FORCE_COLOR says."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = estats(*command, "--help")
    assert "\x1b" not in shown.out + shown.err
    if command[0] in ("query", "connections", "read", "deltas", "listeners", "why", "status"):
        named = ["1"] if command[0] in ("read", "deltas") else []
        place = [] if "--db" in command else ["--db", story]
        answer = estats(*command, *named, *place, "--format", form)
        assert answer.out or answer.err
        assert "\x1b" not in answer.out + answer.err


def test_help_says_whose_ports_they_are() -> None:
    """Dport is the remote one."""
    words = " ".join(CliRunner().invoke(cli.app.application(), ["query", "--help"]).output.split())
    assert "dport is the remote port and sport the local port of a row" in words


def test_no_more_is_imported_than_a_command_needs() -> None:
    """SQLAlchemy is for those that read: the collector's processes begin here, too."""
    code = (
        "import sys, cli.app, storage.file; cli.app.application();"
        " sys.exit('sqlalchemy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_version_is_told(estats: Estats) -> None:
    """And nothing else."""
    assert estats("--version").out.startswith("estats ")


def test_an_option_that_does_not_exist_is_a_usage_error(estats: Estats) -> None:
    """With the exit code of all of them."""
    assert estats("query", "--nonsense").code == 2


@pytest.mark.parametrize("command", [c for c in READING if c != ["variables"]])
def test_a_missing_database_is_told_with_its_cure(
    estats: Estats, tmp_path: Path, command: list[str]
) -> None:
    """Two lines and exit code 4."""
    answer = estats(*command, "--db", tmp_path / "none.db")
    sentence, advice = answer.err.splitlines()
    assert (answer.code, answer.out) == (4, "")
    assert "none.db" in sentence and "estats collect" in advice


def test_a_file_that_is_no_database_is_refused(estats: Estats, tmp_path: Path) -> None:
    """And left as it is."""
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be looked at" * 100)
    assert estats("query", "--db", path).code == 4
    assert path.read_text().startswith("not a database")


def test_an_error_cannot_steer_the_terminal(estats: Estats) -> None:
    """The name of a file may hold anything."""
    answer = estats("query", "--db", "/no\x1b[2Jwhere")
    assert "\x1b" not in answer.err and r"\x1b" in answer.err


def test_the_database_is_the_environments_or_the_folders(
    estats: Estats, story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--db, else $ESTATS_DB, else ./flows.db; stderr says which it was."""
    (tmp_path / "flows.db").symlink_to(story)
    assert estats("query").err.startswith("estats: flows.db: ")
    monkeypatch.setenv("ESTATS_DB", str(story))
    assert estats("query").err.startswith(f"estats: {story}: ")
    assert estats("query", "--db", tmp_path / "none.db").code == 4


def test_without_any_the_system_database_is_meant(estats: Estats) -> None:
    """The place where the service writes."""
    assert str(cli.options.SYSTEM_DATABASE) == "/var/lib/estats/flows.db"
    if not cli.options.SYSTEM_DATABASE.exists():
        assert "/var/lib/estats/flows.db" in estats("query").err


@pytest.mark.parametrize("kind", [EnvironmentLacksError, RecordingError, CollectorError])
def test_an_error_has_the_exit_code_of_its_kind(
    estats: Estats, monkeypatch: pytest.MonkeyPatch, kind: type[EstatsError]
) -> None:
    """Message and advice are a line each."""

    def fail(*_: object, **__: object) -> None:
        raise kind("something is wrong", "Cure it.")

    monkeypatch.setattr("cli.query.answering", fail)
    answer = estats("query")
    assert (answer.code, answer.err) == (kind.exit_code, "estats: something is wrong\n  Cure it.\n")


@pytest.mark.parametrize("form", ["table", "ndjson"])
def test_a_reader_that_has_seen_enough_makes_no_noise(story: Path, form: str) -> None:
    """As with `| head`: no traceback, no complaint of the interpreter."""
    command = [sys.executable, "estats.py", "query", "--db", str(story), "--format", form]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writing)
    assert done.returncode == 1
    assert all(line.startswith("estats: ") for line in done.stderr.splitlines())


def test_ctrl_c_ends_it_quietly(estats: Estats, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the shell's code for it."""

    def interrupt(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("cli.query.answering", interrupt)
    # A shell that runs the tests in the background has SIGINT ignored, and Python leaves it so.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        answer = estats("query")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (answer.code, answer.out) == (130, "")
    assert "Traceback" not in answer.err


def test_the_page_and_the_help_have_the_same_exit_codes(estats: Estats) -> None:
    """And those of every error that ends a command."""
    page = (Path(__file__).parents[2] / "docs" / "collecting.md").read_text()
    table = page.split("\n## Exit codes\n")[1].split("\n## ")[0]
    on_page = [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)]
    told = estats("--help").out.split("Exit codes:\n")[1]
    in_help = [int(code) for code in re.findall(r"^ *(\d+) {2,}\S", told, re.MULTILINE)]
    raised = {EstatsError.exit_code, *(kind.exit_code for kind in EstatsError.__subclasses__())}
    assert on_page == in_help == sorted(in_help)
    assert raised <= set(on_page)


def test_only_the_command_asked_for_is_imported(estats: Estats) -> None:
    """All of them take a quarter of a second, which each call would wait for."""
    code = (
        "import sys, cli.app; cli.app.run(['variables', '--help']);"
        " print({'cli.variables', 'cli.why', 'plotting'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stderr == "{'cli.variables'}\n"
    assert "Did you mean 'query'?" in estats("qery").err  # a slip is still looked up among all
