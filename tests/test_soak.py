"""What a soak says follows from its samples and its account alone."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from bench.report import Result
from tests.cli.story import at, write_story
from tests.faults.account import account as settled
from tests.soak.audit import Audit
from tests.soak.page import page, sections
from tests.soak.verdict import Account, Sample, growth, verdicts, warm

MEGABYTE = 1_000_000


def sample(minute: float, megabytes: float, descriptors: int = 100) -> Sample:
    """A collector as it was then."""
    octets = round(megabytes * MEGABYTE)
    kinds = {"supervisor": octets, "writer": octets, "workers": 2 * octets}
    return Sample(
        hours=minute / 60,
        resident=kinds,
        share=kinds,
        own=kinds,
        descriptors=descriptors,
        objects={"prog": 9, "map": 20, "link": 9},
        database=1,
        connections=2,
        lag_us=3,
        sums={"lost": 0, "lost_finals": 0, "missed": 0},
    )


GOOD = Account(made={"storm": 10, "short": 4}, rows=12, counted=2, compared=3, asked=5)


def test_the_first_ten_minutes_of_an_hour_are_no_growth() -> None:
    """And of a short run what a cache takes to fill."""
    hour = [sample(m, 10 + min(m, 10)) for m in range(1, 61)]
    assert warm(hour) == 1 / 6
    assert growth(hour, [s.own["writer"] for s in hour]) == 0
    assert warm([sample(6, 1)]) == 0.05
    assert warm([sample(3, 1)]) == 0.025


def test_what_goes_on_growing_is_found() -> None:
    """Be it slow: a tenth in fifty minutes."""
    hour = [sample(m, 100 + max(0, m - 10) * 0.2) for m in range(1, 61)]
    assert 0.05 < growth(hour, [s.own["writer"] for s in hour]) < 0.1
    answers = {v.question: v for v in verdicts(hour, GOOD, [], [])}
    assert not answers["growth of resident memory of all processes, after 10 minutes"].is_good
    assert answers["growth of descriptors, after 10 minutes"].is_good


def test_one_high_sample_is_no_growth() -> None:
    """Medians are compared, not ends."""
    hour = [sample(m, 500 if m == 60 else 100) for m in range(1, 61)]
    assert growth(hour, [s.own["writer"] for s in hour]) == 0


def test_all_is_good_only_if_all_is() -> None:
    """Each fault by itself makes the verdict."""
    hour = [sample(m, 100) for m in range(1, 61)]
    assert all(v.is_good for v in verdicts(hour, GOOD, [], []))
    for account, left, faults in (
        (replace(GOOD, rows=11), [], []),
        (replace(GOOD, rows=13), [], []),
        (replace(GOOD, compared=0), [], []),
        (replace(GOOD, wrong=["SegsOut"]), [], []),
        (replace(GOOD, replaced=1), [], []),
        (replace(GOOD, asked=0), [], []),
        (replace(GOOD, refused=["query 4"]), [], []),
        (GOOD, ["process 7"], []),
        (GOOD, [], ["row 3 missing from index"]),
    ):
        assert sum(not v.is_good for v in verdicts(hour, account, left, faults)) == 1


def test_the_page_has_every_verdict() -> None:
    """And the samples, not too many of them."""
    hour = [sample(m, 100) for m in range(1, 121)]
    found = verdicts(hour, GOOD, ["process 7"], [])
    result = Result(
        part="soak",
        began="2026-01-31 12:00",
        seconds=3600,
        commit="abc",
        busy="3%",
        machine={"processors": "2", "kernel": "6.1"},
        sections=sections(hour, GOOD, found, ["--keep", "1m"]),
    )
    text = page(result)
    assert all(v.question in text for v in found)
    assert text.count("**BAD**") == 1
    assert text.count("9/20/9") == 30


def test_each_end_is_counted_once_however_often_it_is_read(tmp_path: Path) -> None:
    """Also when it has been forgotten since; one whose end no hook saw is counted by the meters."""
    path = tmp_path / "flows.db"
    write_story(path)
    audit = Audit(path)
    for _ in range(2):
        audit.read()
        assert audit.account.rows == 1
        assert audit.account.counted == 4  # a final batch lost, three not tracked
        assert audit.sums["lost"] == 2
    with closing(sqlite3.connect(path)) as base, base:
        base.execute("DELETE FROM connection WHERE ConnectIndex = 1")
        base.execute(
            "UPDATE connection SET closed_us = ?, close_reason = 'close not seen'"
            " WHERE ConnectIndex = 3",
            (at(102),),
        )
    audit.read()
    assert audit.account.rows == 1
    assert audit.faults() == []


def test_a_connection_that_a_budget_leaves_out_is_accounted_for(tmp_path: Path) -> None:
    """Of a soak and of a fault: it has no row, and is in neither of the other counts."""
    path = tmp_path / "flows.db"
    write_story(path)
    audit = Audit(path)
    audit.read()
    before = audit.account.counted, settled(path, []).counted
    with closing(sqlite3.connect(path)) as base, base:
        base.execute("UPDATE snapshot SET sampled_out = 5 WHERE snapshot_id = 1")
    again = Audit(path)
    again.read()
    assert (again.account.counted, settled(path, []).counted) == tuple(n + 5 for n in before)
