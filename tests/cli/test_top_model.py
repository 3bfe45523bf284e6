"""What estats top shows, made without a screen: rows, columns, curves, wishes and words."""

from dataclasses import replace
from typing import Any

import pytest

from bpf.catalogue import BY_NAME
from bpf.errors import StorageError
from cli.top.columns import GAP, columns_of, elided, fitting, state_word
from cli.top.curves import ASCII, Stretch, buckets, sparkline, stretches
from cli.top.look import Ask, View
from cli.top.numbers import amount, milliseconds
from cli.top.row import Row, limit
from cli.top.wish import Wish
from cli.top.words import heading, losses_of, standing, trouble
from diagnosis.observed import LIMITS
from storage.question import Filter, Order, Sample

SECOND = 1_000_000
CWND, OUT = BY_NAME["curcwnd"], BY_NAME["hcdataoctetsout"]
CONNECTION: dict[str, Any] = {
    "ConnectIndex": 7,
    "opened_us": 5 * SECOND,
    "LocalAddress": "192.0.2.10",
    "LocalPort": 40000,
    "RemAddress": "2001:db8:85a3::8a2e:370:7334",
    "RemPort": 65535,
    "pid": 12345,
    "comm": "a-long-process",
    "closed_us": None,
}


def a_row(*, state: int = 5, seconds: float = 2.0, lim_state: int = 0, **grown: int) -> Row:
    """A connection with some growth in its window."""
    values = {"State": state, "LimState": lim_state}
    return Row(
        connection=CONNECTION, values=values, grown=grown, seconds=seconds, as_of_us=9 * SECOND
    )


def a_wish(**fields: Any) -> Wish:
    """What somebody wants who has touched no key."""
    return Wish(**{"wanted": Filter(), "chosen": (), "window_us": SECOND, "limit": 200, **fields})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "-"),
        (0, "0"),
        (0.5, "0.5"),
        (9.996, "10"),
        (999.4, "999"),
        (999.5, "1k"),
        (12_345, "12.3k"),
        (2**64, "18.4E"),
        (-20, "-20"),
    ],
)
def test_an_amount_takes_five_places(value: float | None, words: str) -> None:
    """Three digits and a unit; what is unknown is no 0."""
    assert amount(value) == words
    assert len(words) <= 5


def test_round_trips_are_milliseconds() -> None:
    """Of microseconds."""
    assert [milliseconds(us) for us in (None, 30, 1234, 45_678, 1_234_567)] == [
        "-",
        "0.03",
        "1.23",
        "45.7",
        "1235",
    ]


def test_the_usual_columns_fit_eighty() -> None:
    """All that one asks for first; a wider terminal has more, and all of both ends."""

    def titles(width: int) -> list[str]:
        placed = fitting(columns_of((), totals=False), width)
        assert sum(p.width + GAP for p in placed) - GAP <= width
        return [p.column.title for p in placed]

    usual = ["Connection", "Process", "State", "Out/s", "In/s", "Rtx/s", "RTTms", "Cwnd", "Limit"]
    assert titles(80) == usual
    assert titles(200) == [*usual, "Moved/s", "Rwin", "MinRTTms", "Age", "#"]
    assert titles(40) == ["Connection", "Process", "State"]


def test_chosen_variables_come_before_the_usual_ones() -> None:
    """A counter as a rate, unless totals are asked for; none of them twice."""
    chosen = (BY_NAME["segsout"], CWND)

    def titles(*, totals: bool) -> list[str]:
        placed = fitting(columns_of(chosen, totals=totals), 80)
        return [p.column.title for p in placed[3:]]

    assert titles(totals=False) == ["SegsOut/s", "CurCwnd", "Out/s", "In/s", "Rtx/s"]
    assert titles(totals=True)[:3] == ["SegsOut", "CurCwnd", "Out"]


def test_an_end_keeps_its_port_and_what_does_not_fit_is_marked() -> None:
    """Both ends, else the local port and as much of the remote address as there is room for."""
    cell = columns_of((), totals=False)[0].cell
    row = a_row()
    assert cell(row, 60) == "192.0.2.10:40000 [2001:db8:85a3::8a2e:370:7334]:65535"
    assert cell(row, 25) == "40000 [2001:~:7334]:65535"
    assert len(cell(row, 25)) == 25
    assert elided("abcdefgh", 5) == "ab~gh"


def test_a_process_has_its_number_where_there_is_room() -> None:
    """And a dash where nobody knows it."""
    cell = columns_of((), totals=False)[1].cell
    assert [cell(a_row(), width) for width in (22, 15)] == [
        "a-long-process[12345]",
        "a-long-process",
    ]
    nobody = replace(a_row(), connection=CONNECTION | {"pid": None, "comm": None})
    assert cell(nobody, 22) == "-"


def test_a_state_is_the_end_of_a_connection_that_has_ended() -> None:
    """Else the RFC's word, which has a short form."""
    state = columns_of((), totals=False)[2].cell
    assert state_word(a_row()) == "established"
    assert state(a_row(), 5) == "estab"
    assert state_word(replace(a_row(), ended="refused")) == "refused"


def times(**of: int) -> dict[str, int]:
    """The growth of the sender's times, with octets that were sent."""
    return dict.fromkeys(LIMITS, 0) | {"HCDataOctetsOut": 9, "HCDataOctetsIn": 0} | of


def test_a_limit_has_its_share_of_the_window() -> None:
    """As RFC 4898 shares out the sender's time."""
    grown = times(SndLimTimeCwndUs=1_500_000, SndLimTimeSndUs=500_000)
    assert limit(a_row(**grown)) == ("cwnd", 0.75)
    assert limit(a_row(**times(SndLimTimeRwinUs=2_000_000))) == ("rwin", 1.0)
    assert limit(a_row(**times(SndLimTimePaceUs=2_000_000))) == ("pace", 1.0)


def test_a_limit_that_stands_has_the_time_that_no_sample_tells_of() -> None:
    """And what it has of before the window does not count."""
    standing = a_row(lim_state=1, **times(SndLimTimeSndUs=500_000))
    assert limit(standing) == ("cwnd", 0.75)
    of_before = a_row(lim_state=0, **times(SndLimTimeSndUs=90_000_000, SndLimTimeCwndUs=1_500_000))
    assert limit(of_before) == ("cwnd", 0.75)


def test_whoever_sends_nothing_is_not_limited() -> None:
    """It receives, or is idle; and of one whose times are unknown nobody can tell."""
    assert limit(a_row(**times(HCDataOctetsOut=0, HCDataOctetsIn=1))) == ("recv", None)
    assert limit(a_row(**times(HCDataOctetsOut=0))) == ("idle", None)
    assert limit(a_row(HCDataOctetsOut=9, HCDataOctetsIn=0)) is None


def _samples(*values: int) -> list[Sample]:
    """A sample a second, from 10 s on, each based on the one before."""
    found: list[Sample] = []
    for n, value in enumerate(values):
        base = (values[n - 1],) if n else None
        taken = (10 + n) * SECOND
        base_us = taken - SECOND if n else None
        found.append(Sample(CONNECTION, taken, taken, (value,), base, base_us))
    return found


def test_a_counter_is_drawn_as_its_rate_and_a_gauge_as_it_stood() -> None:
    """Unknown before there are two samples; nothing moved after the last one."""
    samples = _samples(2**64 - 10, 90, 290)
    assert stretches(samples, 0, OUT, 14 * SECOND) == [
        Stretch(10 * SECOND, 11 * SECOND, 100.0),
        Stretch(11 * SECOND, 12 * SECOND, 200.0),
        Stretch(12 * SECOND, 14 * SECOND, 0.0),
    ]
    assert stretches(_samples(3, 5), 0, CWND, 13 * SECOND) == [
        Stretch(10 * SECOND, 11 * SECOND, 3),
        Stretch(11 * SECOND, 13 * SECOND, 5),
    ]


def test_a_point_is_the_mean_over_its_time() -> None:
    """Of the part that is known; None of a time of which nothing is."""
    found = [Stretch(10, 20, 4.0), Stretch(20, 25, 8.0)]
    assert buckets(found, 0, 40, 4) == [None, 4.0, 8.0, None]
    assert buckets(found, 10, 30, 1) == [pytest.approx(80 / 15)]


def test_a_sparkline_leaves_the_lowest_level_to_nothing() -> None:
    """The least that is more than that is seen; what is unknown is blank."""
    assert sparkline([None, 0, 0.01, 4, 8]) == " ▁▂▅█"
    assert sparkline([0, 0]) == "▁▁"
    assert sparkline([1, 2], ASCII).isascii()


def test_the_list_is_sorted_by_the_next_column_one_sees() -> None:
    """Round and round, and back; numbers from the largest on."""
    wish = a_wish()
    shown = [p.column for p in fitting(wish.columns, 80)]
    assert wish.sorted_by == "Moved/s"
    seen: list[str] = []
    for _ in range(8):
        wish.sort_on(shown, 1)
        seen.append(wish.sorted_by)
    assert seen == ["Connection", "Process", "State", "Out/s", "In/s", "Rtx/s", "RTTms", "Cwnd"]
    wish.sort_on(shown, 1)
    assert wish.sorted_by == "Connection" and not wish.order.descending
    wish.sort_on(shown, -1)
    assert wish.sorted_by == "Cwnd" and wish.order.descending
    wish.reverse()
    assert not wish.order.descending


def test_totals_are_sorted_as_totals() -> None:
    """And rates as rates."""
    wish = a_wish()
    wish.count_totals()
    assert (wish.sorted_by, wish.order.grown) == ("Moved", False)
    wish.count_totals()
    assert (wish.sorted_by, wish.order.grown) == ("Moved/s", True)


def _answer(wish: Wish, taken_us: int) -> tuple[Ask, View]:
    return wish.ask, View(taken_us=taken_us)


def test_steps_that_come_faster_than_answers_are_all_taken() -> None:
    """Three keys, then the answer to the first of them: two are left, from where that led."""
    wish, view = a_wish(), View(taken_us=100)
    wish.step(view, -1)
    first = wish.ask
    wish.step(view, -1)
    wish.step(view, -1)
    assert not wish.answered(first, View(taken_us=99))
    assert (wish.at_us, wish.steps) == (99, -2)
    assert wish.answered(*_answer(wish, 97))
    assert (wish.at_us, wish.steps) == (97, 0)


def test_time_stands_until_it_is_told_to_go_on() -> None:
    """At what one sees; a leap is from there."""
    wish, view = a_wish(), View(taken_us=90 * SECOND)
    wish.stop_or_go(view)
    assert wish.at_us == 90 * SECOND
    wish.leap(view, -1)
    assert wish.at_us == 30 * SECOND
    wish.leap(view, -1)
    assert wish.at_us == 0
    wish.stop_or_go(view)
    assert wish.at_us is None


def test_a_view_says_how_old_it_is() -> None:
    """Of a collector that writes, if it should have been newer; of one that has ended always."""
    view = View(taken_us=100 * SECOND, interval_us=SECOND)

    def words(now: int, *, is_written: bool, **fields: Any) -> str:
        return standing(view, a_wish(**fields), is_written=is_written, now=now * SECOND)

    assert words(101, is_written=True) == "live"
    assert words(112, is_written=True) == "12s old"
    assert words(112, is_written=False) == "ended 12s ago"
    assert words(112, is_written=True, at_us=1) == "stopped"


def test_the_heading_counts_what_one_does_not_see() -> None:
    """And says by what it is sorted, and found; the page of one connection needs neither."""
    view = View(taken_us=100 * SECOND, rows=[a_row()], count=10_432)
    wish = a_wish(text="ng\x1bx", order=Order("comm"))
    told = heading(view, wish, is_written=True, now=100 * SECOND)
    assert told.endswith("live  1 of 10,432 connections  by Process rising  /ng\\x1bx")
    wish.page = a_row()
    assert heading(view, wish, is_written=True, now=100 * SECOND).endswith("live")
    assert heading(View(), wish, is_written=True, now=0) == "no snapshot yet"


def test_trouble_is_told_with_the_age_of_what_one_sees() -> None:
    """In one line that cannot steer a terminal."""
    error = StorageError("flows\x07.db is locked")
    view = View(taken_us=100 * SECOND)
    assert trouble(view, error, 112 * SECOND) == "as of 12s ago: flows\\x07.db is locked"
    assert trouble(None, error, 0) == "flows\\x07.db is locked"
    assert trouble(view, None, 0) == ""
    assert "nothing before or after" in trouble(View(taken_us=1, is_edge=True), None, 0)


def test_losses_are_of_the_last_minutes_and_notes_are_counted() -> None:
    """Where the notes are is told with them."""
    view = View(taken_us=1, lost="2 batches lost", notes=["one", "two"])
    assert losses_of(view, a_wish()) == "2 batches lost in 5m00s; 2 notes: ?"
