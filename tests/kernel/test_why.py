"""estats why names what limits connections, in situations that are made for real."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from tests.kernel.collecting import Database
from tests.kernel.situations import SITUATIONS, Played, Situation
from tests.kernel.why import ask, take_place

pytestmark = pytest.mark.kernel

#: `make why` plays all of them, takes two minutes and wants nine of ten named right. These are the
#: ones that a busy machine does not change, so that each has to be.
STURDY = tuple(
    s
    for s in SITUATIONS
    if s.name.startswith(
        (
            "a slow sender",
            "a slow reader",
            "the same slow reader",
            "1 % loss",
            "an outage",
            "SO_MAX_PACING_RATE",
            "a congestion window locked",
        )
    )
)
TWO_PHASES = next(s for s in SITUATIONS if s.name.startswith("a slow reader for 2 s"))


@pytest.fixture(scope="module")
def past(
    nothing_is_left_behind: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Database, dict[str, Played]]]:
    """Some situations have taken place; which they were, by name, and what there is of them."""
    for database, done in take_place(tmp_path_factory.mktemp("why"), STURDY):
        yield database, {each.situation.name: each for each in done}


@pytest.mark.parametrize("situation", STURDY, ids=lambda s: s.name)
def test_a_situation_is_named(
    past: tuple[Database, dict[str, Played]], situation: Situation
) -> None:
    """By what it was made for, with shares that add up and a source, or by "can't tell"."""
    database, done = past
    (answer,) = ask(database, *done[situation.name].choice)
    assert answer["verdict"] == situation.verdict, answer
    shares = [answer[f"share_{side}"] for side in ("sender", "path", "receiver", "pacing")]
    if situation.end == "client":
        assert sum(shares) == pytest.approx(1, abs=0.001)
    else:
        assert shares == [None] * 4, "a sender's limits do not show at the other end"
    assert (answer["source"] is None) == (situation.verdict == "can't tell")


def test_what_was_before_a_period_or_after_it_does_not_count(
    past: tuple[Database, dict[str, Played]],
) -> None:
    """Two causes, one after the other, cannot be told as one; each by itself can."""
    database, done = past
    choice = done[TWO_PHASES.name].choice
    (whole,) = ask(database, *choice)
    opened = datetime.fromisoformat(whole["opened"])
    closed = opened + timedelta(seconds=whole["seconds"])
    early = (opened + timedelta(seconds=1.7)).isoformat()
    late = (closed - timedelta(seconds=1.5)).isoformat()
    (first,) = ask(database, *choice, "--until", early)
    (second,) = ask(database, *choice, "--since", late)
    assert [a["verdict"] for a in (first, whole, second)] == [
        "slow reader",
        "can't tell",
        "application",
    ]
    assert max(first["seconds"], second["seconds"]) < 2
    assert whole["seconds"] > 3


def test_many_connections_are_judged_one_by_one(
    past: tuple[Database, dict[str, Played]],
) -> None:
    """A network that all of them are in: what moved most first, and both ends of each."""
    database, done = past
    answers = ask(database, "--net", "10.23.0.0/24")
    asked = {(each.port, each.situation.end) for each in done.values()}
    ends = {(a["RemPort"], "client") for a in answers} | {
        (a["LocalPort"], "server") for a in answers
    }
    assert asked <= ends
    moved = [a["sent"] + a["received"] for a in answers]
    assert moved == sorted(moved, reverse=True)
    assert len(ask(database, "--net", "10.23.0.0/24", "--limit", "3")) == 3
