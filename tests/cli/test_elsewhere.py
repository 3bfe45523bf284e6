"""A database from elsewhere: no command that reads changes it, makes it newer, or trusts it."""

import gzip
import shutil
import sqlite3
from pathlib import Path

import pytest

from storage.engine import open_readonly
from tests.cli.conftest import Estats

READING = [
    ("query", "--var", "SegsOut"),
    ("query", "--var", "SegsOut", "--history"),
    ("connections",),
    ("listeners",),
    ("sql", "SELECT count(*) FROM latest"),
    ("db", "info"),
    ("db", "check"),
    ("status",),
]
OLD = Path(__file__).parents[1] / "storage" / "databases"


@pytest.fixture
def copy(story: Path, tmp_path: Path) -> Path:
    """A database in a folder of its own."""
    folder = tmp_path / "folder"
    folder.mkdir()
    return Path(shutil.copy(story, folder / "flows.db"))


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_a_database_that_is_read_is_not_changed(
    estats: Estats, copy: Path, words: tuple[str, ...]
) -> None:
    """Not an octet, not its time."""
    before, state = copy.read_bytes(), copy.stat()
    answer = estats(*words, "--db", copy)
    assert answer.code == (7 if words == ("status",) else 0), answer.err
    assert copy.read_bytes() == before
    assert copy.stat().st_mtime_ns == state.st_mtime_ns


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_a_database_of_an_older_estats_is_not_upgraded_by_a_reader(
    estats: Estats, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """It says how, and leaves it as it is; SQL alone reads it all the same."""
    path = tmp_path / "old.db"
    path.write_bytes(gzip.decompress((OLD / "0001.db.gz").read_bytes()))
    before = path.read_bytes()
    if words[0] == "sql":
        words = ("sql", "SELECT count(*) FROM sqlite_schema")
    answer = estats(*words, "--db", path)
    assert answer.code == (0 if words[0] == "sql" else 4), answer.err
    assert words[0] == "sql" or "estats db upgrade" in answer.err
    assert path.read_bytes() == before


def test_a_reader_has_no_right_to_write_and_trusts_no_schema(copy: Path) -> None:
    """By three means: the mode of the file, query_only, and trusted_schema."""
    engine = open_readonly(copy)
    with engine.connect() as connection:
        ask = connection.exec_driver_sql
        assert ask("PRAGMA query_only").scalar() == 1
        assert ask("PRAGMA trusted_schema").scalar() == 0
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        raw.execute("PRAGMA query_only = OFF")
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            raw.execute("CREATE TABLE mine (x)")
    engine.dispose()
