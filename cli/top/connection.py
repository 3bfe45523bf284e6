"""The page of a connection on the screen: curves, the sentence, and all its variables."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Static

from cli.render import printable
from cli.times import age
from cli.top.columns import elided, state_word
from cli.top.curves import buckets, sparkline
from cli.top.lines import Lines
from cli.top.page import Page, head
from cli.top.words import KEYS_OF_PAGE

_BOLD = "bold"
_NAME_WIDTH, _NUMBER_WIDTH = 7, 6
_VALUE_WIDTH, _VARIABLE_WIDTH = 52, 22


class ConnectionScreen(Screen[None]):
    """It shows what it is given, and scrolls as a whole where it does not fit."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace", "app.leave_page"),
        Binding("down,j", "scroll('down')"),
        Binding("up,k", "scroll('up')"),
        Binding("pagedown", "scroll('page_down')"),
        Binding("pageup", "scroll('page_up')"),
        Binding("home", "scroll('home')"),
        Binding("end", "scroll('end')"),
    ]

    def __init__(self, page: Page, levels: str) -> None:
        """``levels`` are the characters that curves are drawn with."""
        super().__init__()
        self._page, self._levels = page, levels

    def compose(self) -> ComposeResult:
        """Two lines about when and who, all there is, and two lines as below the list."""
        yield Lines(id="head")
        yield Static(id="who", markup=False)
        with VerticalScroll(id="all", can_focus=False):
            yield Static(id="page", markup=False)
        yield Lines(id="status")
        yield Lines(KEYS_OF_PAGE, id="keys")

    def on_mount(self) -> None:
        """Show what the list knew of it."""
        self.show(self._page)

    def on_resize(self) -> None:
        """The curves are as wide as the screen."""
        self.show(self._page)

    def show(self, page: Page) -> None:
        """Draw this instead."""
        self._page = page
        who = printable(head(page.row, state_word(page.row)))
        self.query_one("#who", Static).update(Text(who, style=_BOLD))
        lines = list(self._lines(page, max(self.size.width - 1, 20)))
        self.query_one("#page", Static).update(Text("\n").join(lines))

    def action_scroll(self, way: str) -> None:
        """Up, down, a page of it, or to an end."""
        area = self.query_one("#all", VerticalScroll)
        getattr(area, f"scroll_{way}")(animate=False)

    def _lines(self, page: Page, width: int) -> Iterator[Text]:
        if page.is_gone:
            yield Text("This connection is not in the database as of now.")
            return
        yield from self._curves(page, width)
        yield from (Text(printable(line)) for line in page.told)
        yield Text("")
        yield from _values(page.values, width)

    def _curves(self, page: Page, width: int) -> Iterator[Text]:
        length_us = page.to_us - page.from_us
        count = width - _NAME_WIDTH - 2 * (_NUMBER_WIDTH + 1)
        if length_us <= 0 or count <= 0:
            return
        line = Text(" " * _NAME_WIDTH)
        line.append(f"{age(length_us)} ago".ljust(count - 3) + "now")
        line.append(f" {'newest':>{_NUMBER_WIDTH}} {'most':>{_NUMBER_WIDTH}}")
        yield line
        for curve in page.curves:
            points = buckets(curve.found, page.from_us, page.to_us, count)
            line = Text(curve.title.ljust(_NAME_WIDTH))
            line.append(sparkline(points, self._levels), style=_BOLD)
            line.append(f" {curve.newest:>{_NUMBER_WIDTH}} {curve.largest:>{_NUMBER_WIDTH}}")
            yield line


def _values(values: Sequence[tuple[str, str, str]], width: int) -> Iterator[Text]:
    """Side by side in as many columns as there is room for, read downwards."""
    across = max(width // _VALUE_WIDTH, 1)
    each = min(width // across, _VALUE_WIDTH + 8) - 1
    height = -(-len(values) // across)
    for place in range(height):
        line = Text()
        for name, value, change in values[place::height]:
            named = elided(name, _VARIABLE_WIDTH)
            room = each - len(named) - 1
            text = f"{value} {change}" if change else value
            cell = f"{named} {elided(text, room):>{room}} "
            line.append(cell, style=_BOLD if change else "")
        yield line
