"""What the collector hands over is in the database, whole, or nothing of it is."""

import multiprocessing
import os
import signal
import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy.exc import DBAPIError

from bpf.catalogue import stored_in
from bpf.errors import StorageError
from bpf.meters import BUDGET_METERS, METERS, Run
from bpf.record import ENDPOINT, LISTENER_ROW, Flag
from bpf.variable import SAMPLED, Group, Table
from storage.engine import open_writable
from storage.errors import DatabaseFullError, storage_errors
from storage.writer import Writer
from tests.samples import Samples
from tests.storage.contents import MakeSnapshot, file_size_limit, one_connection, rows, select


def test_a_run_is_described(database: Path, run: Run) -> None:
    """What was asked for and on what machine, and how it ended."""
    writer = Writer(database, run)
    assert rows(database, "SELECT ended_us, end_reason FROM run") == [(None, None)]
    writer.close("SIGTERM")
    [(started_us, ended_us, reason, tables, filters, unavailable)] = rows(
        database,
        "SELECT started_us, ended_us, end_reason, tables, filters, unavailable FROM run",
    )
    assert (started_us, reason) == (run.started_us, "SIGTERM")
    assert ended_us > run.started_us
    assert (tables, filters, unavailable) == ("perf,path", run.filters, '{"IpTtl": "no hook"}')


@pytest.mark.parametrize("count", [0, 1, 7, 250])
def test_every_value_of_every_table_is_stored(
    database: Path, writer: Writer, make_snapshot: MakeSnapshot, count: int
) -> None:
    """Under its own name, whether the rows fill whole statements or not."""
    snapshot = make_snapshot(count, first=10)
    assert writer.write(snapshot) == count * (1 + len(Group))
    for table in SAMPLED:
        names = [v.name for v in stored_in(table)]
        found = select(database, ["ConnectIndex", *names], table.value, "ORDER BY 1")
        assert found == [
            (row + 1, *(10 + 100 * place + row for place in range(len(names))))
            for row in range(count)
        ]


def test_meters_are_stored_with_each_snapshot(
    database: Path, writer: Writer, make_snapshot: MakeSnapshot
) -> None:
    """Also with one in which nothing changed."""
    assert writer.write(make_snapshot(0, tables=())) == 0
    [found] = select(database, ["run_id", "taken_us", *METERS], "snapshot")
    assert found == (1, 1_700_000_001_000_000, *range(len(METERS)))


def test_a_meter_that_is_absent_is_null(
    database: Path, writer: Writer, make_snapshot: MakeSnapshot
) -> None:
    """As those of a budget are where there is none."""
    without = dict.fromkeys(METERS.keys() - BUDGET_METERS, 1)
    writer.write(replace(make_snapshot(0, tables=()), meters=without))
    assert rows(database, "SELECT lost, sampled, sampled_out FROM snapshot") == [(1, None, None)]


def test_only_what_is_new_is_written(
    database: Path, writer: Writer, make_snapshot: MakeSnapshot
) -> None:
    """A sample refers to the row of a group that stands."""
    samples = Samples()
    for values in ({"SegsOut": 1, "Timeouts": 2}, {"SegsOut": 3}, {"SegsOut": 4, "LimMSS": 5}):
        made = samples.of({7: values})
        writer.write(replace(make_snapshot(0, tables=()), samples=made))
    assert rows(database, "SELECT event_id, setup_id, SegsOut FROM sample") == [
        (1, 1, 1),
        (1, 1, 3),
        (1, 2, 4),
    ]
    assert rows(database, "SELECT event_id, ConnectIndex, Timeouts FROM event") == [(1, 7, 2)]
    assert rows(database, "SELECT setup_id, ConnectIndex, LimMSS FROM setup") == [
        (1, 7, None),
        (2, 7, 5),
    ]
    history = "SELECT SegsOut, Timeouts, LimMSS FROM history ORDER BY snapshot_id"
    assert rows(database, history) == [(1, 2, None), (3, 2, None), (4, 2, 5)]


def test_tables_that_were_not_collected_are_null(
    database: Path, writer: Writer, make_snapshot: MakeSnapshot
) -> None:
    """Samples have the blocks of the chosen tables only."""
    writer.write(make_snapshot(tables=(Table.PERF,)))
    assert rows(database, "SELECT count(SegsOut) FROM perf") == [(3,)]
    assert rows(database, "SELECT count(CountRTT), count(*) FROM path") == [(0, 3)]


def test_a_connection_is_one_row_that_closes(
    database: Path, writer: Writer, make_snapshot: MakeSnapshot
) -> None:
    """It is written when it opens and again when it has closed."""
    writer.write(one_connection(make_snapshot))
    read = "SELECT closed_us, close_reason, lost FROM connection"
    assert rows(database, read) == [(None, None, 0)]
    closed = {"closed_us": 9, "flags": Flag.FINAL, "old_state": 9, "lost": 2}
    writer.write(one_connection(make_snapshot, **closed))
    assert rows(database, read) == [(9, "closed", 2)]


def test_large_connection_fields_keep_their_bits(
    database: Path, writer: Writer, make_snapshot: MakeSnapshot
) -> None:
    """A cookie or cgroup id beyond 2^63 is readable with printf('%u')."""
    writer.write(one_connection(make_snapshot, cookie=2**64 - 1, cgroup=2**63))
    assert rows(
        database, "SELECT printf('%u', cookie), printf('%u', cgroup_id) FROM connection"
    ) == [(str(2**64 - 1), str(2**63))]


def test_a_later_run_goes_on_after_the_largest_index(
    database: Path, run: Run, make_snapshot: MakeSnapshot
) -> None:
    """A number names one connection, or one of its rows, for ever."""
    writer = Writer(database, run)
    assert set(writer.numbered.values()) == {0}
    writer.write(make_snapshot(5))
    writer.close("done")
    again = Writer(database, run)
    assert again.numbered == {"connection": 5, "endpoint": 0, "event": 5, "setup": 10}
    again.write(make_snapshot(0))
    again.close("done")
    assert rows(database, "SELECT snapshot_id, run_id FROM snapshot") == [(1, 1), (2, 2)]


def test_listeners_are_written_with_their_snapshot(
    database: Path, run: Run, make_snapshot: MakeSnapshot
) -> None:
    """Who they are once, and again when that changes; numbers go on in the next run."""
    writer = Writer(database, run)
    assert writer.numbered["endpoint"] == 0
    endpoints = np.zeros(2, ENDPOINT)
    endpoints["listener_index"] = 3, 7
    endpoints["address_type"] = 0, 2
    endpoints["flags"] = Flag.BACKFILL, 0
    endpoints["identity"]["uid"] = 0xFFFFFFFF, 23
    history = np.zeros(1, LISTENER_ROW)
    history["listener_index"], history["block"]["known"] = 7, 2
    history["block"]["hc_syn_rcvd"] = 2**63
    host = {Table.SCALAR: {"ListenerTableLastChange": 5}}
    empty = make_snapshot(0, tables=())
    first = replace(empty, endpoints=endpoints, listeners=history, host=host)
    assert writer.write(first) == 4
    endpoints["closed_us"] = 0, 9
    assert writer.write(replace(empty, endpoints=endpoints[1:])) == 1
    writer.close("done")

    columns = "ListenerIndex, LocalAddress, origin, uid, closed_us"
    assert rows(database, f"SELECT {columns} FROM endpoint") == [  # noqa: S608
        (3, "", "backfill", None, None),
        (7, "::", "listen", 23, 9),
    ]
    values = "snapshot_id, SynRcvd, printf('%u', HCSynRcvd), StartTime"
    assert rows(database, f"SELECT {values} FROM listener") == [  # noqa: S608
        (1, 0, str(2**63), None)
    ]
    assert rows(database, "SELECT * FROM scalar") == [(1, 5)]
    assert Writer(database, run).numbered["endpoint"] == 7


def test_closing_leaves_one_file(database: Path, run: Run, make_snapshot: MakeSnapshot) -> None:
    """The log is folded into the database, which can then be copied as it is."""
    writer = Writer(database, run)
    writer.write(make_snapshot())
    before = writer.database_bytes()
    assert before == sum(database.with_name(f"flows.db{s}").stat().st_size for s in ("", "-wal"))
    writer.close("done")
    assert list(database.parent.iterdir()) == [database]
    assert writer.database_bytes() == database.stat().st_size > 0


def everything(path: Path) -> list[list[tuple[Any, ...]]]:
    """The rows of every table that a snapshot writes to."""
    names = ("snapshot", "connection", *(group.value for group in Group))
    return [select(path, ["*"], name, "ORDER BY 1, 2") for name in names]


def test_a_fault_in_the_middle_leaves_the_snapshot_before(
    database: Path, writer: Writer, make_snapshot: MakeSnapshot
) -> None:
    """Nothing of it is there, and merged with what is newer it can be written later."""
    writer.write(make_snapshot(23))
    before = everything(database)
    with open_writable(database).begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER fault BEFORE INSERT ON setup BEGIN SELECT RAISE(ABORT, 'fault'); END"
        )
    with pytest.raises(StorageError, match="fault"):
        writer.write(make_snapshot(30, first=1))
    assert everything(database) == before
    with open_writable(database).begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER fault")
    writer.write(make_snapshot(30, first=2))
    assert rows(database, "SELECT count(*) FROM connection") == [(30,)]
    assert rows(database, "SELECT count(*) FROM setup") == [(53,)]


def test_a_file_that_cannot_grow_loses_nothing(
    database: Path, writer: Writer, make_snapshot: MakeSnapshot
) -> None:
    """The system refuses to write; what is there stays, and writing goes on when it can."""
    writer.write(make_snapshot(23))
    before = everything(database)
    with file_size_limit(writer.database_bytes()), pytest.raises(StorageError):
        writer.write(make_snapshot(5000, first=1))
    assert everything(database) == before
    writer.write(make_snapshot(5000, first=2))
    assert rows(database, "SELECT count(*) FROM connection") == [(5000,)]


def test_a_full_disk_is_named(database: Path, writer: Writer) -> None:
    """SQLite's word for it becomes a sentence with a cure."""
    with open_writable(database).connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
        with pytest.raises(DatabaseFullError, match="full") as refused, storage_errors(database):
            connection.exec_driver_sql("CREATE TABLE big AS SELECT zeroblob(100000)")
    assert "space" in refused.value.advice


def write_for_ever(path: Path, run: Run, make_snapshot: MakeSnapshot) -> None:
    """A writer that never stops by itself."""
    writer = Writer(path, run)
    first = 0
    while True:
        writer.write(make_snapshot(2000, first=first))
        first += 1


def has_snapshot(path: Path) -> bool:
    """Whether a database that is just being made has its first snapshot."""
    try:
        return rows(path, "SELECT count(*) FROM snapshot") != [(0,)]
    except (StorageError, DBAPIError):
        return False


@pytest.mark.parametrize("delay_seconds", [0.0, 0.05, 0.1])
def test_a_killed_writer_leaves_whole_snapshots(
    database: Path, run: Run, make_snapshot: MakeSnapshot, delay_seconds: float
) -> None:
    """Killed with -9 in the middle of a write: the database is sound, and a new writer goes on.

    The first snapshot is there; of what came after it, all or nothing.
    """
    process = multiprocessing.get_context("fork").Process(
        target=write_for_ever, args=(database, run, make_snapshot)
    )
    process.start()
    while not has_snapshot(database):
        assert process.is_alive()
        time.sleep(0.01)
    time.sleep(delay_seconds)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert rows(database, "PRAGMA integrity_check") == [("ok",)]
    assert rows(database, "SELECT end_reason FROM run") == [(None,)]
    [(snapshots,)] = rows(database, "SELECT count(*) FROM snapshot")
    for table in SAMPLED:
        assert select(database, ["count(*)"], table.value) == [(2000 * snapshots,)]
    again = Writer(database, run)
    assert again.numbered["connection"] == 2000
    again.close("done")


def test_a_damaged_page_is_named(database: Path, run: Run, make_snapshot: MakeSnapshot) -> None:
    """Not an exception of a library, and not a wrong answer."""
    writer = Writer(database, run)
    writer.write(make_snapshot(200))
    writer.close("done")
    octets = bytearray(database.read_bytes())
    octets[4096:] = bytes(len(octets) - 4096)
    database.write_bytes(octets)
    with pytest.raises(StorageError, match="damaged"):
        Writer(database, run)


def test_an_error_without_a_code_still_has_a_sentence(database: Path) -> None:
    """As sqlite3 raises it about itself."""
    with pytest.raises(StorageError, match="closed"), storage_errors(database):
        raise sqlite3.ProgrammingError("Cannot operate on a closed database.")
