"""Log lines as JSON: one object each, with the sentence of the text and its facts."""

import dataclasses
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from bpf.errors import EnvironmentLacksError, StorageError
from bpf.loader import Loaded, Request
from cli.status import LogFormat, StatusLine, describe
from collector import fleet
from collector.event import Event, Level
from collector.settings import Settings
from tests.cli.conftest import Estats
from tests.cli.test_status import BUSY, PATH, QUIET, Terminal, stderr

BRIEF = ("--source", "diag", "--duration", "50ms", "--interval", "20ms")


def lines(text: str) -> list[dict[str, Any]]:
    """Every line is an object, with the time, a level and a sentence first."""
    found = [json.loads(line) for line in text.splitlines()]
    for each in found:
        assert list(each)[:3] == ["time", "level", "message"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", each["time"])
    return found


def test_a_run_is_told_from_begin_to_end(estats: Estats, tmp_path: Path) -> None:
    """How it was asked, how far it came, and why it ended; nothing but objects on stderr."""
    answer = estats("collect", "--db", tmp_path / "x.db", *BRIEF, "--log-format", "json")

    assert (answer.code, answer.out) == (0, "")
    begun, progress, *_, stopped = lines(answer.err)
    assert begun["message"] == "collecting by diag, 1 worker(s)"
    assert (begun["source"], begun["shards"], begun["interval_us"]) == ("diag", 1, 20_000)
    assert " connections  " in progress["message"]
    assert progress["snapshots"] == 1
    assert stopped["message"].startswith("stopped (duration): ")
    assert stopped["reason"] == "duration" and stopped["snapshots"] >= 2
    assert stopped["database"] == str(tmp_path / "x.db")
    assert begun["level"] == "info"  # the others warn where the machine is too slow for 20 ms


def test_the_sentences_are_those_of_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A word that is changed in one is changed in both."""
    said: dict[LogFormat, list[str]] = {}
    for form in LogFormat:
        log = stderr(monkeypatch, io.StringIO())
        status = StatusLine(PATH, form)
        status.say(Event("kernel programs loaded in 0.3 s, from the cache"))
        status.show(dataclasses.replace(QUIET, overhead=BUSY))
        status.end("SIGTERM")
        text = log.getvalue()
        is_json = form is LogFormat.JSON
        said[form] = (
            [each["message"] for each in lines(text)]
            if is_json
            else [line.partition(" estats: ")[2] for line in text.splitlines()]
        )

    assert said[LogFormat.JSON] == said[LogFormat.TEXT]
    assert len(said[LogFormat.JSON]) == 3


def test_numbers_that_do_not_fit_a_line_are_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, by the names that they have in the database."""
    log = stderr(monkeypatch, io.StringIO())
    meters = {"lost": 2, "lost_finals": 1, "missed": 5}
    progress = dataclasses.replace(QUIET, lost=3, meters=meters, overhead=BUSY)
    StatusLine(PATH, LogFormat.JSON).show(progress)

    (line,) = lines(log.getvalue())
    assert line["message"] == describe(progress)
    assert (line["snapshots"], line["rows"], line["lag_us"]) == (2, 69, 2500)
    assert (line["lost"], line["lost_finals"], line["missed"]) == (2, 1, 5)
    assert (line["sampled"], line["sampled_out"], line["bpf_share"]) == (64, 123_456, 9.999)


def test_a_new_loss_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was told is none any more."""
    log = stderr(monkeypatch, io.StringIO())
    monkeypatch.setattr("cli.status._LOG_SECONDS", 0.0)
    status = StatusLine(PATH, LogFormat.JSON)
    for lost in (0, 1, 1, 2):
        status.show(dataclasses.replace(QUIET, meters={"lost": lost}))
    status.end("SIGTERM")

    levels = [line["level"] for line in lines(log.getvalue())]
    assert levels == ["info", "warning", "info", "warning", "info"]


def test_a_loss_after_the_last_line_is_told_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is told now and then only."""
    log = stderr(monkeypatch, io.StringIO())
    status = StatusLine(PATH, LogFormat.JSON)
    status.show(QUIET)
    status.show(dataclasses.replace(QUIET, meters={"lost": 1}))
    status.end("SIGTERM")

    assert [line["level"] for line in lines(log.getvalue())] == ["info", "warning"]


def test_a_terminal_gets_whole_lines_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for objects wants no line that is rewritten."""
    terminal = stderr(monkeypatch, Terminal())
    status = StatusLine(PATH, LogFormat.JSON)
    status.show(QUIET)
    status.end("SIGINT")

    assert "\r" not in terminal.getvalue()
    assert len(lines(terminal.getvalue())) == 2


def test_nothing_in_an_object_steers_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the sentence nor in a fact, nor what is no text at all."""
    log = stderr(monkeypatch, io.StringIO())
    status = StatusLine(Path("\x1b[2J.db"), LogFormat.JSON)
    status.say(Event("\x1b]0;owned\x07", Level.WARNING, {"comm": "\x1b[2J\udce9\u202e"}))
    status.show(QUIET)
    status.end("SIGINT")

    assert all(c == "\n" or " " <= c <= "~" for c in log.getvalue())
    assert lines(log.getvalue())[0]["comm"] == r"\x1b[2J\udce9\u202e"


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--db", "none/x.db"], 4, "there is no folder"),
        (["--db", "x.db", "--interval", "soon"], 2, "--interval"),
        (["--db", "x.db", "--source", "replay"], 2, "needs a recording"),
    ],
)
def test_an_error_is_an_object_with_its_cure(
    estats: Estats, options: list[str], code: int, words: str
) -> None:
    """And the exit code is in it, and is what it was."""
    answer = estats("collect", *options, "--log-format", "json")

    (line,) = lines(answer.err)
    assert (answer.code, line["exit_code"], line["level"]) == (code, code, "error")
    assert words in line["message"] and line["cure"]


def test_an_error_later_on_is_the_last_object(
    estats: Estats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the disk is full."""

    def fail(*_: object) -> str:
        raise StorageError("the disk is full", "Make room.")

    monkeypatch.setattr("cli.collect.run_collector", fail)
    answer = estats("collect", "--db", tmp_path / "x.db", "--log-format", "json")
    (line,) = lines(answer.err)
    assert (line["message"], line["cure"], answer.code) == ("the disk is full", "Make room.", 4)


def test_going_on_with_less_is_a_warning(
    estats: Estats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lacks and its cure are facts."""

    def lack(_: Request) -> Loaded:
        raise EnvironmentLacksError("the kernel refuses BPF", "run as root")

    monkeypatch.setattr(fleet, "load", lack)
    brief = ["--duration", "20ms", "--interval", "20ms", "--max-overhead", "2%"]
    answer = estats("collect", "--db", tmp_path / "x.db", "--log-format", "json", *brief)
    fallen, ignored, *_ = lines(answer.err)
    assert (fallen["level"], fallen["lacking"]) == ("warning", "the kernel refuses BPF")
    assert (fallen["cure"], fallen["source"]) == ("run as root", "diag")
    assert ignored["level"] == "warning" and "--max-overhead" in ignored["message"]


def test_loading_says_how_long_and_from_where(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the sentence says in words, a program need not read out of it."""
    said: list[Event] = []
    loaded = type("Loaded", (), {"seconds": 0.31, "origin": "from the cache"})
    monkeypatch.setattr(fleet, "load", lambda _: loaded)
    watch = fleet.Watch(progress=lambda _: None, say=said.append)
    fleet._load(Settings(), fleet.Source.BPF, watch)

    assert said == [
        Event(
            "kernel programs loaded in 0.3 s, from the cache",
            facts={"loaded_seconds": 0.31, "origin": "from the cache"},
        )
    ]


def test_stderr_is_looked_up_when_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that is exchanged meanwhile gets the rest."""
    status = StatusLine(PATH, LogFormat.JSON)
    log = stderr(monkeypatch, io.StringIO())
    status.say(Event("something"))

    assert lines(log.getvalue())[0]["message"] == "something"
    assert sys.stderr is log
