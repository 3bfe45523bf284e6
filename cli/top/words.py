"""The lines above and below the list: as of when it is, how much of it one sees, what is wrong."""

from typing import Final

from bpf.errors import EstatsError
from cli.notice import counted
from cli.render import printable
from cli.times import age, short
from cli.top.look import View
from cli.top.page import LENGTH_US
from cli.top.wish import Wish

#: A view of a running collector is old once it is older than so many of its intervals.
_INTERVALS_MAX: Final = 3
_OLD_US: Final = 3_000_000

KEYS: Final = "? help  / filter  Enter page  s sort  r reverse  Space stop  [ ] time  q quit"
KEYS_OF_FILTER: Final = "words to find: Enter keeps the filter, Esc forgets it"
KEYS_OF_PAGE: Final = "? help  arrows scroll  Space stop  [ ] time  Esc back  q quit"
KEYS_OF_HELP: Final = "arrows scroll  Esc back  q quit"

READING: Final = "reading the database ..."
HELP: Final = """\
Connections of this host, or of a database, as of a moment.

  Up Down PgUp PgDn Home End   move (also k and j)
  Enter                        the page of a connection: curves, what
                               limited it, and all its variables
  /                            filter: each word must be in an end, the
                               process, its number or the state
  Esc                          leave the page, or forget the filter
  s >   <                      sort by the next column, the one before
  r                            the other way round
  t                            counters as totals, or as rates
  Space                        stop: time stands; again: follow it
  [ ]                          a snapshot back, a snapshot on
  { }                          a minute back, a minute on
  q  Ctrl-C                    quit

Columns. Rates are over the window, which is one --interval or what
--since says; octets, and segments sent again, a second.

  Limit   whose the sender's time was in the window, and how much of it:
          snd the sender itself, cwnd the congestion window, rwin the
          receiver's window, pace a pacing timer (RFC 4898, SndLim).
          recv only receives, idle neither. - is unknown.
  Moved   octets in both directions, by which the list is sorted first.
  bold    somebody else than the sender held it back for most of the
          time, or segments were sent again.

The connection page is about the last five minutes up to the moment, or
about --since if that is longer. docs/top.md says more.
"""


def heading(view: View | None, wish: Wish, *, is_written: bool, now: int) -> str:
    """As of when, how many connections, sorted by what."""
    if view is None or view.taken_us is None:
        return "no snapshot yet" if is_written or view is None else "no snapshot in it"
    parts = [short(view.taken_us), standing(view, wish, is_written=is_written, now=now)]
    if wish.page is not None:
        return "  ".join(parts)
    parts.append(showing(view))
    way = "" if wish.order.descending else " rising"
    parts.append(f"by {wish.sorted_by}{way}")
    if wish.text:
        parts.append(f"/{printable(wish.text)}")
    return "  ".join(parts)


def standing(view: View, wish: Wish, *, is_written: bool, now: int) -> str:
    """Whether time stands, and how old what one sees is if it should be new."""
    if wish.at_us is not None:
        return "stopped"
    old_us = now - (view.taken_us or now)
    if not is_written:
        return f"ended {age(old_us)} ago"
    if old_us > max(_OLD_US, _INTERVALS_MAX * view.interval_us):
        return f"{age(old_us)} old"
    return "live"


def showing(view: View) -> str:
    """How many connections, and how many of them are in the list."""
    if len(view.rows) < view.count:
        return f"{len(view.rows)} of {view.count:,} connections"
    return counted(view.count, "connection")


def trouble(view: View | None, error: Exception | None, now: int) -> str:
    """What is wrong now, if anything is; what one sees is older then."""
    if error is not None:
        said = error.message if isinstance(error, EstatsError) else str(error)
        when = f"as of {age(now - view.taken_us)} ago: " if view and view.taken_us else ""
        return f"{when}{printable(said)}"
    if view is not None and view.is_edge:
        return "there is nothing before or after this in the database"
    return ""


def losses_of(view: View | None, wish: Wish) -> str:
    """How much was lost lately, and how many notes there are beside."""
    if view is None or view.taken_us is None:
        return ""
    lost = f"{view.lost} in {age(max(LENGTH_US, wish.window_us))}"
    return f"{lost}; {counted(len(view.notes), 'note')}: ?" if view.notes else lost
