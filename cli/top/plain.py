"""The list where there is no terminal: once, as a table."""

import sys

from cli.render import say, table_width, write_table
from cli.times import now_us
from cli.top import words
from cli.top.columns import Placed, fitting
from cli.top.looker import Answer
from cli.top.row import Row
from cli.top.wish import Wish

_WIDTH = 110


def _cell(row: Row, placed: Placed) -> str:
    text = placed.column.cell(row, placed.width)
    return text.rjust(placed.width) if placed.column.is_number else text


def write_list(answer: Answer, wish: Wish) -> None:
    """Write it to stdout, and what else is to be known to stderr."""
    view = answer.view
    assert view is not None, "an answer without one was raised"
    say(words.heading(view, wish, is_written=answer.is_written, now=now_us()))
    if view.taken_us is not None:
        say(words.losses_of(view, wish))
    for note in view.notes:
        say(note)
    placed = fitting(wish.columns, table_width(sys.stdout) or _WIDTH)
    rows = [[_cell(row, each) for each in placed] for row in view.rows]
    if not write_table([each.column.title for each in placed], rows, sys.stdout):
        say("no connection matches")
