"""The log of `estats tune`: written beforehand, settled afterwards, reverted, forgotten."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bpf.meters import Run
from storage import inventory
from storage.engine import open_readonly, open_writable
from storage.errors import DatabaseLockedError, SchemaTooOldError
from storage.question import Filter, Question
from storage.reader import open_reader
from storage.tuned import Entry, Log, Logged
from storage.writer import Writer
from tests.storage.contents import MakeSnapshot

NOW_US = 1_700_000_100_000_000
LIMIT = Entry(connect_index=1, variable="LimCwnd", before="unlimited", wanted="100000")
DONE = Entry(
    connect_index=1, variable="LimCwnd", before="unlimited", wanted="100000", accepted="98464"
)
ALONG = Entry(
    connect_index=1, variable="CurSsthresh", before="unlimited", wanted=None, accepted="98464"
)
REFUSED = Entry(
    connect_index=2, variable="congestion", before="cubic", wanted="x", refused="No such file"
)


@pytest.fixture
def written(database: Path, run: Run, make_snapshot: MakeSnapshot) -> Iterator[Writer]:
    """A database with three connections, whose writer goes on."""
    writer = Writer(database, run)
    writer.write(make_snapshot(3))
    yield writer
    writer.close("done")


def logged(path: Path, run: Run) -> list[Logged]:
    """What may still stand."""
    with open_reader(path) as reader:
        assert reader.tuned("another boot") == []
        return reader.tuned(run.boot_id)


def faults(path: Path) -> list[str]:
    """What is wrong with the database."""
    with open_readonly(path).connect() as connection:
        return inventory.faults(connection)


def test_what_is_intended_is_known_whatever_comes_of_it(
    written: Writer, database: Path, run: Run
) -> None:
    """What there was before is in the database before anything is changed."""
    log = Log(database, NOW_US, 1000)
    log.intend([LIMIT])
    (before,) = logged(database, run)
    assert before.entry == LIMIT and before.entry.accepted is None
    log.settle([DONE, ALONG, REFUSED])
    assert [each.entry for each in logged(database, run)] == [DONE, ALONG], "refused: nothing to do"
    assert before.connection["ConnectIndex"] == 1 and "cookie" in before.connection
    assert faults(database) == []


def test_a_revert_closes_the_entries(written: Writer, database: Path, run: Run) -> None:
    """Those that were set back, and those that cannot be; none twice."""
    Log(database, NOW_US, 1000).settle([DONE, ALONG])
    first, second = logged(database, run)
    Log(database, NOW_US + 5, 0).revert({first.number: "unlimited"})
    assert [each.number for each in logged(database, run)] == [second.number]
    Log(database, NOW_US + 9, 0).revert({second.number: None})
    assert logged(database, run) == []
    with closing(sqlite3.connect(database)) as base:
        rows = base.execute("SELECT tuned_us, uid, reverted_us, reverted FROM tuning").fetchall()
    assert rows == [
        (NOW_US, 1000, NOW_US + 5, "unlimited"),
        (NOW_US, 1000, NOW_US + 9, None),
    ]


@pytest.mark.parametrize(("reason", "may_stand"), [("closed", False), ("evicted", True)])
def test_what_has_closed_needs_no_revert(
    written: Writer, database: Path, run: Run, reason: str, may_stand: bool
) -> None:
    """But a connection that made room for others may live on."""
    Log(database, NOW_US, 1000).settle([DONE])
    with closing(sqlite3.connect(database)) as base, base:
        base.execute("UPDATE connection SET closed_us = 1, close_reason = ?", (reason,))
    assert bool(logged(database, run)) == may_stand


def test_nothing_to_write_is_nothing(written: Writer, database: Path, run: Run) -> None:
    """All that was to be changed had ended."""
    log = Log(database, NOW_US, 1000)
    log.intend([LIMIT])
    log.settle([])
    log.revert({})
    assert logged(database, run) == []


def test_a_writer_and_a_log_share_the_database(
    written: Writer, database: Path, run: Run, make_snapshot: MakeSnapshot
) -> None:
    """In turns; whoever waits too long is told, and nothing is written by halves."""
    log = Log(database, NOW_US, 1000)
    for _ in range(3):
        log.settle([DONE])
        written.write(make_snapshot(3))
    assert len(logged(database, run)) == 1
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("storage.engine._BUSY_SECONDS", 0.01)
            with pytest.raises(DatabaseLockedError):
                log.settle([DONE, ALONG])
    assert [each.entry for each in logged(database, run)] == [DONE]


def test_a_log_goes_with_its_connection(
    database: Path, run: Run, make_snapshot: MakeSnapshot
) -> None:
    """What is recorded takes it along, and what is forgotten, too."""
    writer = Writer(database, run)
    writer.write(make_snapshot(3))
    writer.close("done")
    Log(database, NOW_US, 1000).settle([DONE, ALONG])
    with open_reader(database) as reader:
        question = Question(reader.period(), Filter(indexes=(1,)))
        assert reader.excerpt(question, database.with_name("part.db"), is_stretch=False)[0] == 1
        question = Question(reader.period(), Filter(indexes=(2,)))
        reader.excerpt(question, database.with_name("other.db"), is_stretch=False)
    assert [each.entry for each in logged(database.with_name("part.db"), run)] == [DONE, ALONG]
    assert logged(database.with_name("other.db"), run) == []


def test_a_database_of_another_schema_is_not_written(database: Path) -> None:
    """It says how it is upgraded; nothing was done."""
    open_writable(database).dispose()
    with pytest.raises(SchemaTooOldError, match="has schema none"):
        Log(database, NOW_US, 1000)
