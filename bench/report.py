"""What was measured, as a page for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Cell = str | float | int | None

_HEAD = """\
# Benchmarks

<!-- Made by `make bench`. -->

`make bench`, as root, measures all of this on the machine it is called on, without any other host;
`make bench ARGS="ingest query"` measures some parts again. Each part has the newest result that it
ever had, and the first table says when and of what. The same as data is in
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
    """What one part found, when (UTC), of which commit, how long it took, and on what machine.

    ``busy`` is how much of the machine others used just before.
    """

    part: str
    began: str
    seconds: float
    commit: str
    busy: str
    machine: Mapping[str, str]
    sections: Sequence[Section]


def page(results: Sequence[Result], lacking: Sequence[str] = ()) -> str:
    """All of it in Markdown; ``lacking`` are the parts that were never measured."""
    text = [_HEAD, _measured(results, lacking), _machine(results)]
    return "\n".join([*text, *(part_page(result) for result in results)])


def part_page(result: Result) -> str:
    """One part in Markdown."""
    return "\n".join(_section(section) for section in result.sections)


def _measured(results: Sequence[Result], lacking: Sequence[str]) -> str:
    took = [figure(result.seconds / 60) for result in results]
    lines = [
        "| part | measured, UTC | took, min | commit | busy before |",
        "|---|---|---:|---|---|",
        *(
            f"| {r.part} | {r.began} | {minutes} | {r.commit} | {r.busy} |"
            for r, minutes in zip(results, took, strict=True)
        ),
    ]
    if len({result.commit for result in results}) > 1:
        lines += ["", "**Not all parts are of the same commit.**"]
    if lacking:
        lines += ["", f"**Not measured yet: {', '.join(lacking)}.**"]
    return "\n".join(lines) + "\n"


def _machine(results: Sequence[Result]) -> str:
    """What all parts were measured on; where they differ, each fact with its parts."""
    lines = ["| machine | |", "|---|---|"]
    differ = []
    for name in dict.fromkeys(name for result in results for name in result.machine):
        parts: dict[str, list[str]] = {}
        for result in results:
            parts.setdefault(result.machine.get(name, "not told"), []).append(result.part)
        if len(parts) > 1:
            differ.append(name)
            fact = "; ".join(f"{fact} ({', '.join(names)})" for fact, names in parts.items())
        else:
            (fact,) = parts
        lines.append(f"| {name} | {fact} |")
    if differ:
        lines += ["", f"**Not all parts were measured on the same: {', '.join(differ)}.**"]
    return "\n".join(lines) + "\n"


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
