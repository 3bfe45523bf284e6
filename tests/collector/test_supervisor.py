"""The processes together: the same rows however they are spread, and an end that is in order."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest

from bpf.errors import EstatsError, StorageError
from bpf.meters import METERS, Run, Snapshot
from bpf.record import Flag, batch_dtype, known_bit
from bpf.variable import Table
from collector import supervisor
from collector.channel import Channel
from collector.crew import Crew
from collector.fleet import Source
from collector.kernel import LIVING
from collector.processes import Child
from collector.recording import Recorder
from collector.settings import Settings
from collector.supervisor import Progress, Stop
from collector.writing import Sink
from storage.writer import Writer
from tests.collector.running import DIAG, Collected, children
from tests.runs import a_run

TABLES = (Table.TUNE, Table.EXTRAS)
BATCH = batch_dtype(TABLES)
SECOND = 1_000_000_000
START_US = 1_700_000_000_000_000
CUTS = 4
CONNECTIONS = 23

RUN = a_run(
    started_us=START_US, host="far", version="0.0.9", tables=tuple(table.value for table in TABLES)
)

Array = npt.NDArray[Any]


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Neither a process nor a handler of signals, whatever happened."""
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    before = children()
    yield
    assert children() == before
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


@pytest.fixture
def collected(tmp_path: Path) -> Collected:
    """Into a database that is not there yet."""
    return Collected(tmp_path / "flows.db")


def batches(cut: int) -> Array:
    """One cut's news of every connection that has any: most of them twice, some their last."""
    made = []
    for cookie in range(1, CONNECTIONS + 1):
        if cut and cookie % (cut + 1) == 0:
            continue  # silent, or closed
        for half in (1, 2):
            batch = np.zeros(1, BATCH)
            batch["head"]["ts"] = cut * SECOND + half * 1000 + cookie
            batch["head"]["id"], batch["head"]["sent"] = cookie, 2 * cut + half
            batch["head"]["flags"] = Flag.IPV4
            batch["identity"]["cookie"], batch["identity"]["start_ns"] = cookie, cookie
            batch["extras"]["known"] = 1 << known_bit(Table.EXTRAS, "priority")
            batch["extras"]["priority"] = cookie * 100 + cut * 10 + half
            made.append(batch)
        if cut == CUTS - 1 and cookie % 5 == 0:
            batch["head"]["flags"] = Flag.IPV4 | Flag.FINAL
    return np.frombuffer(b"".join(batch.tobytes() for batch in made), BATCH)


def record(path: Path, shards: int) -> None:
    """A recording as a collector with so many shards would make it."""
    recorder = Recorder(path, replace(RUN, shards=shards))
    for cut in range(CUTS):
        news = batches(cut)
        for shard in range(shards):
            recorder.batches(shard, 0, news[news["head"]["id"] % shards == shard])
        recorder.cut(cut * SECOND + SECOND // 2, START_US + cut * 1_000_000)
    recorder.close()


def send(number: signal.Signals, snapshot: int) -> Callable[[Progress], None]:
    """Send this process a signal after so many snapshots."""

    def act(progress: Progress) -> None:
        if progress.snapshots == snapshot:
            os.kill(os.getpid(), number)

    return act


ROWS = """
SELECT c.cookie, c.opened_us, c.closed_us, c.close_reason, c.lost, s.taken_us, e.Priority
FROM connection c JOIN extras e USING (ConnectIndex) JOIN snapshot s USING (snapshot_id)
ORDER BY c.cookie, s.snapshot_id
"""


def replay(folder: Path, shards: int) -> Collected:
    """The database of a recording with so many shards."""
    path = folder / f"{shards}.rec"
    record(path, shards)
    made = Collected(folder / f"{shards}.db")
    assert made.run(Settings(replay=path), Source.REPLAY) == "recording ended"
    return made


def test_the_rows_are_the_same_however_many_shards_there_are(tmp_path: Path) -> None:
    """Connections, their values at each snapshot, and their ends."""
    one = replay(tmp_path, 1)
    rows = one.ask(ROWS)

    assert len({row["cookie"] for row in rows}) == CONNECTIONS
    assert {row["Priority"] for row in rows if row["cookie"] == 1} == {102, 112, 122, 132}
    assert one.one("SELECT count(*) FROM connection WHERE closed_us IS NOT NULL") > 0
    for shards in (2, 5):
        other = replay(tmp_path, shards)
        assert other.ask(ROWS) == rows
        assert other.progress[-1].ops == one.progress[-1].ops
        indexes = other.ask("SELECT ConnectIndex FROM connection")
        assert len({row["ConnectIndex"] for row in indexes}) == CONNECTIONS


def test_a_replay_is_the_run_that_was_recorded(tmp_path: Path) -> None:
    """Its host, version and snapshots; that it is a replay is told."""
    replayed = replay(tmp_path, 2)

    (run,) = replayed.ask("SELECT * FROM run")
    assert (run["host"], run["version"], run["shards"]) == ("far", "0.0.9", 2)
    assert (run["source"], run["end_reason"]) == ("replay", "recording ended")
    (taken, intervals) = (
        [row[name] for row in replayed.ask("SELECT * FROM snapshot ORDER BY snapshot_id")]
        for name in ("taken_us", "interval_us")
    )
    assert taken[:CUTS] == [START_US + cut * 1_000_000 for cut in range(CUTS)]
    assert intervals[1:CUTS] == [1_000_000] * (CUTS - 1)


def test_the_first_interval_of_a_replay_is_not_this_hosts(tmp_path: Path) -> None:
    """Its clock began at another boot: what it counts is not how long that interval was."""
    record(tmp_path / "r", 1)
    late = Recorder(tmp_path / "late", RUN)
    late.batches(0, 0, batches(0))
    late.cut(1 << 62, START_US)  # of a host that was up for long
    late.close()
    for name in ("r", "late"):
        made = Collected(tmp_path / f"{name}.db")
        made.run(Settings(replay=tmp_path / name), Source.REPLAY)
        first = made.one("SELECT interval_us FROM snapshot ORDER BY snapshot_id LIMIT 1")
        assert 0 <= first <= RUN.interval_us


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_in_order(collected: Collected, number: signal.Signals) -> None:
    """With a last snapshot, and with the signal's name as the reason."""
    collected.on_progress = send(number, 1)

    assert collected.run() == number.name
    (run,) = collected.ask("SELECT * FROM run")
    assert run["end_reason"] == number.name
    assert run["ended_us"] >= run["started_us"]
    assert collected.one("SELECT count(*) FROM snapshot") == len(collected.progress) == 2


def test_a_second_signal_ends_a_run_at_once(collected: Collected) -> None:
    """Who asks twice does not want to wait; the run is ended in the database all the same."""

    def ask_twice(_: Progress) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    collected.on_progress = ask_twice

    with pytest.raises(KeyboardInterrupt):
        collected.run()
    assert collected.one("SELECT count(*) FROM run WHERE ended_us IS NOT NULL") == 1


def test_a_duration_ends_a_run(collected: Collected) -> None:
    """By itself; the snapshots add up to it."""
    assert collected.run(replace(DIAG, duration_us=100_000)) == "duration"
    (row,) = collected.ask("SELECT count(*) AS n, sum(interval_us) AS us FROM snapshot")
    assert row["n"] == collected.progress[-1].snapshots
    assert row["us"] >= 100_000


def kill(name: str) -> Callable[[Progress], None]:
    """End one of the processes at the second snapshot, as an operator or the kernel might."""

    def act(progress: Progress) -> None:
        if progress.snapshots == 2:
            os.kill(children()[name], signal.SIGKILL)

    return act


@pytest.mark.parametrize("name", ["worker-0", "writer"])
def test_a_process_that_is_killed_ends_the_run(collected: Collected, name: str) -> None:
    """With the exit code of such an end; what was written before stays, and a new run begins."""
    collected.on_progress = kill(f"estats-{name}")

    with pytest.raises(EstatsError) as died:
        collected.run()
    assert died.value.exit_code == 6
    assert collected.one("PRAGMA integrity_check") == "ok"
    assert collected.one("SELECT count(*) FROM snapshot") == 2

    collected.on_progress = send(signal.SIGTERM, 1)
    assert collected.run() == "SIGTERM"
    assert collected.one("SELECT count(*) FROM run") == 2


def test_the_writer_ends_the_run_of_a_worker_that_died(collected: Collected) -> None:
    """The database says how it ended."""
    collected.on_progress = kill("estats-worker-0")
    with pytest.raises(EstatsError):
        collected.run()

    (run,) = collected.ask("SELECT * FROM run")
    assert run["ended_us"] is not None
    assert "died" in run["end_reason"]


class Slow(Writer):
    """Storage that takes three intervals for each snapshot."""

    def write(self, snapshot: Snapshot) -> int:
        """Late."""
        time.sleep(3 * DIAG.interval_us / 1e6)
        return super().write(snapshot)


def test_ticks_that_pass_while_a_snapshot_is_written_are_merged(collected: Collected) -> None:
    """Counted in the next one, and not one of them is made up for."""

    def slow() -> Callable[[Run], Sink]:
        return lambda run: Slow(collected.database, run)

    collected.on_progress = send(signal.SIGTERM, 4)
    collected.run(prepare=slow)

    merged = [row["merged"] for row in collected.ask("SELECT * FROM snapshot ORDER BY taken_us")]
    assert merged[0] == 0
    assert all(ticks >= 2 for ticks in merged[1:4])
    assert sum(merged) == collected.progress[-1].merged


class Full(Writer):
    """Storage whose disk is full."""

    def write(self, snapshot: Snapshot) -> int:
        """Not at all."""
        raise StorageError("the disk is full", "free some space")


@pytest.mark.parametrize("when", ["opened", "begun", "written"])
def test_what_storage_refuses_is_told(
    collected: Collected, capfd: pytest.CaptureFixture[str], when: str
) -> None:
    """At whatever moment: the sentence, the cure and the exit code, and no word beside them."""

    def refuse(_: Run) -> Sink:
        raise StorageError("the disk is full", "free some space")

    def prepare() -> Callable[[Run], Sink]:
        if when == "opened":
            refuse(RUN)
        return refuse if when == "begun" else lambda run: Full(collected.database, run)

    with pytest.raises(EstatsError) as refusal:
        collected.run(prepare=prepare)
    assert (refusal.value.message, refusal.value.advice) == ("the disk is full", "free some space")
    assert refusal.value.exit_code == StorageError.exit_code
    assert capfd.readouterr().err == ""


class Programs:
    """A supervisor whose programs count what they are told, and find ``alive`` alive."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing was counted, and nobody lives."""
        self.counts: dict[str, int] = {}
        self.answer = dict.fromkeys(METERS, 0)
        self.progress: list[Progress] = []
        self.alive: list[int] = []
        self.unseen = 0
        self.short = False
        self.made_room: list[tuple[list[int], int]] = []
        monkeypatch.setattr(supervisor, "sweep", lambda _: 0)
        monkeypatch.setattr(supervisor, "census", lambda _: self._living())
        (channel, self._writer), (orders, self._worker) = Channel.pair(), Channel.pair()
        self._ended = os.eventfd(0)
        child = Child("writer", 0, self._ended)
        self.supervisor = supervisor.Supervisor(
            Crew(cast("Any", None), child, channel, orders=[orders]),
            interval_us=1_000,
            watch=self.progress.append,
            loaded=cast("Any", "programs"),
        )
        self.supervisor._counters = self.supervisor._crowd = cast("Any", self)
        self._ends = (channel, orders, self._writer, self._worker)

    def total(self, name: str) -> int:
        """A counter of theirs."""
        return self.counts.get(name, 0)

    def missed(self) -> int:
        """No run."""
        return 0

    def is_short(self) -> bool:
        """Whether there are few places."""
        return self.short

    @contextmanager
    def making_room(self, active_us: npt.NDArray[Any], cut_us: int) -> Iterator[None]:
        """Who may be evicted by the sweep in this block."""
        self.made_room.append((active_us.tolist(), cut_us))
        yield

    def note_unseen(self, ends: int) -> None:
        """What the programs are told of ends that they did not see."""
        self.unseen = ends

    def _living(self) -> npt.NDArray[Any]:
        return np.array([(id_, 0) for id_ in self.alive], LIVING)

    def snapshot(self, *, last: bool = False, **counts: int) -> tuple[list[int] | None, int]:
        """With these counts: who lives, if the worker is told, and the ends that went unseen."""
        meters = self.meters(last=last, **counts)
        order, arrays = self._worker.receive()
        living = arrays["live"].view("u8").tolist() if order["census_ns"] else None
        return living, meters["lost_finals"]

    def meters(self, *, last: bool = False, **counts: int) -> dict[str, int]:
        """With these counts: what a snapshot tells the writer."""
        self.counts |= counts
        self._writer.send({"meters": self.answer, "rows": 0, "bytes": 0, "trouble": None})
        self.supervisor.snapshot(merged=0, last=last)
        meters: dict[str, int] = self._writer.receive()[0]["meters"]
        return meters

    def close(self) -> None:
        """All channels."""
        for end in self._ends:
            end.close()
        os.close(self._ended)


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Programs]:
    """Of one shard."""
    made = Programs(monkeypatch)
    yield made
    made.close()


def test_a_census_is_taken_now_and_then_and_after_a_lost_final_and_at_the_end(
    programs: Programs,
) -> None:
    """The worker learns who lives."""
    programs.alive = [7]

    assert programs.snapshot() == ([7], 0)
    assert programs.snapshot(lost_finals=2) == (None, 2)
    assert programs.snapshot() == ([7], 0)
    assert programs.snapshot(lost_finals=3) == (None, 1)
    assert programs.snapshot(last=True) == ([7], 0)


def test_who_neither_lives_nor_was_seen_to_end_has_ended_unseen(programs: Programs) -> None:
    """It is counted once, also if it never had a row; and so are finals that were lost."""
    programs.alive = [7, 9]

    assert programs.snapshot(last=True, opened=10, ended=5)[1] == 3
    assert programs.snapshot(last=True, opened=11, ended=6)[1] == 0
    assert programs.snapshot(last=True, opened=12, ended=6, lost_finals=4)[1] == 4 + 1
    assert programs.unseen == 4


def test_who_comes_and_goes_during_a_census_is_not_taken_for_gone(programs: Programs) -> None:
    """It may be among the living and among the ended; what is lacking comes with the next one."""
    programs.alive = [7, 9]

    assert programs.snapshot(last=True, opened=10, ended=9)[1] == 0
    programs.alive = []
    assert programs.snapshot(last=True, opened=10, ended=9)[1] == 1


def test_room_is_made_where_places_are_short(programs: Programs) -> None:
    """Of those who were idle since the last cut; not at the end, when nobody comes any more."""
    programs.alive = [7, 9]
    programs.snapshot()
    assert programs.made_room == []

    programs.short = True
    cut_us = programs.supervisor._last_cut_ns // 1_000
    assert programs.snapshot() == ([7, 9], 0)
    assert programs.made_room == [([0, 0], cut_us)]
    assert programs.meters(evicted=5)["evicted"] == 5
    assert programs.meters(evicted=7, last=True)["evicted"] == 2
    assert len(programs.made_room) == 2


class Keeper:
    """A budget that is told of a cut, and says what was in force."""

    def __init__(self) -> None:
        """Nothing was waited for yet."""
        self.looked: list[int] = []

    def settle(self, cut_ns: int, own_ns: int) -> dict[str, int]:
        """So many ns, of a clock that moves."""
        assert cut_ns > own_ns >= 0
        return {"bpf_ns": 5, "flush_interval_us": 500_000, "sampled": 2}

    def looks(self, until_ns: int) -> Iterator[int]:
        """Two moments that are past."""
        for moment in (1, 2):
            yield moment
            self.looked.append(moment)


def test_the_meters_of_a_budget_go_to_the_writer_and_are_shown(programs: Programs) -> None:
    """Who was left out since the last snapshot there, and in all here."""
    programs.supervisor.overhead = cast("Any", Keeper())
    said = {"bpf_ns": 5, "flush_interval_us": 500_000, "sampled": 2}
    programs.answer |= said
    for count, more in ((3, 3), (10, 7)):
        meters = programs.meters(sampled_out=count)
        assert meters.items() >= {**said, "sampled_out": more}.items()
    spent = programs.progress[-1].overhead
    assert spent is not None
    assert (spent.flush_us, spent.sampled, spent.sampled_out) == (500_000, 2, 10)
    assert spent.share is not None and spent.share > 0


def test_a_look_is_waited_for_on_the_way_to_the_next_snapshot(programs: Programs) -> None:
    """Each of its moments in turn."""
    keeper = Keeper()
    programs.supervisor.overhead = cast("Any", keeper)
    stop = Stop()
    programs.supervisor._wait(stop, time.monotonic_ns())
    stop.close()
    assert keeper.looked == [1, 2]


def test_signals_are_given_back() -> None:
    """To whoever had them; the descriptor is readable once one came."""
    stop = Stop()
    assert stop.reason is None
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.reason == "SIGTERM"
    assert os.read(stop.fileno(), 8) == bytes([signal.SIGTERM])
    stop.close()
