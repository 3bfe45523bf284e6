"""estats tune, before it comes to the kernel: what it refuses, whom it finds, what it says."""

from pathlib import Path

import pytest

from tests.cli.conftest import Estats
from tests.documented import write_database


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    """A database of another boot."""
    path = tmp_path / "flows.db"
    write_database(path)
    return path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "either something is to be set, or what was set to be reverted"),
        (("1", "--set", "LimCwnd=1", "--revert"), "either something is to be set"),
        (("--set", "LimCwnd=1"), "which connection is meant?"),
        (("1", "--set", "LimMSS=1000"), "LimMSS cannot be set on a live socket"),
        (("1", "--set", "LimSsthresh=1000"), "LimSsthresh cannot be set on a live socket"),
        (("1", "--set", "pacing=1"), "out of range"),
        (("1", "--set", "pacing=1M", "--set", "PACING=2M"), "pacing is to be set twice"),
        (("1", "--set", "congestion=none-such"), "has loaded no congestion control 'none-such'"),
        (("1", "--set", "LimCwnd=1", "--replay", "x"), "a recording is of the past"),
        (("--closed", "--set", "LimCwnd=1"), "a closed connection cannot be changed"),
        (("--revert", "--live"), "what was set is in the log of a database"),
        (("--revert", "--no-log"), "what was set is in the log of a database"),
        (("1", "--set", "LimCwnd=1", "--live", "--db", "x"), "--db, --live and --replay exclude"),
    ],
)
def test_nonsense_is_refused_before_anything_is_opened(
    estats: Estats, arguments: tuple[str, ...], words: str
) -> None:
    """There is not even a database."""
    answer = estats("tune", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert words in answer.err


def test_a_database_is_needed_to_revert(estats: Estats, tmp_path: Path) -> None:
    """And no collector is started for it."""
    answer = estats("tune", "--revert", "--db", tmp_path / "none.db")
    assert answer.code == 4 and "there is no database" in answer.err


def test_connections_of_another_boot_are_told_and_left(estats: Estats, flows: Path) -> None:
    """A number, a filter, all that were tuned: their sockets are gone, whatever has the number."""
    for whom in (("1",), ("--dport", "5001")):
        answer = estats("tune", *whom, "--set", "LimCwnd=100000", "--db", flows)
        assert (answer.code, answer.out) == (0, "")
        assert "of an earlier boot or of another host: left as they are" in answer.err
    answer = estats("tune", "--revert", "--db", flows)
    assert (answer.code, answer.out) == (0, "")
    assert "the log has nothing of them that was not reverted" in answer.err


def test_who_has_ended_is_not_found(estats: Estats, flows: Path) -> None:
    """Only what is open can be changed."""
    answer = estats("tune", "--dport", "80", "--set", "LimCwnd=100000", "--db", flows)
    assert (answer.code, answer.out) == (0, "")
    assert "no open connection matches" in answer.err


def test_the_help_lists_what_can_be_set(estats: Estats) -> None:
    """In lines that fit a terminal."""
    text = estats("tune", "--help").out
    for name in ("LimCwnd", "LimRwin", "rcvbuf", "sndbuf", "congestion", "pacing", "notsent-lowat"):
        assert f"\n    {name} " in text
    assert max(map(len, text.splitlines())) <= 80
