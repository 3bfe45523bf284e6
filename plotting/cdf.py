"""Distributions as text and as a picture: the share of all that is no larger than a value."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from plotting.canvas import Canvas
from plotting.distribution import QUANTILES, Distribution
from plotting.picture import COLOURS, drawing, saved
from plotting.scale import written
from plotting.terminal import MARGIN, Paper

_HEIGHT: Final = 10
_WIDTH_INCHES: Final = 8.0
_PANEL_INCHES: Final = 2.6
_MARKED: Final = (0.5, 0.9, 0.99)


def text_of_all(found: Sequence[Distribution], paper: Paper) -> list[str]:
    """One below the other."""
    lines: list[str] = []
    for each in found:
        lines += [*([""] if lines else []), *_text(each, paper)]
    return [line.rstrip() for line in lines]


def picture_of_all(found: Sequence[Distribution], suffix: str) -> bytes:
    """The octets of a file of that suffix, a panel for each."""
    with drawing() as figure_class:
        size = (_WIDTH_INCHES, _PANEL_INCHES * len(found) + 0.3)
        figure = figure_class(figsize=size, layout="constrained")
        axes = figure.subplots(len(found), 1, squeeze=False)[:, 0]
        for each, own in zip(found, axes, strict=True):
            _panel(own, each)
        return saved(figure, suffix)


def head(found: Distribution) -> str:
    """What it is of, and how many have no value."""
    unknown = f", {found.unknown} without a value" if found.unknown else ""
    return f"{found.title} of {found.of}{unknown}"


def quantiles(found: Distribution) -> list[tuple[str, str]]:
    """What QUANTILES are called, and what they are, in the axis's unit."""
    names = {0.0: "least", 0.5: "median", 1.0: "most"}
    return [
        (names.get(q, f"{100 * q:.0f} %"), written(found.quantile(q) * found.axis.factor))
        for q in QUANTILES
    ]


def _text(found: Distribution, paper: Paper) -> Iterator[str]:
    yield head(found)
    if not found.weighed:
        yield "nothing is known"
        return
    axis = found.axis
    cells = [(name, max(len(name), len(value)), value) for name, value in quantiles(found)]
    yield "  ".join(f"{name:>{width}}" for name, width, _ in cells)
    yield "  ".join(f"{value:>{width}}" for _, width, value in cells) + f"  {axis.unit}"
    canvas = Canvas(paper.room, _HEIGHT, paper.unicode)
    before = (0.0, 0.0)
    for (value, _), share in zip(found.weighed, found.shares, strict=True):
        here = axis.place(value)
        canvas.line(before, (here, before[1]), 0)
        canvas.line((here, before[1]), (here, share), 0)
        before = (here, share)
    canvas.line(before, (1.0, before[1]), 0)
    labels = {0: "100 %", (_HEIGHT - 1) // 2: "50 %", _HEIGHT - 1: "0 %"}
    for number, row in enumerate(canvas.write(colour=paper.colour)):
        yield f"{labels.get(number, ''):>{MARGIN - 2}} {paper.sign('│', '|')}{row}"
    yield " " * (MARGIN - 1) + paper.sign("└", "+") + paper.sign("─", "-") * paper.room
    yield _ticks(found, paper)


def _ticks(found: Distribution, paper: Paper) -> str:
    """What stands below the axis, as much as there is room for."""
    axis, cells = found.axis, [" "] * (paper.width + 1)
    free = 0
    for tick in axis.ticks:
        text = written(tick)
        middle = MARGIN + int(axis.place(tick / axis.factor) * (paper.room - 1))
        begin = min(max(middle - len(text) // 2, 0), paper.width - len(text))
        if begin >= free:
            cells[begin : begin + len(text)] = text
            free = begin + len(text) + 1
    scale = ", logarithmic" if axis.is_log else ""
    return "".join(cells).rstrip() + f"\n{'':>{MARGIN}}{axis.unit}{scale}"


def _panel(axes: Any, found: Distribution) -> None:
    axes.set_title(head(found), loc="left", fontweight="bold")
    if not found.weighed:
        axes.text(0.5, 0.5, "nothing is known", ha="center", transform=axes.transAxes)
        axes.axis("off")
        return
    axis = found.axis
    xs = [value * axis.factor for value, _ in found.weighed]
    ys = [100 * share for share in found.shares]
    if axis.is_log:
        axes.set_xscale("log")
        axes.set_xlim(axis.ticks[0], axis.ticks[-1])
    else:
        axes.set_xlim(0, axis.ticks[-1])
    axes.set_xticks(axis.ticks, [written(tick) for tick in axis.ticks])
    below = [y for x, y in zip(xs, ys, strict=True) if x <= axis.ticks[0]]
    begin = max(below, default=0.0) if axis.is_log else 0.0
    axes.plot([axis.ticks[0], *xs, axis.ticks[-1]], [begin, *ys, 100.0], color=COLOURS[0],
              drawstyle="steps-post", lw=1.5)  # fmt: skip
    for n, share in enumerate(_MARKED):
        at = found.quantile(share) * axis.factor
        told = f"{100 * share:.0f} %: {written(at)} {axis.unit}".rstrip()
        axes.plot([at], [100 * share], "os^"[n], color=COLOURS[1], ms=5, label=told)
    axes.legend(loc="lower right")
    axes.set_ylim(0, 102)
    axes.set_yticks([0, 25, 50, 75, 100])
    axes.set_ylabel("% no larger")
    axes.set_xlabel(axis.unit + (" (logarithmic)" if axis.is_log else ""))
