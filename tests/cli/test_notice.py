"""What stderr says beside an answer."""

import pytest

from bpf.catalogue import BY_NAME
from bpf.meters import METERS
from cli.notice import losses, say_source, why_unknown
from storage.question import RunPart
from tests.cli.story import at

NOW = at(1000)


def _part(
    number: int, to_us: int, *, ended_us: int | None = None, meters: dict[str, int] | None = None
) -> RunPart:
    """A run of 10 snapshots."""
    return RunPart(
        run={
            "run_id": number,
            "ended_us": ended_us,
            "interval_us": 1_000_000,
            "tables": "perf,path",
            "unavailable": '{"SmoothedRTTUs": "this kernel has none"}' if number == 1 else "{}",
        },
        snapshots=10,
        from_us=to_us - 10_000_000,
        to_us=to_us,
        meters=dict.fromkeys(METERS, 0) | (meters or {}),
    )


@pytest.mark.parametrize(
    ("meters", "words"),
    [
        ({}, "0 lost"),
        ({"lost": 1}, "1 batch lost"),
        ({"lost": 5}, "5 batches lost"),
        ({"lost_finals": 2}, "0 lost, 2 final batches lost"),
        ({"untracked": 1}, "0 lost, 1 connection not tracked"),
        ({"replaced": 1}, "0 lost, 1 process died and replaced"),
        ({"replaced": 2}, "0 lost, 2 processes died and replaced"),
        ({"evicted": 1}, "0 lost, 1 idle connection evicted to keep to --max-connections"),
        ({"sampled_out": 7}, "0 lost, 7 new connections left out to keep to --max-overhead"),
    ],
)
def test_what_was_lost_is_told_in_words(meters: dict[str, int], words: str) -> None:
    """Also when it is nothing."""
    assert losses([_part(1, NOW, meters=meters)]) == words


def test_a_run_that_goes_on_needs_no_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last snapshot is a few intervals old at most."""
    monkeypatch.setattr("cli.notice.now_us", lambda: NOW)
    say_source("x.db", [_part(1, NOW - 2_000_000)])
    assert capsys.readouterr().err.count("\n") == 1
    say_source("x.db", [_part(1, NOW - 20_000_000)])
    assert "run 1 has no end: nothing new since" in capsys.readouterr().err


def test_a_run_before_another_that_has_no_end_was_killed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """There is one collector at a time."""
    say_source("x.db", [_part(1, NOW), _part(2, NOW, ended_us=NOW)])
    assert "run 1 has no end: it was killed after" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("SmoothedRTTUs", "this kernel has none (run 1)"),
        ("SmoothedRTT", "this kernel has none (run 1)"),
        ("State", "the stack table was not collected"),
        ("SynRcvd", "the listener table was not collected"),
        ("SegsOut", None),
        ("LocalPort", None),
    ],
)
def test_a_null_has_a_reason(name: str, reason: str | None) -> None:
    """Of its own, of the variable it is derived from, or of its table; and in which run."""
    runs = [_part(1, NOW).run, _part(2, NOW).run]
    assert why_unknown(BY_NAME[name.lower()], runs) == reason
