"""The supervisor: starts the processes, sets the cuts, counts what was lost, stops in order."""

import os
import select
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, NamedTuple

from bpf.errors import CollectorError
from bpf.loader import Loaded
from bpf.meters import LOSSES, Run
from bpf.variable import Table
from collector.channel import Array, Channel
from collector.crowd import Crowd
from collector.kernel import Counters, census, sweep
from collector.listeners import Listeners, ListenerSource
from collector.overhead import Overhead
from collector.processes import Child, spawn
from collector.recording import Cut, Recorder, Recording
from collector.writing import Prepare, run_writer

_STOP_SECONDS: Final = 30.0  # for a child to end by itself once it was told to
_CENSUS_NS: Final = 10_000_000_000  # until an end that no hook saw is looked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What the programs took of one CPU, None if nobody looked yet, and what a budget did.

    Of ``sampled`` new connections one is tracked; ``sampled_out`` is how many were not, ever.
    """

    share: float | None
    flush_us: int
    sampled: int
    sampled_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a status line shows after each snapshot; counts but ``connections`` are sums.

    ``overhead`` is None without a budget. ``lost`` is everything that was lost; ``meters`` are the
    sums of LOSSES, one by one. ``oversize`` says that the database is larger than it may be, though
    all that may go was forgotten.
    """

    connections: int
    ops: int
    batches: int
    lost: int
    snapshots: int
    merged: int
    rows: int
    lag_us: int
    database_bytes: int
    interval_us: int
    interval_ops: int
    overhead: Spent | None = None
    meters: Mapping[str, int] = field(default_factory=dict[str, int])
    forgotten_samples: int = 0
    forgotten_connections: int = 0
    oversize: bool = False


class Stop:
    """SIGINT and SIGTERM as a descriptor, so that waiting ends at once.

    The first one asks for an orderly end, the second raises KeyboardInterrupt.
    """

    def __init__(self) -> None:
        """Take the signals over; ``close`` gives them back."""
        self.reason: str | None = None
        self._ours, theirs = socket.socketpair()
        for end in (self._ours, theirs):
            end.setblocking(False)
        self._theirs = theirs
        self._before = {
            number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)
        }
        self._wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)

    def fileno(self) -> int:
        """Readable once a signal came."""
        return self._ours.fileno()

    def close(self) -> None:
        """Give the signals back."""
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._ours.close()
        self._theirs.close()

    def _note(self, number: int, _frame: object) -> None:
        if self.reason is not None:  # asked twice: whatever is being waited for
            raise KeyboardInterrupt
        self.reason = signal.Signals(number).name


@dataclass(slots=True)
class Writer:
    """The writer process as the supervisor sees it: prepared while the programs are loaded."""

    child: Child
    channel: Channel
    parts: list[Channel]  # the workers' ends of their channels to it

    @classmethod
    def start(cls, prepare: Prepare, shards: int) -> "Writer":
        """Fork it; it opens storage at once and then waits for the run."""
        ours, theirs = Channel.pair()
        pairs = [Channel.pair() for _ in range(shards)]
        inner, parts = [a for a, _ in pairs], [b for _, b in pairs]

        def work() -> None:
            for end in (ours, *parts):
                end.close()
            run_writer(prepare, theirs, inner)

        child = spawn("writer", work)
        for end in (theirs, *inner):
            end.close()
        return cls(child, ours, parts)

    def answer(self) -> dict[str, Any]:
        """Its next message; raises the error that it or a worker met."""
        try:
            message, _ = self.channel.receive()
        except CollectorError:
            raise CollectorError("the writer process died") from None
        return message

    def begin(self, run: Run) -> dict[str, int]:
        """Begin the run; the last number in use of each table that is numbered by us."""
        self.answer()  # prepared
        self.channel.send(asdict(run))
        numbered: dict[str, int] = self.answer()["numbered"]
        return numbered


class _Living(NamedTuple):
    """The connections alive as of ``began_ns``."""

    began_ns: int
    connections: Array  # dtype LIVING


@dataclass(slots=True)
class Supervisor:
    """Ticks, while workers and writer run.

    ``loaded`` is None where no programs are, ``recorder`` where nothing is recorded; ``listeners``
    where their table is masked out, and ``listening`` where they cannot be seen; ``overhead``
    where there is no budget. ``host`` are values of the host's own tables, by variable, that the
    next snapshot takes along.
    """

    writer: Writer
    interval_us: int
    watch: Callable[[Progress], None]
    workers: list[Child] = field(default_factory=list[Child])
    orders: list[Channel] = field(default_factory=list[Channel])
    loaded: Loaded | None = None
    recorder: Recorder | None = None
    listening: ListenerSource | None = None
    listeners: Listeners | None = None
    overhead: Overhead | None = None
    host: dict[Table, Mapping[str, int]] = field(default_factory=dict[Table, Mapping[str, int]])
    _replaying: bool = False
    _counters: Counters | None = None
    _crowd: Crowd | None = None
    _counted: dict[str, int] = field(default_factory=dict[str, int])
    _sums: dict[str, int] = field(default_factory=dict[str, int])
    _losses: Counter[str] = field(default_factory=Counter[str])
    _last_cut_ns: int = field(default_factory=time.monotonic_ns)
    _census_due_ns: int = 0
    _unseen: int = 0  # ends that reached no program, as far as they are known

    def add_worker(self, shard: int, run: Callable[[Channel, Channel], None]) -> None:
        """Fork a worker; ``run`` gets its channel of orders and its channel to the writer."""
        ours, theirs = Channel.pair()
        part = self.writer.parts[shard]

        def work() -> None:
            ours.close()
            run(theirs, part)

        self.workers.append(spawn(f"worker-{shard}", work))
        self.orders.append(ours)
        theirs.close()
        part.close()

    def collect(self, stop: Stop, duration_us: int | None) -> str:
        """Snapshots until a signal or the duration; the reason."""
        if self.loaded is not None:
            self._counters = Counters(self.loaded, len(self.workers))
            self._crowd = Crowd(self.loaded)
        interval_ns = self.interval_us * 1_000
        started = due = time.monotonic_ns()
        end = None if duration_us is None else started + duration_us * 1_000
        merged = 0
        while True:
            last = stop.reason is not None or (end is not None and time.monotonic_ns() >= end)
            self.snapshot(merged=merged, last=last)
            if last:
                return stop.reason or "duration"
            due += interval_ns
            merged = max(0, (time.monotonic_ns() - due) // interval_ns)
            due += merged * interval_ns
            self._wait(stop, due if end is None else min(due, end))

    def replay(self, recording: Recording, stop: Stop) -> str:
        """The cuts of a recording, as fast as they can be applied."""
        self._replaying = True
        cuts = recording.cuts
        if cuts:  # the clock is that of the host that recorded
            self._last_cut_ns = cuts[0].cut_ns
        for cut in cuts:
            self._snapshot_at(cut, {}, last=False, listening=recording.listeners(cut))
            if stop.reason is not None:
                break
        end = cuts[-1] if cuts else Cut(time.monotonic_ns(), time.time_ns() // 1_000)
        self._snapshot_at(end, {}, last=True)
        return stop.reason or "recording ended"

    def snapshot(self, *, merged: int, last: bool) -> None:
        """One consistent cut through all shards, now."""
        meters = {"merged": merged}
        living = None
        began_ns = time.thread_time_ns()
        if self.loaded is not None:
            living = self._look_around(self.loaded, last=last)
        listening = self.listening.look() if self.listening else None
        own_ns = time.thread_time_ns() - began_ns
        cut = Cut(time.monotonic_ns(), time.time_ns() // 1_000)
        if self.loaded is not None:
            meters |= self._counted_since()
            if meters["lost_finals"]:
                self._census_due_ns = 0
        if self.overhead:
            meters |= self.overhead.settle(cut.cut_ns, own_ns)
        self._snapshot_at(cut, meters, last=last, living=living, listening=listening)
        if self.recorder:
            if listening is not None:
                self.recorder.listeners(listening)
            self.recorder.cut(cut.cut_ns, cut.taken_us)

    def finish(self, reason: str) -> None:
        """After the last snapshot: let the workers and the writer end."""
        self.writer.channel.send({"reason": reason})
        self.writer.answer()
        for child in (*self.workers, self.writer.child):
            if not select.select([child], [], [], _STOP_SECONDS)[0]:
                child.kill()
            child.wait()
        self._close()

    def abandon(self) -> None:
        """After an error: the workers first, so that the writer can end the run by itself."""
        for child in self.workers:
            child.kill()
            child.wait()
        self._close()
        if not select.select([self.writer.child], [], [], _STOP_SECONDS)[0]:
            self.writer.child.kill()
        self.writer.child.wait()

    def _close(self) -> None:
        """Our ends of all channels, and the recording."""
        for channel in (self.writer.channel, *self.writer.parts, *self.orders):
            channel.close()
        if self.recorder:
            self.recorder.close()
            self.recorder = None

    def _snapshot_at(
        self,
        cut: Cut,
        meters: Mapping[str, int],
        *,
        last: bool,
        living: _Living | None = None,
        listening: Array | None = None,
    ) -> None:
        interval_us = max(0, (cut.cut_ns - self._last_cut_ns) // 1_000)
        self._last_cut_ns = cut.cut_ns
        place = {"cut_ns": cut.cut_ns, "taken_us": cut.taken_us, "last": last}
        order = {
            **place,
            "census_ns": living.began_ns if living else 0,
            "replayed": self._replaying,
        }
        for channel in self.orders:
            channel.send(order, {"live": living.connections["id"]} if living else {})
        arrays = self._listeners_changed(cut, listening)
        host = {table.value: dict(values) for table, values in self.host.items()}
        self.host.clear()
        self.writer.channel.send(
            {**place, "interval_us": interval_us, "meters": dict(meters), "host": host}, arrays
        )
        self._report(self._await_writer(), interval_us)

    def _listeners_changed(self, cut: Cut, listening: Array | None) -> dict[str, Array]:
        """What the writer is told of listeners, and of their table in ``host``."""
        if self.listeners is None or listening is None:
            return {}
        changes = self.listeners.take(listening, cut)
        if changes.last_change_us is not None:
            self.host[Table.SCALAR] = {"ListenerTableLastChange": changes.last_change_us}
        return {"endpoints": changes.endpoints, "rows": changes.rows}

    def _await_writer(self) -> dict[str, Any]:
        """The writer's answer, unless a process dies first."""
        watched: list[Channel | Child] = [self.writer.channel, self.writer.child, *self.workers]
        ready, _, _ = select.select(watched, [], [])
        if self.writer.channel not in ready:
            # A worker that has just been told to end may go before the writer answers.
            died = [c for c in self.workers if c in ready and not self._ended_well(c)]
            if died:
                raise CollectorError(f"the process {died[0].name} died")
        return self.writer.answer()

    @staticmethod
    def _ended_well(child: Child) -> bool:
        found = os.waitid(os.P_PIDFD, child.fd, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        return found is not None and found.si_code == os.CLD_EXITED and found.si_status == 0

    def _report(self, answer: dict[str, Any], interval_us: int) -> None:
        meters: dict[str, int] = answer["meters"]
        add = {
            "ops": meters["ops"],
            "batches": meters["batches"],
            "merged": meters["merged"],
            "rows": answer["rows"],
            "snapshots": 1,
            "forgotten_samples": meters.get("forgotten_samples", 0),
            "forgotten_connections": meters.get("forgotten_connections", 0),
        }
        for name in LOSSES:
            self._losses[name] += meters[name]
        for name, amount in add.items():
            self._sums[name] = self._sums.get(name, 0) + amount
        self.watch(
            Progress(
                connections=meters["connections"],
                lag_us=meters["lag_us"],
                database_bytes=answer["bytes"],
                interval_us=interval_us,
                interval_ops=meters["ops"],
                oversize=bool(meters.get("oversize")),
                overhead=self._spent(meters, interval_us) if self.overhead else None,
                lost=sum(self._losses[name] for name in ("lost", "lost_finals", "untracked")),
                meters=dict(self._losses),
                **self._sums,
            )
        )

    def _spent(self, meters: Mapping[str, int], interval_us: int) -> Spent:
        share = meters["bpf_ns"] / (interval_us * 1_000) if "bpf_ns" in meters else None
        return Spent(
            share=share,
            flush_us=meters["flush_interval_us"],
            sampled=meters["sampled"],
            sampled_out=self._counted["sampled_out"],
        )

    def _look_around(self, loaded: Loaded, *, last: bool) -> _Living | None:
        """Have everybody tell what is new, and the idlest make room for others where it is short.

        Gives the living, if they were counted.
        """
        assert self._crowd is not None, "the bound is the programs'"
        is_short = self._crowd.is_short()
        living = None
        if last or is_short or time.monotonic_ns() >= self._census_due_ns:
            living = self._count_living(loaded)
        if living and is_short and not last:
            with self._crowd.making_room(
                living.connections["active_us"], self._last_cut_ns // 1_000
            ):
                sweep(loaded)
        else:
            sweep(loaded)
        return living

    def _count_living(self, loaded: Loaded) -> _Living:
        """Before the cut: who lives no more has sent its final batch by then, or never will.

        Who neither lives nor was seen to end has ended unseen, with a row or without. Connections
        that come or go during the census make these too few, never too many, until the next one.
        """
        assert self._counters is not None and self._crowd is not None, "both are the programs'"
        began_ns = time.monotonic_ns()
        self._census_due_ns = began_ns + _CENSUS_NS
        opened = self._counters.total("opened")
        connections = census(loaded)
        ended = self._counters.total("ended")
        self._unseen = max(self._unseen, opened - len(connections) - ended)
        self._crowd.note_unseen(self._unseen)
        return _Living(began_ns, connections)

    def _counted_since(self) -> dict[str, int]:
        """What the programs counted since the last snapshot."""
        assert self._counters is not None, "counters are the programs'"
        names = ["lost", "lost_finals", "untracked", "evicted"]
        if self.overhead:
            names.append("sampled_out")
        totals = {name: self._counters.total(name) for name in names}
        totals["lost_finals"] += self._unseen
        totals["missed"] = self._counters.missed()
        amounts = {name: total - self._counted.get(name, 0) for name, total in totals.items()}
        self._counted = totals
        return amounts

    def _wait(self, stop: Stop, until_ns: int) -> None:
        """Until the next tick, with a look on the way at what the programs cost."""
        if self.overhead:
            for moment_ns in self.overhead.looks(until_ns):
                self._sleep(stop, moment_ns)
        self._sleep(stop, until_ns)

    def _sleep(self, stop: Stop, until_ns: int) -> None:
        """Until a time, a signal, or the death of a child."""
        seconds = max(0.0, (until_ns - time.monotonic_ns()) / 1e9)
        if stop.reason is not None:
            return
        children = (*self.workers, self.writer.child)
        watched: list[Stop | Child] = [stop, *children]
        ready, _, _ = select.select(watched, [], [], seconds)
        died = [child.name for child in children if child in ready]
        if died:
            raise CollectorError(f"the process {died[0]} died")
