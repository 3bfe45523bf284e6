"""A process in the place of a dead one learns from the database how far the run had come."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bpf.meters import Run
from bpf.record import CONNECTION, Flag
from storage.cells import connection_rows
from storage.errors import DatabaseGoneError
from storage.inherited import connections
from storage.writer import Writer
from tests.storage.contents import MakeSnapshot, one_connection, rows


def test_what_is_stored_is_known_again(writer: Writer, make_snapshot: MakeSnapshot) -> None:
    """Open connections, those that closed lately, and the numbers that are taken."""
    snapshot = make_snapshot(3)
    snapshot.connections["closed_us"][1] = snapshot.taken_us - 100
    snapshot.connections["closed_us"][2] = snapshot.taken_us - 3_600_000_000
    writer.write(snapshot)

    known = writer.inherited()
    assert known.connections["connect_index"].tolist() == [1, 2]
    assert known.taken_us == snapshot.taken_us
    assert known.numbered == {"connection": 3, "endpoint": 0, "event": 3, "setup": 6}


@pytest.mark.parametrize("flags", [Flag.IPV4 | Flag.ACTIVE, Flag.PASSIVE | Flag.OWNER, Flag.POLLED])
def test_cells_are_read_back_to_the_same_cells(flags: Flag) -> None:
    """Whatever they say; the kernel's state alone is not in them."""
    made = np.zeros(2, CONNECTION)
    made["connect_index"], made["opened_us"], made["lost"] = (5, 6), 7, 8
    made["flags"] = flags
    who = made["identity"]
    who["cookie"], who["pid_start_ns"], who["cgroup"] = (1 << 64) - 1, 1 << 63, (0, 9)
    who["local_address"], who["rem_address"] = 0xFD, 0x20
    if flags & Flag.IPV4:
        who["local_address"][:, :12] = who["rem_address"][:, :12] = [0] * 10 + [0xFF] * 2
    who["local_port"], who["rem_port"], who["pid"] = 80, 65_535, 77
    who["uid"], who["comm"], who["netns"] = (0xFFFFFFFF, 1000), b"curl", 4_026_531_840

    cells = connection_rows(made, 1).cells
    again = connections(cells.tolist())
    assert connection_rows(again, 1).cells.tolist() == cells.tolist()


def test_another_writer_goes_on_in_the_same_run(
    database: Path, run: Run, make_snapshot: MakeSnapshot
) -> None:
    """The one that died had not ended it."""
    live = replace(run, source="bpf")
    Writer(database, live)
    writer = Writer(database, live)
    writer.write(make_snapshot(1))
    writer.close("done")
    Writer(database, live).close("another life")
    assert rows(database, "SELECT run_id, end_reason FROM run") == [
        (1, "done"),
        (2, "another life"),
    ]


def test_a_replay_of_a_recording_is_always_a_run_of_its_own(database: Path, run: Run) -> None:
    """They all begin when the recording began."""
    Writer(database, run)
    Writer(database, run).close("done")
    assert rows(database, "SELECT count(*) FROM run") == [(2,)]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_database_that_goes_is_missed(
    database: Path, writer: Writer, make_snapshot: MakeSnapshot, *, replaced: bool
) -> None:
    """SQLite would go on in a file that has no name."""
    writer.write(one_connection(make_snapshot))
    database.rename(database.with_name("moved"))
    if replaced:
        database.touch()
    with pytest.raises(DatabaseGoneError, match="another file" if replaced else "deleted"):
        writer.write(one_connection(make_snapshot))
