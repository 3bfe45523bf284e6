"""The writer joins the shards' parts of a cut, and says what went wrong in words that travel."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bpf.errors import EnvironmentLacksError, EstatsError, StorageError
from bpf.meters import METERS, OPTIONAL_METERS, Inherited, Run, Snapshot
from bpf.record import CONNECTION, sample_dtype
from bpf.variable import Table
from collector.channel import Channel
from collector.crew import Crew
from collector.processes import Child
from collector.writing import Sink, run_writer
from tests.runs import a_run

RUN = a_run(
    started_us=1,
    shards=2,
    tables=("perf", "extras"),
    filters='{"port": ["80"]}',
    unavailable={"CERcvd": "no such field"},
)

Array = npt.NDArray[Any]
NUMBERED = {"connection": 41, "endpoint": 3, "event": 7, "setup": 5}


@dataclass
class Memory:
    """A Sink that keeps what it gets."""

    numbered: Mapping[str, int] = field(default_factory=lambda: NUMBERED)
    snapshots: list[Snapshot] = field(default_factory=list[Snapshot])
    reasons: list[str] = field(default_factory=list[str])
    refuse: EstatsError | None = None
    refusals: list[EstatsError] = field(default_factory=list[EstatsError])  # and then no more
    on_write: Callable[[], None] = lambda: None
    to_forget: int = 0  # slices
    known: Inherited = field(default_factory=Inherited)
    forgot: list[int] = field(default_factory=list[int])  # how many snapshots there were, each time

    def write(self, snapshot: Snapshot) -> int:
        """Keep it, or raise what the test wants."""
        if self.refuse is not None:
            raise self.refuse
        if self.refusals:
            raise self.refusals.pop()
        self.snapshots.append(snapshot)
        self.on_write()
        return 7

    def forget(self) -> bool:
        """One slice, if there are any."""
        if not self.to_forget:
            return False
        self.to_forget -= 1
        self.forgot.append(len(self.snapshots))
        return True

    def forgotten(self) -> Mapping[str, int]:
        """All of them together."""
        return {"forgotten_samples": len(self.forgot)} if self.forgot else {}

    def inherited(self) -> Inherited:
        """What the test says."""
        return self.known

    def database_bytes(self) -> int:
        """Grows with every snapshot."""
        return 100 * len(self.snapshots)

    def close(self, reason: str) -> None:
        """Note why."""
        self.reasons.append(reason)


class Bench:
    """The other ends of a writer's channels; all it will need is sent before it runs."""

    def __init__(self) -> None:
        """Of two workers."""
        self.supervisor, self._theirs = Channel.pair()
        self.workers: dict[int, Channel] = {}
        self.sink = Memory()
        self.runs: list[Run] = []

    def prepare(self) -> Callable[[Run], Sink]:
        """Opens nothing."""

        def begin(run: Run) -> Sink:
            self.runs.append(run)
            return self.sink

        return begin

    def begin(self, run: Run = RUN) -> None:
        """Of a run, with its workers."""
        self.supervisor.send(asdict(run))
        for shard in range(run.shards):
            self.introduce(shard)

    def introduce(self, shard: int, *, inherits: bool = False) -> None:
        """A worker."""
        self.workers[shard], theirs = Channel.pair()
        self.supervisor.send({"worker": shard, "inherits": inherits})
        self.supervisor.send_end(theirs)

    def order(self, cut_ns: int, *, last: bool = False, **meters: int) -> None:
        """As the supervisor does it."""
        place = {"cut_ns": cut_ns, "taken_us": cut_ns + 1, "interval_us": 5}
        self.supervisor.send({**place, "last": last, "meters": meters, "host": {}})

    def part(self, shard: int, cut_ns: int, indexes: list[int], **meters: int) -> None:
        """A worker's part: so many connections, and a sample of each."""
        connections = np.zeros(len(indexes), CONNECTION)
        samples = np.zeros(len(indexes), sample_dtype(TABLES))
        connections["connect_index"] = samples["connect_index"] = indexes
        amounts = {"connections": 1, "batches": 2, "ops": 3, "late": 4, "untracked": 5}
        amounts |= {"lag_us": 5, "lost_finals": 0} | meters
        self.workers[shard].send(
            {"cut_ns": cut_ns, "shard": shard, "meters": amounts},
            {"connections": connections, "samples": samples},
        )

    def run(self, prepare: Callable[[], Callable[[Run], Sink]] | None = None) -> None:
        """Until it ends; its own ends are closed then, as its process would."""
        run_writer(prepare or self.prepare, self._theirs)
        self._theirs.close()

    def close(self) -> None:
        """All ends."""
        for end in (self.supervisor, self._theirs, *self.workers.values()):
            end.close()

    def error(self, after: int) -> tuple[str, str, int]:
        """What it says after so many answers, as the supervisor meets it."""
        writer = Crew(self.prepare, Child("writer", 0, -1), self.supervisor)
        for _ in range(after):
            writer.answer()
        with pytest.raises(EstatsError) as met:
            writer.answer()
        return met.value.message, met.value.advice, met.value.exit_code

    def answers(self) -> list[dict[str, Any]]:
        """All that it said."""
        said = []
        while True:
            try:
                said.append(self.supervisor.receive()[0])
            except EstatsError:
                return said


TABLES = (Table.PERF, Table.EXTRAS)


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A writer of two shards that has not begun."""
    made = Bench()
    yield made
    made.close()


def test_a_snapshot_is_all_shards_parts_of_one_cut(bench: Bench) -> None:
    """Connections and rows of all, amounts added up, the longest lag."""
    bench.begin()
    bench.order(10, lost=2, lost_finals=7, merged=1)
    bench.part(0, 10, [1, 3], lag_us=50)
    bench.part(1, 10, [2], late=0)
    bench.order(20, last=True)
    bench.part(1, 20, [4])
    bench.part(0, 20, [])
    bench.supervisor.send({"reason": "duration"})
    bench.run()

    first, second = bench.sink.snapshots
    assert (first.cut_ns, first.taken_us, first.interval_us) == (10, 11, 5)
    assert first.connections["connect_index"].tolist() == [1, 3, 2]
    assert first.samples.dtype == sample_dtype(TABLES)
    assert first.samples["connect_index"].tolist() == [1, 3, 2]
    amounts = {"connections": 2, "batches": 4, "ops": 6, "late": 4, "lost": 2, "merged": 1}
    amounts |= {"lost_finals": 7, "lag_us": 50, "untracked": 10}
    assert first.meters == dict.fromkeys(METERS.keys() - OPTIONAL_METERS, 0) | amounts
    assert second.connections["connect_index"].tolist() == [4]
    assert bench.runs == [RUN]
    assert bench.sink.reasons == ["duration"]


def test_every_step_is_answered(bench: Bench) -> None:
    """So that the supervisor never has two snapshots under way."""
    bench.begin()
    bench.order(10, last=True)
    for shard in (0, 1):
        bench.part(shard, 10, [1])
    bench.supervisor.send({"reason": "SIGINT"})
    bench.run()

    prepared, begun, written, closed = bench.answers()
    assert prepared == {"prepared": True}
    assert begun == {"numbered": NUMBERED}
    assert (written["rows"], written["bytes"], written["meters"]["ops"]) == (7, 100, 6)
    assert closed == {"closed": True, "bytes": 100}


def test_a_source_with_one_worker_leaves_the_other_channels_alone(bench: Bench) -> None:
    """The run says how many there are; the channels were made before that was known."""
    bench.begin(replace(RUN, shards=1))
    bench.order(10, last=True)
    bench.part(0, 10, [1])
    bench.supervisor.send({"reason": "duration"})
    bench.run()

    assert bench.sink.snapshots[0].connections["connect_index"].tolist() == [1]


def refuse() -> Callable[[Run], Sink]:
    """Storage that cannot be opened."""
    raise StorageError("no such folder", "make it")


def test_storage_that_cannot_be_opened_is_told(bench: Bench) -> None:
    """Sentence, cure and exit code: what the supervisor raises again."""
    bench.run(refuse)

    assert bench.error(after=0) == ("no such folder", "make it", StorageError.exit_code)


def test_a_snapshot_that_cannot_be_written_is_told(bench: Bench) -> None:
    """With the exit code of its kind."""
    bench.sink.refuse = EnvironmentLacksError("no room", "")
    bench.begin()
    bench.order(10)
    for shard in (0, 1):
        bench.part(shard, 10, [1])
    bench.run()

    assert bench.error(after=2) == ("no room", "", EnvironmentLacksError.exit_code)


def test_the_run_ends_when_the_supervisor_is_gone(bench: Bench) -> None:
    """The writer is the only one who can still say so in the database."""
    bench.begin()
    bench.order(10)
    bench.part(0, 10, [1])
    bench.part(1, 10, [2])
    bench.sink.on_write = bench.supervisor.close
    bench.run()

    (reason,) = bench.sink.reasons
    assert "died" in reason


def test_a_worker_that_is_gone_is_missed_and_another_takes_its_place(bench: Bench) -> None:
    """It is told what the database has, and its part is in the same snapshot."""
    bench.sink.known = Inherited(NUMBERED, np.ones(1, CONNECTION), 9)
    bench.begin()
    bench.order(10)
    bench.part(0, 10, [1])
    bench.workers[1].close()
    bench.introduce(1, inherits=True)
    bench.part(1, 10, [2])
    bench.supervisor.send({"reason": "duration"})
    bench.run()

    *_, absent, known, written, _ = bench.answers()
    assert absent == {"absent": 1}
    assert known == {"numbered": NUMBERED, "taken_us": 9}
    assert written["rows"] == 7
    (snapshot,) = bench.sink.snapshots
    assert snapshot.connections["connect_index"].tolist() == [1, 2]


def test_what_cannot_be_written_comes_with_the_next_snapshot(bench: Bench) -> None:
    """Of each connection the newest, and the amounts of both; the ticks in between are counted."""
    full = StorageError("full", "")
    full.may_pass = True
    bench.sink.refusals = [full, full]
    bench.begin(replace(RUN, shards=1))
    for cut, indexes in ((10, [1, 2]), (20, [2, 3]), (30, [3])):
        bench.order(cut, lost=cut)
        bench.part(0, cut, indexes, lag_us=100 - cut)
    bench.supervisor.send({"reason": "duration"})
    bench.run()

    (snapshot,) = bench.sink.snapshots
    assert snapshot.connections["connect_index"].tolist() == [1, 2, 3]
    assert snapshot.samples["connect_index"].tolist() == [1, 2, 3]
    assert (snapshot.cut_ns, snapshot.interval_us) == (30, 15)
    said = ("lost", "merged", "lag_us", "batches", "connections")
    assert [snapshot.meters[name] for name in said] == [60, 2, 90, 6, 1]
    troubles = [answer["trouble"] for answer in bench.answers() if "trouble" in answer]
    assert troubles == ["full", "full", None]


def test_what_can_not_even_be_written_at_the_end_is_an_error(bench: Bench) -> None:
    """It says how much is lost by it."""
    full = StorageError("full", "make room")
    full.may_pass = True
    bench.sink.refusals = [full] * 3
    bench.begin(replace(RUN, shards=1))
    for cut in (10, 20, 30):
        bench.order(cut, last=cut == 30)
        bench.part(0, cut, [1])
    bench.run()

    said = "full; 3 snapshot(s) that waited for it are lost"
    assert bench.error(after=4) == (said, "make room", StorageError.exit_code)


def test_a_supervisor_that_never_begins_leaves_no_run(bench: Bench) -> None:
    """As when the kernel programs cannot be loaded."""
    bench.supervisor.close()
    bench.run()

    assert bench.runs == []


def test_a_tick_that_waits_comes_before_forgetting(bench: Bench) -> None:
    """Both snapshots are here already, so nothing was forgotten before the second."""
    bench.sink.to_forget = 5
    bench.begin()
    for cut in (10, 20):
        bench.order(cut, last=cut == 20)
        bench.part(0, cut, [1])
        bench.part(1, cut, [2])
    bench.supervisor.send({"reason": "done"})
    bench.run()
    assert bench.sink.forgot == []


def test_a_replay_forgets_before_it_goes_on(bench: Bench) -> None:
    """Its ticks would never leave it the time; the next snapshot says how much it was."""
    bench.sink.to_forget = 5
    bench.begin(replace(RUN, source="replay"))
    bench.order(10, last=True)
    bench.part(0, 10, [1])
    bench.part(1, 10, [2])
    bench.supervisor.send({"reason": "done"})
    bench.run()
    assert bench.sink.forgot == [0] * 5
    assert bench.sink.snapshots[0].meters["forgotten_samples"] == 5
