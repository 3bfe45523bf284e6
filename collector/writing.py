"""The writer process: joins the shards' parts of one cut and puts them into storage."""

from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from typing import Any, Final, Protocol

import numpy as np

from bpf.errors import CollectorError, EstatsError, StorageError
from bpf.meters import METERS, OPTIONAL_METERS, Inherited, Run, Snapshot
from bpf.record import CONNECTION, ENDPOINT, LISTENER_ROW, sample_dtype
from bpf.variable import Table
from collector.channel import Array, Channel
from collector.holding import merged, nbytes, overlaid


class Sink(Protocol):
    """Where snapshots go (``storage.writer.Writer`` is one)."""

    #: The largest number in use in each table whose rows the collector numbers.
    numbered: Mapping[str, int]

    def write(self, snapshot: Snapshot) -> int:
        """All of it or nothing; the number of rows."""
        ...

    def forget(self) -> bool:
        """A little of what is not to be kept; False if there was nothing to do."""
        ...

    def forgotten(self) -> Mapping[str, int]:
        """How much that was since it was last asked, as meters."""
        ...

    def inherited(self) -> Inherited:
        """What a process in the place of a dead one must know of the run."""
        ...

    def database_bytes(self) -> int:
        """Size on disk."""
        ...

    def close(self, reason: str) -> None:
        """The run is over."""
        ...


_HELD_BYTES_MAX: Final = 256 << 20  # of what waits until it can be written
_REPLAY: Final = "replay"  # whose ticks follow upon one another, as fast as they are taken

#: Opens storage in two steps: first what can fail early, then the run.
Prepare = Callable[[], Callable[[Run], Sink]]


def run_writer(prepare: Prepare, supervisor: Channel) -> None:
    """Until the supervisor says why the run is over; errors go to it."""
    sink: Sink | None = None
    try:
        begin = prepare()
        supervisor.send({"prepared": True})
        values, _ = supervisor.receive()
        run = _run_of(values)
        sink = begin(run)
        supervisor.send({"numbered": dict(sink.numbered)})
        with closing(_Writing(sink, supervisor, run)) as writing:
            reason = writing.until_the_end()
        sink.close(reason)
        supervisor.send({"closed": True, "bytes": sink.database_bytes()})
    except CollectorError:  # the supervisor has given up
        _end(sink, "a process of the collector died")
    except EstatsError as e:  # storage's, or one that a worker sent in place of its part
        with suppress(CollectorError):
            supervisor.send_error(e)
        _end(sink, e.message)


class _Writing:
    """Snapshots of one run: the parts of each, and what could not be written yet."""

    def __init__(self, sink: Sink, supervisor: Channel, run: Run) -> None:
        """The workers are introduced one by one."""
        self._sink, self._supervisor, self._run = sink, supervisor, run
        self._dtype = sample_dtype([Table(name) for name in run.tables])
        self._workers: dict[int, Channel] = {}
        self._held: Snapshot | None = None

    def until_the_end(self) -> str:
        """Do as the supervisor says; the reason why the run is over."""
        last = False
        while True:
            if not last:
                self._forget()
            order, arrays = self._supervisor.receive()
            if "reason" in order:
                return str(order["reason"])
            if "worker" in order:
                self._meet(order)
                continue
            last = bool(order["last"])
            order["meters"] |= self._sink.forgotten()
            snapshot = self._gather(order, arrays)
            rows, trouble = self._write(snapshot, last=last)
            answer = {"rows": rows, "trouble": trouble, "meters": snapshot.meters}
            del snapshot, arrays  # else they wait for the next ones, which need as much again
            self._supervisor.send(answer | {"bytes": self._sink.database_bytes()})

    def close(self) -> None:
        """The channels to the workers."""
        for worker in self._workers.values():
            worker.close()

    def _meet(self, order: dict[str, Any]) -> None:
        """A worker begins, maybe in the place of one that died: then what is known is told."""
        if before := self._workers.pop(order["worker"], None):
            before.close()
        self._workers[order["worker"]] = self._supervisor.receive_end()
        if not order["inherits"]:
            return
        known = overlaid(self._sink.inherited(), self._held)
        self._supervisor.send(
            {"numbered": dict(known.numbered), "taken_us": known.taken_us},
            {"connections": known.connections},
        )

    def _write(self, snapshot: Snapshot, *, last: bool) -> tuple[int, str | None]:
        """How many rows, and what stood in the way, if that may pass: then it is held.

        Raises StorageError for what will not pass, and if nothing more can be held, or comes.
        """
        whole = snapshot if self._held is None else merged(self._held, snapshot)
        try:
            rows = self._sink.write(whole)
        except StorageError as e:
            if not e.may_pass:
                raise
            if last or nbytes(whole) > _HELD_BYTES_MAX:
                count = whole.meters["merged"] - snapshot.meters["merged"] + 1
                e.message += f"; {count} snapshot(s) that waited for it are lost"
                raise
            self._held = whole
            return 0, e.message
        self._held = None
        return rows, None

    def _forget(self) -> None:
        """What is not to be kept, a little at a time, until the next tick; a replay's waits."""
        waits = self._run.source == _REPLAY
        try:
            while (waits or not self._supervisor.wait(0)) and self._sink.forget():
                pass
        except StorageError as e:
            if not e.may_pass:
                raise

    def _gather(self, order: dict[str, Any], listeners: Mapping[str, Array]) -> Snapshot:
        """One snapshot of every shard's part and the supervisor's: all of the same cut."""
        meters = dict.fromkeys(METERS.keys() - OPTIONAL_METERS, 0) | order["meters"]
        connections, samples = list[Array](), list[Array]()
        for shard in sorted(self._workers):
            part, arrays = self._part(shard)
            assert part["cut_ns"] == order["cut_ns"], "every shard cuts at the same moment"
            connections.append(arrays["connections"])
            samples.append(arrays["samples"])
            for name in ("connections", "batches", "ops", "late", "lost_finals", "untracked"):
                meters[name] += part["meters"][name]
            meters["lag_us"] = max(meters["lag_us"], part["meters"]["lag_us"])
        rows = listeners["rows"].view(LISTENER_ROW) if listeners else np.zeros(0, LISTENER_ROW)
        ends = listeners["endpoints"].view(ENDPOINT) if listeners else np.zeros(0, ENDPOINT)
        return Snapshot(
            cut_ns=order["cut_ns"],
            taken_us=order["taken_us"],
            interval_us=order["interval_us"],
            meters=meters,
            connections=np.concatenate(connections).view(CONNECTION),
            samples=np.concatenate(samples).view(self._dtype),
            endpoints=ends,
            listeners=rows,
            host={Table(name): values for name, values in order["host"].items()},
        )

    def _part(self, shard: int) -> tuple[dict[str, Any], Mapping[str, Array]]:
        """A worker's part. If it died before it was sent, the supervisor brings another one."""
        while True:
            try:
                return self._workers[shard].receive()
            except CollectorError:
                self._supervisor.send({"absent": shard})
                order, _ = self._supervisor.receive()
                self._meet(order)


def _end(sink: Sink | None, reason: str) -> None:
    """End the run, if it was begun and storage is not what failed."""
    if sink is not None:
        with suppress(StorageError):
            sink.close(reason)


def _run_of(values: dict[str, Any]) -> Run:
    tables: list[str] = values.pop("tables")
    return Run(**values, tables=tuple(tables))
