"""A chart as lines of text, no wider than they may be.

Curves are told apart by colour where there is one, else by letters; where there is but one curve,
or colours, they are dots of braille, if the terminal's encoding has them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from plotting.canvas import LETTERS, Canvas, painted
from plotting.panels import LIMIT_NAMES, MARKED, Chart, Line, Marks, Panel, main_lines
from plotting.scale import Scale, scale_of, written
from plotting.series import Looks
from plotting.times import day, ticks

WIDTH_MIN: Final = 40
_HEIGHT: Final = 8
MARGIN: Final = 9  # numbers, a blank and the axis
_TICK_CELLS: Final = 14
#: A letter for each of LIMIT_NAMES.
_LIMIT_LETTERS: Final = "scrutp"


@dataclass(frozen=True, slots=True)
class Paper:
    """How wide the text may be, whether it may have colours, and other characters than ASCII."""

    width: int
    colour: bool
    unicode: bool

    @property
    def room(self) -> int:
        """What is left for curves."""
        return max(self.width, WIDTH_MIN) - MARGIN

    def sign(self, wide: str, plain: str) -> str:
        """A character, or what stands for it in ASCII."""
        return wide if self.unicode else plain


def text_of(chart: Chart, paper: Paper) -> list[str]:
    """The chart: whose it is, panel below panel, and the time at the bottom."""
    lines = list(_labels(chart, paper))
    for panel in chart.panels:
        if panel.is_empty:
            lines += ["", f"{panel.recipe.title}: nothing is known"]
            continue
        lines += ["", *_panel(chart, panel, paper)]
    lines += _time_axis(chart.looks, paper)
    lines += _notes(chart, paper)
    return [line.rstrip() for line in lines]


def _labels(chart: Chart, paper: Paper) -> Iterator[str]:
    """Whose each curve is."""
    if len(chart.labels) == 1:
        yield _cut(chart.labels[0], paper.width)
        return
    for place, label in enumerate(chart.labels):
        yield f"{_key(place, paper, several=True)} {_cut(label, paper.width - 2)}"


def _key(curve: int, paper: Paper, *, several: bool) -> str:
    """What a legend shows of a curve."""
    if paper.colour or (paper.unicode and not several):
        return (painted if paper.colour else _plain)(paper.sign("━", LETTERS[curve]), curve)
    return LETTERS[curve % len(LETTERS)]


def _plain(text: str, _curve: int) -> str:
    return text


def _panel(chart: Chart, panel: Panel, paper: Paper) -> Iterator[str]:
    if panel.recipe.is_shared:
        yield from _shares(chart, panel, paper)
        return
    if panel.recipe.counted:
        yield from _counted(chart, panel, paper)
        return
    compared = len(chart.labels) > 1
    lines = main_lines(panel) if compared else list(panel.lines)
    values = [s.value for line in lines for s in line.stretches]
    scale = scale_of(panel.recipe.unit, values)
    canvas = Canvas(paper.room, _HEIGHT, paper.unicode and (paper.colour or len(lines) == 1))
    for line in reversed(lines):  # the first is on top
        _draw(canvas, line, scale, chart.looks, line.place if compared else line.style)
    several = len(lines) > 1
    legend = [] if compared else [(line.style, line.name) for line in lines]
    keys = [f"{_key(n, paper, several=several)} {name}" for n, name in legend]
    what = sorted({line.name for line in lines}) if compared else []
    unit = f" [{scale.unit}]" if scale.unit else ""
    yield "  ".join([f"{panel.recipe.title}{unit}", *keys, *([", ".join(what)] if what else [])])
    words = dict(panel.recipe.unit.words)
    yield from _framed(canvas.write(colour=paper.colour), scale, paper, words)
    marked = chart.losses if panel.recipe.name in MARKED else ()
    yield _base(chart.looks, marked, paper)


def _draw(canvas: Canvas, line: Line, scale: Scale, looks: Looks, curve: int) -> None:
    """Level where a value stood, upright where the next one followed at once."""
    before: tuple[int, tuple[float, float]] | None = None
    for each in line.stretches:
        height = each.value * scale.factor / scale.top
        begin = (_share(each.from_us, looks), height)
        end = (_share(max(each.to_us - 1, each.from_us), looks), height)
        if before is not None and each.from_us <= before[0]:
            canvas.line((begin[0], before[1][1]), begin, curve)
        canvas.line(begin, end, curve)
        before = each.to_us, end


def _share(at_us: int, looks: Looks) -> float:
    return (at_us - looks.from_us) / max(looks.to_us - looks.from_us, 1)


def _framed(
    rows: Sequence[str], scale: Scale, paper: Paper, words: dict[int, str]
) -> Iterator[str]:
    """The rows with their axis: what stands at the top, in the middle and at the bottom."""
    height = len(rows) - 1
    at = {round(height * (1 - tick / scale.top)): tick for tick in scale.ticks}
    for number, row in enumerate(rows):
        tick = at.get(number)
        label = "" if tick is None else words.get(int(tick), written(tick))
        axis = paper.sign("│" if tick is None else "┤", "|" if tick is None else "+")
        yield f"{label[: MARGIN - 2]:>{MARGIN - 2}} {axis}{row}"


def _base(looks: Looks, marked: Iterable[Marks], paper: Paper) -> str:
    """The axis of time, with what was lost, and where nobody looked."""
    cells = [paper.sign("─", "-")] * paper.room
    for begin, end in looks.holes:
        first = int(_share(max(begin, looks.from_us), looks) * paper.room)
        last = int(_share(min(end, looks.to_us), looks) * paper.room)
        for cell in range(first, min(last, paper.room - 1) + 1):
            cells[cell] = paper.sign("░", "?")
    for marks in marked:
        for mark in marks.marks:
            cell = min(int(_share(mark.at_us, looks) * paper.room), paper.room - 1)
            cells[cell] = (painted if paper.colour else _plain)("x", marks.place)
    return " " * (MARGIN - 1) + paper.sign("└", "+") + "".join(cells)


def _counted(chart: Chart, panel: Panel, paper: Paper) -> Iterator[str]:
    """A row for each thing that is counted: its sum in a column as a digit, or # above 9."""
    title = f"{panel.recipe.title} (how many in each column; # is more than 9)"
    yield title
    for place, label in enumerate(chart.labels):
        own = [each for each in panel.marks if each.place == place]
        if len(chart.labels) > 1:
            yield f"{_key(place, paper, several=True)} {_cut(label, paper.width - 2)}"
        for style, name in enumerate(panel.recipe.names):
            found = [m for each in own if each.style == style for m in each.marks]
            sums = [0] * paper.room
            for mark in found:
                sums[min(int(_share(mark.at_us, chart.looks) * paper.room), paper.room - 1)] += (
                    mark.count
                )
            digits = "".join(" " if not n else str(n) if n < 10 else "#" for n in sums)
            yield f"  {name}: {sum(sums)}"
            if found:
                yield f"{'':>{MARGIN - 1}}{paper.sign('│', '|')}{digits}"
    yield _base(chart.looks, (), paper)


def _shares(chart: Chart, panel: Panel, paper: Paper) -> Iterator[str]:
    """What limited it: of one connection over time, of several as a bar for each."""
    used = [
        n
        for n, _ in enumerate(LIMIT_NAMES)
        if any(part[n] > 0 for each in panel.shares for _, _, part in each.parts)
    ]
    keys = [f"{_letter(n, paper)} {LIMIT_NAMES[n]}" for n in used]
    yield "  ".join([f"{panel.recipe.title} [% of the time]", *keys])
    if len(chart.labels) > 1:
        for each in panel.shares:
            yield f"{_cut(chart.labels[each.place], paper.width)}"
            yield f"{'':>{MARGIN - 1}}{paper.sign('│', '|')}{_bar(each.mean, paper)}"
        return
    columns = list(_columns(panel.shares[0].parts, chart.looks, paper.room))
    rows = ["".join(_filled(c, row, paper) for c in columns) for row in range(_HEIGHT)]
    scale = Scale(100.0, "%", 100.0, (0.0, 50.0, 100.0))
    yield from _framed([row.rstrip() for row in rows], scale, paper, {})
    yield _base(chart.looks, (), paper)


def _letter(limit: int, paper: Paper) -> str:
    return (painted if paper.colour else _plain)(_LIMIT_LETTERS[limit], limit)


def _bar(mean: Sequence[float], paper: Paper) -> str:
    """A row, shared out."""
    edges = [round(paper.room * sum(mean[: n + 1])) for n in range(len(mean))]
    lengths = [edge - before for edge, before in zip(edges, [0, *edges], strict=False)]
    paint = painted if paper.colour else _plain
    return "".join(paint(_LIMIT_LETTERS[n] * k, n) for n, k in enumerate(lengths) if k > 0)


def _columns(
    parts: Sequence[tuple[int, int, tuple[float, ...]]], looks: Looks, room: int
) -> Iterator[Sequence[float] | None]:
    """For each column what was in force in its middle; None where that is unknown."""
    length = looks.to_us - looks.from_us
    for column in range(room):
        at = looks.from_us + (column + 0.5) * length / room
        yield next((part for begin, end, part in parts if begin <= at < end), None)


def _filled(column: Sequence[float] | None, row: int, paper: Paper) -> str:
    """One character of a stack: row 0 is the highest."""
    if column is None:
        return " "
    height, total = (_HEIGHT - row - 0.5) / _HEIGHT, 0.0
    for limit, share in enumerate(column):
        total += share
        if height <= total:
            return _letter(limit, paper)
    return " "


def _time_axis(looks: Looks, paper: Paper) -> Iterator[str]:
    """Times at the columns that they are of."""
    found = ticks(looks.from_us, looks.to_us, max(paper.room // _TICK_CELLS, 1))
    cells = [" "] * (paper.width + _TICK_CELLS)
    for at, text in found:
        middle = MARGIN + int(_share(at, looks) * paper.room)
        begin = min(max(middle - len(text) // 2, 0), paper.width - len(text))
        cells[begin : begin + len(text)] = text
    yield "".join(cells).rstrip()
    yield f"{'':>{MARGIN}}{day((looks.from_us, looks.to_us))}, UTC"


def _notes(chart: Chart, paper: Paper) -> Iterator[str]:
    """What the signs of the base mean, if there are any."""
    found: list[str] = []
    if chart.losses and any(panel.recipe.name in MARKED for panel in chart.panels):
        found.append("x segments were sent again")
    if chart.looks.holes:
        found.append(f"{paper.sign('░', '?')} nobody looked")
    if found:
        yield " " * MARGIN + "; ".join(found)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
