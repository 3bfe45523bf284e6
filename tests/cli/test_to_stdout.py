"""estats collect --to -: what is collected, on standard output."""

import csv
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO

import pytest

from tests.cli.conftest import Estats

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a server to which one connection is open."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        number: int = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", number)), closing(server.accept()[0]):
            yield number


def collecting(folder: Path, *options: str) -> "subprocess.Popen[str]":
    """A collector that polls; what it keeps for the moment is in the folder."""
    command = [sys.executable, str(ROOT / "estats.py"), "collect", "--to", "-"]
    command += ["--source", "diag", "--interval", "50ms", *options]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def pipe(process: "subprocess.Popen[str]") -> IO[str]:
    """Its standard output."""
    assert process.stdout is not None
    return process.stdout


@pytest.mark.slow
def test_each_row_of_history_is_a_line_as_it_comes(tmp_path: Path, port: int) -> None:
    """Its database is private, and gone in the end."""
    with collecting(tmp_path, "--sport", str(port), "--tables", "perf,stack") as process:
        row = json.loads(pipe(process).readline())
        (folder,) = tmp_path.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        process.terminate()
        assert process.wait() == 0
    assert (row["LocalPort"], row["State"], row["time"]) == (port, 5, row["taken"])
    assert "SegsOut" in row and "MinRTT" not in row, "only of those tables"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_last_snapshot_is_in_it(tmp_path: Path, port: int) -> None:
    """All that the database got, which stays where it was named, in the same order."""
    options = ("--db", "flows.db", "--duration", "500ms", "--format", "csv", "--sport", str(port))
    with collecting(tmp_path, *options) as process:
        rows = list(csv.DictReader(pipe(process)))
        assert process.wait() == 0
    command = [sys.executable, str(ROOT / "estats.py"), "query", "--db", "flows.db", "--history"]
    command += ["--format", "csv", "--var", "State"]
    asked = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    stored = [row["taken"] for row in csv.DictReader(asked.stdout.splitlines())]
    assert [row["time"] for row in rows] == stored != []


@pytest.mark.slow
def test_it_ends_when_nobody_reads_any_more(tmp_path: Path, port: int) -> None:
    """In order, with the exit code of all commands for it, though there is nothing to write."""
    with collecting(tmp_path, "--sport", str(port)) as process:
        assert pipe(process).readline()
        pipe(process).close()
        assert process.wait(60) == 1
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--to", "x"), "--to 'x' is no place"),
        (("--to", "-", "--format", "table"), "no table"),
        (("--to", "-", "--tables", "perf,nonsense"), "there is no table 'nonsense'"),
    ],
)
def test_what_makes_no_sense_is_refused(
    estats: Estats, options: tuple[str, ...], complaint: str
) -> None:
    """Before anything begins."""
    answer = estats("collect", *options)
    assert answer.code == 2 and answer.err.count(complaint) == 1
