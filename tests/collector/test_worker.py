"""A worker applies what is due, in the order of the cuts, and hands over what changed."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bpf.record import CONNECTION, Flag, batch_dtype, known_bit, sample_dtype
from bpf.variable import Table
from collector.channel import Channel
from collector.recording import Cut, Recorder, Recording
from collector.ring import RingSource
from collector.tables import Tables
from collector.worker import Worker
from tests.runs import a_run

TABLES = (Table.EXTRAS,)
BATCH = batch_dtype(TABLES)
RUN = a_run(started_us=1, shards=4, tables=("extras",))
SHARD = 3
NUMBERED = {"connection": 10, "event": 20, "setup": 30}

Array = npt.NDArray[Any]


def batch(ts: int, id_: int, value: int, flags: int = 0) -> Array:
    """One batch that says the connection's Priority."""
    made = np.zeros(1, BATCH)
    made["head"]["ts"], made["head"]["id"], made["head"]["flags"] = ts, id_, flags
    made["head"]["sent"] = 1
    made["identity"]["cookie"] = id_
    made["extras"]["known"] = 1 << known_bit(Table.EXTRAS, "priority")
    made["extras"]["priority"] = value
    return made


@dataclass
class Source:
    """A RingSource of one batch at each read, that notes when it is read and released."""

    batches: list[Array] = field(default_factory=list[Array])
    descriptor: int | None = None
    on_read: Callable[[], None] = lambda: None
    cuts: list[int] = field(default_factory=list[int])
    more: bool = False
    untracked: int = 0
    _read: int = 0

    def read(self, cut_ns: int) -> Array:
        """The next batch, if it is due."""
        self.cuts.append(cut_ns)
        self.on_read()
        due = [b for b in self.batches if b["head"]["ts"][0] <= cut_ns]
        self._read, self.more = min(1, len(due)), len(due) > 1
        return due[0] if due else np.zeros(0, BATCH)

    def release(self) -> None:
        """Forget what was read."""
        del self.batches[: self._read]
        self._read = 0

    def fileno(self) -> int | None:
        """What the test gave it."""
        return self.descriptor


@dataclass
class Bench:
    """A worker, and the other ends of its channels."""

    worker: Worker
    orders: Channel
    writer: Channel

    def order(self, cut_ns: int, *, last: bool = False, live: Array | None = None) -> None:
        """Ask for a cut; with ``live`` after a census at the same moment."""
        census = {} if live is None else {"live": live}
        self.orders.send(
            {
                "cut_ns": cut_ns,
                "until_ns": cut_ns,
                "written_ns": 0,
                "taken_us": 1_000 + cut_ns // 1_000,
                "last": last,
                "census_ns": 0 if live is None else cut_ns,
                "replayed": True,
            },
            census,
        )

    def part(self) -> tuple[dict[str, Any], Array, Array]:
        """What the worker handed over next: the words, connections, and the samples' Priority."""
        message, arrays = self.writer.receive()
        assert list(arrays) == ["connections", "samples"]
        samples = arrays["samples"].view(sample_dtype(TABLES))
        priorities = samples["blocks"]["extras"]["priority"]
        return message, arrays["connections"].view(CONNECTION), priorities


MakeBench = Callable[..., Bench]


@pytest.fixture
def bench() -> Iterator[MakeBench]:
    """A worker that has not begun, from its sources and what it records with."""
    (orders, theirs), (writer, ours) = Channel.pair(), Channel.pair()

    def make(
        sources: Sequence[RingSource], recorder: Recorder | None = None, rows_max: int = 1_000
    ) -> Bench:
        tables = Tables(TABLES, NUMBERED, RUN.shards, SHARD)
        worker = Worker(SHARD, sources, tables, theirs, ours)
        worker.recorder, worker.rows_max = recorder, rows_max
        return Bench(worker, orders, writer)

    yield make
    for end in (orders, theirs, writer, ours):
        end.close()


def test_each_cut_gets_what_is_stamped_up_to_it(bench: MakeBench) -> None:
    """Not one batch more or less, from all sources; a cut without news is answered all the same."""
    one = Source([batch(10, 1, 7), batch(20, 1, 8), batch(31, 2, 9)])
    other = Source([batch(20, 3, 6)])
    made = bench([one, other])
    for cut_ns in (20, 30, 40):
        made.order(cut_ns)
    made.order(40, last=True)
    made.worker.run()

    message, connections, values = made.part()
    assert (message["cut_ns"], message["shard"]) == (20, SHARD)
    assert connections["identity"]["cookie"].tolist() == [1, 3]
    assert connections["connect_index"].tolist() == [14, 18]
    assert values.tolist() == [8, 6]
    assert message["meters"]["batches"] == 3
    assert message["meters"]["connections"] == 2
    _, connections, values = made.part()
    assert len(connections) == len(values) == 0
    message, connections, values = made.part()
    assert connections["identity"]["cookie"].tolist() == [2]
    assert values.tolist() == [9]
    assert (message["meters"]["batches"], message["meters"]["connections"]) == (1, 3)
    assert made.part()[0]["cut_ns"] == 40


def test_a_final_batch_closes_its_connection(bench: MakeBench) -> None:
    """Once, with the values that it brought."""
    made = bench([Source([batch(10_000, 1, 7), batch(20_000, 1, 8, Flag.FINAL)])])
    made.order(30_000)
    made.order(40_000, last=True)
    made.worker.run()

    message, connections, values = made.part()
    assert connections["closed_us"].tolist() == [1_020]
    assert connections["flags"].tolist() == [Flag.FINAL]
    assert values.tolist() == [8]
    assert message["meters"]["connections"] == 0
    assert len(made.part()[1]) == 0


def test_a_census_closes_what_no_longer_lives(bench: MakeBench) -> None:
    """Only what was silent since it began, and it is told from an end that was seen."""
    made = bench([Source([batch(10, 1, 7), batch(10, 2, 7), batch(30, 3, 7)])])
    made.order(30, last=True, live=np.array([2], "u8"))
    made.worker.run()

    _, connections, _ = made.part()
    closed = dict(zip(connections["identity"]["cookie"], connections["closed_us"], strict=True))
    assert closed == {1: 1_000, 2: 0, 3: 0}
    assert not (connections["flags"] & Flag.FINAL).any()


def test_a_source_that_cannot_wake_is_read_at_cuts_only(bench: MakeBench) -> None:
    """A poll of all sockets costs too much to be made whenever a ring is half full."""
    event = os.eventfd(1)
    quiet = Source([batch(1, 1, 7)])

    def order_once() -> None:
        if len(ring.cuts) == 1:
            made.order(time.monotonic_ns(), last=True)

    ring = Source([batch(1, 2, 8)], descriptor=event, on_read=order_once)
    made = bench([quiet, ring])
    before_ns = time.monotonic_ns()
    made.worker.run()
    os.close(event)

    message, connections, _ = made.part()
    assert quiet.cuts == [message["cut_ns"]]
    assert len(ring.cuts) == 2
    assert before_ns < ring.cuts[0] <= ring.cuts[1]
    assert sorted(connections["identity"]["cookie"].tolist()) == [1, 2]


def test_tables_that_are_full_wait_for_the_cut(bench: MakeBench) -> None:
    """Until then the rings keep what they can; no more is read than one look at each of them."""
    event = os.eventfd(1)
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 2:  # the third connection waits in the ring
            os.eventfd_write(event, 1)
            made.order(time.monotonic_ns(), last=True)

    ring = Source([batch(1, 1, 7), batch(1, 2, 8)], descriptor=event, on_read=look)
    made = bench([ring], rows_max=2)
    made.worker.tables.apply(batch(1, 3, 9), 0)
    made.worker.tables.apply(batch(1, 4, 9), 0)
    made.order(time.monotonic_ns())
    made.worker.run()
    os.close(event)

    (first, *_), (second, connections, _) = made.part(), made.part()
    assert ring.cuts[:2] == [first["cut_ns"]] * 2
    assert set(ring.cuts[2:]) <= {second["cut_ns"]}
    assert connections["identity"]["cookie"].tolist() == []


def test_connections_that_a_source_left_out_are_told_once(bench: MakeBench) -> None:
    """In the part of the cut at which they were first missing."""
    source = Source(untracked=3)
    made = bench([source, Source(untracked=2)])
    made.order(10)
    made.order(20, last=True)
    made.worker.run()

    assert [made.part()[0]["meters"]["untracked"] for _ in range(2)] == [5, 0]


def test_everything_that_is_applied_is_recorded_before(bench: MakeBench, tmp_path: Path) -> None:
    """With its shard, in the order it was read; what was never due is not in it."""
    recorder = Recorder(tmp_path / "r", RUN)
    made = bench([Source([batch(10, 1, 7), batch(20, 1, 8)]), Source([batch(5, 2, 9)])], recorder)
    made.order(15)
    made.worker.drain(15, 0, made.worker.sources)
    recorder.cut(15, 16)
    made.order(17, last=True)
    made.worker.run()
    recorder.cut(17, 18)
    recorder.close()

    recording = Recording(tmp_path / "r")
    assert recording.cuts == [Cut(15, 16), Cut(17, 18)]
    chunks = [recording.batches(chunk) for chunk in recording.chunks(SHARD)]
    assert [chunk["extras"]["priority"].tolist() for chunk in chunks] == [[7], [9]]
    assert all(len(recording.chunks(shard)) == 0 for shard in range(SHARD))


def test_a_live_cut_tells_how_far_behind_it_was(bench: MakeBench) -> None:
    """A replayed one has no lag: its moment is long gone."""
    made = bench([])
    at = {"cut_ns": 0, "until_ns": 0, "written_ns": 0, "taken_us": 1, "last": False, "census_ns": 0}
    made.orders.send({**at, "replayed": False})
    made.order(1, last=True)
    before_us = time.monotonic_ns() // 1_000
    made.worker.run()

    assert made.part()[0]["meters"]["lag_us"] >= before_us
    assert made.part()[0]["meters"]["lag_us"] == 0
