"""The house keeps its rules: short functions, short files, and each says what it is for."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("bpf", "collector", "storage", "migrations", "diagnosis", "tuning", "cli")
FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 500
DATA_FILES = {"bpf/catalogue.py"}  # rows, not logic

SOURCES = [ROOT / "estats.py", *(p for room in ROOMS for p in sorted((ROOT / room).rglob("*.py")))]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
BENCH = sorted((ROOT / "bench").rglob("*.py"))

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _functions(path: Path) -> list[Function]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, Function)]


every_module = pytest.mark.parametrize("path", [*SOURCES, *TESTS, *BENCH], ids=_name)
every_test_module = pytest.mark.parametrize(
    "path", [p for p in TESTS if p.name.startswith("test_")], ids=_name
)


@every_module
def test_a_module_says_what_it_is_for(path: Path) -> None:
    """The first thing a reader meets is a sentence of purpose."""
    purpose = ast.get_docstring(ast.parse(path.read_text()))

    assert purpose, f"{path} has no docstring"
    assert purpose.splitlines()[0][-1] in ".:;?", "the first line is a sentence, or begins a list"


@every_module
def test_a_function_fits_a_screen(path: Path) -> None:
    """One that does not is two functions."""
    for function in _functions(path):
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        assert lines <= FUNCTION_LINES_MAX, f"{path}:{function.lineno} {function.name} has {lines}"


@every_module
def test_a_file_fits_a_sitting(path: Path) -> None:
    """One that does not has two subjects."""
    if _name(path) not in DATA_FILES:
        assert len(path.read_text().splitlines()) <= FILE_LINES_MAX


@every_module
def test_what_is_left_to_do_is_not_left_in_the_source(path: Path) -> None:
    """A reminder in a file is read by nobody: an issue is."""
    reminder = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")  # split, or it would find itself

    assert not reminder.search(path.read_text()), f"{path} has a reminder"


@every_test_module
def test_a_test_says_its_rule(path: Path) -> None:
    """The name is a clause, the docstring the rule: who breaks one should know what it protects."""
    for function in _functions(path):
        if function.name.startswith("test_"):
            assert ast.get_docstring(function), f"{path}:{function.lineno} {function.name}"


@pytest.mark.parametrize(
    "room", ["collector", "storage", "migrations", "diagnosis", "tuning", "cli"]
)
def test_a_room_loads_without_bcc(room: str) -> None:
    """LLVM stays in memory once it is loaded, and only the loader's child may pay for it."""
    modules = [
        _name(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in SOURCES
        if path.is_relative_to(ROOT / room) and path.name != "env.py"  # Alembic runs that one
    ]
    load = (
        f"import importlib, sys; [importlib.import_module(m) for m in {modules!r}];"
        " sys.exit('bcc' in sys.modules)"
    )

    subprocess.run([sys.executable, "-c", load], cwd=ROOT, check=True, timeout=60)


def test_every_room_is_in_the_wheel() -> None:
    """Packages are listed in pyproject.toml, so a new folder must be too."""
    folders = {
        _name(path.parent).replace("/", ".") for path in SOURCES if path.name == "__init__.py"
    }
    packaging = (ROOT / "pyproject.toml").read_text()
    listed = re.search(r"^packages = \[(.*)\]", packaging, re.MULTILINE)

    assert listed is not None
    assert set(re.findall(r'"(.+?)"', listed[1])) == folders
