"""What is made from the command line is current and whole, and others can read it."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from bpf.errors import EstatsError
from bpf.generate import stale
from cli import manual
from cli.app import application
from cli.configuration import defaults, options
from cli.exit_codes import EXIT_CODES
from cli.health import NOT_WELL
from cli.outline import Page, outline
from cli.roff import man_page

PAGES = outline(application())
every_command = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def _printed(path: Path) -> str:
    """A page of the manual without the signs of troff."""
    return re.sub(r"\\f[BIR]", "", path.read_text()).replace("\\-", "-")


def test_what_is_made_is_current() -> None:
    """`make format` writes it, `make check` looks as this does."""
    assert stale(manual.products()) == []
    assert {path for path in manual.products() if path.parent == manual.MAN} == set(
        manual.MAN.iterdir()
    )


@every_command
def test_a_command_has_a_page_and_a_section_with_its_options(page: Page) -> None:
    """What --help lists, both list."""
    man = _printed(manual.MAN / f"{'-'.join(page.words)}.1")
    section = manual.REFERENCE.read_text().partition(f"\n## {page.name}\n")[2].partition("\n## ")[0]

    assert page.options
    for row in (*page.arguments, *page.options):
        assert f"\n{row.name}\n" in man
        assert f"| `{row.name}`".replace("|", "\\|").removeprefix("\\") in section
    for row in page.commands:
        assert (manual.MAN / f"{'-'.join(page.words)}-{row.name}.1").is_file()


@every_command
def test_troff_has_nothing_to_complain_of(page: Page) -> None:
    """With all its warnings."""
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff is not here")
    path = manual.MAN / f"{'-'.join(page.words)}.1"
    ran = subprocess.run(
        [groff, "-man", "-Tutf8", "-ww", path], capture_output=True, text=True, check=True
    )
    shown = re.sub(r"\x1b\[[\d;]*m|.\x08", "", ran.stdout)

    assert ran.stderr == ""
    assert page.summary in " ".join(shown.split())


def test_what_begins_like_a_request_is_text() -> None:
    """A line that begins with a point would vanish from the page, a backslash be obeyed."""
    page = Page(("estats",), "all", "estats", (".SH no", "'no", "a\\fBb"), (), (), (), ())
    text = man_page(page, [], "notice", [])

    assert "\n\\&.SH no\n" in text and "\n\\&\\(aqno\n" in text and "a\\efBb" in text


def test_the_example_has_every_option_as_a_comment() -> None:
    """It changes nothing as it is; with any # taken away the collector takes the file."""
    text = manual.EXAMPLE.read_text()
    command: Any = vars(typer.main.get_command(application()))["commands"]["collect"]
    known = options(command)
    commented = dict(re.findall(r"^#([a-z-]+) = (.+)$", text, re.MULTILINE))

    assert tomllib.loads(text) == {"collect": {}}
    assert set(commented) == set(known) - {"config", "help"}
    assert not [value for value in commented.values() if re.fullmatch('"[A-Z]+"', value)]
    whole = re.sub(r"^#([a-z-]+ = )", r"\1", text, flags=re.MULTILINE)
    assert len(tomllib.loads(whole)["collect"]) == len(commented)


def test_the_example_is_accepted(tmp_path: Path) -> None:
    """Each value is one that its option takes."""
    command: Any = vars(typer.main.get_command(application()))["commands"]["collect"]
    context = command.make_context("collect", [], resilient_parsing=True)
    path = tmp_path / "estats.toml"
    path.touch(0o644)
    text = manual.EXAMPLE.read_text()
    path.write_text(re.sub(r"^#([a-z-]+ = )", r"\1", text, flags=re.MULTILINE))

    found = defaults(path, context, options(command))

    assert found["interval"] == "1s" and found["port"] == ["80", "443"]
    assert set(found) == {p.name for p in command.params} - {"config"}


def test_exit_codes_are_told_alike_everywhere() -> None:
    """All there are, in the same words: by the help, every page of the manual, and the docs."""
    kinds = {kind.exit_code for kind in EstatsError.__subclasses__()}
    assert set(EXIT_CODES) == {0, 1, NOT_WELL, 130, *kinds}
    help_text = vars(typer.main.get_command(application()))["epilog"]
    for code, text in EXIT_CODES.items():
        assert re.search(rf"^  {code} +{re.escape(text)}$", help_text, re.MULTILINE)
        assert f"\n| {code} | {text} |\n" in manual.COLLECTING.read_text()
        for path in manual.MAN.iterdir():
            assert f".TP\n{code}\n{text}\n" in re.sub(r"\\f[BIR]", "", path.read_text())


def test_check_writes_nothing_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names what is stale, and a page of a command that is no more."""
    page, old = tmp_path / "estats.1", tmp_path / "estats-old.1"
    old.touch()
    monkeypatch.setattr(manual, "MAN", tmp_path)
    monkeypatch.setattr(manual, "products", lambda: {page: "text"})

    assert manual.main(["--check"]) == 1
    said = capsys.readouterr().err
    assert f"{page} is stale" in said and f"{old} is stale" in said
    assert old.exists() and not page.exists()
    assert manual.main([]) == 0
    assert page.read_text() == "text" and not old.exists()
    assert manual.main(["--check"]) == 0
