"""The page for those who come from Web10G: every line of ours runs, none of theirs is left out."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.app import application
from tests.documented import write_database

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "from-web10g.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (.+?) \| (.+) \|$", PAGE, re.MULTILINE)

#: Their programs and options, as their usage texts have them.
THEIRS = {
    "web10g-deltavars": {"-m", "-s", "-i", "-h"},
    "web10g-getmib": set[str](),
    "web10g-listconninfo": set[str](),
    "web10g-listconns": set[str](),
    "web10g-logger": {"-e", "-i", "-m", "-h"},
    "web10g-readvars": {"-m", "-h"},
    "web10g-record_read": set[str](),
    "web10g-record_write": set[str](),
    "web10g-watchvars": {"-m", "-s", "-i", "-h"},
    "web10g-writevar": {"-h"},
    "estatsview": set[str](),
}


def _ours() -> list[str]:
    """Every command line of the page, in its order: a recording is read after it is made."""
    in_tables = [line for _, ours in ROWS for line in re.findall(r"`(estats .+?)`", ours)]
    return [*re.findall(r"^ {4}(estats .+)$", PAGE, re.MULTILINE), *in_tables]


def test_every_program_and_option_of_theirs_has_a_line() -> None:
    """Eleven programs."""
    spoken_of: dict[str, set[str]] = {}
    for theirs, _ in ROWS:
        words = theirs.strip("`").replace("`,", "").split()
        options = {word for word in words[1:] if re.fullmatch("-[a-z]", word)}
        spoken_of.setdefault(words[0].strip("`"), set()).update(options)
    assert {name: spoken_of.get(name) for name in THEIRS} == THEIRS
    assert len(THEIRS) == 11


def test_every_line_of_ours_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As written, in a folder that has a flows.db; what collects polls inet_diag here."""
    write_database(tmp_path / "flows.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ESTATS_DB", raising=False)
    lines = _ours()
    assert len(lines) > 20
    for line in lines:
        _, *arguments = shlex.split(line)
        code, said = _collected(arguments) if arguments[0] == "collect" else _asked(arguments)
        assert code == 0, line
        assert said.strip(), line
        assert " matches" not in said, line


def _asked(arguments: list[str]) -> tuple[int, str]:
    answer = CliRunner().invoke(application(), arguments, catch_exceptions=False)
    return answer.exit_code, answer.output


def _collected(arguments: list[str]) -> tuple[int, str]:
    """In a process of its own, whose lock on the database goes with it."""
    command = [sys.executable, str(ROOT / "estats.py"), *arguments]
    command += ["--source", "diag", "--db", "collected.db"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout + ran.stderr
