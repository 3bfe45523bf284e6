"""What is installed is whole, and does not mistake another project's folders for its own."""

import subprocess
import sys
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of what git would publish: a build writes beside its source."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    _copy_source(source)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--disable-pip-version-check", "--wheel-dir", target, source],
        check=True,
    )  # fmt: skip
    (built,) = target.glob("*.whl")
    return built


def _copy_source(target: Path) -> None:
    for name in ("pyproject.toml", "README.md", "LICENSE", "estats.py"):
        (target / name).write_bytes((ROOT / name).read_bytes())
    rooms = ("bpf", "collector", "storage", "migrations", "diagnosis", "tuning", "cli")
    for room in (*rooms, "packaging"):
        for path in (ROOT / room).rglob("*"):
            copy = target / path.relative_to(ROOT)
            if path.is_file() and "__pycache__" not in path.parts:
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(path.read_bytes())


@pytest.fixture(scope="module")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel alone; its dependencies are lent from ours by a .pth file."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False, symlinks=True)
    (site_packages,) = home.glob("lib/python*/site-packages")
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", home / "bin" / "python", "install", "--quiet",
         "--no-deps", "--no-index", "--disable-pip-version-check", wheel],
        check=True,
    )  # fmt: skip
    ours = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (site_packages / "lent.pth").write_text("\n".join(ours) + "\n")
    return home / "bin"


@pytest.fixture
def foreign_project(tmp_path: Path) -> Path:
    """A folder as another project has it: with a cli/ of its own."""
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli" / "__init__.py").write_text("raise SystemExit('the wrong cli')\n")
    return tmp_path


def _run(command: list[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)


def test_the_wheel_holds_what_is_read_at_run_time(wheel: Path) -> None:
    """Sources of kernel programs, the header and the migrations are data, easily forgotten."""
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    wanted = [*(ROOT / "bpf").glob("*.[ch]"), *(ROOT / "migrations").glob("*.mako")]
    wanted += list((ROOT / "migrations").rglob("*.py"))

    assert {p.relative_to(ROOT).as_posix() for p in wanted} <= names
    assert not [name for name in names if name.startswith("tests/")]


def test_the_manual_is_where_man_looks(bin_folder: Path) -> None:
    """Beside the folder of the command, which is in the PATH."""
    pages = {page.name for page in (bin_folder.parent / "share" / "man" / "man1").iterdir()}

    assert pages == {page.name for page in (ROOT / "packaging" / "man" / "man1").iterdir()}


def test_the_installed_command_runs_in_a_foreign_project(
    bin_folder: Path, foreign_project: Path
) -> None:
    """The script looks in its environment first, whatever folder it is called from."""
    ran = _run([bin_folder / "estats", "--help"], foreign_project)

    assert ran.returncode == 0, ran.stderr
    assert "collect" in ran.stdout


def test_python_m_refuses_to_run_on_top_of_a_foreign_project(
    bin_folder: Path, foreign_project: Path
) -> None:
    """``python -m`` looks in the working directory first: the guard names what is in the way."""
    ran = _run([bin_folder / "python", "-m", "estats", "--help"], foreign_project)

    assert ran.returncode == 2
    assert f"{foreign_project / 'cli' / '__init__.py'}" in ran.stderr
    assert "the wrong cli" not in ran.stderr
