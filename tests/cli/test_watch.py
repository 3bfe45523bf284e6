"""estats watch: values as they change."""

import csv
import fcntl
import io
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Estats
from tests.cli.writing import Written

ROOT = Path(__file__).resolve().parents[2]
BEGIN = "2023-11-14T22:13:20"


def test_changes_are_marked_with_their_sign(estats: Estats, story: Path) -> None:
    """A block for each round; what became of an enumeration is a word."""
    options = ("--since", BEGIN, "--until", "2023-11-14T22:14", "--var", "SegsRetrans,State")
    answer = estats("watch", "--db", story, 1, *options)
    assert [line.split() for line in answer.out.splitlines() if line.startswith("S")] == [
        ["SegsRetrans", "2"],
        ["State", "established"],
        ["SegsRetrans", "5", "+3"],
        ["State", "established"],
        ["SegsRetrans", "5"],
        ["State", "finWait1", "was", "established"],
        ["SegsRetrans", "7", "+2"],
        ["State", "closed", "was", "finWait1"],
    ]
    assert answer.out.count("10.0.0.1:40000  10.0.0.2:5001") == 4


def test_rounds_are_an_interval_apart_and_may_be_counted(estats: Estats, story: Path) -> None:
    """In the past, too, whose end is always a round."""

    def times(*options: object) -> list[str]:
        answer = estats("watch", "--db", story, 1, "--since", BEGIN, "--format", "csv", *options)
        return [row["time"][17:19] for row in csv.DictReader(io.StringIO(answer.out))]

    assert times("--until", "2023-11-14T22:14", "--interval", "2s") == ["21", "23", "24"]
    assert times("--count", 2) == ["21", "22"]


def test_growth_is_since_the_round_before(estats: Estats, story: Path) -> None:
    """Of both kinds; unknown in the first."""

    def values(*options: object) -> list[tuple[float | None, float | None]]:
        answer = estats("watch", "--db", story, 1, "--since", BEGIN, "--count", 4, *options)
        rows = [json.loads(line) for line in answer.out.splitlines()]
        return [(row["SegsRetrans"], row["seconds"]) for row in rows]

    options = ("--var", "SegsRetrans", "--format", "ndjson")
    assert values(*options, "--delta") == [(None, None), (3, 1.0), (0, 1.0), (2, 0.5)]
    assert values(*options, "--rate") == [(None, None), (3.0, 1.0), (0.0, 1.0), (4.0, 0.5)]


def test_all_that_are_open_are_watched_without_a_choice(estats: Estats, story: Path) -> None:
    """And where nobody writes there is one round."""
    answer = estats("watch", "--db", story, "--format", "json")
    assert [each["ConnectIndex"] for each in json.loads(answer.out)] == [3, 4]


def test_losses_are_told_when_they_come(estats: Estats, story: Path) -> None:
    """Those since the first round."""
    told = estats("watch", "--db", story, 1, "--since", BEGIN).err
    assert "since the first round: 2 batches lost\n" in told


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--interval", "1ms"), "--interval 1ms is too short"),
        (("--delta", "--rate"), "exclude one another"),
        (("--live", "--since", "1h"), "a collector has no past"),
    ],
)
def test_what_makes_no_sense_is_refused(
    estats: Estats, words: tuple[str, ...], complaint: str
) -> None:
    """Before anything is opened or started."""
    answer = estats("watch", *words)
    assert answer.code == 2 and complaint in answer.err


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Written]:
    """A database that is being written: in each second one more segment was sent again."""
    writing = Written(tmp_path / "flows.db", lambda n: {"SegsRetrans": n, "State": 5})
    yield writing
    writing.end()


def _command(path: Path, *options: str) -> list[str]:
    words = ["--var", "SegsRetrans", "--interval", "10ms", *options]
    return [sys.executable, str(ROOT / "estats.py"), "watch", "--db", str(path), *words]


@pytest.mark.parametrize("by_signal", [False, True])
def test_it_follows_a_collector_until_either_ends(written: Written, *, by_signal: bool) -> None:
    """A round for each snapshot, sent off at once; Ctrl-C is an orderly end, the answer whole."""
    command = _command(written.path, "--format", "ndjson")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as watching:
        assert watching.stdout is not None
        for expected in (1, 2, 3):
            if expected > 1:
                written.grow()
            row = json.loads(watching.stdout.readline())
            assert row["SegsRetrans"] == expected
        if by_signal:
            watching.send_signal(signal.SIGINT)
        else:
            written.end()
        assert watching.stdout.read() == ""
        assert watching.wait() == 0


def test_a_terminal_is_rewritten_and_left_as_it_was(written: Written) -> None:
    """Changes are bold, and have their sign; the last values stay when it is over."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = os.environ | {"TERM": "xterm", "NO_COLOR": "1"}
    command = _command(written.path, "--count", "2")
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT, env=environment
    ) as watching:
        os.close(theirs)
        text = _read_until(ours, "SegsRetrans")
        written.grow()
        text += _read_until(ours, None)
        assert watching.wait() == 0
    os.close(ours)
    taken, drawn, given_back = (text.find(mark) for mark in ("\x1b[?1049h", "+1", "\x1b[?1049l"))
    assert -1 < taken < drawn < given_back
    assert re.search(r"\x1b\[1m *\+1", text), "bold"
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", text), "no colour"
    assert re.search(r"SegsRetrans +2 +\+1", text[given_back:]), "the last values"


def _read_until(descriptor: int, words: str | None) -> str:
    """What a terminal shows until these words come, or its end."""
    text = b""
    while words is None or words.encode() not in text:
        try:
            more = os.read(descriptor, 4096)
        except OSError:  # the other end is closed
            break
        text += more
    return text.decode()
