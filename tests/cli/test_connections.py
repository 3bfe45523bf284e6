"""estats connections: who talks to whom."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Estats


def test_a_row_tells_who_how_long_how_much_and_how_well(estats: Estats, story: Path) -> None:
    """A closed connection tells why; one that an earlier run left open, nobody knows."""
    header, *lines = estats("connections", "--db", story).out.splitlines()
    assert header.split() == [
        *("ConnectIndex", "Local", "Remote", "Owner", "State"),
        *("Age", "Origin", "Out", "In", "Retrans"),
    ]
    assert [line.split()[3:] for line in lines[:3]] == [
        ["iperf[42]", "closed", "3s", "active", "9000", "-", "7"],
        ["-", "unknown", "3s", "passive", "-", "-", "-"],
        ["sshd[77]", "established", "2s", "backfill", "50500", "-", "110"],
    ]


def test_it_takes_the_options_of_query(estats: Estats, story: Path) -> None:
    """Filters, period, order, limit and format mean the same."""
    options = ("--dport", 5001, "--sort", "-opened", "--limit", 1, "--until", "now")
    answer = estats("connections", "--db", story, "--format", "json", *options)
    (found,) = json.loads(answer.out)
    assert (found["ConnectIndex"], found["State"], found["SegsRetrans"]) == (4, 5, 4)


def test_eighty_columns_are_enough(
    estats: Estats, story: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit beside stands below, under the number of its connection."""
    monkeypatch.setenv("COLUMNS", "80")
    lines = estats("connections", "--db", story).out.splitlines()
    assert max(map(len, lines)) <= 80
    assert len([line for line in lines if line.startswith("ConnectIndex")]) > 1
