"""estats status: whether a collector is there and well is told, and never guessed from its lock."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bpf.meters import LOSSES, METERS
from cli import health
from cli.family import family
from cli.health import NOT_WELL
from storage import file
from storage.file import holder, lock
from tests.cli.conftest import Estats
from tests.cli.notified import Manager, children, collecting, until, with_signal


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """A database that is written, and the process that does."""
    folder = tmp_path_factory.mktemp("running")
    with closing(Manager(str(folder / "notify"))) as manager:
        path = folder / "x.db"
        with collecting(path, "--interval", "100ms", address=manager.address) as process:
            assert "READY" in manager.next()
            yield path, process.pid


def told(estats: Estats, path: Path, code: int) -> dict[str, Any]:
    """The answer as an object."""
    answer = estats("status", "--db", path, "--format", "ndjson")
    assert answer.code == code, answer.err
    found: dict[str, Any] = json.loads(answer.out)
    return found


@pytest.mark.slow
def test_a_collector_at_work_is_well(estats: Estats, running: tuple[Path, int]) -> None:
    """Whose it is, how it was asked, what it takes, and what was lost."""
    path, pid = running
    found = told(estats, path, 0)

    assert (found["state"], found["pid"]) == ("collecting", pid)
    assert (found["source"], found["interval_us"], found["shards"]) == ("diag", 100_000, 1)
    assert found["age_us"] < 5_500_000
    assert found["snapshots"] >= 1 and found["database_bytes"] > 0
    for name in (*LOSSES, "merged", "replaced", "sampled_out"):
        assert found[name] >= found[f"{name}_last_minute"] >= 0
    names = [process["name"] for process in found["processes"]]
    assert names[1:] == ["estats-writer", "estats-worker-0"]
    assert found["processes"][0]["pid"] == pid
    assert all(p["memory_bytes"] > 1 << 20 for p in found["processes"])
    assert found["cpu_seconds"] > 0


@pytest.mark.slow
def test_a_person_reads_it_as_lines(estats: Estats, running: tuple[Path, int]) -> None:
    """And what each count means; stderr has the sentence."""
    path, pid = running
    answer = estats("status", "--db", path)

    assert answer.code == 0
    assert answer.out.startswith(f"state     collecting, process {pid}\ndatabase  {path}, ")
    assert METERS["lost_finals"] in answer.out
    assert "estats-writer" in answer.out
    assert answer.err == f"estats: a collector writes to {path}, and is well\n"


@pytest.mark.slow
def test_a_spreadsheet_reads_it_as_one_row(estats: Estats, running: tuple[Path, int]) -> None:
    """The processes are one cell."""
    header, row = estats("status", "--db", running[0], "--format", "csv").out.splitlines()
    assert header.split(",")[:3] == ["database", "state", "pid"]
    assert header.endswith(",processes") and "estats-writer" in row


@pytest.mark.slow
def test_asking_takes_no_lock(estats: Estats, running: tuple[Path, int]) -> None:
    """A collector that begins meanwhile would be refused."""
    path, pid = running
    told(estats, path, 0)
    assert holder(path) == pid
    assert children(pid)


@pytest.mark.slow
def test_one_that_stands_still_lags(
    estats: Estats, running: tuple[Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock and its processes are there, but no snapshot comes."""
    path, pid = running
    monkeypatch.setattr(health, "patience_us", lambda interval_us: 10 * interval_us)
    writer = children(pid)["estats-writer"]
    with_signal(writer, signal.SIGSTOP)
    try:
        time.sleep(1.2)
        answer = estats("status", "--db", path)
        assert answer.code == NOT_WELL
        assert answer.out.startswith(f"state     late, process {pid}\n")
        assert "lags: its last snapshot is 1s old" in answer.err
    finally:
        with_signal(writer, signal.SIGCONT)
    command = [sys.executable, "estats.py", "status", "--db", str(path)]
    assert until(0, command).returncode == 0


@pytest.mark.slow
def test_one_that_was_killed_is_none(estats: Estats, tmp_path: Path) -> None:
    """However fresh its last snapshot is; the run without an end is told nevertheless."""
    path = tmp_path / "x.db"
    with (
        closing(Manager(str(tmp_path / "notify"))) as manager,
        collecting(path, "--interval", "100ms", address=manager.address) as process,
    ):
        assert "READY" in manager.next()
        process.kill()
        process.wait()
        while holder(path) is not None:  # its writer ends with it
            time.sleep(0.05)
    found = told(estats, path, NOT_WELL)
    assert (found["state"], found["pid"], found["processes"]) == ("stopped", None, [])
    assert found["snapshots"] >= 1


def test_a_run_that_ended_is_told(estats: Estats, story: Path) -> None:
    """A database at rest: exit code 7, and everything that the last run said of itself."""
    found = told(estats, story, NOT_WELL)
    assert (found["state"], found["pid"], found["memory_bytes"]) == ("stopped", None, 0)
    with closing(sqlite3.connect(story)) as base:
        ((run_id, snapshots, lost),) = base.execute(
            "SELECT run_id, count(*), sum(lost) FROM snapshot"
            " WHERE run_id = (SELECT max(run_id) FROM run) GROUP BY run_id"
        ).fetchall()
    assert (found["run_id"], found["snapshots"], found["lost"]) == (run_id, snapshots, lost)
    answer = estats("status", "--db", story)
    assert answer.err == f"estats: no collector writes to {story}\n"


def test_a_database_that_is_yet_to_be_made_is_begun(estats: Estats, tmp_path: Path) -> None:
    """The lock comes first; without it an empty file is no database."""
    path = tmp_path / "x.db"
    path.touch()
    assert estats("status", "--db", path).code == 4
    lock(path)
    found = told(estats, path, NOT_WELL)
    assert (found["state"], found["pid"], found["run_id"]) == ("starting", os.getpid(), None)
    assert estats("status", "--db", path).out.startswith("state     starting, process ")


def test_without_a_database_there_is_nothing_to_tell(estats: Estats, tmp_path: Path) -> None:
    """As with every reader."""
    answer = estats("status", "--db", tmp_path / "none.db")
    assert (answer.code, answer.out) == (4, "")


def test_a_budget_and_growth_are_told(
    estats: Estats, story: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was allowed, what was taken, and how fast the file grows at this pace."""
    found = health._look(story)
    standing = found.standing
    assert standing is not None and standing.last is not None and standing.whole is not None
    last = {**standing.last, "bpf_ns": 20_000_000, "interval_us": 1_000_000, "sampled": 4}
    last["flush_interval_us"] = 2_000_000
    filters = (
        '{"max_overhead": ["0.02"], "dports": ["443"], "max_connections": ["300"],'
        ' "keep": ["30d"], "rollup": ["1m:7d"], "max_db_size": ["10GB"]}'
    )
    changed = health.Health(
        path=story,
        octets=36_000_000,
        now_us=found.now_us,
        holder=None,
        processes=[],
        standing=type(standing)(
            run={**standing.run, "filters": filters, "interval_us": 1_000_000},
            last=last,
            whole=standing.whole,
            recent=type(standing.whole)(
                standing.run, snapshots=10, from_us=0, to_us=9_000_000, meters=standing.whole.meters
            ),
            recent_samples=100,
            samples=100_000,
        ),
    )
    monkeypatch.setattr(health, "_look", lambda _: changed)
    answer = estats("status", "--db", story)
    assert "budget    2.0% of a CPU; taken 2.0%, flush interval 2s, 1 of 4 new" in answer.out
    assert ", growing by about 12.4 MiB an hour\n" in answer.out  # 360 octets, 10 a second
    assert '{"dports": ["443"]}\n' in answer.out
    assert "bound     300 connections at a time\n" in answer.out
    kept = "for 30d, thinned to a sample in each step:age 1m:7d, up to 10GB in all"
    assert f"kept      {kept}\n" in answer.out
    assert ", 10.0 samples/s, " in answer.out


def test_a_name_in_a_database_cannot_steer_the_terminal(
    estats: Estats, story: Path, tmp_path: Path
) -> None:
    """A database may come from anywhere."""
    path = tmp_path / "x.db"
    path.write_bytes(story.read_bytes())
    with closing(sqlite3.connect(path)) as base, base:
        base.execute("UPDATE run SET host = ?, tables = ?", ("\x1b[2J", "\x1b]0;x\x07"))
    for form in ("table", "json", "csv"):
        assert "\x1b" not in estats("status", "--db", path, "--format", form).out


def test_a_lock_is_found_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Device and inode both; a device of its own kind, as btrfs has, is matched by inode."""
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one, other):
        path.touch()
    assert holder(one) is None
    lock(one)
    assert (holder(one), holder(other)) == (os.getpid(), None)

    anonymous = os.stat_result([0o100600, 77, os.makedev(0, 40), 1, 0, 0, 0, 0, 0, 0])
    assert file._is_place("00:2a:77", anonymous)
    assert not file._is_place("00:2a:78", anonymous)
    assert not file._is_place("fe:00:77", anonymous)


def test_a_process_may_be_called_anything(tmp_path: Path) -> None:
    """Brackets and spaces in its name do not shift the numbers; one that is gone is left out."""
    program = tmp_path / "a) S 1 (b"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as child:
        try:
            end = time.monotonic() + 60
            while family(child.pid)[0].name != program.name and time.monotonic() < end:
                time.sleep(0.01)  # until it is that program
            (found,) = family(child.pid)
            mine = family(os.getpid())
        finally:
            child.kill()
    assert found.name == program.name
    assert 0 <= found.age_seconds < 60 and found.memory_bytes > 0
    assert child.pid in [process.pid for process in mine]
    assert family(child.pid) == []
