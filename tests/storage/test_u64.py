"""Unsigned 64-bit values survive SQLite, and SQL can read them."""

import sqlite3
from contextlib import closing

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from storage import u64

U64 = st.integers(min_value=0, max_value=2**64 - 1)


@given(st.lists(U64, max_size=50))
@example([0, 2**63 - 1, 2**63, 2**64 - 1])
def test_columns_through_sqlite_and_back_are_the_identity(values: list[int]) -> None:
    """Every value comes back exactly, and printf('%u') says it in SQL."""
    column = np.array(values, dtype=np.uint64)
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE t (x INTEGER)")
        rows = zip(u64.encode(column).tolist(), strict=True)
        database.executemany("INSERT INTO t VALUES (?)", rows)
        stored = database.execute("SELECT x, printf('%u', x) FROM t ORDER BY rowid").fetchall()
    assert u64.decode([x for x, _ in stored]).tolist() == values
    assert [int(text) for _, text in stored] == values


@given(U64)
def test_small_values_are_stored_as_themselves(value: int) -> None:
    """Below 2^63 the stored integer is the value; above it is the one 2^64 less."""
    (stored,) = u64.encode(np.array([value], dtype=np.uint64)).tolist()
    assert stored == (value if value < 2**63 else value - 2**64)


def test_a_field_of_rows_is_encoded_in_place() -> None:
    """A strided column of a structured array needs no copy."""
    rows = np.zeros(3, dtype=[("a", "u4"), ("b", "u8")])
    rows["b"] = 2**64 - 1
    encoded = u64.encode(rows["b"])
    assert encoded.tolist() == [-1, -1, -1]
    assert np.shares_memory(encoded, rows)
