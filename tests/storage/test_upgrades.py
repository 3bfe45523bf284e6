"""Databases of every revision, written by its own code, come to the newest one whole or not at all.

``databases/README.md`` says how they were made.
"""

import fcntl
import gzip
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import storage.engine
from bpf.errors import StorageError
from bpf.meters import Run
from bpf.variable import SAMPLED
from storage import inventory, migrate, revision
from storage.engine import open_readonly, open_writable
from storage.errors import DatabaseFullError, DatabaseLockedError, SchemaTooOldError
from storage.reader import open_reader
from storage.writer import Writer
from tests.cli.conftest import Estats, estats
from tests.storage.contents import MakeSnapshot, file_size_limit

__all__ = ["estats"]  # a fixture

DATABASES = Path(__file__).with_name("databases")
REVISIONS = sorted(file.name.partition(".")[0] for file in DATABASES.glob("*.db.gz"))
OLDER = REVISIONS[:-1]
#: Where to fail, as parts of all statements of an upgrade; 1.0 is its COMMIT.
PLACES = [n / 30 for n in range(31)]

Row = tuple[Any, ...]
every_revision = pytest.mark.parametrize("number", REVISIONS)
every_older_one = pytest.mark.parametrize("number", OLDER)


@pytest.fixture
def old(number: str, tmp_path: Path) -> Path:
    """A database of that revision."""
    (tmp_path / "it").mkdir()
    path = tmp_path / "it" / "flows.db"
    path.write_bytes(gzip.decompress((DATABASES / f"{number}.db.gz").read_bytes()))
    return path


def upgrade(path: Path) -> list[str]:
    """Bring it to the newest revision."""
    engine = open_writable(path)
    try:
        return migrate.upgrade(engine)
    finally:
        engine.dispose()


def rows(path: Path, statement: str) -> tuple[list[str], list[Row]]:
    """The columns and rows of a query."""
    with closing(sqlite3.connect(path)) as database:
        cursor = database.execute(statement)
        return [name for name, *_ in cursor.description], cursor.fetchall()


def dump(path: Path) -> list[str]:
    """All there is in a database, as SQL."""
    with closing(sqlite3.connect(path)) as database:
        return list(database.iterdump())


def is_sound(path: Path) -> bool:
    """What SQLite says of its pages and references."""
    return rows(path, "PRAGMA integrity_check")[1] == [("ok",)] and (
        rows(path, "PRAGMA foreign_key_check")[1] == []
    )


def test_every_revision_has_a_database_of_its_own() -> None:
    """A new revision brings one, or the next one's upgrade is never tried on what it wrote."""
    assert revision.known() == REVISIONS


@every_revision
def test_its_database_is_of_that_revision(number: str, old: Path) -> None:
    """Sound, small, and as the revision's code left it."""
    assert rows(old, "SELECT version_num FROM alembic_version")[1] == [(number,)]
    assert is_sound(old)
    assert (DATABASES / f"{number}.db.gz").stat().st_size < 60_000


@every_older_one
def test_it_is_upgraded_to_the_schema_of_a_new_one(number: str, old: Path, tmp_path: Path) -> None:
    """Step by step, to the letter; a second time there is nothing to do."""
    assert upgrade(old) == revision.known()[revision.known().index(number) + 1 :]
    assert upgrade(old) == []
    assert upgrade(tmp_path / "new.db") == revision.known()
    names = "SELECT type, name, replace(sql, '\"', '') FROM sqlite_schema ORDER BY 1, 2"
    assert rows(old, names) == rows(tmp_path / "new.db", names)
    with open_readonly(old).connect() as connection:
        assert inventory.faults(connection) == []


@every_older_one
def test_every_row_reads_the_same(old: Path) -> None:
    """Of the tables that are what they were, and of the view of newest values."""
    names = {row[0] for row in rows(old, "SELECT name FROM sqlite_schema WHERE rootpage > 0")[1]}
    names -= {"alembic_version", *(table.value for table in SAMPLED)}
    names = {name for name in names if not name.startswith(("ix_", "ux_", "sqlite_"))}
    before = {}
    for name in (*names, "latest"):
        columns, found = rows(old, f"SELECT * FROM {name} ORDER BY 1, 2")  # noqa: S608
        if found or name not in ("listener", "control", "scalar"):  # filled from 0003 on
            before[name] = (columns, found)
    assert before.keys() >= {"run", "snapshot", "connection", "latest"}
    upgrade(old)
    for name, (columns, found) in before.items():
        picked = ", ".join(columns)
        after = rows(old, f"SELECT {picked} FROM {name} ORDER BY 1, 2")  # noqa: S608
        assert after == (columns, found), name


@every_older_one
@pytest.mark.parametrize("table", [table.value for table in SAMPLED])
def test_every_value_of_the_history_stands_as_it_stood(old: Path, table: str) -> None:
    """At each snapshot of a connection: what its newest row up to then said, or NULL."""
    columns, before = rows(old, f"SELECT * FROM {table} ORDER BY 1, 2")  # noqa: S608
    upgrade(old)
    picked = ", ".join(columns)
    _, after = rows(old, f"SELECT {picked} FROM {table}")  # noqa: S608
    assert {row[:2] for row in before} <= {row[:2] for row in after}
    place = columns.index("ConnectIndex")
    number = columns.index("snapshot_id")
    standing: dict[int, Row] = {}
    old_rows = {(row[place], row[number]): row for row in before}
    for row in sorted(after, key=lambda row: (row[place], row[number])):
        if found := old_rows.get((row[place], row[number])):
            standing[row[place]] = found
        known = standing.get(row[place], (None,) * len(row))
        assert row[2:] == known[2:], row[:2]
    assert len(before) > 0


@every_older_one
def test_a_collector_goes_on_with_it(old: Path, run: Run, make_snapshot: MakeSnapshot) -> None:
    """It upgrades by itself, and its rows stand beside those of before."""
    (before,) = rows(old, "SELECT count(*) FROM connection")[1][0]
    writer = Writer(old, run)
    snapshot = make_snapshot(3)
    for field in ("connections", "samples"):
        getattr(snapshot, field)["connect_index"] += 100
    for group in ("event", "setup"):
        snapshot.samples[group] += 1000
    writer.write(snapshot)
    writer.close("done")
    assert rows(old, "SELECT count(*) FROM connection")[1] == [(before + 3,)]
    with open_reader(old) as reader:
        assert len(reader.parts(reader.period())) == 4
    assert is_sound(old)


@every_older_one
def test_a_question_does_not_upgrade_it(estats: Estats, number: str, old: Path) -> None:
    """It has no right to: which command does is told."""
    before = old.read_bytes()
    for command in ("query", "connections", "listeners"):
        answer = estats(command, "--db", old)
        assert (answer.code, answer.out) == (4, "")
        assert f"has schema {number}" in answer.err and "`estats db upgrade`" in answer.err
    assert estats("sql", "--db", old, "SELECT * FROM latest").code == 0
    with pytest.raises(SchemaTooOldError):
        revision.check(open_readonly(old))
    assert old.read_bytes() == before


class _Cursor(sqlite3.Cursor):
    def execute(self, sql: str, parameters: Any = ()) -> "_Cursor":
        assert isinstance(self.connection, _Connection)
        self.connection.step()
        return super().execute(sql, parameters)


class _Connection(sqlite3.Connection):
    """Does something before a certain statement of all that are run."""

    steps = 0
    until = 0

    @staticmethod
    def act() -> None:
        """What happens there."""

    @classmethod
    def step(cls) -> None:
        cls.steps += 1
        if cls.steps == cls.until:
            cls.act()

    def cursor(self, factory: Any = _Cursor) -> Any:
        return super().cursor(factory)

    def execute(self, sql: str, parameters: Any = ()) -> Any:
        return self.cursor().execute(sql, parameters)

    def commit(self) -> None:
        self.step()
        super().commit()


Acting = Callable[[float | None, Callable[[], None]], None]


@pytest.fixture
def act_at(old: Path, monkeypatch: pytest.MonkeyPatch) -> Acting:
    """Something is done in the middle of the next upgrade: after such a part of its statements.

    None: nothing is done any more.
    """
    connect = sqlite3.connect

    def connect_ours(*arguments: Any, **options: Any) -> sqlite3.Connection:
        return connect(*arguments, factory=_Connection, **options)

    trial = old.with_name("trial.db")
    trial.write_bytes(old.read_bytes())
    monkeypatch.setattr(_Connection, "steps", 0)
    monkeypatch.setattr(sqlite3, "connect", connect_ours)
    upgrade(trial)
    count = _Connection.steps
    assert count > 10, "each statement is a step"
    trial.unlink()

    def act_at(part: float | None, act: Callable[[], None]) -> None:
        monkeypatch.setattr(_Connection, "steps", 0)
        until = 0 if part is None else max(1, round(part * count))
        monkeypatch.setattr(_Connection, "until", until)
        monkeypatch.setattr(_Connection, "act", staticmethod(act))

    return act_at


def _fail() -> None:
    raise sqlite3.OperationalError("a step failed")


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@every_older_one
def test_a_step_that_fails_changes_nothing(old: Path, act_at: Acting) -> None:
    """Whichever: every octet of the file is as it was, and the next try succeeds."""
    before = old.read_bytes()
    for place in PLACES:
        act_at(place, _fail)
        with pytest.raises((StorageError, sqlite3.OperationalError), match="a step failed"):
            upgrade(old)
        assert old.read_bytes() == before
    act_at(None, _fail)
    assert upgrade(old)


@every_older_one
def test_an_upgrade_that_is_killed_changes_nothing(number: str, old: Path, act_at: Acting) -> None:
    """Without a chance to tidy up: the database is sound and at its old revision."""
    before = dump(old)
    for place in PLACES:
        act_at(place, _kill)
        process = os.fork()
        if not process:
            upgrade(old)
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(process, 0)[1]) == signal.SIGKILL
        act_at(None, _kill)
        assert dump(old) == before
        assert is_sound(old)
    assert upgrade(old)[-1] == revision.head()


@every_older_one
@pytest.mark.parametrize("part", [0, 0.25, 0.5, 0.75])
def test_a_file_that_cannot_grow_is_as_it_was(old: Path, tmp_path: Path, part: float) -> None:
    """The system refuses to write in the middle of the upgrade, or at its end."""
    trial = tmp_path / "trial.db"
    trial.write_bytes(old.read_bytes())
    with closing(sqlite3.connect(trial)) as holding:
        holding.execute("SELECT 1 FROM run").fetchone()  # or the -wal would go with the last one
        upgrade(trial)
        needed = trial.with_name("trial.db-wal").stat().st_size
    before = dump(old)
    with file_size_limit(round(part * needed)), pytest.raises(StorageError):
        upgrade(old)
    assert dump(old) == before
    assert is_sound(old)
    assert upgrade(old)[-1] == revision.head()


@pytest.mark.parametrize("number", [n for n in OLDER if n < "0004"])
def test_a_full_disk_is_named_and_changes_nothing(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As SQLite tells it; with more room the upgrade is made."""
    before = old.read_bytes()
    ((pages,),) = rows(old, "PRAGMA page_count")[1]
    limit = (*storage.engine._WRITABLE, f"PRAGMA max_page_count = {pages}")
    with monkeypatch.context() as narrow:
        narrow.setattr(storage.engine, "_WRITABLE", limit)
        with pytest.raises(DatabaseFullError, match="full") as refused:
            upgrade(old)
    assert "space" in refused.value.advice
    assert old.read_bytes() == before
    assert upgrade(old)[-1] == revision.head()


@every_older_one
def test_a_database_that_is_collected_into_is_not_upgraded(estats: Estats, old: Path) -> None:
    """The collector's lock is in the way, and nothing was written."""
    before = old.read_bytes()
    with old.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        answer = estats("db", "upgrade", "--db", old)
        collecting = estats("collect", "--db", old, "--source", "diag", "--duration", "1")
    for refused in (answer, collecting):
        assert refused.code == 4 and "another collector" in refused.err
    assert old.read_bytes() == before
    assert estats("db", "upgrade", "--db", old).code == 0


@every_older_one
def test_a_database_that_is_written_to_is_not_upgraded(
    number: str, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by a program that knows nothing of the collector's lock: it is waited for, then told."""
    monkeypatch.setattr(storage.engine, "_BUSY_SECONDS", 0.1)
    with closing(sqlite3.connect(old, isolation_level=None)) as writing:
        writing.execute("BEGIN IMMEDIATE")
        writing.execute("UPDATE run SET host = 'changed'")
        with pytest.raises(DatabaseLockedError):
            upgrade(old)
        writing.execute("COMMIT")
    assert rows(old, "SELECT DISTINCT host FROM run")[1] == [("changed",)]
    assert rows(old, "SELECT version_num FROM alembic_version")[1] == [(number,)]
    assert upgrade(old)[-1] == revision.head()


@every_older_one
def test_a_reader_keeps_what_it_reads(number: str, old: Path) -> None:
    """Its transaction began before the upgrade, and sees the old tables to its end."""
    with closing(sqlite3.connect(old, isolation_level=None)) as reading:
        reading.execute("BEGIN")
        before = reading.execute("SELECT * FROM perf ORDER BY 1, 2").fetchall()
        assert upgrade(old)[-1] == revision.head()
        assert reading.execute("SELECT * FROM perf ORDER BY 1, 2").fetchall() == before
        assert reading.execute("SELECT version_num FROM alembic_version").fetchone() == (number,)
        reading.execute("COMMIT")
        found = reading.execute("SELECT version_num FROM alembic_version").fetchone()
        assert found == (revision.head(),)
