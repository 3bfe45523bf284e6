"""estats db: upgrade, check, compact, info."""

import fcntl
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from storage import revision
from storage.engine import open_writable
from storage.file import can_shrink
from tests.cli.conftest import Estats


@pytest.fixture
def copy(story: Path, tmp_path: Path) -> Path:
    """The story, to be changed."""
    path = tmp_path / "copy.db"
    shutil.copy(story, path)
    return path


def _change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)


def test_info_says_what_is_in_a_database(estats: Estats, story: Path) -> None:
    """Its size, schema, runs and rows, and what was lost."""
    answer = estats("db", "info", "--db", story)
    assert answer.code == 0
    for text in (
        str(story),
        f"schema    {revision.head()}",
        "2 batches lost, 1 final batch lost, 3 connections not tracked",
        "connection 4",
        "snapshot 6",
        "stopped",
        "host.example",
    ):
        assert text in answer.out


def test_a_sound_database_is_ok(estats: Estats, story: Path) -> None:
    """The word is on stdout, for scripts."""
    answer = estats("db", "check", "--db", story)
    assert (answer.code, answer.out) == (0, "ok\n")


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        ("DELETE FROM connection WHERE ConnectIndex = 1", "sample: 4 rows whose connection"),
        ("DELETE FROM run WHERE run_id = 2", "refers to a run that is missing"),
        ("DELETE FROM event WHERE event_id = 1", "sample: 1 rows whose event is missing"),
        ("DELETE FROM snapshot WHERE snapshot_id = 3", "sample: 1 rows whose snapshot"),
        ("UPDATE connection SET opened_us = 'x'", "connection: 4 rows with a value that is not of"),
        ("UPDATE run SET host = x'00' WHERE run_id = 1", "run: 1 rows with a value that is not of"),
    ],
)
def test_rows_without_an_owner_are_faults(
    estats: Estats, copy: Path, damage: str, fault: str
) -> None:
    """Each is told on stdout; the exit code is that of a bad database."""
    _change(copy, damage)
    answer = estats("db", "check", "--db", copy)
    assert answer.code == 4
    assert fault in answer.out
    assert "fault" in answer.err.splitlines()[0]


def test_an_index_that_lost_its_entries_is_a_fault(estats: Estats, copy: Path) -> None:
    """Queries would not find rows that are there."""
    with closing(sqlite3.connect(copy)) as database:
        (page_bytes,) = database.execute("PRAGMA page_size").fetchone()
        (root,) = database.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'ux_sample'"
        ).fetchone()
    with copy.open("r+b") as file:
        file.seek((root - 1) * page_bytes + 3)  # the number of cells in the page
        file.write(b"\0\0")
    answer = estats("db", "check", "--db", copy)
    assert answer.code == 4
    assert "index ux_sample" in answer.out


def test_an_index_that_is_not_there_is_a_fault(estats: Estats, copy: Path) -> None:
    """Queries would scan whole tables."""
    _change(copy, "DROP INDEX ux_sample")
    answer = estats("db", "check", "--db", copy)
    assert (answer.code, answer.out) == (4, "ux_sample is missing\n")


def test_upgrade_of_a_new_database_has_nothing_to_do(estats: Estats, copy: Path) -> None:
    """And says so."""
    answer = estats("db", "upgrade", "--db", copy)
    assert (answer.code, answer.out) == (0, "")
    assert answer.err == f"estats: {copy} has schema {revision.head()} already\n"


def test_upgrade_tells_what_it_applied(estats: Estats, tmp_path: Path) -> None:
    """A database that was made but never got its tables gets them."""
    path = tmp_path / "early.db"
    open_writable(path).dispose()
    answer = estats("db", "upgrade", "--db", path)
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[-1] == f"applied {revision.head()}"
    assert estats("db", "check", "--db", path).out == "ok\n"


def test_upgrade_makes_no_database(estats: Estats, tmp_path: Path) -> None:
    """A misspelled name is an error, not a new file."""
    answer = estats("db", "upgrade", "--db", tmp_path / "none.db")
    assert answer.code == 4
    assert not (tmp_path / "none.db").exists()


def test_a_database_in_use_is_not_upgraded(estats: Estats, copy: Path) -> None:
    """Its collector would not know the new schema."""
    with copy.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        answer = estats("db", "upgrade", "--db", copy)
    assert answer.code == 4
    assert "another collector" in answer.err


def test_an_older_database_shrinks_when_it_is_compacted(
    estats: Estats, story: Path, tmp_path: Path
) -> None:
    """One that gave nothing back; nothing else changes, and from then on it does."""
    old = tmp_path / "old.db"
    with closing(sqlite3.connect(old)) as database:
        database.execute("PRAGMA auto_vacuum = NONE")
        database.execute("PRAGMA application_id = 1163088945")
        with closing(sqlite3.connect(story)) as whole:
            database.executescript("\n".join(whole.iterdump()))
            before = list(whole.iterdump())
        database.execute("CREATE TABLE filler AS SELECT zeroblob(100000) FROM snapshot")
        database.execute("DROP TABLE filler")
    assert not can_shrink(old)
    size = old.stat().st_size
    answer = estats("db", "compact", "--db", old)
    assert answer.code == 0 and " MB became " in answer.out
    assert old.stat().st_size < size - 500_000
    assert can_shrink(old)
    with closing(sqlite3.connect(old)) as database:
        assert sorted(database.iterdump()) == sorted(before)
        assert database.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    assert estats("db", "check", "--db", old).out == "ok\n"


def test_compacting_wants_room(estats: Estats, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked for before anything is written."""
    monkeypatch.setattr("storage.compact.shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    before = copy.read_bytes()
    answer = estats("db", "compact", "--db", copy)
    assert answer.code == 4 and "0 MB free, and" in answer.err
    assert copy.read_bytes() == before


def test_a_database_in_use_is_not_compacted(estats: Estats, copy: Path) -> None:
    """Its collector has the lock."""
    with copy.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        answer = estats("db", "compact", "--db", copy)
    assert answer.code == 4 and "another collector" in answer.err
