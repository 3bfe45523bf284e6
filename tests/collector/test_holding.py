"""A snapshot that waits is merged with the next as if both had been one."""

import numpy as np
import numpy.typing as npt

from bpf.meters import METERS, Inherited, Snapshot
from bpf.record import CONNECTION, new_bit, sample_dtype
from bpf.variable import Group, Table
from collector.holding import merged, nbytes, overlaid

SAMPLE = sample_dtype((Table.EXTRAS,))


def samples(*rows: tuple[int, int, int]) -> npt.NDArray[np.void]:
    """Connection, number of its row of ``event``, and whether that row is new."""
    made = np.zeros(len(rows), SAMPLE)
    for place, (index, event, is_new) in enumerate(rows):
        made["connect_index"][place], made["event"][place] = index, event
        made["new"][place] = is_new * new_bit(Group.EVENT)
    return made


def snapshot(cut: int, rows: npt.NDArray[np.void], **meters: int) -> Snapshot:
    """With connections that the samples are of."""
    connections = np.zeros(len(rows), CONNECTION)
    connections["connect_index"], connections["closed_us"] = rows["connect_index"], cut
    return Snapshot(cut, cut, 5, dict.fromkeys(METERS, 1) | meters, connections, rows)


def test_the_newest_sample_stands_and_refers_to_rows_that_are_written() -> None:
    """A row that only the older sample brought is brought by the one that refers to it."""
    older = snapshot(10, samples((1, 7, 1), (2, 8, 1), (3, 9, 1)))
    newer = snapshot(20, samples((1, 7, 0), (2, 12, 1), (4, 5, 0)))
    both = merged(older, newer)

    told = {int(s["connect_index"]): (int(s["event"]), bool(s["new"])) for s in both.samples}
    assert told == {1: (7, True), 2: (12, True), 3: (9, True), 4: (5, False)}
    closed = {int(c["connect_index"]): int(c["closed_us"]) for c in both.connections}
    assert closed == {1: 20, 2: 20, 3: 10, 4: 20}
    assert (both.cut_ns, both.interval_us) == (20, 10)


def test_amounts_add_up_and_levels_stand() -> None:
    """The tick that had no snapshot is counted."""
    one = snapshot(10, samples(), lost=3, connections=7, lag_us=50, sampled=4)
    both = merged(one, snapshot(20, samples(), lost=4, connections=6, lag_us=20, sampled=2))
    names = ("lost", "connections", "lag_us", "sampled", "merged")
    assert [both.meters[name] for name in names] == [7, 6, 50, 2, 3]


def test_what_waits_counts_for_who_begins_meanwhile() -> None:
    """Its numbers are taken, and its connections known."""
    stored = Inherited({"connection": 3, "endpoint": 0, "event": 20, "setup": 0})
    waits = snapshot(10, samples((9, 7, 1)))
    known = overlaid(stored, waits)
    assert known.numbered == {"connection": 9, "endpoint": 0, "event": 20, "setup": 0}
    assert known.connections["connect_index"].tolist() == [9]
    assert overlaid(stored, None) is stored
    assert nbytes(waits) == SAMPLE.itemsize + CONNECTION.itemsize
