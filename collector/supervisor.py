"""The supervisor: starts the processes, sets the cuts, counts what was lost, stops in order."""

import select
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from bpf.errors import CollectorError
from bpf.loader import Loaded
from bpf.meters import LOSSES
from bpf.variable import Table
from collector.channel import Array
from collector.crew import Crew, WriterDiedError
from collector.crowd import Crowd
from collector.event import Event, Level
from collector.kernel import Counters, census, sweep
from collector.listeners import Listeners, ListenerSource
from collector.overhead import Overhead
from collector.processes import Child
from collector.recording import Cut, Recorder, Recording

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


class _Living(NamedTuple):
    """The connections alive as of ``began_ns``."""

    began_ns: int
    connections: Array  # dtype LIVING


@dataclass(frozen=True, slots=True, eq=False)
class _Order:
    """What the workers and the writer are told of one cut; again, if the writer dies over it."""

    cut: Cut
    last: bool
    living: _Living | None
    to_worker: Mapping[str, Any]
    to_writer: Mapping[str, Any]
    listeners: dict[str, Array]


@dataclass(slots=True)
class Supervisor:
    """Ticks, while workers and writer run.

    ``loaded`` is None where no programs are, ``recorder`` where nothing is recorded; ``listeners``
    where their table is masked out, and ``listening`` where they cannot be seen; ``overhead``
    where there is no budget. ``host`` are values of the host's own tables, by variable, that the
    next snapshot takes along.
    """

    crew: Crew
    interval_us: int
    watch: Callable[[Progress], None]
    say: Callable[[Event], None] = lambda _: None
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
    _handed_ns: int = 0  # the last cut of which the writer has all parts
    _written_ns: int = 0  # the last cut whose snapshot is in the database
    _unwritten: list[_Order] = field(default_factory=list[_Order])
    _held: int = 0  # snapshots that wait for the database
    _replaced: int = 0  # processes, since the last cut
    _census_due_ns: int = 0
    _unseen: int = 0  # ends that reached no program, as far as they are known

    def collect(self, stop: Stop, duration_us: int | None) -> str:
        """Snapshots until a signal or the duration; the reason."""
        if self.loaded is not None:
            self._counters = Counters(self.loaded, len(self.crew.workers))
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
        self.crew.finish(reason)
        self._end_recording()

    def abandon(self) -> None:
        """After an error: end them."""
        self.crew.abandon()
        self._end_recording()

    def _end_recording(self) -> None:
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
        census_ns = living.began_ns if living else 0
        arrays = self._listeners_changed(cut, listening)
        host = {table.value: dict(values) for table, values in self.host.items()}
        self.host.clear()
        meters = {"replaced": self._replaced, **meters}
        self._replaced = 0
        order = _Order(
            cut,
            last,
            living,
            {**place, "census_ns": census_ns, "replayed": self._replaying},
            {**place, "interval_us": interval_us, "meters": meters, "host": host},
            arrays,
        )
        self._unwritten.append(order)
        try:
            self._carry_out(order, until_ns=cut.cut_ns)
        except WriterDiedError:
            self._replace_writer()

    def _carry_out(self, order: _Order, *, until_ns: int) -> None:
        """One snapshot; a worker that dies meanwhile is replaced. Raises WriterDiedError."""
        for shard in range(len(self.crew.orders)):
            self._tell(shard, order, until_ns)
        self.crew.write(dict(order.to_writer), order.listeners)
        while "absent" in (answer := self.crew.answer()):
            shard = int(answer["absent"])
            self._replace_worker(shard)
            self._sweep()
            self._tell(shard, order, time.monotonic_ns())
        self.crew.proven()
        self._handed_ns = order.cut.cut_ns
        if answer["trouble"] is None:
            self._written_ns = order.cut.cut_ns
            del self._unwritten[: self._unwritten.index(order) + 1]
        self._report(answer, order.to_writer["interval_us"])

    def _tell(self, shard: int, order: _Order, until_ns: int) -> None:
        """What a worker applies is stamped up to the cut, or, of a new one, up to now."""
        live = {"live": order.living.connections["id"]} if order.living else {}
        moments = {"until_ns": until_ns, "written_ns": self._written_ns}
        self.crew.tell(shard, {**order.to_worker, **moments}, live)

    def _replace_worker(self, shard: int) -> None:
        """Its connections are told again by the next sweep. Raises WriterDiedError."""
        name = self.crew.workers[shard].name
        self._check_replaceable(name)
        self.crew.replace_worker(shard, self._handed_ns)
        self._begin_anew(name, [shard])

    def _replace_writer(self) -> None:
        """And all workers; then what it had not written is written once more."""
        while True:
            self._check_replaceable(self.crew.writer.name)
            try:
                self.crew.replace_writer(self._cut_at)
                self._begin_anew(self.crew.writer.name, range(len(self.crew.workers)))
                self._sweep()
                for order in list(self._unwritten):
                    self._carry_out(order, until_ns=time.monotonic_ns())
            except WriterDiedError:
                continue
            return

    def _cut_at(self, taken_us: int) -> int:
        """The cut of the last snapshot that is written, and no need to write it again."""
        for place, order in enumerate(self._unwritten):
            if order.cut.taken_us == taken_us:
                self._written_ns = order.cut.cut_ns
                del self._unwritten[: place + 1]
                break
        self._handed_ns = self._written_ns
        return self._written_ns

    def _check_replaceable(self, name: str) -> None:
        """A poll and a recording have a memory of their own, which dies with their worker."""
        if self.loaded is None or self.recorder:
            raise CollectorError(f"the process {name} died")

    def _begin_anew(self, name: str, shards: Sequence[int]) -> None:
        assert self._counters is not None, "who is replaced reads what programs send"
        for shard in shards:
            self._counters.resync(shard)
        self._replaced += 1
        self._census_due_ns = 0
        sentence = f"the process {name} died and was replaced; what it had not stored is told again"
        self.say(Event(sentence, Level.WARNING, {"process": name}))

    def _sweep(self) -> None:
        assert self.loaded is not None, "who is replaced reads what programs send"
        sweep(self.loaded)

    def _listeners_changed(self, cut: Cut, listening: Array | None) -> dict[str, Array]:
        """What the writer is told of listeners, and of their table in ``host``."""
        if self.listeners is None or listening is None:
            return {}
        changes = self.listeners.take(listening, cut)
        if changes.last_change_us is not None:
            self.host[Table.SCALAR] = {"ListenerTableLastChange": changes.last_change_us}
        return {"endpoints": changes.endpoints, "rows": changes.rows}

    def _report(self, answer: dict[str, Any], interval_us: int) -> None:
        meters: dict[str, int] = answer["meters"]
        is_held = int(answer["trouble"] is not None)
        self._tell_of_trouble(answer["trouble"])
        add = {
            "ops": meters["ops"],
            "batches": meters["batches"],
            "merged": meters["merged"] + is_held,
            "rows": answer["rows"],
            "snapshots": 1 - is_held,
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

    def _tell_of_trouble(self, trouble: str | None) -> None:
        """As it begins, and as it ends."""
        if trouble and not self._held:
            sentence = f"{trouble}; going on: the next snapshot that can be written has it all"
            self.say(Event(sentence, Level.WARNING, {"trouble": trouble}))
        elif self._held and not trouble:
            sentence = f"the database is written again: {self._held} snapshots came with this one"
            self.say(Event(sentence, facts={"held": self._held}))
        self._held = self._held + 1 if trouble else 0

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
        while stop.reason is None:
            seconds = max(0.0, (until_ns - time.monotonic_ns()) / 1e9)
            watched: list[Stop | Child] = [stop, *self.crew.workers, self.crew.writer]
            ready, _, _ = select.select(watched, [], [], seconds)
            dead = [child for child in ready if isinstance(child, Child)]
            if not dead:
                return
            try:
                if self.crew.writer in dead:
                    self.crew.answer()  # an error that it met by itself, if that is why
                else:
                    self._replace_worker(self.crew.workers.index(dead[0]))
            except WriterDiedError:
                self._replace_writer()
