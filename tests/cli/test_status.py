"""What a running collector shows, on a terminal and in a log."""

import dataclasses
import io
import re
import sys
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.status import StatusLine, describe, size
from collector.event import Event
from collector.supervisor import Progress, Spent

QUIET = Progress(
    connections=23,
    ops=4600,
    batches=46,
    lost=0,
    snapshots=2,
    merged=0,
    rows=69,
    lag_us=2500,
    database_bytes=212 << 10,
    interval_us=500_000,
    interval_ops=1150,
)
BUSY = Spent(share=9.999, flush_us=20_000_000, sampled=64, sampled_out=123_456)
PATH = Path("flows.db")


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        """Yes."""
        return True

    def screen(self) -> list[str]:
        """The lines a person sees: a carriage return goes back over what was written."""
        lines = []
        for line in self.getvalue().split("\n"):
            shown = ""
            for part in line.split("\r"):
                shown = part + shown[len(part) :]
            lines.append(shown.rstrip())
        return lines


Stream = TypeVar("Stream", bound=io.StringIO)


def stderr(monkeypatch: pytest.MonkeyPatch, stream: Stream) -> Stream:
    """Put it in the place of stderr; called by the test itself, until which pytest has its own."""
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def test_a_line_says_what_matters() -> None:
    """The rate is per second, whatever the interval."""
    assert describe(QUIET) == "23 connections  2300 ops/s  lost 0  lag 2 ms  db 212.0 KiB"


def test_merged_ticks_are_shown_where_there_are_any() -> None:
    """They are a sign of a slow disk."""
    assert " merged 3 " in describe(dataclasses.replace(QUIET, merged=3))


@pytest.mark.parametrize(
    ("overhead", "words"),
    [
        (Spent(share=None, flush_us=250_000, sampled=1, sampled_out=0), "  bpf ? flush 250 ms  "),
        (Spent(share=0.0187, flush_us=250_000, sampled=1, sampled_out=0), " 1.9% flush 250 ms  "),
        (Spent(share=0.021, flush_us=2_000_000, sampled=4, sampled_out=9), " flush 2000 ms 1/4  "),
    ],
)
def test_a_budget_is_shown_with_what_is_done_for_it(overhead: Spent, words: str) -> None:
    """The share of one CPU, the flush interval, and how few of the new ones are tracked."""
    assert words in describe(dataclasses.replace(QUIET, overhead=overhead))


def test_what_does_not_fit_is_what_matters_least() -> None:
    """The size of the database, which the last line tells, and the lag."""
    full: dict[str, Any] = {
        "connections": 100_000,
        "interval_ops": 9_999_999,
        "lost": 9_999,
        "merged": 999,
    }
    line = describe(dataclasses.replace(QUIET, interval_us=1_000_000, overhead=BUSY, **full))
    assert line.endswith("lost 9999 merged 999")
    assert "bpf 999.9%" in describe(dataclasses.replace(QUIET, lost=9_999, overhead=BUSY))


def test_the_last_words_say_how_many_were_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """If any were."""
    log = stderr(monkeypatch, io.StringIO())
    status = StatusLine(PATH)
    status.show(dataclasses.replace(QUIET, overhead=BUSY))
    status.end("SIGINT")

    told = "0 batches lost, 123456 new connections left out to keep to --max-overhead, 212.0 KiB"
    assert told in log.getvalue()


def test_what_the_bound_on_connections_cost_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it runs, and in the last words, where who was not tracked is no lost batch."""
    log = stderr(monkeypatch, io.StringIO())
    status = StatusLine(PATH)
    beyond = dataclasses.replace(QUIET, lost=9, meters={"lost": 2, "untracked": 7, "evicted": 25})
    assert "  lost 9 evicted 25  " in describe(beyond)
    status.show(beyond)
    status.end("SIGINT")

    told = "2 batches lost, 7 connections not tracked, 25 evicted to keep to --max-connections, "
    assert told in log.getvalue()


def test_an_interval_of_nothing_has_a_rate() -> None:
    """The first cut of a replay takes no time."""
    assert " ops/s " in describe(dataclasses.replace(QUIET, interval_us=0))


@given(
    connections=st.integers(0, 100_000),
    interval_ops=st.integers(0, 9_999_999),
    lost=st.integers(0, 9_999),
    merged=st.integers(0, 999),
    lag_us=st.integers(0, 9_999_000),
    database_bytes=st.integers(0, 1 << 50),
    overhead=st.none() | st.just(BUSY),
)
def test_a_busy_line_fits_a_terminal(**values: Any) -> None:
    """80 columns, also with 100,000 connections and ten million operands a second."""
    assert len(describe(dataclasses.replace(QUIET, interval_us=1_000_000, **values))) <= 80


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536 << 10, "1.5 MiB"),
        (1 << 40, "1.0 TiB"),
        (1 << 52, "4096.0 TiB"),
    ],
)
def test_a_size_is_told_in_the_largest_unit_that_fits(octets: int, text: str) -> None:
    """And TiB for all that is beyond."""
    assert size(octets) == text


def test_a_terminal_shows_one_line_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was longer before leaves no letter behind; events and the last words stay."""
    terminal = stderr(monkeypatch, Terminal())
    status = StatusLine(PATH)
    status.say(Event("kernel programs loaded in 1.1 s"))
    status.show(dataclasses.replace(QUIET, connections=100_000))
    status.show(QUIET)

    assert terminal.screen() == ["estats: kernel programs loaded in 1.1 s", describe(QUIET)]

    status.say(Event("something happened"))
    status.show(QUIET)
    status.end("SIGINT")

    assert terminal.screen()[1:] == [
        "estats: something happened",
        "estats: stopped (SIGINT): 2 snapshots, 69 rows, 0 batches lost, 212.0 KiB in flows.db",
        "",
    ]


def test_a_log_has_whole_lines_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """No carriage return ever; progress at the beginning, and then only now and then."""
    log = stderr(monkeypatch, io.StringIO())
    status = StatusLine(PATH)
    status.say(Event("collecting"))
    for _ in range(100):
        status.show(QUIET)
    status.end("duration")

    lines = log.getvalue().splitlines()
    assert "\r" not in log.getvalue()
    assert len(lines) == 3
    for line in lines:
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z estats: ", line)
    assert lines[1].endswith(describe(QUIET))


def test_a_run_that_showed_nothing_ends_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to sum up."""
    log = stderr(monkeypatch, io.StringIO())
    StatusLine(PATH).end("SIGINT")

    assert log.getvalue() == ""


def test_a_name_cannot_steer_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the database is called and an event says."""
    terminal = stderr(monkeypatch, Terminal())
    status = StatusLine(Path("\x1b[2J.db"))
    status.say(Event("\x1b]0;owned\x07"))
    status.show(QUIET)
    status.end("SIGINT")

    assert not {"\x1b", "\x07"} & set(terminal.getvalue())


def test_a_database_that_cannot_be_small_enough_is_told_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Loudly; and the last words say what was forgotten."""
    log = stderr(monkeypatch, io.StringIO())
    status = StatusLine(PATH)
    large = dataclasses.replace(QUIET, oversize=True, forgotten_samples=12, forgotten_connections=3)
    status.show(large)
    status.show(large)
    status.end("duration")
    assert log.getvalue().count("THE DATABASE IS LARGER THAN --max-db-size") == 1
    assert "12 samples and 3 connections forgotten, " in log.getvalue()
