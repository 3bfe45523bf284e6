"""What ended is kept until it is stored, and who takes the place of a dead worker finds it."""

import numpy as np
import pytest

from bpf.record import Flag, batch_dtype
from bpf.variable import Table
from collector.finals import Finals
from collector.ring import Batches

BATCH = batch_dtype((Table.EXTRAS,))
ROOM = 64


@pytest.fixture
def finals() -> Finals:
    """With room for so many."""
    return Finals(BATCH, ROOM)


def ended(*ids: int) -> Batches:
    """A final batch of each."""
    made = np.zeros(len(ids), BATCH)
    made["head"]["id"], made["head"]["flags"] = ids, Flag.FINAL
    return made


def left(finals: Finals, handed_ns: int = 0) -> tuple[list[int], int]:
    """Whose final batches were left, and how many more there were."""
    batches, dropped = finals.left_by_the_dead(handed_ns)
    return batches["head"]["id"].tolist(), dropped


def test_only_what_ended_is_kept(finals: Finals) -> None:
    """Who lives will be told again."""
    batches = ended(1, 2, 3)
    batches["head"]["flags"][1] = 0
    finals.keep(batches)
    assert left(finals) == ([1, 3], 0)


def test_what_was_handed_over_is_not_left(finals: Finals) -> None:
    """The writer has it; what was read since is."""
    finals.keep(ended(1, 2))
    finals.handed_over(10)
    finals.keep(ended(3))
    assert left(finals, handed_ns=10) == ([3], 0)


def test_a_part_that_was_sent_but_not_marked_is_not_left(finals: Finals) -> None:
    """Killed between the two: the writer says that it has the part of a later cut."""
    finals.keep(ended(1, 2))
    finals.handed_over(10)
    finals.keep(ended(3))
    assert left(finals, handed_ns=20) == ([], 0)


def test_what_a_dead_writer_had_not_written_is_left(finals: Finals) -> None:
    """The part was handed over, but the last cut that is stored is an earlier one."""
    finals.keep(ended(1))
    finals.handed_over(10)
    finals.written(10)
    finals.keep(ended(2))
    finals.handed_over(20)
    finals.keep(ended(3))
    assert left(finals, handed_ns=10) == ([2, 3], 0)


def test_room_comes_back_as_snapshots_are_written(finals: Finals) -> None:
    """Round and round, whatever the places are."""
    for cut in range(1, 50):
        ids = list(range(cut * 100, cut * 100 + 40))
        finals.keep(ended(*ids))
        assert left(finals, handed_ns=cut - 1) == (ids, 0)
        finals.handed_over(cut)
        finals.written(cut)


def test_what_found_no_room_is_counted_once(finals: Finals) -> None:
    """Until a part was handed over that says so."""
    finals.keep(ended(*range(1, ROOM + 11)))
    assert left(finals) == (list(range(1, ROOM + 1)), 10)
    assert left(finals)[1] == 10
    finals.handed_over(10)
    assert left(finals, handed_ns=10) == ([], 0)
    finals.written(10)
    finals.keep(ended(*range(ROOM + 1)))
    finals.handed_over(20)
    assert left(finals, handed_ns=10)[1] == 1
