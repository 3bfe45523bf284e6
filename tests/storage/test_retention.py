"""What is forgotten is what was to be, and every answer about the rest is the same as before."""

import multiprocessing
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bpf.catalogue import BY_NAME
from bpf.errors import UsageError
from storage import inventory, retention
from storage.bounds import Bounds, Clock, Rollup
from storage.engine import open_readonly
from storage.question import Period, Question, Sample
from storage.reader import Reader, open_reader
from storage.retention import Retention
from storage.tuned import Entry, Log
from storage.writer import Writer
from tests.storage.contents import rows
from tests.storage.retained import AT, MINUTE, SECOND, Step, Told, run_row, steps, write

VARIABLES = [BY_NAME[name.lower()] for name in ("SegsOut", "HCDataOctetsOut", "Timeouts", "LimMSS")]
OF_LISTENERS = [BY_NAME["hcsynrcvd"]]
ORPHANS = (
    "SELECT count(*) FROM event WHERE event_id NOT IN (SELECT event_id FROM sample)",
    "SELECT count(*) FROM setup WHERE setup_id NOT IN (SELECT setup_id FROM sample)",
    "SELECT count(*) FROM listener WHERE ListenerIndex NOT IN (SELECT ListenerIndex FROM endpoint)",
)
UNREFERRED = """
    SELECT snapshot_id FROM snapshot
    WHERE snapshot_id NOT IN (SELECT snapshot_id FROM sample)
    AND snapshot_id NOT IN (SELECT snapshot_id FROM listener)
    AND snapshot_id NOT IN (SELECT snapshot_id FROM scalar)
    AND snapshot_id NOT IN (SELECT snapshot_id FROM control)
    AND snapshot_id < (SELECT snapshot_id FROM thinned WHERE step_us = 0)
"""
ages = st.integers(1, 12).map(lambda n: n * MINUTE)
rollups = st.builds(Rollup, st.sampled_from([MINUTE, 2 * MINUTE]), st.just(2 * MINUTE))


def answers(reader: Reader, period: Period) -> list[list[Sample]]:
    """All that can be asked about a period."""
    question = Question(period)
    return [
        list(reader.latest(VARIABLES, question, growth=True)),
        list(reader.history(VARIABLES, question)),
        list(reader.listeners(OF_LISTENERS, question)),
        list(reader.listeners(OF_LISTENERS, question, history=True)),
    ]


def assert_sound(path: Path) -> None:
    """No damage, and nothing that nobody refers to."""
    with open_readonly(path).connect() as connection:
        assert inventory.faults(connection) == []
    assert [rows(path, statement) for statement in ORPHANS] == [[(0,)]] * len(ORPHANS)
    assert rows(path, UNREFERRED) == []


@given(st.lists(steps, min_size=2, max_size=30), ages, st.booleans(), st.integers(1, 4))
@settings(max_examples=15, phases=[Phase.generate])
def test_answers_about_what_is_kept_are_as_before(
    told: list[Step], age_us: int, at_once: bool, slice_samples: int
) -> None:
    """Values, history and growth, of connections and of listeners; and no row is left over."""
    with TemporaryDirectory(prefix="estats-test-") as made, pytest.MonkeyPatch.context() as patch:
        patch.setattr(retention, "_SAMPLES", slice_samples)
        whole, kept = Path(made, "whole.db"), Path(made, "kept.db")
        times = write(whole, told, None)
        write(kept, told, Bounds(keep_us=age_us), at_once=at_once)
        assert_sound(kept)
        with open_reader(whole) as before, open_reader(kept) as after:
            for since_us in (t for t in times if t > times[-1] - age_us):
                for until_us in (None, times[-1], (since_us + times[-1]) // 2):
                    limits = (since_us, until_us)
                    expected = answers(before, before.period(*limits))
                    assert answers(after, after.period(*limits)) == expected
        [(bound,)] = rows(kept, "SELECT max(taken_us) FROM thinned") or [(None,)]
        assert bound is None or bound <= times[-1] - age_us
        left = "SELECT count(*) FROM connection WHERE closed_us <= "
        assert bound is None or rows(kept, left + str(bound)) == [(0,)]


@given(st.lists(steps, min_size=2, max_size=30), rollups, st.booleans())
@settings(max_examples=15, phases=[Phase.generate])
def test_a_rollup_keeps_what_each_step_ended_with(
    told: list[Step], rollup: Rollup, at_once: bool
) -> None:
    """Values and growth at the ends of steps, all after them, and what the meters counted."""
    with TemporaryDirectory(prefix="estats-test-") as made:
        whole, kept = Path(made, "whole.db"), Path(made, "kept.db")
        times = write(whole, told, None)
        write(kept, told, Bounds(rollups=(rollup,)), at_once=at_once)
        assert_sound(kept)
        ends = [
            a for a, b in pairwise([*times, 0]) if a // rollup.step_us != b // rollup.step_us
        ] + [t for t in times if t > times[-1] - rollup.age_us]
        assert all(n == 1 for (n,) in rows(kept, in_each_step(rollup, times[-1])))
        with open_reader(whole) as before, open_reader(kept) as after:
            for since_us, until_us in pairwise([0, *sorted(ends)]):
                limits = (since_us + 1, until_us)
                for n in (0, 2):
                    expected = answers(before, before.period(*limits))[n]
                    assert answers(after, after.period(*limits))[n] == expected
        for amount in ("sum(lost)", "sum(interval_us)"):
            counted = f"SELECT {amount} FROM snapshot"  # noqa: S608
            assert rows(kept, counted) == rows(whole, counted)


def in_each_step(rollup: Rollup, now_us: int) -> str:
    """How many samples each connection has in each step, but for the first of one found late."""
    old = f"taken_us <= {now_us - rollup.age_us}"
    return (
        "SELECT count(*) FROM sample AS s JOIN snapshot USING (snapshot_id)"  # noqa: S608
        f" JOIN connection USING (ConnectIndex) WHERE {old} AND (origin <> 'backfill'"
        " OR snapshot_id > (SELECT min(snapshot_id) FROM sample"
        " WHERE ConnectIndex = s.ConnectIndex))"
        f" GROUP BY ConnectIndex, taken_us / {rollup.step_us}"
    )


def busy(count: int, seconds: int = 1) -> list[Step]:
    """So many snapshots, in each of which all four connections moved."""
    moved = dict.fromkeys((1, 2, 3, 4), (1, 1, 0))
    return [Step(seconds, moved, frozenset(), {1: n % 7}) for n in range(count)]


def test_a_slice_is_bounded(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes no more samples than it may, however many there are to forget."""
    monkeypatch.setattr(retention, "_SAMPLES", 3)
    told = Told()
    writer = Writer(database, run_row(), Bounds(keep_us=MINUTE))
    for step in busy(200):
        writer.write(told.snapshot(step))
    left = [count(database)]
    while writer.forget():
        left.append(count(database))
    assert max(a - b for a, b in pairwise(left)) == 3
    assert writer.forgotten() == {
        "forgotten_samples": left[0] - left[-1],
        "forgotten_connections": 0,
        "oversize": 0,
    }
    assert writer.forgotten()["forgotten_samples"] == 0
    writer.close("done")


def count(path: Path) -> int:
    """The samples."""
    return int(rows(path, "SELECT count(*) FROM sample")[0][0])


def test_who_is_interrupted_goes_on(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each slice leaves a sound database, and the next run does what is left."""
    monkeypatch.setattr(retention, "_SAMPLES", 3)
    told = Told()
    for length in (100, 50):
        writer = Writer(database, run_row(), Bounds(keep_us=MINUTE))
        for step in busy(length):
            writer.write(told.snapshot(step))
        for _ in range(20):
            assert writer.forget()
            assert_sound(database)
        writer.close("stopped")
        told.restart()
    writer = Writer(database, run_row(), Bounds(keep_us=MINUTE))
    writer.write(told.snapshot(busy(1)[0]))
    while writer.forget():
        pass
    writer.close("done")
    assert_sound(database)
    [(oldest,)] = rows(
        database, "SELECT min(taken_us) FROM snapshot JOIN sample USING(snapshot_id)"
    )
    assert told.taken_us - MINUTE - 2 * SECOND <= oldest


def test_space_is_given_back(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is smaller afterwards, and it was not a page at a time."""
    told = Told()
    writer = Writer(database, run_row())
    for step in busy(700):
        writer.write(told.snapshot(step))
    writer.close("done")
    before = database.stat().st_size
    told.restart()
    writer = Writer(database, run_row(), Bounds(keep_us=MINUTE))
    writer.write(told.snapshot(busy(1, seconds=600)[0]))
    times: list[bool] = []
    give_back = Retention.give_back

    def counted(retention: Retention) -> bool:
        times.append(give_back(retention))
        return times[-1]

    monkeypatch.setattr(Retention, "give_back", counted)
    while writer.forget():
        pass
    writer.close("done")
    given_back = before - database.stat().st_size
    assert given_back > before / 2
    assert given_back > sum(times) * 20 * 2_048
    assert_sound(database)


def test_what_was_tuned_is_forgotten_with_its_connection(database: Path) -> None:
    """And stays as long as that does."""
    told = Told()
    writer = Writer(database, run_row(), Bounds(keep_us=MINUTE))
    writer.write(told.snapshot(busy(1)[0]))
    limit = {"variable": "LimCwnd", "before": "unlimited", "wanted": "9", "accepted": "9"}
    Log(database, 1, 0).settle([Entry(connect_index=i, **limit) for i in (1, 2)])
    writer.write(told.snapshot(Step(1, {1: (1, 0, 0)}, frozenset({2}), {})))
    for _ in range(3):
        writer.write(told.snapshot(Step(90, {1: (1, 0, 0)}, frozenset(), {})))
    while writer.forget():
        pass
    writer.close("done")
    assert rows(database, "SELECT ConnectIndex FROM connection WHERE ConnectIndex < 3") == [(1,)]
    assert rows(database, "SELECT ConnectIndex FROM tuning") == [(1,)]
    assert_sound(database)


def test_a_database_that_is_too_large_forgets_its_oldest(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Just as much as it takes; the newest stays."""
    monkeypatch.setattr("storage.bounds._SIZE_MIN", 0)
    monkeypatch.setattr(retention.Retention, "_bytes", lambda _, pages: pages * 2048)
    told = Told()
    limit = 400_000
    writer = Writer(database, run_row(), Bounds(octets=limit))
    for step in busy(700):
        writer.write(told.snapshot(step))
        while writer.forget():
            pass
        assert not writer.forgotten()["oversize"]
    writer.close("done")
    assert limit * 0.8 < database.stat().st_size < limit * 1.1
    assert_sound(database)
    assert count(database) > 500


def test_what_cannot_be_small_enough_is_told(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything but the newest goes, and collecting goes on."""
    monkeypatch.setattr("storage.bounds._SIZE_MIN", 0)
    told = Told()
    writer = Writer(database, run_row(), Bounds(octets=1))
    for step in busy(5):
        writer.write(told.snapshot(step))
        while writer.forget():
            pass
    assert writer.forgotten()["oversize"] == 1
    writer.close("done")
    assert rows(database, "SELECT count(*), max(snapshot_id) FROM snapshot") == [(3, 5)]
    assert rows(database, "SELECT snapshot_id FROM control") == [(1,)]  # it still is of this run
    assert count(database) == 8  # what stood, and the newest


@pytest.mark.parametrize("step_s", [86_400 * 365, -86_400 * 365])
def test_a_clock_that_is_set_makes_nothing_old(database: Path, step_s: int) -> None:
    """Neither while it is wrong, for less than an hour, nor once it is right again."""
    told = Told()
    writer = Writer(database, run_row(), Bounds(keep_us=5 * MINUTE))
    for n, step in enumerate(busy(200)):
        made = told.snapshot(step)
        wrong = step_s * SECOND if 100 <= n < 150 else 0
        writer.write(replace(made, taken_us=made.taken_us + wrong))
        while writer.forget():
            pass
    assert count(database) == 800
    for step in busy(400, seconds=10):
        writer.write(told.snapshot(step))
        while writer.forget():
            pass
    assert count(database) <= 4 * 32
    writer.close("done")
    assert_sound(database)


def test_a_clock_that_stays_ahead_is_believed() -> None:
    """After an hour; one that is set back at once."""
    clock = Clock()
    second = 1_000_000_000
    assert clock.at(0, AT) == AT
    assert clock.at(second, AT + 90 * MINUTE) == AT + SECOND
    assert clock.at(3_000 * second, AT + 200 * MINUTE) == AT + 50 * MINUTE
    assert clock.at(3_602 * second, AT + 300 * MINUTE) == AT + 300 * MINUTE
    assert clock.at(3_603 * second, AT) == AT


@pytest.mark.parametrize(
    ("bounds", "trouble"),
    [
        ({"keep_us": SECOND}, "shorter than a minute"),
        ({"octets": 1000}, "smaller than 64 MiB"),
        ({"rollups": (Rollup(2 * MINUTE, MINUTE),)}, "longer than the age"),
        ({"rollups": (Rollup(MINUTE, MINUTE), Rollup(MINUTE, 2 * MINUTE))}, "neither longer"),
        ({"rollups": (Rollup(2, 60), Rollup(3, 90))}, "no multiple"),
        ({"keep_us": MINUTE, "rollups": (Rollup(SECOND, MINUTE),)}, "thins what --keep forgets"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(bounds: dict[str, Any], trouble: str) -> None:
    """In a sentence."""
    with pytest.raises(UsageError, match=trouble):
        Bounds(**bounds)


def forget_for_ever(path: Path) -> None:
    """Write and forget, until killed."""
    told = Told()
    writer = Writer(
        path, run_row(), Bounds(keep_us=MINUTE, rollups=(Rollup(SECOND * 5, SECOND * 5),))
    )
    while True:
        for step in busy(30):
            writer.write(told.snapshot(step))
        for _ in range(40):
            writer.forget()


@pytest.mark.parametrize("seconds", [0.3, 0.5, 0.7])
def test_a_killed_writer_leaves_a_sound_database(database: Path, seconds: float) -> None:
    """Killed with -9 while it forgets: no row is left over, and the next run goes on."""
    write(database, [], None)
    process = multiprocessing.get_context("fork").Process(target=forget_for_ever, args=(database,))
    process.start()
    while not rows(database, "SELECT * FROM thinned WHERE step_us = 0"):
        assert process.is_alive()
        time.sleep(0.01)
    time.sleep(seconds)
    process.kill()
    process.join()
    assert_sound(database)
    newest = rows(database, "SELECT max(taken_us) FROM snapshot")
    again = Writer(database, run_row(), Bounds(keep_us=MINUTE))
    while again.forget():
        pass
    again.close("done")
    assert_sound(database)
    assert rows(database, "SELECT max(taken_us) FROM snapshot") == newest


def test_a_reader_that_holds_the_log_costs_no_history(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log grows while somebody reads, and forgetting would make it grow more."""
    monkeypatch.setattr("storage.bounds._SIZE_MIN", 0)
    monkeypatch.setattr(retention, "_LOG_MAX", 100_000)
    write(database, busy(300), None)
    size = database.stat().st_size
    writer = Writer(database, run_row(), Bounds(octets=size * 3))
    told = Told()
    with open_reader(database) as reader:
        before = reader.row_counts()
        for _ in range(500):
            writer.write(told.snapshot(Step(1, {}, frozenset(), {})))
            assert not writer.forget()
        assert writer.database_bytes() > size * 3
        assert reader.row_counts() == before
    writer.close("done")
    assert count(database) == before["sample"]
