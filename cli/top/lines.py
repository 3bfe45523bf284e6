"""A line of plain text on the screen: what does not fit is cut off, and nothing in it is markup."""

from rich.text import Text
from textual.widgets import Static

from cli.render import printable


class Lines(Static):
    """One line, whatever is in it."""

    def __init__(self, text: str = "", *, id: str) -> None:
        """With this text to begin with."""
        super().__init__(_plain(text), id=id, markup=False)

    def say(self, text: str, style: str = "") -> None:
        """Show this instead."""
        self.update(_plain(text, style))


def _plain(text: str, style: str = "") -> Text:
    return Text(printable(text), style=style)
