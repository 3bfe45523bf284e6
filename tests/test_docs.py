"""The docs are true: what they tell to run runs, and what there is to know is in them."""

import re
import shlex
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from bpf.errors import EstatsError
from bpf.meters import METERS
from cli.app import application
from storage import schema
from tests.documented import write_database

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
BY_HAND = "\n".join(
    text for name, text in TEXT.items() if name not in ("variables.md", "commands.md")
)

#: Options that every command has, or that are the shell's business.
USUAL_OPTIONS = {"--help", "--install-completion", "--show-completion", "--version"}


def _blocks(language: str) -> list[Any]:
    """The fenced blocks of a language, each named by its page and line."""
    found = []
    for page in PAGES:
        text = TEXT[page.name]
        for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            line = text[: match.start()].count("\n") + 1
            found.append(pytest.param(match[1], id=f"{page.name}:{line}"))
    return found


def _commands() -> dict[str, set[str]]:
    """Every command's words, and the long options it takes."""

    def walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, set[str]]]:
        children: dict[str, Any] = getattr(command, "commands", {})
        names = chain.from_iterable((*p.opts, *p.secondary_opts) for p in command.params)
        yield " ".join(words), {name for name in names if name.startswith("--")} - USUAL_OPTIONS
        for name, child in children.items():
            yield from walk(child, (*words, name))

    return dict(walk(typer.main.get_command(application()), ()))


COMMANDS = _commands()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a flows.db of three snapshots in the last two minutes."""
    folder = tmp_path_factory.mktemp("docs")
    write_database(folder / "flows.db")
    return folder


@pytest.mark.parametrize("statement", _blocks("sql"))
def test_every_sql_example_answers(statement: str, folder: Path) -> None:
    """As written, against a database in which there is something to find."""
    with closing(sqlite3.connect(folder / "flows.db")) as database:
        assert database.execute(statement).fetchall()


@pytest.mark.parametrize("block", _blocks("sh"))
def test_every_shell_example_answers(
    block: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As written, in a folder that has a flows.db."""
    monkeypatch.chdir(folder)
    monkeypatch.delenv("ESTATS_DB", raising=False)
    for line in block.splitlines():
        if not line or line.startswith("#"):
            continue
        program, *arguments = shlex.split(line)
        if Path(program).name == "estats":
            answer = CliRunner().invoke(application(), arguments, catch_exceptions=False)
            assert answer.exit_code == 0, line
            assert answer.stdout.strip(), line
            assert " matches" not in answer.stderr, line
        else:
            assert program == "sqlite3", line
            ran = subprocess.run([program, *arguments], capture_output=True, check=True)
            assert ran.stdout, line


def test_the_python_examples_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As one session: a block may use what those before it have made."""
    monkeypatch.chdir(folder)
    blocks = [block.values[0] for block in _blocks("python")]
    assert blocks
    session: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), session)  # noqa: S102  (our own page)
        assert ("print(" in block) == bool(capsys.readouterr().out), block


def test_every_command_in_the_docs_exists() -> None:
    """A renamed command is renamed in the docs, too."""
    spoken_of = set(
        re.findall(r"estats ([a-z]+(?: (?:upgrade|check|info|compact))?)", _code(BY_HAND))
    )

    assert spoken_of <= set(COMMANDS)


def test_every_option_in_the_docs_exists() -> None:
    """And so is an option."""
    spoken_of = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", _code(BY_HAND)))

    others = {"--check", "--minutes", "--quick"}  # of what generates, and of bench

    assert spoken_of <= set().union(*COMMANDS.values()) | USUAL_OPTIONS | others


@pytest.mark.parametrize("command", [words for words in COMMANDS if words])
def test_every_command_is_in_the_docs(command: str) -> None:
    """What is not written down is not found."""
    assert f"estats {command}" in re.sub(r"\s+", " ", BY_HAND)


@pytest.mark.parametrize("command", [words for words, options in COMMANDS.items() if options])
def test_every_option_is_in_the_docs(command: str) -> None:
    """Those of ``estats collect`` and ``tune`` on pages of their own, all others where one asks."""
    page = {"collect": "collecting.md", "tune": "tuning.md"}.get(command, "query.md")

    text = TEXT[page] + (TEXT["query.md"] if command == "tune" else "")  # which connections

    assert {option for option in COMMANDS[command] if f"`{option}" not in text} == set()


def test_every_column_of_ours_is_in_the_docs() -> None:
    """The catalogue's are on the generated page; these are written by hand."""
    names = {c.name for t in (schema.CONNECTION, schema.ENDPOINT, schema.TUNING) for c in t.columns}
    names |= METERS.keys()
    tables = {t.name for t in schema.METADATA.sorted_tables} | schema.views().keys()

    assert {n for n in names | tables if f"`{n}`" not in TEXT["schema.md"]} == set()


def test_every_exit_code_is_in_the_docs() -> None:
    """Scripts rely on them."""
    codes = {kind.exit_code for kind in EstatsError.__subclasses__()}

    assert {code for code in codes if f"\n| {code} |" not in TEXT["collecting.md"]} == set()


def test_every_make_target_in_the_docs_exists() -> None:
    """The first thing anybody types."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert set(re.findall(r"\bmake ([a-z]+)", _code(BY_HAND))) <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """Within the project; other sites are not asked."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT[page.name]):
        assert (page.parent / target).exists(), target


def _code(text: str) -> str:
    """What a page shows as code: fenced, indented, and within backticks."""
    fenced = re.findall(r"^```\w*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^```\w*\n.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    indented = re.findall(r"^ {4}.*$", rest, re.MULTILINE)
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", rest)]
    return "\n".join([*fenced, *indented, *spans])


def test_what_the_readme_quotes_was_measured() -> None:
    """Between its two marks every figure is one of docs/benchmarks.md."""
    quoted = TEXT["README.md"].partition("<!-- benchmarks -->")[2].partition("<!-- end -->")[0]
    figures = set(re.findall(r"\d[\d.,]*\d|\d", quoted))

    assert figures, "it quotes some"
    measured = re.findall(r"\d[\d.,]*\d|\d", TEXT["benchmarks.md"])
    assert figures <= set(measured)
