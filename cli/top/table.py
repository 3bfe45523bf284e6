"""The list on the screen: a line for each connection, and a cursor on one of them."""

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from cli.top.columns import GAP, Placed, fitting
from cli.top.row import Row
from cli.top.wish import Wish

_PLAIN = Style()
_CURSOR = Style(reverse=True)
#: By whether the cursor is there, and whether a cell stands out. No colour tells what is not also
#: bold or a word.
_STYLES = {
    (False, False): _PLAIN,
    (False, True): Style(bold=True, color="magenta"),
    (True, False): _CURSOR,
    (True, True): Style(reverse=True, bold=True),
}
_HEADER = Style(bold=True, reverse=True)
_SORTED = Style(bold=True, underline=True)


class Table(ScrollView, can_focus=True):
    """Rows below a header that stays; the cursor follows its connection once it was moved."""

    class Chosen(Message):
        """Somebody wants to see the page of a connection."""

        def __init__(self, row: Row) -> None:
            """Of this one."""
            super().__init__()
            self.row = row

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)"),
        Binding("down,j", "move(1)"),
        Binding("pageup", "page(-1)"),
        Binding("pagedown", "page(1)"),
        Binding("home", "edge(False)"),
        Binding("end", "edge(True)"),
        Binding("enter", "choose"),
    ]

    def __init__(self, wish: Wish) -> None:
        """The columns are those of ``wish``."""
        super().__init__()
        self._wish = wish
        self._rows: Sequence[Row] = ()
        self._cursor = 0
        self._fitted = (0, False)
        self._placed: list[Placed] = []

    @property
    def placed(self) -> Sequence[Placed]:
        """The columns that there is room for."""
        if self._fitted != (wanted := (self.size.width, self._wish.totals)):
            self._fitted, self._placed = wanted, fitting(self._wish.columns, wanted[0])
        return self._placed

    def show(self, rows: Sequence[Row]) -> None:
        """Draw these instead."""
        followed = self._rows[self._cursor].key if self._rows and self._cursor else None
        places = {row.key: place for place, row in enumerate(rows)}
        self._rows = rows
        kept = min(self._cursor, max(len(rows) - 1, 0))
        self._cursor = kept if followed is None else places.get(followed, kept)
        self.lay_out()

    def lay_out(self) -> None:
        """Fit them to the size, and draw."""
        self.virtual_size = Size(self.size.width, len(self._rows) + 1)
        self._move_to(self._cursor)

    def on_resize(self) -> None:
        """The terminal has another size."""
        self.lay_out()

    def render_line(self, y: int) -> Strip:
        """The header, or a row of those that are scrolled to."""
        if y == 0:
            return self._header()
        place = y - 1 + self.scroll_offset.y
        if place >= len(self._rows):
            return Strip.blank(self.size.width)
        row, is_cursor = self._rows[place], place == self._cursor
        segments: list[Segment] = []
        for each in self.placed:
            is_notable = each.column.is_notable(row)
            style = _STYLES[is_cursor, is_notable]
            text = _filled(each.column.cell(row, each.width), each)
            segments += [Segment(text, style), Segment(" " * GAP, _CURSOR if is_cursor else _PLAIN)]
        return _strip(segments, self.size.width, _CURSOR if is_cursor else _PLAIN)

    def action_move(self, lines: int) -> None:
        """So many lines down."""
        self._move_to(self._cursor + lines)

    def action_page(self, pages: int) -> None:
        """So many screens down."""
        self._move_to(self._cursor + pages * max(self.size.height - 2, 1))

    def action_edge(self, at_end: bool) -> None:
        """To the last row, or to the first."""
        self._move_to(len(self._rows) if at_end else 0)

    def action_choose(self) -> None:
        """Its page, please."""
        if self._rows:
            self.post_message(self.Chosen(self._rows[self._cursor]))

    def _move_to(self, place: int) -> None:
        self._cursor = min(max(place, 0), max(len(self._rows) - 1, 0))
        visible = max(self.size.height - 1, 1)
        first = self.scroll_offset.y
        if self._cursor < first:
            first = self._cursor
        elif self._cursor >= first + visible:
            first = self._cursor - visible + 1
        self.scroll_to(y=min(first, max(len(self._rows) - visible, 0)), animate=False, force=True)
        self.refresh(Region(0, 0, *self.size))

    def _header(self) -> Strip:
        by = self._wish.order.by
        segments: list[Segment] = []
        for each in self.placed:
            order = each.column.order
            style = _HEADER + _SORTED if order is not None and order.by == by else _HEADER
            segments += [Segment(_filled(each.column.title, each), style)]
            segments += [Segment(" " * GAP, _HEADER)]
        return _strip(segments, self.size.width, _HEADER)


def _filled(text: str, placed: Placed) -> str:
    """In just as many places as the column has; what is too long loses its end."""
    width = placed.width
    if len(text) < width and text.isascii() and placed.column.is_number:
        return text.rjust(width)
    return set_cell_size(text, width)


def _strip(segments: Sequence[Segment], width: int, rest: Style) -> Strip:
    return Strip(segments).adjust_cell_length(width, rest)
