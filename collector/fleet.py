"""From settings to a running collector: the source, the processes, the run, and its end."""

import json
import os
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import Enum
from pathlib import Path

from bpf.errors import EnvironmentLacksError, EstatsError, exhausted
from bpf.loader import Loaded, Request, load
from bpf.meters import Run
from bpf.record import batch_dtype
from bpf.variable import SAMPLED, Table
from collector.budget import Budget
from collector.crew import Crew, Place
from collector.diag import DiagSource
from collector.diag_listeners import DiagListeners
from collector.event import Event, Level
from collector.finals import Finals
from collector.kernel import Counters, Overflow
from collector.listeners import KernelListeners, Listeners, control
from collector.overhead import Overhead
from collector.privileges import Rights, acting_as, as_writer, keep_for_supervising
from collector.recording import Recorder, Recording, ReplaySource
from collector.ring import Ring, RingSource
from collector.settings import Settings
from collector.supervisor import Progress, Stop, Supervisor
from collector.tables import Tables
from collector.tcp_info import unavailable
from collector.worker import Worker
from collector.writing import Prepare


class Source(Enum):
    """Where the values come from."""

    AUTO = "auto"  # BPF, or inet_diag where BPF cannot be had
    BPF = "bpf"
    DIAG = "diag"
    REPLAY = "replay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """How a run tells what it does: ``progress`` after each snapshot, ``say`` for single events.

    ``stopping`` once it has taken its last snapshot, and only ends.
    """

    progress: Callable[[Progress], None]
    say: Callable[[Event], None]
    stopping: Callable[[], None] = lambda: None


@contextmanager
def _naming_what_ran_out() -> Generator[None]:
    """As the error that says so: descriptors, memory or processes."""
    try:
        yield
    except OSError as e:
        if lack := exhausted(e):
            raise lack from e
        raise


@_naming_what_ran_out()
def collect(
    settings: Settings,
    source: Source,
    prepare: Prepare,
    version: str,
    watch: Watch,
    rights: Rights | None = None,
) -> str:
    """Run until told to stop; returns the reason. ``prepare`` opens storage in the writer.

    ``rights`` are what writer and workers keep, and then this process gives up what it needs no
    more, for good; None: all of them have those of this process.
    Raises EstatsError: the database is then as its last snapshot left it, and nothing of ours is
    left in the kernel.
    """
    recording = Recording(settings.replay) if settings.replay else None
    stop = Stop()
    # Before anything else is loaded: the writer opens storage while the programs are compiled.
    crew = Crew.start(as_writer(rights, prepare) if rights else prepare)
    supervisor = Supervisor(crew, settings.interval_us, watch.progress, watch.say)
    try:
        supervisor.loaded = None if recording else _load(settings, source, watch)
        if recording:
            run = replace(recording.run, source=Source.REPLAY.value)
        else:
            if supervisor.loaded is None:
                settings = replace(settings, shards=1)
            run = _run(settings, supervisor.loaded, version)
        supervisor.overhead = _overhead(settings, supervisor.loaded, watch)
        if rights:
            keep_for_supervising(times_programs=supervisor.overhead is not None)
        _start_workers(supervisor, settings, run, recording, rights)
        watch.say(_begun(run))
        if recording:
            reason = supervisor.replay(recording, stop)
        else:
            reason = supervisor.collect(stop, settings.duration_us)
        watch.stopping()
        supervisor.finish(reason)
    except BaseException:
        supervisor.abandon()
        raise
    finally:
        if supervisor.overhead:
            supervisor.overhead.close()
        if supervisor.loaded:
            supervisor.loaded.close()
        stop.close()
    return reason


def _load(settings: Settings, source: Source, watch: Watch) -> Loaded | None:
    """The programs, or None where inet_diag or a recording takes their place."""
    if source in (Source.DIAG, Source.REPLAY):
        return None
    request = Request(
        tables=settings.tables,
        shards=settings.shards,
        flush_us=settings.flush_us,
        filters=settings.filters,
        rtt_threshold_us=settings.rtt_threshold_us,
        adjustable=settings.max_overhead is not None,
        connections_max=settings.connections_max,
    )
    try:
        loaded = load(request)
    except EnvironmentLacksError as e:
        if source is Source.BPF:
            raise
        sentence = f"{e.message}; going on with inet_diag: fewer variables. Cure: {e.advice}"
        facts = {"lacking": e.message, "cure": e.advice, "source": Source.DIAG.value}
        watch.say(Event(sentence, Level.WARNING, facts))
        return None
    sentence = f"kernel programs loaded in {loaded.seconds:.1f} s, {loaded.origin}"
    watch.say(Event(sentence, facts={"loaded_seconds": loaded.seconds, "origin": loaded.origin}))
    return loaded


def _begun(run: Run) -> Event:
    """Whatever a log without the database should have of the run."""
    names = ("source", "shards", "interval_us", "flush_us", "kernel", "version")
    facts = {name: value for name, value in asdict(run).items() if name in names}
    facts |= {"tables": ",".join(run.tables), "filters": run.filters}
    return Event(f"collecting by {run.source}, {run.shards} worker(s)", facts=facts)


def _overhead(settings: Settings, loaded: Loaded | None, watch: Watch) -> Overhead | None:
    """Who keeps to the budget, where there is one and there are programs to pay for."""
    if settings.max_overhead is None:
        return None
    if loaded is None:
        sentence = "--max-overhead does not apply: inet_diag runs no programs in the kernel"
        watch.say(Event(sentence, Level.WARNING))
        return None
    # At twice the interval the sweep has always come first: no longer one saves more.
    longest_us = max(settings.flush_us, 2 * settings.interval_us)
    return Overhead(loaded, Budget(settings.max_overhead, settings.flush_us, longest_us))


def _run(settings: Settings, loaded: Loaded | None, version: str) -> Run:
    return Run(
        started_us=time.time_ns() // 1_000,
        host=os.uname().nodename,
        kernel=os.uname().release,
        boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        version=version,
        source=(Source.BPF if loaded else Source.DIAG).value,
        interval_us=settings.interval_us,
        flush_us=settings.flush_us,
        shards=settings.shards,
        tables=tuple(table.value for table in settings.tables),
        filters=json.dumps(settings.asked()),
        unavailable=loaded.unavailable if loaded else unavailable(settings.tables),
    )


def _start_workers(
    supervisor: Supervisor,
    settings: Settings,
    run: Run,
    recording: Recording | None,
    rights: Rights | None,
) -> None:
    """One for each shard; what they must not keep open is closed in them."""
    numbered = supervisor.crew.begin(run)
    loaded = supervisor.loaded
    tables = recording.tables if recording else settings.tables
    sampled = tuple(table for table in SAMPLED if table in tables)
    supervisor.host[Table.CONTROL] = control(tables, settings.keep_us)
    if Table.LISTENER in tables:
        supervisor.listeners = Listeners(numbered["endpoint"])
        if not recording:
            fds = loaded.listeners if loaded else None
            supervisor.listening = KernelListeners(fds) if fds else DiagListeners(settings.filters)
    if settings.record:
        with acting_as(rights.maker_of(settings.record) if rights else None):
            supervisor.recorder = Recorder(settings.record, run, rights.group if rights else None)
    finals = None
    if loaded and not settings.record:
        finals = [Finals(batch_dtype(settings.tables)) for _ in range(run.shards)]

    def work(shard: int, place: Place) -> None:
        try:
            if rights:
                rights.in_worker()
            sources = _sources(settings, loaded, recording, shard, run.shards)
            if loaded:
                loaded.keep_shard(shard)
            shard_tables = Tables(sampled, numbered, run.shards, shard)
            worker = Worker(shard, sources, shard_tables, place.orders, place.writer)
            worker.recorder = supervisor.recorder
            # Who closed keeps its row until its end was handed over, and one cut longer.
            worker.rows_max = 2 * settings.connections_max // run.shards
            worker.finals = finals[shard] if finals else None
            if place.inherited:
                shard_tables.inherit(place.inherited)
                worker.inherit(place.handed_ns)
            worker.run()
        except EstatsError as e:
            place.writer.send_error(e)
            signal.pause()  # the supervisor hears of it from the writer, and ends all

    supervisor.crew.add_workers(run.shards, work)


def _sources(
    settings: Settings,
    loaded: Loaded | None,
    recording: Recording | None,
    shard: int,
    shards: int,
) -> list[RingSource]:
    """What one worker reads: its ring of every CPU and the overflow, a poll, or a recording."""
    if recording:
        return [ReplaySource(recording, shard)]
    if loaded is None:
        return [DiagSource(settings.tables, settings.filters, settings.connections_max)]
    dtype = batch_dtype(settings.tables)
    rings: list[RingSource] = [
        Ring(fd, loaded.ring_bytes, dtype)
        for (_, ring_shard), fd in sorted(loaded.rings.items())
        if ring_shard == shard
    ]
    return [*rings, Overflow(loaded, Counters(loaded, shards), shard, dtype)]
