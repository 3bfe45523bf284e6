"""The database's disk is full, fails, is locked; its file goes, or is another one."""

import errno
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.faults.shim import Shim
from tests.faults.stage import Act, Stage

_TROUBLE_SECONDS: Final = 2.0
_LOCKED_SECONDS: Final = 60.0
_DISK: Final = "48m"
_GOING_ON: Final = "going on: the next snapshot"
_WRITTEN_AGAIN: Final = "the database is written again"


def disk_full(stage: Stage, rounds: int) -> None:
    """Another file takes the last room, and goes again."""
    with _small_disk(stage.folder):
        stage.collect()
        for _ in range(rounds):
            filler = stage.folder / "filler"
            _fill(filler)
            stage.until_log(_GOING_ON)
            time.sleep(_TROUBLE_SECONDS)
            filler.unlink()
            stage.until_log(_WRITTEN_AGAIN)
        stage.end()


def _fill(path: Path) -> None:
    """As far as it goes."""
    with path.open("wb") as file, suppress(OSError):
        while True:
            os.write(file.fileno(), bytes(4096))
    assert shutil.disk_usage(path.parent).free == 0, "it is full"


@contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    """A file system of its own; what lies there at the end is moved to the one below."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "none", folder], check=True)
    try:
        yield
        kept = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
    for name, content in kept.items():
        (folder / name).write_bytes(content)


def _failing(stage: Stage, rounds: int, *, write: int = 0, sync: int = 0) -> None:
    shim = Shim(stage.folder)
    stage.collect(env=shim.environment)
    for _ in range(rounds):
        shim.set(write=write, sync=sync)
        if write:
            stage.until_log(_GOING_ON)
        time.sleep(_TROUBLE_SECONDS)
        shim.set()
        stage.catch_up()


def write_fails(stage: Stage, rounds: int) -> None:
    """EIO for each write to the database."""
    _failing(stage, rounds, write=errno.EIO)


def sync_fails(stage: Stage, rounds: int) -> None:
    """EIO for each fsync."""
    _failing(stage, rounds, sync=errno.EIO)


def locked(stage: Stage, rounds: int, seconds: float = _LOCKED_SECONDS) -> None:
    """Another process holds the write lock of SQLite."""
    stage.collect()
    for _ in range(rounds):
        with closing(sqlite3.connect(stage.folder / "flows.db", isolation_level=None)) as other:
            other.execute("PRAGMA busy_timeout = 10000")
            other.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            other.execute("ROLLBACK")
        stage.catch_up()


def _gone(stage: Stage, rounds: int, *, replaced: bool) -> None:
    """The collector ends and says so; whoever keeps the old file open still has all of it."""
    database = stage.folder / "flows.db"
    for number in range(rounds):
        collector = stage.collect()
        stage.catch_up()
        old = stage.folder / f"old-{number}.db"
        with closing(sqlite3.connect(database)) as base:
            base.execute("VACUUM INTO ?", (str(old),))
        database.unlink()
        if replaced:
            database.write_bytes(old.read_bytes())
        code = collector.process.wait(60)
        assert code == 4, collector.log.read_text()
        words = "is another file now" if replaced else "was deleted"
        assert words in collector.log.read_text(), collector.log.read_text()
        for side in ("-wal", "-shm"):
            database.with_name(database.name + side).unlink(missing_ok=True)
        database.write_bytes(old.read_bytes())
    stage.collect()


def deleted(stage: Stage, rounds: int) -> None:
    """The database is deleted under the collector."""
    _gone(stage, rounds, replaced=False)


def replaced(stage: Stage, rounds: int) -> None:
    """Another file takes its place."""
    _gone(stage, rounds, replaced=True)


FAULTS: Final[Mapping[str, Act]] = {
    "disk full": disk_full,
    "write fails": write_fails,
    "fsync fails": sync_fails,
    "database locked": locked,
    "database deleted": deleted,
    "database replaced": replaced,
}
