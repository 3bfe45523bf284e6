"""What the shell offers: names of variables, and what the database has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def offered(line: str, home: Path, shell: str = "bash") -> list[str]:
    """What a shell gets for a command line whose last word is begun."""
    words = line.split(" ")
    environment = {
        **os.environ,
        "_ESTATS_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    environment.pop("ESTATS_DB", None)
    ran = subprocess.run(
        [sys.executable, str(ROOT / "estats.py")],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stderr == ""
    return ran.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("estats query --var SegsR", ["SegsRetrans"]),
        ("estats query --var segsretr", ["segsretrans"]),
        ("estats query --var SegsOut,SegsRetr", ["SegsOut,SegsRetrans"]),
        ("estats listeners --var MaxB", ["MaxBacklog"]),
        ("estats variables MaxB", ["MaxBacklog"]),
        ("estats read --tables p", ["perf", "path"]),
        ("estats query --db {db} --dport ", ["5001", "40001", "51000"]),
        ("estats query --db {db} --sport 4", ["40000", "40002"]),
        ("estats deltas --db {db} --pid 7", ["77"]),
        ("estats connections --db {db} --comm ", ["iperf", "sshd"]),
        ("estats watch --db {db} ", ["4", "3", "2", "1"]),
        ("estats query --db nothing.db --dport ", []),
        ("estats query --dport ", []),
    ],
)
def test_a_word_that_is_begun_is_completed(
    story: Path, tmp_path: Path, line: str, expected: list[str]
) -> None:
    """From the catalogue, in any case, or from the database that the line names.

    A process that is called something a shell would not take for a word is not offered. Without a
    database there is no answer and no complaint.
    """
    assert offered(line.format(db=story), tmp_path) == expected


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_what_it_means_too(story: Path, tmp_path: Path, shell: str) -> None:
    """With the offer."""
    said = " ".join(offered(f"estats read --db {story} 3", tmp_path, shell))
    assert "3" in said and "192.0.2.9:22 198.51.100.7:51000" in said.replace("\\", "")


@pytest.mark.parametrize(
    ("how", "shell"),
    [
        ("--show-completion", "bash"),
        ("--install-completion", "bash"),
        ("--install-completion", "zsh"),
        ("--install-completion", "fish"),
    ],
)
def test_completion_is_shown_and_installed(tmp_path: Path, how: str, shell: str) -> None:
    """For the command by its name, however it was called; installed, it lies below the home."""
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",  # no shell is above this
    }
    ran = subprocess.run(
        [sys.executable, str(ROOT / "estats.py"), how, shell],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    made = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())

    assert ran.returncode == 0, ran.stderr
    assert "_ESTATS_COMPLETE=complete_" in (ran.stdout if how == "--show-completion" else made)
    assert bool(made) == (how == "--install-completion")
