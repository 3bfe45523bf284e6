"""estats top on a screen: keys are pressed by Textual's pilot, and what one sees is read."""

import asyncio
import os
import signal
import sqlite3
from asyncio import wait_for
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bpf.catalogue import BY_NAME
from bpf.errors import StorageError
from cli.top.look import Ask, View
from cli.top.looker import Source
from storage.writer import Writer
from tests.cli.story import ALL, at, one_run, write_story
from tests.kernel.collecting import PATIENCE
from tests.pictures.traffic import write_traffic
from tests.top import Top, pressed, running

SECONDS = 12
_OFTEN = 0.05
Script = Callable[[Top], Awaitable[None]]


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with seven connections, that of the pictures; not to be changed."""
    path = tmp_path_factory.mktemp("top") / "flows.db"
    write_traffic(path, SECONDS)
    return path


def play(path: Path, script: Script, **options: Any) -> None:
    """Let a script press keys and read along."""

    async def run() -> None:
        async with pressed(path, **options) as top:
            await script(top)

    asyncio.run(wait_for(run(), PATIENCE))


def _first(top: Top) -> list[str]:
    """The first word of each line of the list: the local ports of its connections."""
    return [line.split()[0] for line in top.lines[2:-2] if line.strip()]


def test_the_list_is_sorted_by_what_is_moved_and_fits_eighty(traffic: Path) -> None:
    """Every usual column is there as a whole, and below what was lost and what the keys do."""

    async def script(top: Top) -> None:
        head, columns, *rows = top.lines
        assert head == f"2023-11-14 22:13:32Z  {head.split('  ')[1]}  7 connections  by Moved/s"
        assert columns.split() == (
            ["Connection", "Process", "State", "Out/s", "In/s", "Rtx/s", "RTTms", "Cwnd", "Limit"]
        )
        first = "40312 203.0.113.7:5001 iperf3 estab 6.34M 0 0 41.7 266k cwnd 100%"
        assert " ".join(rows[0].split()) == first
        assert rows[1].split()[-1] == "recv"
        assert _first(top) == ["40312", "38990", "443", "41200", "22", "40999", "41001"]
        assert top.lines[-1].startswith("? help") and top.lines[-1].endswith("q quit")
        assert len(top.lines) == 24 and max(map(len, top.lines)) <= 80

    play(traffic, script)


def test_other_columns_sort_it(traffic: Path) -> None:
    """S goes on, < goes back, r turns it round, t makes totals of rates."""

    async def script(top: Top) -> None:
        await top.press("s", "s")
        assert top.lines[0].endswith("by Process rising")
        names = [line.split()[2] for line in top.lines[2:5]]
        assert names == ["[red]bol", r"\x1b]0;o", "apt-get"]
        await top.press("less_than_sign")
        assert top.lines[0].endswith("by Connection rising")
        await top.press("greater_than_sign", "s", "s")
        assert top.lines[0].endswith("by Out/s")
        assert _first(top)[0] == "40312"
        await top.press("r")
        assert top.lines[0].endswith("by Out/s rising") and _first(top)[-1] == "40312"
        await top.press("t")
        assert "Out/s" not in top.text and " Out " in top.lines[1]

    play(traffic, script)


def test_a_wider_terminal_shows_more(traffic: Path) -> None:
    """Both ends, whole words, the process's number, and more columns."""

    async def script(top: Top) -> None:
        assert "192.0.2.10:40312 203.0.113.7:5001" in top.text
        assert "iperf3[4120]" in top.text and "established" in top.text
        assert "MinRTTms" in top.lines[1]
        await top.pilot.resize_terminal(80, 24)
        await top.pilot.pause()
        assert "MinRTTms" not in top.lines[1] and "40312 203.0.113.7:5001" in top.text

    play(traffic, script, size=(150, 30))


def test_one_filters_as_one_types(traffic: Path) -> None:
    """By port, process, address and state, each word; Enter keeps it, Esc forgets it."""

    async def script(top: Top) -> None:
        await top.press("slash", *"ng")
        assert _first(top)[0] == "443" and top.lines[0].split("  ")[2] == "1 connection"
        assert "Esc forgets it" in top.lines[-1]
        await top.press("escape", "slash", *"es :54")
        assert [line.split()[2] for line in top.lines[2:3]] == ["postgres"]
        await top.press("enter", "q")
        assert top.app.return_code == 0, "q is a key again, and quits"

    play(traffic, script)


def test_what_matches_nothing_leaves_an_empty_list(traffic: Path) -> None:
    """And Enter on it does nothing."""

    async def script(top: Top) -> None:
        await top.press("slash", *"zz", "enter")
        assert "0 connections" in top.lines[0] and _first(top) == []
        await top.press("enter", "down", "end", "escape")
        assert "7 connections" in top.lines[0] and len(_first(top)) == 7

    play(traffic, script)


def test_a_page_has_curves_the_sentence_and_all_variables(traffic: Path) -> None:
    """Of the connection under the cursor; Esc leads back to it."""

    async def script(top: Top) -> None:
        await top.press("enter")
        assert "192.0.2.10:40312  203.0.113.7:5001  iperf3[4120]  established" in top.lines[1]
        titles = [line[:7].strip() for line in top.lines[3:8]]
        assert titles == ["Out/s", "In/s", "Rtx/s", "RTT ms", "Cwnd"]
        assert "█" in top.lines[3] and top.lines[3].split()[-1].endswith("M")
        assert "congestion window: For 100 % of the time the path, by the congestion" in top.text
        assert "SegsRetrans" not in top.text
        await top.press("pagedown")
        assert "SegsRetrans" in top.text
        await top.press("escape")
        assert _first(top)[0] == "40312" and "7 connections" in top.lines[0]

    play(traffic, script)


def test_time_stands_and_is_stepped_through(traffic: Path) -> None:
    """A snapshot or a minute at a time, never further than there is history."""

    async def script(top: Top) -> None:
        times: list[str] = []
        for key in ("space", "left_square_bracket", "left_square_bracket", "right_square_bracket"):
            await top.press(key)
            times.append(" ".join(top.lines[0][17:].split()[:2]))
        assert times == ["32Z stopped", "31Z stopped", "30Z stopped", "31Z stopped"]
        await top.press("left_curly_bracket")
        assert top.lines[0].startswith("2023-11-14 22:13:21Z")
        assert "nothing before or after this" in top.lines[-2]
        await top.press("right_square_bracket")
        assert top.lines[0].startswith("2023-11-14 22:13:22Z")
        assert "nothing before" not in top.text
        await top.press("space")
        assert top.lines[0].startswith("2023-11-14 22:13:32Z  ended")

    play(traffic, script)


def test_a_page_is_stepped_through_as_the_list_is(traffic: Path) -> None:
    """It is as of the same time."""

    async def script(top: Top) -> None:
        await top.press("down", "enter", "left_square_bracket", "left_square_bracket")
        assert top.lines[0] == "2023-11-14 22:13:30Z  stopped"
        assert "10s old" in top.lines[1]

    play(traffic, script)


def test_time_begins_where_it_is_told_to(traffic: Path) -> None:
    """As with --at."""

    async def script(top: Top) -> None:
        assert top.lines[0].startswith("2023-11-14 22:13:25Z  stopped")

    play(traffic, script, at_us=at(5.5))


def test_help_has_the_keys_and_the_notes(traffic: Path) -> None:
    """Above them which file it is and what was lost; it can be read to its end in 80x24."""

    async def script(top: Top) -> None:
        await top.press("question_mark")
        assert str(traffic) in top.text.replace("\n", "") and "0 lost in 5m00s" in top.text
        assert "Space" in top.text
        seen = top.text
        for _ in range(4):
            await top.press("pagedown")
            seen += top.text
        assert "docs/top.md says more" in seen
        await top.press("escape")
        assert "7 connections" in top.lines[0]

    play(traffic, script)


def test_chosen_variables_are_columns_and_may_sort(traffic: Path) -> None:
    """Before the usual ones."""

    async def script(top: Top) -> None:
        assert top.lines[1].split()[3:5] == ["MinRTTUs", "Out/s"]
        assert top.lines[2].split()[4] == "40000"

    play(traffic, script, chosen=(BY_NAME["minrttus"],))


def test_a_list_that_is_cut_says_how_many_there_are(traffic: Path) -> None:
    """And has the first of them."""

    async def script(top: Top) -> None:
        assert "2 of 7 connections" in top.lines[0] and len(_first(top)) == 2

    play(traffic, script, limit=2)


def test_the_cursor_follows_its_connection(traffic: Path) -> None:
    """Once it was moved; before, the first row is the first row."""

    async def script(top: Top) -> None:
        await top.press("down", "s", "enter")
        assert "apt-get" in top.lines[1]
        await top.press("escape", "home", "s", "enter")
        assert "[red]bold[/]" in top.lines[1]

    play(traffic, script)


def test_a_hostile_name_is_text(traffic: Path) -> None:
    """No control character reaches the terminal, and no markup is one: in the list, on a page."""

    async def script(top: Top) -> None:
        assert r"\x1b]0;owned\x07[6660]" in top.text and "[red]bold[/][6661]" in top.text
        assert top.text.replace("\n", "").isprintable()
        for keys, words in ((("end", "up"), r"\x1b]0;owned\x07"), (("down",), "[red]bold[/]")):
            await top.press(*keys, "enter")
            assert words in top.lines[1] and words in top.text.split("sent")[0]
            assert top.text.replace("\n", "").isprintable()
            await top.press("escape")

    play(traffic, script, size=(120, 40))


def test_a_run_without_a_snapshot_shows_nothing_yet(tmp_path: Path) -> None:
    """No key does any harm then."""
    path = tmp_path / "flows.db"
    Writer(path, one_run(0, ALL, {})).close("end")

    async def script(top: Top) -> None:
        assert "no snapshot" in top.lines[0]
        await top.press("enter", "s", "r", "space", "left_square_bracket", "right_curly_bracket")
        await top.press("question_mark", "escape", "slash", "x", "escape")
        assert "no snapshot" in top.lines[0]

    play(path, script)


def test_notes_are_counted_and_told(tmp_path: Path) -> None:
    """What a run could not give, and what was lost in bold."""
    path = tmp_path / "flows.db"
    write_story(path)

    async def script(top: Top) -> None:
        assert "2 batches lost, 1 final batch lost, 3 connections not tracked" in top.lines[-2]
        assert "1 note: ?" in top.lines[-2]
        await top.press("question_mark")
        assert "no value for IpTtl: no hook for incoming headers" in top.text

    play(path, script, chosen=(BY_NAME["ipttl"],), size=(110, 24))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE connection SET opened_us = 'long ago'",
        "UPDATE connection SET comm = x'ff'",
        "UPDATE connection SET LocalPort = 'http'",
        "UPDATE snapshot SET taken_us = 1 << 62",
    ],
)
def test_what_estats_does_not_write_is_told(tmp_path: Path, change: str) -> None:
    """Whatever another program did to it, one sees a line about that, and what was before."""
    path = tmp_path / "flows.db"
    write_story(path)

    async def script(top: Top) -> None:
        with closing(sqlite3.connect(path)) as database, database:
            database.execute(change)
        await top.press("r")
        assert "that estats does not write" in top.lines[-2]
        assert "10.0.0.2:5001" in top.text

    play(path, script, size=(200, 24))


def test_a_database_that_disappears_leaves_what_one_saw(tmp_path: Path) -> None:
    """With a line about it; when it is there again, the line goes."""
    path, aside = tmp_path / "flows.db", tmp_path / "aside.db"
    write_traffic(path, 2)

    async def script(top: Top) -> None:
        path.rename(aside)
        await top.until("there is no database")
        assert len(_first(top)) == 7 and "as of" in top.lines[-2]
        await top.press("down", "enter")
        assert "there is no database" in top.lines[-2]
        await top.press("escape")
        aside.rename(path)
        await top.until("0 lost")
        assert "there is no database" not in top.text

    play(path, script, seconds=_OFTEN)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_in_order(traffic: Path, number: int, code: int) -> None:
    """The terminal is given back, and whoever sent it reads so in the exit code."""

    async def script(top: Top) -> None:
        os.kill(os.getpid(), number)
        await top.pilot.pause()
        assert top.app.return_code == code

    play(traffic, script)


class Scripted(Source):
    """A database that fails, or takes its time."""

    def __init__(self, path: Path) -> None:
        """``path`` answers, unless something else is to happen."""
        super().__init__(path, lambda: True)
        self.faults: list[Exception] = []

    def look(self, ask: Ask, known: View | None = None) -> View:
        """Fail once, if that is wanted."""
        if self.faults:
            raise self.faults.pop()
        return super().look(ask, known)


def test_a_locked_database_is_told_and_asked_again(traffic: Path) -> None:
    """What one sees stays; the answer comes later."""

    async def run() -> None:
        source = Scripted(traffic)
        async with running(source, (80, 24), _OFTEN) as top:
            source.faults += [StorageError("flows.db is locked")] * 2
            await top.until("ago: flows.db is locked")
            assert len(_first(top)) == 7
            await top.until("0 lost")

    asyncio.run(wait_for(run(), PATIENCE))


def test_a_fault_of_ours_ends_it_and_is_not_hidden(traffic: Path) -> None:
    """Whoever started it raises it, once the terminal is as it was."""

    async def run() -> None:
        source = Scripted(traffic)
        async with running(source, (80, 24), _OFTEN) as top:
            source.faults.append(KeyError("ours"))
            await top.pilot.pause()
            while top.app.fault is None:
                await asyncio.sleep(0.01)
            assert isinstance(top.app.fault, KeyError)

    asyncio.run(wait_for(run(), PATIENCE))
