"""Write answers as tables, JSON or CSV. Knows nothing of what they mean, and asks no database."""

import csv
import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from textwrap import wrap
from typing import Any, Generic, TextIO, TypeVar

from cli.progress import counted

Cell = str | int | float | None
Item = TypeVar("Item")

_GAP = "  "
_SENTENCE_CELLS_MIN = 24


class Format(Enum):
    """How an answer is written."""

    TABLE = "table"
    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look(Generic[Item]):
    """What an item of an answer looks like: to programs an object, to people a row of a table.

    ``keys`` are the keys of all objects; the first ``front`` columns say whose row it is. Without
    ``header`` and ``as_row`` it is never written as a table.
    """

    keys: Sequence[str]
    as_object: Callable[[Item], Mapping[str, Any]]
    header: Sequence[str] = ()
    as_row: Callable[[Item], Sequence[Cell]] = lambda _: ()
    front: int = 1


def write(items: Iterable[Item], form: Format, look: Look[Item], out: TextIO) -> int:
    """Write an answer, all but a table as it comes; returns how many items it had."""
    if form is Format.TABLE:
        rows = map(look.as_row, items)
        return write_table(look.header, rows, out, front=look.front, width=table_width(out))
    objects = map(look.as_object, counted(items, out))
    if form is Format.CSV:
        return write_csv(look.keys, objects, out)
    return write_json(objects, out) if form is Format.JSON else write_ndjson(objects, out)


def printable(text: str) -> str:
    """Text in which nothing can steer a terminal: control and invisible characters as escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shown(value: Cell) -> str:
    """A value as a person reads it; unknown is a dash."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.10g}"
    return printable(str(value))


def write_json(objects: Iterable[Mapping[str, Any]], out: TextIO) -> int:
    """A JSON array, an object a line, written as they come; returns how many."""
    count = 0
    for count, each in enumerate(objects, start=1):
        out.write(("[\n" if count == 1 else ",\n") + json.dumps(each))
    out.write("\n]\n" if count else "[]\n")
    return count


def write_ndjson(objects: Iterable[Mapping[str, Any]], out: TextIO) -> int:
    """A JSON object a line, written as they come; returns how many."""
    count = 0
    for count, each in enumerate(objects, start=1):  # noqa: B007  (the last one is the answer)
        out.write(json.dumps(each) + "\n")
    return count


def write_csv(keys: Sequence[str], objects: Iterable[Mapping[str, Any]], out: TextIO) -> int:
    """A header and a line for each object, unknown left empty; returns how many."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(printable, keys))
    count = 0
    for count, each in enumerate(objects, start=1):  # noqa: B007  (the last one is the answer)
        values = (each[key] for key in keys)
        writer.writerow([printable(v) if isinstance(v, str) else v for v in values])
    return count


def write_table(
    header: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    out: TextIO,
    *,
    front: int = 1,
    width: int | None = None,
) -> int:
    """Columns with a header, numbers to the right; returns how many rows.

    What is wider than ``width`` (None is no limit) is written in bands one below the other, each
    of which begins with the first ``front`` columns again; but sentences in the last column are
    broken into lines, if there is room for them.
    """
    cells = list(rows)
    if not cells:
        return 0
    count = len(cells)
    if width is not None:
        cells = _broken_sentences(header, cells, width)
    columns = [_column(name, [row[i] for row in cells]) for i, name in enumerate(header)]
    for number, band in enumerate(_bands([_cells(c[0]) for c in columns], front, width)):
        if number:
            out.write("\n")
        for line in zip(*(columns[i] for i in band), strict=True):
            out.write(_GAP.join(line).rstrip() + "\n")
    return count


def table_width(out: TextIO) -> int | None:
    """How wide a table may be: as the terminal, or as $COLUMNS says; a file has no limit."""
    if out.isatty() or os.environ.get("COLUMNS", "").isdecimal():
        return shutil.get_terminal_size().columns
    return None


def say(sentence: str) -> None:
    """Tell the person something beside the answer."""
    print(f"estats: {printable(sentence)}", file=sys.stderr)


def _column(name: str, values: Sequence[Cell]) -> list[str]:
    """The header and all cells of one column, filled up to one width."""
    texts = [printable(name), *map(shown, values)]
    width = max(map(_cells, texts))
    is_number = all(v in (None, "") or isinstance(v, int | float) for v in values)
    fill = (width - _cells(text) for text in texts)
    pairs = zip(texts, fill, strict=True)
    return [" " * n + text if is_number else text + " " * n for text, n in pairs]


def _broken_sentences(
    header: Sequence[str], rows: Sequence[Sequence[Cell]], width: int
) -> list[Sequence[Cell]]:
    """The rows, with more rows below those whose last cell takes more than a line."""
    others = (
        max(map(_cells, [printable(name), *(shown(row[i]) for row in rows)]))
        for i, name in enumerate(header[:-1])
    )
    room = width - sum(other + len(_GAP) for other in others)
    if room < _SENTENCE_CELLS_MIN:
        return list(rows)
    broken: list[Sequence[Cell]] = []
    for row in rows:
        last = row[-1]
        lines = wrap(last, room, break_long_words=False) if isinstance(last, str) else []
        broken.append([*row[:-1], lines[0] if lines else last])
        broken += [[*([""] * (len(row) - 1)), line] for line in lines[1:]]
    return broken


def _bands(widths: Sequence[int], front: int, limit: int | None) -> list[list[int]]:
    """Which columns stand side by side: as many as fit, at least one beside the front."""
    bands = [list(range(min(front, len(widths))))]
    for column in range(front, len(widths)):
        band = bands[-1]
        total = sum(widths[i] + len(_GAP) for i in band) + widths[column]
        if limit is not None and total > limit and len(band) > front:
            bands.append([*range(front), column])
        else:
            band.append(column)
    return bands


def _cells(text: str) -> int:
    """How many places of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )
