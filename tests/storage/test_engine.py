"""Opening a database: what is ours, what is refused, and who may come at the same time."""

import multiprocessing
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bpf.errors import StorageError
from storage.engine import APPLICATION_ID, open_readonly, open_writable
from storage.errors import (
    DatabaseForbiddenError,
    DatabaseLockedError,
    DatabaseMissingError,
    ForeignDatabaseError,
    NotADatabaseError,
    UnsafePathError,
)
from storage.file import lock

NOBODY = 65534


def scalar(path: Path, statement: str) -> object:
    """One value, read the way queries read."""
    with open_readonly(path).connect() as connection:
        return connection.exec_driver_sql(statement).scalar()


def make_ours(path: Path) -> None:
    """A database of ours with one row."""
    with open_writable(path).begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x)")
        connection.exec_driver_sql("INSERT INTO t VALUES (23)")


def as_nobody(task: Callable[[], None]) -> int:
    """Exit code of a task in a process without privileges."""

    def unprivileged() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        task()

    process = multiprocessing.get_context("fork").Process(target=unprivileged)
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody can enter and read; a test takes the right to write away."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


def test_a_new_database_is_ours_and_private(database: Path) -> None:
    """It carries the application id, logs ahead, and only its owner can read it."""
    make_ours(database)
    assert scalar(database, "PRAGMA application_id") == APPLICATION_ID
    assert scalar(database, "PRAGMA journal_mode") == "wal"
    assert stat.S_IMODE(database.stat().st_mode) == 0o600


def test_a_database_of_ours_is_opened_again(database: Path) -> None:
    """What was committed is there."""
    make_ours(database)
    open_writable(database).dispose()
    assert scalar(database, "SELECT x FROM t") == 23


def test_an_empty_file_becomes_a_database(database: Path) -> None:
    """As ``mktemp`` leaves one."""
    database.touch()
    make_ours(database)
    assert scalar(database, "SELECT x FROM t") == 23


@pytest.mark.parametrize("open_it", [open_writable, open_readonly])
@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize("application_id", [0, 7])
def test_a_foreign_database_is_refused_untouched(
    database: Path, open_it: Callable[[Path], object], journal: str, application_id: int
) -> None:
    """Not a byte changes, and no file appears beside it."""
    with closing(sqlite3.connect(database)) as foreign:
        foreign.execute(f"PRAGMA journal_mode = {journal}")
        foreign.execute(f"PRAGMA application_id = {application_id}")
        foreign.execute("CREATE TABLE theirs (x)")
    before = database.read_bytes()
    with pytest.raises(ForeignDatabaseError):
        open_it(database)
    assert database.read_bytes() == before
    assert list(database.parent.iterdir()) == [database]


def test_a_foreign_database_in_use_is_refused(database: Path) -> None:
    """Also while its owner has it open, with a write-ahead log beside it."""
    with closing(sqlite3.connect(database)) as foreign:
        foreign.execute("PRAGMA journal_mode = wal")
        foreign.execute("CREATE TABLE theirs (x)")
        before = database.read_bytes()
        with pytest.raises(ForeignDatabaseError):
            open_writable(database)
        assert database.read_bytes() == before


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(min_size=1, max_size=2000))
@pytest.mark.parametrize("open_it", [open_writable, open_readonly])
def test_any_other_file_is_refused_untouched(
    database: Path, open_it: Callable[[Path], object], content: bytes
) -> None:
    """Whatever is in it, it stays."""
    database.write_bytes(content)
    with pytest.raises(StorageError):
        open_it(database)
    assert database.read_bytes() == content


@pytest.mark.parametrize("open_it", [open_writable, open_readonly, lock])
def test_a_folder_is_not_a_database(tmp_path: Path, open_it: Callable[[Path], object]) -> None:
    """Said in words, not as an error of SQLite."""
    with pytest.raises(NotADatabaseError, match="folder"):
        open_it(tmp_path)


@pytest.mark.parametrize("open_it", [open_writable, open_readonly, lock])
def test_a_pipe_is_refused_without_waiting(
    database: Path, open_it: Callable[[Path], object]
) -> None:
    """Opening a pipe would wait for its other end."""
    os.mkfifo(database)
    with pytest.raises(NotADatabaseError, match="regular"):
        open_it(database)


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("open_it", [open_writable, lock])
def test_a_link_is_not_followed_for_writing(
    database: Path, open_it: Callable[[Path], object], exists: bool
) -> None:
    """Somebody may have put it there so that root writes to its target."""
    target = database.with_name("target")
    if exists:
        target.touch()
    database.symlink_to(target)
    with pytest.raises(UnsafePathError):
        open_it(database)
    assert target.exists() == exists


def test_a_link_is_followed_for_reading(database: Path) -> None:
    """A short name for a database somewhere else."""
    make_ours(database)
    short = database.with_name("short")
    short.symlink_to(database)
    assert scalar(short, "SELECT x FROM t") == 23


@pytest.mark.parametrize("open_it", [open_writable, lock])
def test_a_missing_folder_is_named(tmp_path: Path, open_it: Callable[[Path], object]) -> None:
    """The message says which folder, not only that a file cannot be opened."""
    with pytest.raises(DatabaseForbiddenError, match=r"no folder .*/missing"):
        open_it(tmp_path / "missing" / "flows.db")


def test_a_missing_database_is_not_made_by_a_reader(database: Path) -> None:
    """A typing error in --db leaves no file."""
    with pytest.raises(DatabaseMissingError):
        open_readonly(database)
    assert not database.exists()


@pytest.mark.parametrize("name", ["a?b#c.db", "a%20b.db", "ä €.db", "x y.db", ":memory:"])
def test_any_name_is_only_a_name(tmp_path: Path, name: str) -> None:
    """Nothing in a path is taken for a part of the URI."""
    make_ours(tmp_path / name)
    assert scalar(tmp_path / name, "SELECT x FROM t") == 23
    assert {p.name for p in tmp_path.iterdir()} <= {name, f"{name}-wal", f"{name}-shm"}


def test_a_reader_sees_one_moment_while_the_writer_goes_on(database: Path) -> None:
    """Statements on one connection agree with one another; the next connection sees the news."""
    make_ours(database)
    writable = open_writable(database)
    with open_readonly(database).connect() as reading:
        count = reading.exec_driver_sql("SELECT count(*) FROM t").scalar()
        with writable.begin() as writing:
            writing.exec_driver_sql("INSERT INTO t VALUES (24)")
        assert reading.exec_driver_sql("SELECT count(*) FROM t").scalar() == count == 1
    assert scalar(database, "SELECT count(*) FROM t") == 2


def test_a_reader_cannot_write(database: Path) -> None:
    """Neither by mistake nor through SQL of its own."""
    make_ours(database)
    with pytest.raises(Exception, match="readonly"):
        scalar(database, "DELETE FROM t")


def test_a_stranger_reads_a_database_at_rest(public: Path) -> None:
    """Without a right to write to the folder there is no shared memory, and no need for it."""
    path = public / "flows.db"
    make_ours(path)
    path.chmod(0o644)
    public.chmod(0o555)

    def task() -> None:
        assert scalar(path, "SELECT x FROM t") == 23

    assert as_nobody(task) == 0
    assert list(public.iterdir()) == [path]


def test_a_stranger_reads_a_database_that_is_being_written(public: Path) -> None:
    """Through the log and the shared memory of the writer."""
    path = public / "flows.db"
    open_writable(path).dispose()
    path.chmod(0o644)
    engine = open_writable(path)
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x)")
        connection.exec_driver_sql("INSERT INTO t VALUES (23)")
        connection.commit()

        def task() -> None:
            assert scalar(path, "SELECT x FROM t") == 23

        assert as_nobody(task) == 0


def test_a_stranger_is_told_that_it_may_not_read(public: Path) -> None:
    """Mode 0600 is a matter between the owner and the stranger, not a broken database."""
    path = public / "flows.db"
    make_ours(path)

    def task() -> None:
        with pytest.raises(DatabaseForbiddenError, match="cannot be read"):
            open_readonly(path)

    path.chmod(0o000 if os.geteuid() else 0o600)
    assert as_nobody(task) == 0


def test_a_stranger_cannot_write(public: Path) -> None:
    """Neither to the file of another nor beside it."""
    path = public / "flows.db"
    make_ours(path)
    path.chmod(0o444)
    public.chmod(0o555)

    def task() -> None:
        with pytest.raises(DatabaseForbiddenError, match="cannot be written"):
            open_writable(path)
        with pytest.raises(DatabaseForbiddenError):
            open_writable(public / "new.db")

    assert as_nobody(task) == 0


def test_a_writer_waits_for_a_file_that_a_reader_is_handing_over(public: Path) -> None:
    """What root makes beside the database is not the owner's at once, but soon."""
    path, shared = public / "flows.db", public / "flows.db-shm"
    make_ours(path)
    shared.touch(mode=0o000)
    if os.geteuid() == 0:
        for each in (public, path, shared):
            os.chown(each, NOBODY, NOBODY)
    later = Timer(0.2, shared.chmod, (0o600,))
    later.start()

    def task() -> None:
        with open_writable(path).begin() as connection:
            connection.exec_driver_sql("INSERT INTO t VALUES (42)")

    assert as_nobody(task) == 0
    later.join()


def test_a_second_collector_is_refused(database: Path) -> None:
    """The first one's descriptor holds the lock; a reader and the writer do not mind it."""
    descriptor = lock(database)
    try:
        assert stat.S_IMODE(database.stat().st_mode) == 0o600
        with pytest.raises(DatabaseLockedError, match="another collector"):
            lock(database)
        make_ours(database)
        assert scalar(database, "SELECT x FROM t") == 23
    finally:
        os.close(descriptor)


def test_the_lock_goes_with_the_last_process_that_has_it(database: Path) -> None:
    """A collector may start as soon as the one before and its writer are gone, in any way."""
    descriptor = lock(database)
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(DatabaseLockedError):
        lock(database)
    os.close(descriptor)
    os.close(lock(database))


def test_a_new_database_has_small_pages(database: Path) -> None:
    """It cannot be changed later: SQLite keeps the size that a database was made with."""
    open_writable(database).dispose()

    with closing(sqlite3.connect(database)) as base:
        assert base.execute("PRAGMA page_size").fetchone() == (2048,)
