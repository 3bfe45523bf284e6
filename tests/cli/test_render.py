"""Tables, JSON and CSV."""

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.render import (
    printable,
    shown,
    table_width,
    write_csv,
    write_json,
    write_ndjson,
    write_table,
)

values = st.none() | st.integers(-(2**31), 2**64 - 1) | st.text(max_size=20)
objects = st.lists(st.fixed_dictionaries({"a": values, "b": values}), max_size=5)


def _table(*rows: tuple[Any, ...], width: int | None = None, front: int = 1) -> str:
    out = io.StringIO()
    header = [f"column{i}" for i in range(len(rows[0]))]
    write_table(header, rows, out, width=width, front=front)
    return out.getvalue()


@given(st.text())
def test_nothing_printed_can_steer_a_terminal(text: str) -> None:
    """No control character, no escape, no invisible one; what is left is on one line."""
    assert printable(text).isprintable()


def test_what_is_harmless_is_left_alone() -> None:
    """Letters of any script are what they are."""
    assert printable("naïve \u65e5\u672c") == "naïve \u65e5\u672c"
    assert printable("\x1b]0;x\x07\u202e") == r"\x1b]0;x\x07\u202e"


@given(objects)
def test_json_is_what_was_written(items: list[dict[str, Any]]) -> None:
    """Exactly, with the largest unsigned numbers, and in ASCII without control characters."""
    out = io.StringIO()
    assert write_json(items, out) == len(items)
    assert json.loads(out.getvalue()) == items
    assert out.getvalue().replace("\n", "").isascii()


@given(objects)
def test_ndjson_has_an_object_a_line(items: list[dict[str, Any]]) -> None:
    """And nothing else."""
    out = io.StringIO()
    assert write_ndjson(items, out) == len(items)
    lines = out.getvalue().splitlines()
    assert [json.loads(line) for line in lines] == items


@given(objects)
def test_csv_has_a_header_and_empty_fields_for_what_is_unknown(items: list[dict[str, Any]]) -> None:
    """A reader of CSV gets back what was shown."""
    out = io.StringIO(newline="")
    assert write_csv(["b", "a"], items, out) == len(items)
    header, *lines = csv.reader(io.StringIO(out.getvalue(), newline=""))

    def text(item: Mapping[str, Any], key: str) -> str:
        return "" if item[key] is None else printable(str(item[key]))

    assert header == ["b", "a"]
    assert lines == [[text(item, "b"), text(item, "a")] for item in items]


def test_numbers_stand_to_the_right() -> None:
    """And unknown is a dash, not a 0."""
    assert _table((1, "x", None), (100, "longer", 5)) == (
        "column0  column1  column2\n      1  x              -\n    100  longer         5\n"
    )


def test_a_table_that_is_too_wide_is_written_in_bands() -> None:
    """Each begins with the first column, so that nothing is cut off."""
    assert _table((1, "a" * 8, "b" * 8), width=20) == (
        "column0  column1\n      1  aaaaaaaa\n\ncolumn0  column2\n      1  bbbbbbbb\n"
    )


@given(
    st.lists(st.tuples(*[st.text("abc", max_size=12)] * 6), min_size=1, max_size=3),
    st.integers(30, 100),
)
def test_a_table_keeps_to_its_width_and_loses_nothing(
    rows: list[tuple[str, ...]], width: int
) -> None:
    """No line is wider than asked for, as long as two columns fit, and every cell is there."""
    text = _table(*rows, width=width)
    assert max(map(len, text.splitlines())) <= width
    words = text.split()
    assert all(cell in words for row in rows for cell in row if cell)


def test_sentences_in_the_last_column_are_broken_into_lines() -> None:
    """Where there is room for them beside the others."""
    assert _table((1, "a b " * 9), (2, "c"), width=34) == (
        "column0  column1\n      1  a b a b a b a b a b a b a\n         b a b a b\n      2  c\n"
    )


def test_wide_characters_take_two_places() -> None:
    """So that the columns after them stay in line."""
    assert _table(("\u65e5\u672c", "x"), ("abcd", "y")) == (
        "column0  column1\n" + "\u65e5\u672c     x\n" + "abcd     y\n"
    )


def test_only_a_terminal_limits_the_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a file or a pipe a row is a line, unless $COLUMNS says otherwise."""
    monkeypatch.delenv("COLUMNS", raising=False)
    assert table_width(io.StringIO()) is None
    monkeypatch.setenv("COLUMNS", "72")
    assert table_width(io.StringIO()) == 72


def test_a_rate_is_shown_with_its_digits_only() -> None:
    """No tail of zeros."""
    assert shown(2.5) == "2.5"
    assert shown(3200.0) == "3200"
