"""Where the newest run stands: its own snapshots only, and the end of them apart."""

import dataclasses
from pathlib import Path

from bpf.meters import METERS, Run
from storage.engine import open_writable
from storage.migrate import upgrade
from storage.reader import open_reader
from storage.writer import Writer
from tests.storage.contents import MakeSnapshot

SECOND = 1_000_000


def _filled(path: Path, run: Run, make: MakeSnapshot, ages: tuple[int, ...], end_us: int) -> None:
    """A run with a snapshot of three connections at each age in seconds, each with one loss."""
    writer = Writer(path, run)
    meters = dict.fromkeys(METERS, 0) | {"lost": 1}
    for age in ages:
        taken_us = end_us - age * SECOND
        writer.write(dataclasses.replace(make(), taken_us=taken_us, meters=meters))
    writer.close("end of test")


def test_only_the_newest_run_counts(database: Path, run: Run, make_snapshot: MakeSnapshot) -> None:
    """All of it, and of that what is recent; rows of an earlier run are no pace of this one."""
    end_us = run.started_us + 1000 * SECOND
    newer = dataclasses.replace(run, started_us=end_us - 100 * SECOND, source="diag")
    _filled(database, run, make_snapshot, (300, 200), end_us)
    _filled(database, newer, make_snapshot, (90, 80, 30, 20, 10), end_us)

    with open_reader(database) as reader:
        standing = reader.standing(end_us - 60 * SECOND)
    assert standing is not None and standing.last is not None
    assert (standing.run["run_id"], standing.run["source"]) == (2, "diag")
    assert standing.last["taken_us"] == end_us - 10 * SECOND
    assert standing.whole is not None and standing.recent is not None
    assert (standing.whole.snapshots, standing.whole.meters["lost"]) == (5, 5)
    assert (standing.recent.snapshots, standing.recent.meters["lost"]) == (3, 3)
    assert (standing.recent_samples, standing.samples) == (9, 21)


def test_a_run_that_is_silent_has_nothing_recent(
    database: Path, run: Run, make_snapshot: MakeSnapshot
) -> None:
    """But all of what it gave before."""
    _filled(database, run, make_snapshot, (90,), run.started_us + 100 * SECOND)
    with open_reader(database) as reader:
        standing = reader.standing(run.started_us + 40 * SECOND)
    assert standing is not None and standing.whole is not None
    assert (standing.recent, standing.recent_samples) == (None, 0)
    assert standing.whole.snapshots == 1


def test_a_run_without_a_snapshot_stands_at_its_beginning(
    database: Path, run: Run, make_snapshot: MakeSnapshot
) -> None:
    """And a database without a run has no standing at all."""
    upgrade(open_writable(database))
    with open_reader(database) as reader:
        assert reader.standing(0) is None
    _filled(database, run, make_snapshot, (), 0)
    with open_reader(database) as reader:
        standing = reader.standing(0)
    assert standing is not None and standing.run["end_reason"] == "end of test"
    assert (standing.last, standing.whole, standing.recent, standing.samples) == (None,) * 3 + (0,)
