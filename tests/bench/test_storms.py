"""Every end of a storm is in a row or in a count, or the table says that it is not."""

import sqlite3
from contextlib import closing
from pathlib import Path

from bench.paths import CLOSE_PORT
from bench.storms import ends


def test_an_end_is_final_counted_or_neither(tmp_path: Path) -> None:
    """Rows that are open or were closed by a census are not final; other ports are others'."""
    path = tmp_path / "flows.db"
    with closing(sqlite3.connect(path)) as base, base:
        base.execute("CREATE TABLE connection (LocalPort, RemPort, closed_us, close_reason)")
        base.execute("CREATE TABLE snapshot (lost, lost_finals, untracked)")
        base.executemany(
            "INSERT INTO connection VALUES (?, ?, ?, ?)",
            [
                (CLOSE_PORT, 1_001, 5, "closed"),
                (1_001, CLOSE_PORT, 5, "reset"),
                (CLOSE_PORT, 1_002, 5, "close not seen"),
                (1_002, CLOSE_PORT, None, None),
                (1_003, 80, 5, "closed"),
            ],
        )
        base.executemany("INSERT INTO snapshot VALUES (?, ?, ?)", [(3, 1, 0), (4, 0, 1)])

    found = ends(path, {"connections": 4.0}, CLOSE_PORT)

    assert found.cells == (8, 2, 7, 1, 4)
    assert found.untracked == 1
