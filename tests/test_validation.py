"""Validation counts what tests compare: nothing passes unseen, nothing agrees that should not."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bpf.catalogue import CATALOGUE
from cli.app import application
from tests.kernel.report import is_proven, main, page, report
from tests.kernel.validation import WITNESSES, Between, Record, Tolerance, grouped, running_test

CLOCK = Tolerance(absolute=4, relative=0.1, reason="a tick")


@pytest.fixture
def record() -> Record:
    """One without comparisons."""
    return Record()


def test_equal_values_agree_and_are_kept_with_their_test(record: Record) -> None:
    """A comparison knows the variable, the witness and the running test."""
    record.agree("TCP_INFO", {"SegsIn": 7, "SegsOut": 9}, {"SegsIn": 7})
    (one,) = record.comparisons
    assert (one.variable, one.witness, one.difference) == ("SegsIn", "TCP_INFO", 0)
    assert one.agrees
    assert one.moved
    assert one.workload == running_test()
    assert one.workload.startswith("test_validation.py::test_equal_values_agree")


def test_all_disagreements_are_told_and_kept(record: Record) -> None:
    """The first one does not hide the second, nor what did agree."""
    with pytest.raises(AssertionError, match=r"SegsIn is 7, but 8 .*\n.*SegsOut is None, but 9"):
        record.agree(
            "capture",
            {"SegsIn": 7, "SegsOut": None, "IpTtl": 64},
            {"SegsIn": 8, "SegsOut": 9, "IpTtl": 64},
        )
    kept = {c.variable: (c.agrees, c.difference, c.moved) for c in record.comparisons}
    assert kept == {
        "SegsIn": (False, 1, False),
        "SegsOut": (False, None, False),
        "IpTtl": (True, 0, True),
    }


@pytest.mark.parametrize(("ours", "theirs"), [(None, 0), (0, None), ("10.0.0.1", "10.0.0.2")])
def test_null_and_texts_agree_with_nothing_but_themselves(
    record: Record, ours: object, theirs: object
) -> None:
    """NULL is not 0."""
    with pytest.raises(AssertionError):
        record.agree("TCP_INFO", {"X": ours}, {"X": theirs})
    record.agree("TCP_INFO", {"X": ours}, {"X": ours})
    assert [c.agrees for c in record.comparisons] == [False, True]


@pytest.mark.parametrize("ours", [86, 114])
def test_a_tolerance_reaches_so_far(record: Record, ours: int) -> None:
    """Its absolute and its relative part, of theirs, add up."""
    record.agree("capture", {"X": ours}, {"X": 100}, {"X": CLOCK})
    assert record.comparisons[0].tolerance == "4 + 10 %"
    assert record.comparisons[0].reason == "a tick"
    assert record.comparisons[0].difference == 14


@pytest.mark.parametrize("ours", [85, 115, None])
def test_a_tolerance_reaches_no_farther(record: Record, ours: int | None) -> None:
    """Not by one."""
    with pytest.raises(AssertionError, match="within 4"):
        record.agree("capture", {"X": ours}, {"X": 100}, {"X": CLOCK})


@pytest.mark.parametrize(
    ("bounds", "ours", "agrees", "difference"),
    [
        ((3, 6), 3, True, 3),
        ((3, 6), 6, True, 3),
        ((3, 6), 2, False, 4),
        ((3, math.inf), 6, True, 0),
        ((3, math.inf), 1, False, 2),
    ],
)
def test_bounds_include_their_ends(
    record: Record, bounds: tuple[float, float], ours: int, agrees: bool, difference: float
) -> None:
    """A witness may know no more than the two; ours may be that far from the truth."""
    theirs = Between(low=bounds[0], high=bounds[1], reason="sampled")
    if agrees:
        record.agree("capture", {"X": ours}, {"X": theirs})
    else:
        with pytest.raises(AssertionError):
            record.agree("capture", {"X": ours}, {"X": theirs})
    assert record.comparisons[0].difference == difference


@pytest.mark.parametrize(
    ("ours", "theirs", "moved"),
    [
        (0, 0, False),
        (None, None, False),
        (3, 3, True),
        (3, 4, False),  # a 0 would be within the tolerance too
        ("::1", "::1", True),
        (5, Between(high=9, reason=""), False),
        (5, Between(low=1, reason=""), True),
    ],
)
def test_only_what_a_zero_would_fail_has_moved(
    record: Record, ours: object, theirs: object, moved: bool
) -> None:
    """A comparison that cannot fail proves nothing."""
    within = {"X": Tolerance(absolute=4, reason="wide")} if theirs == 4 else {}
    record.agree("capture", {"X": ours}, {"X": theirs}, within)
    assert record.comparisons[0].moved is moved


def test_a_sum_speaks_for_each_of_its_terms(record: Record) -> None:
    """A term has moved if the sum would be wrong without it."""
    record.agree("namespace counters", {"A": 2, "B": 0}, {"A + B": 2})
    assert [(c.variable, c.compared_as, c.moved) for c in record.comparisons] == [
        ("A", "A + B", True),
        ("B", "A + B", False),
    ]


def test_a_witness_must_be_one_that_the_page_explains(record: Record) -> None:
    """And it must say something."""
    with pytest.raises(AssertionError, match="hearsay"):
        record.agree("hearsay", {}, {"X": 1})
    with pytest.raises(AssertionError, match="nothing"):
        record.agree(next(iter(WITNESSES)), {"X": 1}, {})


def test_comparisons_of_one_kind_are_counted_together(record: Record) -> None:
    """By variable, witness, test and tolerance."""
    for ours in (1, 2):
        record.agree("capture", {"X": ours}, {"X": ours})
    with pytest.raises(AssertionError):
        record.agree("capture", {"X": 3}, {"X": 2})
    record.agree("capture", {"X": 9}, {"X": 10}, {"X": CLOCK})
    exact, wide = grouped(record.comparisons)
    assert (exact.compared, exact.agreed, exact.moved, exact.worst) == (3, 2, 2, 1)
    assert exact.disagreements == ["X is 3, but 2 says capture"]
    assert (wide.compared, wide.agreed, wide.worst, wide.tolerance) == (1, 1, 1, "4 + 10 %")


ROOT = Path(__file__).parent.parent
NAMED = "tests/kernel/test_x.py::test_y"


def said(record: Record, **more: Any) -> dict[str, Any]:
    """What a session would write."""
    groups = [asdict(group) for group in grouped(record.comparisons)]
    outcome = {"kernel": "6.18", "ended": "today", "tests": {"passed": 1}, "failed": []}
    return {**outcome, "groups": groups, **more}


def row_of(made: dict[str, Any], name: str) -> dict[str, Any]:
    """One variable in a report."""
    (row,) = (row for row in made["variables"] if row["name"] == name)
    return dict(row)


def test_a_report_joins_the_comparisons_of_a_variable_by_witness(record: Record) -> None:
    """Counts add up, and the worst difference is the worst."""
    for ours, theirs in ((90, 100), (98, 100)):
        record.agree("capture", {"SegsIn": ours}, {"SegsIn": theirs}, {"SegsIn": CLOCK})
    record.agree("TCP_INFO", {"SegsIn": 3}, {"SegsIn": 3})
    row = row_of(report(said(record)), "SegsIn")
    assert row["verdict"] == "proven"
    capture, info = row["witnesses"]
    assert (capture["compared"], capture["agreed"], capture["worst"]) == (2, 2, 10)
    assert capture["within"] == ["4 + 10 %"]
    assert (info["witness"], info["compared"], info["within"]) == ("TCP_INFO", 1, [""])
    assert capture["tests"] == [running_test()]


def test_a_variable_without_a_proof_is_told_and_fails(record: Record) -> None:
    """Nobody witnessed it, it never moved, it disagreed, or it was not counted to the unit."""
    record.agree("capture", {"SACKsRcvd": 9}, {"SACKsRcvd": 10}, {"SACKsRcvd": CLOCK})
    record.agree("TCP_INFO", {"SegsIn": 0}, {"SegsIn": 0})
    with pytest.raises(AssertionError):
        record.agree("TCP_INFO", {"SegsOut": 1}, {"SegsOut": 2})
    made = report(said(record))
    verdicts = {
        "SegsIn": "never moved",
        "SegsOut": "disagreed",
        "IpTtl": "no witness",
        "SACKsRcvd": "never without tolerance",
    }
    assert {name: row_of(made, name)["verdict"] for name in verdicts} == verdicts
    assert row_of(made, "EarlyRetrans")["verdict"] == "unavailable"
    assert not is_proven(made)
    lines = page(made).splitlines()
    for fault in ("- SegsIn: never moved", "  - SegsOut is 1, but 2 says TCP_INFO"):
        assert fault in lines


def test_a_failed_test_fails_the_report_though_all_is_proven(record: Record) -> None:
    """Only a run without failures proves anything."""
    record.agree("TCP_INFO", {v.name: 1 for v in CATALOGUE}, {v.name: 1 for v in CATALOGUE})
    assert is_proven(report(said(record)))
    made = report(said(record, failed=[NAMED]))
    assert not is_proven(made)
    assert f"- failed: `{NAMED}`" in page(made)


def test_both_pages_are_written(record: Record, tmp_path: Path) -> None:
    """The exit code says whether all is proven."""
    (tmp_path / "said.json").write_text(json.dumps(said(record)))
    assert main(tmp_path / "said.json", tmp_path) == 1
    assert json.loads((tmp_path / "validation.json").read_text())["kernel"] == "6.18"
    assert (tmp_path / "validation.md").read_text().startswith("# Validation")


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    """The committed result of the last `make validate`."""
    made = json.loads((ROOT / "docs" / "validation.json").read_text())
    assert isinstance(made, dict)
    return made


def test_the_published_counts_are_those_of_the_command_line(published: dict[str, Any]) -> None:
    """By status, as `estats variables --format json` lists them."""
    done = CliRunner().invoke(application(), ["variables", "--format", "json"])
    listed = [v["status"] for v in json.loads(done.stdout)]
    assert published["status"] == {status: listed.count(status) for status in dict.fromkeys(listed)}
    names = [(row["table"], row["name"]) for row in published["variables"]]
    assert names == [(v.table.value, v.name) for v in CATALOGUE]


def test_every_published_variable_is_proven(published: dict[str, Any]) -> None:
    """By a witness that agreed, in a run in which no test failed."""
    assert is_proven(published)


def test_the_published_page_is_made_of_the_published_numbers(published: dict[str, Any]) -> None:
    """The one was not written without the other."""
    assert (ROOT / "docs" / "validation.md").read_text() == page(published)
