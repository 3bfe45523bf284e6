"""estats record and replay: some connections in a file of their own."""

import json
import stat
from pathlib import Path

import pytest

from collector.recording import Recorder
from tests.cli.conftest import Estats
from tests.cli.story import at
from tests.runs import a_run

QUERY = ("query", "--format", "json", "--var", "SegsRetrans,HCDataOctetsOut,State")


def test_a_moment_is_what_the_connections_stand_at(
    estats: Estats, story: Path, tmp_path: Path
) -> None:
    """The chosen ones and no others, as the database has them; only its owner may read it."""
    answer = estats("record", "moment.db", 1, 3, "--db", story)
    assert (answer.code, answer.out) == (0, "moment.db: 2 connections, 2 samples\n")
    whole = json.loads(estats(*QUERY, "--db", story).out)
    assert json.loads(estats(*QUERY, "--db", "moment.db").out) == [whole[0], whole[2]]
    assert estats("db", "check", "--db", "moment.db").out == "ok\n"
    (file,) = tmp_path.glob("moment.db*")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_stretch_has_the_history_since_then(estats: Estats, story: Path) -> None:
    """Growth in it is told as from the database it was taken from, losses too."""
    since = ("--since", at(102) / 1e6)
    estats("record", "stretch.db", 3, 4, "--db", story, *since)
    for more in ("--history", "--delta"):
        options = (*QUERY, *since, more)
        before, after = (estats(*options, "--db", db) for db in (story, "stretch.db"))
        assert json.loads(after.out) == json.loads(before.out) != []
    assert "1 final batch lost, 3 connections not tracked" in estats("replay", "stretch.db").err


def test_a_moment_of_the_past_knows_nothing_of_what_came_later(estats: Estats, story: Path) -> None:
    """The connection is open in it, and its run ends there."""
    estats("record", "then.db", 1, "--db", story, "--until", at(2.5) / 1e6)
    (found,) = json.loads(estats(*QUERY, "--open", "--db", "then.db").out)
    assert (found["SegsRetrans"], found["closed"], found["close_reason"]) == (5, None, None)
    assert "has no end" not in estats("replay", "then.db").err


def test_replay_prints_what_read_does(estats: Estats, story: Path) -> None:
    """All connections of it, or the chosen ones; other commands take the file, too."""
    estats("record", "moment.db", 1, 3, "--db", story)
    assert estats("replay", "moment.db").out == estats("read", 1, 3, "--db", story).out
    assert estats("replay", "moment.db", 3).out == estats("read", 3, "--db", story).out
    assert estats("read", 3, "--replay", "moment.db").out == estats("replay", "moment.db", 3).out
    watched = estats("watch", 1, 3, "--replay", "moment.db", "--format", "ndjson")
    rounds = [json.loads(line)["ConnectIndex"] for line in watched.out.splitlines()]
    assert rounds == [1, 1, 3]


def test_a_file_that_is_there_is_left_alone(estats: Estats, story: Path, tmp_path: Path) -> None:
    """Whatever it is."""
    (tmp_path / "mine").write_text("notes")
    answer = estats("record", "mine", 1, "--db", story)
    assert answer.code == 2 and "mine is there already" in answer.err
    assert (tmp_path / "mine").read_text() == "notes"


def test_without_a_match_no_file_is_made(estats: Estats, story: Path, tmp_path: Path) -> None:
    """It is said, and no error."""
    answer = estats("record", "moment.db", 99, "--db", story)
    assert answer.code == 0 and "no connection matches" in answer.err
    assert not (tmp_path / "moment.db").exists()


@pytest.mark.parametrize("words", [(), ("--rings", "1s", "--dport", "1"), ("--rings", "soon")])
def test_what_makes_no_sense_is_refused(
    estats: Estats, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Before anything is opened or started."""
    assert estats("record", "moment.db", *words).code == 2
    assert not (tmp_path / "moment.db").exists()


def test_rings_are_replayed_by_a_collector_for_the_moment(
    estats: Estats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here nothing came out of them. Its database is private, and gone afterwards."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run = a_run(tables=("tune",))
    Recorder(tmp_path / "rings.estats", run).cut(5, 1_000_005)
    answer = estats("replay", "rings.estats")
    assert (answer.code, answer.out) == (0, "")
    assert "1 snapshot of 1 run" in answer.err or "2 snapshots of 1 run" in answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["rings.estats"]


@pytest.mark.parametrize(
    ("content", "code"), [(b"\x89ESTATS\n and then nonsense", 5), (b"notes", 5), (None, 2)]
)
def test_what_is_no_recording_is_refused_with_the_words_of_the_collector(
    estats: Estats, tmp_path: Path, content: bytes | None, code: int
) -> None:
    """And with its exit code."""
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    answer = estats("replay", "file")
    assert (answer.code, answer.out) == (code, "")
    assert "file" in answer.err and "Traceback" not in answer.err
