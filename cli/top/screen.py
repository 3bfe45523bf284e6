"""The application on the screen: keys become wishes, answers become what one sees."""

import asyncio
import signal
from typing import ClassVar, Final

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input

from bpf.errors import EstatsError
from cli.times import now_us
from cli.top import words
from cli.top.connection import ConnectionScreen
from cli.top.curves import ASCII, BLOCKS
from cli.top.help import HelpScreen
from cli.top.lines import Lines
from cli.top.look import View
from cli.top.looker import Answer, Looker, Source
from cli.top.page import Page
from cli.top.table import Table
from cli.top.wish import Wish

_WARNING: Final = "bold reverse"
_TELL_SECONDS: Final = 1.0
#: What ends it in order, with the exit codes of shells; Ctrl-C is how one is meant to end it.
_SIGNALS: Final = {signal.SIGINT: 0, signal.SIGTERM: 143, signal.SIGHUP: 129}


class Answered(Message):
    """The looker has an answer."""

    def __init__(self, answer: Answer) -> None:
        """This one."""
        super().__init__()
        self.answer = answer


class TopApp(App[None]):
    """The list; pages and help lie on top of it. Ends with ``return_code``, or with a ``fault``.

    ``is_answered`` says whether what one sees is what was last asked for.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; overflow: hidden; }
    Lines { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    Table { height: 1fr; scrollbar-size: 0 0; }
    VerticalScroll { height: 1fr; scrollbar-size: 0 0; }
    #page, #who { width: 100%; height: auto; }
    Input, Input:focus {
        display: none; height: 1; border: none; padding: 0;
        background: ansi_default; color: ansi_default;
    }
    Input.asked { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit"),
        Binding("ctrl+c", "quit", priority=True),  # also where one types
        Binding("question_mark", "help"),
        Binding("slash", "filter"),
        Binding("s,greater_than_sign", "sort(1)"),
        Binding("less_than_sign", "sort(-1)"),
        Binding("r", "reverse"),
        Binding("t", "totals"),
        Binding("space", "stop"),
        Binding("left_square_bracket", "step(-1)"),
        Binding("right_square_bracket", "step(1)"),
        Binding("left_curly_bracket", "leap(-1)"),
        Binding("right_curly_bracket", "leap(1)"),
        Binding("escape", "forget"),
    ]

    def __init__(
        self, source: Source, wish: Wish, seconds: float, first: Answer, *, is_unicode: bool
    ) -> None:
        """Look at ``source`` every so many seconds; ``first`` is what it said already."""
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"
        self.fault: Exception | None = None
        self.is_answered = False
        self._source, self._wish = source, wish
        self._levels = BLOCKS if is_unicode else ASCII
        self._last = first
        self._error: Exception | None = None
        self._looker = Looker(source, seconds, lambda answer: self.post_message(Answered(answer)))

    def compose(self) -> ComposeResult:
        """Two lines above and below the list, and one to type in when it is asked for."""
        yield Lines(id="head")
        yield Table(self._wish)
        yield Input(id="filter", compact=True, select_on_focus=False)
        yield Lines(id="status")
        yield Lines(words.KEYS, id="keys")

    def on_mount(self) -> None:
        """Ask, and keep the line about age up to date also if nothing comes."""
        self.query_one(Table).focus()
        loop = asyncio.get_running_loop()
        for number, code in _SIGNALS.items():
            loop.add_signal_handler(number, self.exit, None, code)
        self.set_interval(_TELL_SECONDS, self._tell)
        self.on_answered(Answered(self._last))
        self._ask()

    def on_unmount(self) -> None:
        """Nobody is told any more."""
        self._looker.end()

    def on_answered(self, message: Answered) -> None:
        """Show it, unless it is a fault of ours, which is for whoever started this."""
        answer = message.answer
        if answer.error is not None and not isinstance(answer.error, EstatsError):
            self.fault = answer.error
            self.exit()
            return
        self._error = answer.error
        if answer.view is not None:
            self._last = answer
            self.is_answered = self._wish.answered(answer.ask, answer.view)
            if self._wish.steps:
                self._ask()
            self._draw()
        else:
            self.is_answered = answer.ask == self._wish.ask
        self._tell()

    def on_table_chosen(self, message: Table.Chosen) -> None:
        """Open its page, with what is known so far."""
        self._wish.page = message.row
        self.push_screen(ConnectionScreen(Page(row=message.row), self._levels))
        self._ask()

    def on_input_changed(self, message: Input.Changed) -> None:
        """Filter as one types."""
        if message.value != self._wish.text:
            self._wish.text = message.value
            self._ask()

    def on_input_submitted(self) -> None:
        """Back to the list, with the filter."""
        self._close_filter()

    def action_filter(self) -> None:
        """Let somebody type."""
        if len(self.screen_stack) == 1:
            field = self.query_one(Input)
            field.add_class("asked")
            field.focus()
            self.query_one("#keys", Lines).say(words.KEYS_OF_FILTER)

    def action_forget(self) -> None:
        """Of the filter."""
        self.screen_stack[0].query_one(Input).value = ""
        self._close_filter()

    def action_help(self) -> None:
        """Keys, columns, and what is to be known of the answer."""
        view = self._last.view
        facts = [f"This is {self._source.name}."]
        if view is not None and view.taken_us is not None:
            facts += [words.losses_of(view, self._wish), *view.notes]
        self.push_screen(HelpScreen(facts))

    def action_leave_page(self) -> None:
        """Back to the list."""
        self._wish.page = None
        self.pop_screen()
        self._ask()

    def action_sort(self, steps: int) -> None:
        """By another column."""
        table = self.screen_stack[0].query_one(Table)
        self._wish.sort_on([each.column for each in table.placed], steps)
        self._ask()

    def action_reverse(self) -> None:
        """The other way round."""
        self._wish.reverse()
        self._ask()

    def action_totals(self) -> None:
        """Totals instead of rates, or back."""
        self._wish.count_totals()
        self._ask()

    def action_stop(self) -> None:
        """Let time stand, or go on."""
        self._wish.stop_or_go(self._view)
        self._ask()

    def action_step(self, steps: int) -> None:
        """To another snapshot."""
        self._wish.step(self._view, steps)
        self._ask()

    def action_leap(self, minutes: int) -> None:
        """To another minute."""
        self._wish.leap(self._view, minutes)
        self._ask()

    @property
    def _view(self) -> View | None:
        return self._last.view

    def _close_filter(self) -> None:
        base = self.screen_stack[0]
        base.query_one(Input).remove_class("asked")
        base.query_one("#keys", Lines).say(words.KEYS)
        base.query_one(Table).focus()

    def _ask(self) -> None:
        self.is_answered = False
        self._looker.ask(self._wish.ask)

    def _draw(self) -> None:
        view = self._view
        if view is None:
            return
        self.screen_stack[0].query_one(Table).show(view.rows)
        if view.page is not None:
            for screen in self.screen_stack:
                if isinstance(screen, ConnectionScreen):
                    screen.show(view.page)

    def _tell(self) -> None:
        """The lines above and below, of whatever lies on top of the list."""
        view, now = self._view, now_us()
        head = words.heading(view, self._wish, is_written=self._last.is_written, now=now)
        wrong = words.trouble(view, self._error, now)
        if not wrong and not self.is_answered and view is not None:
            wrong = words.READING
        lost = words.losses_of(view, self._wish)
        is_loss = view is not None and view.is_lossy
        for screen in self.screen_stack:
            for line in screen.query(Lines):
                if line.id == "head":
                    line.say(head)
                elif line.id == "status":
                    line.say(wrong or lost, _WARNING if wrong or is_loss else "")
