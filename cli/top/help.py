"""What the keys do, and what is to be known of the answer: losses, thinned history, no values."""

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Static

from cli.render import printable
from cli.top.lines import Lines
from cli.top.words import HELP, KEYS_OF_HELP


class HelpScreen(Screen[None]):
    """Text to scroll in."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,backspace,enter", "app.pop_screen"),
        Binding("down,j", "scroll('down')"),
        Binding("up,k", "scroll('up')"),
        Binding("pagedown,space", "scroll('page_down')"),
        Binding("pageup", "scroll('page_up')"),
    ]

    def __init__(self, facts: Sequence[str]) -> None:
        """``facts`` are about this answer; they come first."""
        super().__init__()
        self._facts = facts

    def compose(self) -> ComposeResult:
        """The facts, then the keys."""
        facts = "".join(f"- {printable(fact)}\n" for fact in self._facts)
        with VerticalScroll(id="all", can_focus=False):
            yield Static(Text(f"{facts}\n{HELP}"), markup=False)
        yield Lines(KEYS_OF_HELP, id="keys")

    def action_scroll(self, way: str) -> None:
        """Up, down, or a page of it."""
        getattr(self.query_one("#all", VerticalScroll), f"scroll_{way}")(animate=False)
