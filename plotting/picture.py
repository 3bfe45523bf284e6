"""A chart as a picture, drawn by matplotlib: SVG or PNG, always the same for the same chart.

matplotlib is asked for nothing of its own: what a ``matplotlibrc`` of the folder or the home says
is forgotten, it keeps its list of fonts in a folder that goes again, unless ``MPLCONFIGDIR`` names
one, and no word of ours is taken for a formula.
"""

import io
import os
import tempfile
import warnings
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from plotting.panels import LIMIT_NAMES, MARKED, Chart, Line, Marks, Panel, main_lines
from plotting.scale import Scale, scale_of, written
from plotting.series import Looks, Stretch, joined
from plotting.times import day, ticks

SUFFIXES: Final = (".png", ".svg")
#: Okabe and Ito, Color Universal Design (2008): told apart with any kind of colour vision.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
STYLES: Final = ("-", "--", ":")
MARKERS: Final = ("x", "v", "s")
#: On the lines of each of several connections, beside its colour.
PLACES: Final = ("o", "^", "s", "D", "v", "P", "*")
_MARKS_ON_A_LINE: Final = 9
#: Of LIMIT_NAMES; hatched, for in grey some would be alike.
_LIMITS: Final = (
    ("#E69F00", ""),
    ("#0072B2", "///"),
    ("#009E73", "..."),
    ("#CC79A7", "xx"),
    ("#56B4E9", "\\\\\\"),
    ("#F0E442", "--"),
)
_UNSEEN: Final = "#DDDDDD"
_WIDTH_INCHES: Final = 9.0
_PANEL_INCHES: Final = 1.75
_COMPARED_WHOLE: Final = 3  # of more connections only the main line is drawn
_TICKS: Final = 8
_LABEL_MAX: Final = 90
_OURS: Final = {
    "svg.hashsalt": "estats",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#E8E8E8",
    "hatch.linewidth": 0.4,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
}


def can_draw() -> bool:
    """Whether matplotlib is there; does not load it."""
    return find_spec("matplotlib") is not None


@contextmanager
def drawing() -> Generator[Any]:
    """Matplotlib's class ``Figure``, with settings of ours alone until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="estats-") as folder:
        own = "MPLCONFIGDIR" not in os.environ
        if own:
            os.environ["MPLCONFIGDIR"] = folder
        try:
            # It takes long, and may be missing; its types are of each version.
            mpl: Any = import_module("matplotlib")
            figure: Any = import_module("matplotlib.figure")
        finally:
            if own:
                del os.environ["MPLCONFIGDIR"]
        with mpl.rc_context(), warnings.catch_warnings():
            mpl.rcdefaults()
            mpl.rcParams.update(_OURS)
            warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
            yield figure.Figure


def saved(figure: Any, suffix: str) -> bytes:
    """The figure as a file of that suffix, without a date."""
    made = io.BytesIO()
    dated = {"Date": None} if suffix == ".svg" else {}
    figure.savefig(made, format=suffix[1:], dpi=120, metadata={**dated, **_creator(suffix)})
    return made.getvalue()


def _creator(suffix: str) -> dict[str, str | None]:
    """Whose name the file bears: not that of a version of matplotlib, which would change it."""
    return {"Creator": "estats"} if suffix == ".svg" else {"Software": "estats"}


def picture_of(chart: Chart, suffix: str) -> bytes:
    """The picture as the octets of a file of that suffix, one of SUFFIXES."""
    shown = [panel for panel in chart.panels if not panel.is_empty]
    with drawing() as figure_class:
        heights = [_height(panel, len(chart.labels)) for panel in shown] or [1.0]
        labels = _labels(chart)
        head = 0.35 + 0.19 * len(labels)
        size = (_WIDTH_INCHES, head + 0.5 + _PANEL_INCHES * sum(heights))
        figure = figure_class(figsize=size, layout="constrained")
        axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        for panel, own in zip(shown, axes, strict=False):
            _panel(own, chart, panel)
        if not shown:
            axes[0].text(0.5, 0.5, "nothing is known to draw", ha="center")
            axes[0].axis("off")
        _head(figure, labels)
        _notes(figure, chart, shown)
        return saved(figure, suffix)


def _height(panel: Panel, connections: int) -> float:
    if panel.recipe.is_shared and connections > 1:
        return 0.35 + 0.14 * len(panel.shares)
    if panel.recipe.counted:
        return 0.75
    return 1.0


def _labels(chart: Chart) -> list[str]:
    return [x if len(x) <= _LABEL_MAX else x[: _LABEL_MAX - 3] + "..." for x in chart.labels]


def _head(figure: Any, labels: Sequence[str]) -> None:
    """Whose lines these are."""
    if len(labels) == 1:
        figure.suptitle(labels[0], fontsize=10.5)
        return
    from matplotlib.lines import Line2D  # noqa: PLC0415  (as above)

    keys = [
        Line2D([], [], color=COLOURS[n % len(COLOURS)], marker=PLACES[n % len(PLACES)], lw=2, ms=5)
        for n, _ in enumerate(labels)
    ]
    figure.legend(keys, labels, loc="outside upper left", fontsize=9)


def _notes(figure: Any, chart: Chart, shown: Sequence[Panel]) -> None:
    """What is in the picture without being a line: below it, with the day."""
    notes = [f"{day((chart.looks.from_us, chart.looks.to_us))}, UTC"]
    if chart.losses and any(panel.recipe.name in MARKED for panel in shown):
        notes.append("x below a curve: segments were sent again")
    if chart.looks.holes:
        notes.append("grey: nobody looked")
    figure.supxlabel("   \N{MIDDLE DOT}   ".join(notes), fontsize=8.5)


def _panel(axes: Any, chart: Chart, panel: Panel) -> None:
    """One of them, with its axes."""
    axes.set_title(panel.recipe.title, loc="left", fontweight="bold")
    if panel.recipe.is_shared and len(chart.labels) > 1:
        _bars(axes, chart, panel)
        return
    if panel.recipe.is_shared:
        _stack(axes, panel)
    elif panel.recipe.counted:
        _counted(axes, chart, panel)
    else:
        _lines(axes, chart, panel)
    rows = len(chart.losses) if panel.recipe.name in MARKED else 0
    _time_axis(axes, chart.looks, rows)


def _lines(axes: Any, chart: Chart, panel: Panel) -> None:
    """Steps, each as long as a value stood, and what was lost below them."""
    compared = len(chart.labels) > 1
    lines = panel.lines if len(chart.labels) <= _COMPARED_WHOLE else main_lines(panel)
    unit = panel.recipe.unit
    scale = scale_of(unit, (s.value for line in lines for s in line.stretches))
    for line in lines:
        if compared and not any(s.value for s in line.stretches):
            continue  # what never was is no line to tell apart from others
        colour = COLOURS[(line.place if compared else line.style) % len(COLOURS)]
        style = STYLES[line.style % len(STYLES)]
        xs, ys = _steps(line, scale)
        marker = PLACES[line.place % len(PLACES)] if compared else ""
        axes.plot(xs, ys, color=colour, linestyle=style, lw=1.3, marker=marker, ms=4,
                  markevery=_every(line, len(xs)))  # fmt: skip
        _points(axes, line, scale, colour)
    _legend(axes, lines, panel, compared=compared)
    axes.set_ylim(0, scale.top * 1.06)
    axes.set_ylabel(scale.unit)
    words = dict(unit.words)
    texts = [words.get(round(tick), written(tick)) for tick in scale.ticks]
    axes.set_yticks(scale.ticks, texts)
    if panel.recipe.name in MARKED:
        _lost(axes, chart.losses, compared=compared)


def _every(line: Line, corners: int) -> tuple[int, int]:
    """From which corner on, and at every how-manieth, a line bears a mark: not all at one time."""
    every = max(corners // _MARKS_ON_A_LINE, 1)
    return line.place * every // len(PLACES), every


def _steps(line: Line, scale: Scale) -> tuple[list[float], list[float]]:
    """The corners of a line; NaN, which lifts the pen, where it is broken."""
    xs: list[float] = []
    ys: list[float] = []
    for run in joined(line.stretches):
        for each in run:
            height = each.value * scale.factor
            if ys and ys[-1] == height:
                xs[-1] = each.to_us
            else:
                xs += [each.from_us, each.to_us]
                ys += [height, height]
        xs.append(run[-1].to_us)
        ys.append(float("nan"))
    return xs, ys


def _points(axes: Any, line: Line, scale: Scale, colour: str) -> None:
    """What was seen once, between times in which nobody looked, is no line."""
    runs: Iterable[list[Stretch]] = joined(line.stretches)
    alone = [run[0] for run in runs if run[0].from_us == run[-1].to_us]
    if alone:
        heights = [each.value * scale.factor for each in alone]
        axes.plot([each.from_us for each in alone], heights, "o", ms=3, color=colour)


def _legend(axes: Any, lines: Sequence[Line], panel: Panel, *, compared: bool) -> None:
    """What each style is, if there is more than one."""
    from matplotlib.lines import Line2D  # noqa: PLC0415  (as above)

    drawn = [line for line in lines if not compared or any(s.value for s in line.stretches)]
    styles = {line.style: line.name for line in drawn}
    if len(styles) < 2 and panel.recipe.title in styles.values():
        return
    keys = [
        Line2D([], [], color="#444444" if compared else COLOURS[n % len(COLOURS)],
               linestyle=STYLES[n % len(STYLES)], lw=1.3)
        for n in sorted(styles)
    ]  # fmt: skip
    _above(axes, keys, [styles[n] for n in sorted(styles)])


def _above(axes: Any, keys: Sequence[Any], names: Sequence[str]) -> None:
    """A legend in the line of the title, where no curve can be."""
    axes.legend(
        keys, names, loc="lower right", bbox_to_anchor=(1.0, 0.97), ncols=len(names),
        borderaxespad=0.2, handlelength=2.4, columnspacing=1.4,
    )  # fmt: skip


def _lost(axes: Any, losses: Iterable[Marks], *, compared: bool) -> None:
    """An x at the bottom for each snapshot in which segments were sent again."""
    found = list(losses)
    for each in found:
        colour = COLOURS[each.place % len(COLOURS)] if compared else "#000000"
        height = -0.05 - 0.055 * found.index(each)
        axes.plot(
            [mark.at_us for mark in each.marks], [height] * len(each.marks), "x", ms=3.5, mew=0.9,
            color=colour, clip_on=False, transform=axes.get_xaxis_transform(),
        )  # fmt: skip


def _counted(axes: Any, chart: Chart, panel: Panel) -> None:
    """A mark as high as it was often, on a thin stem."""
    compared = len(chart.labels) > 1
    most = max((m.count for each in panel.marks for m in each.marks), default=1)
    for each in panel.marks:
        colour = COLOURS[(each.place if compared else each.style) % len(COLOURS)]
        xs, ys = [m.at_us for m in each.marks], [m.count for m in each.marks]
        axes.vlines(xs, 0, ys, color=colour, lw=0.8)
        axes.plot(xs, ys, MARKERS[each.style], ms=4.5, mew=1.0, color=colour)
    from matplotlib.lines import Line2D  # noqa: PLC0415  (as above)

    sums = [
        sum(m.count for each in panel.marks if each.style == n for m in each.marks)
        for n, _ in enumerate(panel.recipe.names)
    ]
    keys = [
        Line2D([], [], color="#444444" if compared else COLOURS[n], marker=MARKERS[n],
               linestyle="", ms=4.5)
        for n, _ in enumerate(sums)
    ]  # fmt: skip
    names = [f"{name}: {n}" for name, n in zip(panel.recipe.names, sums, strict=True)]
    _above(axes, keys, names)
    axes.set_ylim(0, most * 1.15)
    axes.set_ylabel("in a snapshot")
    axes.yaxis.get_major_locator().set_params(integer=True, nbins=4)


def _stack(axes: Any, panel: Panel) -> None:
    """Shares of the time, on top of one another."""
    from matplotlib.patches import Patch  # noqa: PLC0415  (as above)

    parts = [part for each in panel.shares for part in each.parts]
    xs: list[float] = []
    for begin, end, _ in parts:
        xs += [begin, end]
    used = [n for n, _ in enumerate(LIMIT_NAMES) if any(shares[n] > 0 for *_, shares in parts)]
    low = [0.0] * len(xs)
    for n in used:
        high = list(low)
        for place, (*_, shares) in enumerate(parts):
            for corner in (2 * place, 2 * place + 1):
                high[corner] += 100 * shares[n]
        colour, hatch = _LIMITS[n]
        for begin, end in _unbroken(parts):
            axes.fill_between(
                xs[2 * begin : 2 * end], low[2 * begin : 2 * end], high[2 * begin : 2 * end],
                facecolor=colour, hatch=hatch, edgecolor="#333333", linewidth=0.0,
            )  # fmt: skip
        low = high
    keys = [Patch(facecolor=_LIMITS[n][0], hatch=_LIMITS[n][1], edgecolor="#333333", lw=0)
            for n in used]  # fmt: skip
    _above(axes, keys, [LIMIT_NAMES[n] for n in used])
    axes.grid(visible=False)
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 50, 100])
    axes.set_ylabel("% of the time")


def _unbroken(parts: Sequence[tuple[int, int, tuple[float, ...]]]) -> list[tuple[int, int]]:
    """Which parts follow on one another, as half-open ranges."""
    begins = [n for n, part in enumerate(parts) if n == 0 or part[0] > parts[n - 1][1]]
    return list(zip(begins, [*begins[1:], len(parts)], strict=True))


def _bars(axes: Any, chart: Chart, panel: Panel) -> None:
    """A bar of each connection, shared out as its time was."""
    from matplotlib.patches import Patch  # noqa: PLC0415  (as above)

    used: set[int] = set()
    for row, each in enumerate(panel.shares):
        low = 0.0
        for n, share in enumerate(each.mean):
            if share > 0:
                used.add(n)
                colour, hatch = _LIMITS[n]
                axes.barh(row, 100 * share, left=low, color=colour, hatch=hatch,
                          edgecolor="#333333", linewidth=0, height=0.7)  # fmt: skip
                low += 100 * share
    axes.set_yticks(range(len(panel.shares)), [_short(chart.labels[s.place]) for s in panel.shares])
    for each, text in zip(panel.shares, axes.get_yticklabels(), strict=True):
        text.set_color(COLOURS[each.place % len(COLOURS)])
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of the time")
    order = sorted(used)
    keys = [Patch(facecolor=_LIMITS[n][0], hatch=_LIMITS[n][1], edgecolor="#333333", lw=0)
            for n in order]  # fmt: skip
    _above(axes, keys, [LIMIT_NAMES[n] for n in order])


def _short(label: str) -> str:
    """The number with which every label begins."""
    return label.split(" ", 1)[0]


def _time_axis(axes: Any, looks: Looks, rows: int) -> None:
    """The times of day, below so many rows of marks, and grey where nobody looked."""
    for begin, end in looks.holes:
        edges = max(begin, looks.from_us), min(end, looks.to_us)
        axes.axvspan(*edges, color=_UNSEEN, lw=0, zorder=0)
    axes.set_xlim(looks.from_us, max(looks.to_us, looks.from_us + 1))
    found = ticks(looks.from_us, looks.to_us, _TICKS)
    axes.set_xticks([at for at, _ in found], [text for _, text in found])
    axes.tick_params(axis="x", pad=3.5 + 6 * rows)
