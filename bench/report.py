"""What was measured, as a page for people and as JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

Cell = str | float | int | None

_HEAD = """\
# Benchmarks

<!-- Made by `make bench`. -->

`make bench`, as root, measures all of this on the machine it is called on, without any other host;
`make bench ARGS="ingest query"` measures some parts and prints them only. The same as data is in
[benchmarks.json](benchmarks.json).

Load, collector and database share the machine's processors, so that the ratios are those of a host
that has nothing to spare. Where two ways are compared, they were measured in turns, and the ratio
is the median of the ratios of neighbours; beside it stand the lowest and the highest of them. A
ratio is no better known than that spread.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One table: what its figures mean and what they do not, in a few sentences.

    Every row has a cell for each of ``columns``; None is a figure that could not be had.
    """

    title: str
    means: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]

    def __post_init__(self) -> None:
        """A row of another length would shift its figures under the wrong heads."""
        for row in self.rows:
            assert len(row) == len(self.columns), f"{self.title}: {row} is no row of this table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one part found, how long it took, and why it ended early if it did."""

    part: str
    seconds: float
    sections: Sequence[Section]
    failure: str | None = None


def page(machine: Mapping[str, str], results: Sequence[Result]) -> str:
    """All of it in Markdown."""
    facts = [f"| {name} | {fact} |" for name, fact in machine.items()]
    parts = [part_page(result) for result in results]
    return "\n".join([_HEAD, "| machine | |", "|---|---|", *facts, "", *parts])


def part_page(result: Result) -> str:
    """One part in Markdown."""
    text = [_section(section) for section in result.sections]
    if result.failure:
        text.append(f"## {result.part}\n\nThis part ended early: {result.failure}\n")
    return "\n".join(text)


def data(machine: Mapping[str, str], results: Sequence[Result]) -> str:
    """The same in JSON."""
    whole = {"machine": machine, "parts": [asdict(result) for result in results]}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def figure(value: Cell) -> str:
    """A cell's text: three significant digits, whole from 100 on, thousands set apart."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{2 if abs(value) >= 1 else 3}f}"


def _section(section: Section) -> str:
    lines = [f"## {section.title}", "", section.means, ""]
    lines.append(f"| {' | '.join(section.columns)} |")
    numeric = ["---:" if _is_numeric(section, i) else "---" for i in range(len(section.columns))]
    lines.append(f"|{'|'.join(numeric)}|")
    lines += [f"| {' | '.join(map(figure, row))} |" for row in section.rows]
    return "\n".join(lines) + "\n"


def _is_numeric(section: Section, column: int) -> bool:
    return not any(isinstance(row[column], str) for row in section.rows)
