"""docs/faults.md is what the last play of all faults came to, and each of its rows is good."""

import json
from pathlib import Path

import pytest

from tests.faults.__main__ import ALL, MANY
from tests.faults.account import Account
from tests.faults.page import page, row
from tests.faults.stage import Outcome

DOCS = Path(__file__).parent.parent / "docs"
SAID = json.loads((DOCS / "faults.json").read_text())


def outcome(*, left: str = "", **amounts: int) -> Outcome:
    """Of a fault that loses two of ten ends, and counts them."""
    kinds = {"offered": 10, "applied": 7, "unwatched": 1, "lost": 2, "counted": 2, "wrong": 0}
    settled = Account(**(kinds | amounts), snapshots=5, intact=True)
    return Outcome(fault="a fault", rounds=3, seconds=4.4, account=settled, left=left)


def test_the_page_is_made_of_the_data() -> None:
    """Nobody wrote into it."""
    assert (DOCS / "faults.md").read_text() == page(SAID)


def test_every_fault_was_played() -> None:
    """In the order of the program, and those of processes more than once."""
    assert [found["fault"] for found in SAID] == list(ALL)
    assert all(found["rounds"] > 1 for found in SAID if found["fault"] in MANY)


def test_all_is_accounted_for() -> None:
    """In no round was anything lost that was not counted, or left, or the database spoilt."""
    for found in SAID:
        assert (found["accounted for"], found["database"], found["left"]) == (
            "100%",
            "ok",
            "nothing",
        )


@pytest.mark.parametrize(
    ("found", "is_good"),
    [
        (outcome(), True),
        (outcome(counted=1), False),
        (outcome(counted=3), False),
        (outcome(wrong=1), False),
        (outcome(left="prog 7"), False),
    ],
)
def test_what_a_fault_must_not_do(found: Outcome, *, is_good: bool) -> None:
    """Lose and not count, count and not lose, write twice, leave anything."""
    assert found.is_good is is_good


def test_a_row_tells_all() -> None:
    """Of one fault."""
    told = row(outcome(left="prog 7", counted=1))
    assert told["accounted for"] == "90.000%"
    assert (told["left"], told["database"], told["seconds"]) == ("prog 7", "ok", 4)
