"""What somebody at the keys wants to see: the order, the filter, the time, the connection."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from bpf.variable import Variable
from cli.top.columns import MOVED, Column, columns_of
from cli.top.look import Ask, View
from cli.top.row import Row
from storage.question import Filter, Order

_MINUTE_US = 60_000_000


@dataclass(slots=True, kw_only=True)
class Wish:
    """It changes with each key; ``ask`` is what to ask of the database for it.

    ``at_us`` is None while the newest snapshot is followed, else time stands there. ``steps`` are
    snapshots that were asked for and are not there yet.
    """

    wanted: Filter
    chosen: tuple[Variable, ...]
    window_us: int
    limit: int
    order: Order = field(default_factory=lambda: Order(MOVED, descending=True, grown=True))
    totals: bool = False
    at_us: int | None = None
    steps: int = 0
    text: str = ""
    page: Row | None = None

    @property
    def columns(self) -> tuple[Column, ...]:
        """Those of the list."""
        return columns_of(self.chosen, totals=self.totals)

    @property
    def ask(self) -> Ask:
        """What to ask."""
        needs = (v for column in self.columns for v in column.needs)
        return Ask(
            wanted=self.wanted,
            variables=tuple(dict.fromkeys(needs)),
            order=self.order,
            window_us=self.window_us,
            limit=self.limit,
            at_us=self.at_us,
            steps=self.steps,
            text=self.text,
            page=self.page,
        )

    @property
    def sorted_by(self) -> str:
        """The column that the order is of, in words."""
        titles = (c.title for c in self.columns if _is_by(c, self.order))
        return next(titles, str(getattr(self.order.by, "name", self.order.by)))

    def sort_on(self, shown: Sequence[Column], steps: int) -> None:
        """By the next of the columns that one sees, or one before."""
        able = [c for c in shown if c.order is not None]
        here = [n for n, c in enumerate(able) if _is_by(c, self.order)]
        place = (here[0] + steps if here else min(steps, 0)) % len(able)
        if (order := able[place].order) is not None:
            self.order = order

    def reverse(self) -> None:
        """The other way round."""
        self.order = replace(self.order, descending=not self.order.descending)

    def count_totals(self) -> None:
        """Counters as totals instead of rates, or back."""
        self.totals = not self.totals
        self.order = replace(self.order, grown=not self.totals)

    def stop_or_go(self, view: View | None) -> None:
        """Let time stand at what one sees, or follow the newest snapshot again."""
        self.steps = 0
        if self.at_us is not None:
            self.at_us = None
        elif view is not None:
            self.at_us = view.taken_us

    def step(self, view: View | None, steps: int) -> None:
        """So many snapshots on, or back; time stands then."""
        if view is not None and view.taken_us is not None:
            self.at_us = view.taken_us if self.at_us is None else self.at_us
            self.steps += steps

    def leap(self, view: View | None, minutes: int) -> None:
        """So many minutes on, or back."""
        if view is not None and view.taken_us is not None:
            here = view.taken_us if self.at_us is None else self.at_us
            self.at_us = max(here + minutes * _MINUTE_US, 0)

    def answered(self, ask: Ask, view: View) -> bool:
        """Steps that were taken are no longer to be taken; whether that is all that was wanted."""
        is_all = ask == self.ask
        if ask.at_us is not None and self.at_us == ask.at_us and view.taken_us is not None:
            self.at_us = view.taken_us
            self.steps -= ask.steps
        return is_all


def _is_by(column: Column, order: Order) -> bool:
    return column.order is not None and column.order.by == order.by
