"""Questions to the tables and views find their rows by an index, and the views hide none."""

from pathlib import Path
from typing import Any

import pytest

from bpf.catalogue import stored_in
from bpf.variable import Table
from storage.engine import open_readonly
from storage.writer import Writer
from tests.storage.contents import MakeSnapshot


def rows(path: Path, statement: str) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    with open_readonly(path).connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(statement)]


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        ("SELECT SegsOut FROM perf WHERE ConnectIndex = 1 ORDER BY snapshot_id", "ux_sample"),
        ("SELECT SegsOut FROM perf WHERE snapshot_id BETWEEN 2 AND 3", "ix_sample_snapshot_id"),
        ("SELECT * FROM snapshot WHERE taken_us > 5", "ix_snapshot_taken_us"),
        ("SELECT * FROM connection WHERE RemPort = 5001", "ix_connection_rem_port"),
    ],
)
def test_history_is_found_without_a_scan(
    database: Path, writer: Writer, statement: str, index: str
) -> None:
    """By connection, by time, by port."""
    plan = rows(database, f"EXPLAIN QUERY PLAN {statement}")
    assert [index in step[-1] and "SEARCH" in step[-1] for step in plan] == [True]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT SegsRetrans FROM perf WHERE ConnectIndex = 1 AND snapshot_id < 9",
        "SELECT CurCwnd FROM snapshot JOIN perf USING (snapshot_id) WHERE taken_us > 5",
        "SELECT CurCwnd FROM perf JOIN snapshot USING (snapshot_id) JOIN connection"
        " USING (ConnectIndex) WHERE RemPort = 5001",
        "SELECT SegsRetrans, LimMSS FROM history WHERE snapshot_id = 1",
        "SELECT SegsRetrans FROM latest WHERE RemPort = 5001",
    ],
)
def test_the_views_hide_no_index(database: Path, writer: Writer, statement: str) -> None:
    """What a view joins is entered by number, and only what gives a column that is asked for."""
    plan = [step[-1] for step in rows(database, f"EXPLAIN QUERY PLAN {statement}")]
    assert not [step for step in plan if "SCAN" in step or "MATERIALIZE" in step]
    assert any("setup" in step for step in plan) == (
        "CurCwnd" in statement or "LimMSS" in statement
    )


def test_the_view_takes_the_newest_sample(
    database: Path, writer: Writer, make_snapshot: MakeSnapshot
) -> None:
    """Whatever group a variable lies in, or is computed from."""
    writer.write(make_snapshot(2))
    writer.write(make_snapshot(2, first=1000))
    perf, path = stored_in(Table.PERF)[0].name, stored_in(Table.PATH)[0].name
    found = rows(database, f"SELECT ConnectIndex, {perf}, {path} FROM latest ORDER BY 1")  # noqa: S608
    assert found == [(1, 1000, 1000), (2, 1001, 1001)]
