"""A terminal that shows one round after the other in the same place."""

import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager

from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli.blocks import Block
from cli.render import printable, shown

_BOLD = "bold"


class Screen:
    """The terminal while it is ours; what was on it is there again afterwards."""

    def __init__(self, live: Live, console: Console) -> None:
        """Draw on ``live``; ``showing`` makes it."""
        self._live, self._console = live, console

    def draw(self, head: str, header: Sequence[str], blocks: Iterable[Block]) -> None:
        """A line at the top, and the blocks below, as far as there is room."""
        height = max(self._console.size.height - 4, 1)
        parts: list[Text | Columns] = [Text(printable(head), no_wrap=True)]
        for block in blocks:
            parts.append(Text(printable(block.title), style="underline", no_wrap=True))
            pieces = (block.rows[i : i + height] for i in range(0, len(block.rows), height))
            parts.append(Columns(_table(header, piece) for piece in pieces))
        self._live.update(Group(*parts), refresh=True)


@contextmanager
def showing() -> Generator[Screen]:
    """Take the terminal for the length of a block."""
    console = Console(file=sys.stdout, highlight=False)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        yield Screen(live, console)


def _table(header: Sequence[str], rows: Sequence[Sequence[str | int | float | None]]) -> Table:
    """Rows whose last cell says that something changed are bold."""
    table = Table(*map(printable, header), box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        style = _BOLD if row[-1] else ""
        table.add_row(*(Text(shown(cell), style=style, no_wrap=True) for cell in row))
    return table
