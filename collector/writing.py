"""The writer process: joins the shards' parts of one cut and puts them into storage."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

import numpy as np

from bpf.errors import CollectorError, EstatsError, StorageError
from bpf.meters import METERS, OPTIONAL_METERS, Run, Snapshot
from bpf.record import CONNECTION, ENDPOINT, LISTENER_ROW, Dtype, sample_dtype
from bpf.variable import Table
from collector.channel import Array, Channel


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

    def database_bytes(self) -> int:
        """Size on disk."""
        ...

    def close(self, reason: str) -> None:
        """The run is over."""
        ...


_REPLAY: Final = "replay"  # whose ticks follow upon one another, as fast as they are taken

#: Opens storage in two steps: first what can fail early, then the run.
Prepare = Callable[[], Callable[[Run], Sink]]


def run_writer(prepare: Prepare, supervisor: Channel, workers: Sequence[Channel]) -> None:
    """Until the snapshot that is marked as the last one; errors go to the supervisor.

    There may be more channels than workers: inet_diag needs one only, and whether it takes the
    place of the kernel programs is known later than this process is forked.
    """
    sink: Sink | None = None
    try:
        begin = prepare()
        supervisor.send({"prepared": True})
        values, _ = supervisor.receive()
        run = _run_of(values)
        sink = begin(run)
        supervisor.send({"numbered": dict(sink.numbered)})
        dtype = sample_dtype([Table(name) for name in run.tables])
        last = False
        while not last:
            _forget(sink, supervisor, waits=run.source == _REPLAY)
            order, arrays = supervisor.receive()
            order["meters"] |= sink.forgotten()
            snapshot = _gather(order, arrays, workers[: run.shards], dtype)
            rows = sink.write(snapshot)
            supervisor.send(
                {"rows": rows, "meters": snapshot.meters, "bytes": sink.database_bytes()}
            )
            last = bool(order["last"])
        closing, _ = supervisor.receive()
        sink.close(closing["reason"])
        supervisor.send({"closed": True, "bytes": sink.database_bytes()})
    except CollectorError:  # the supervisor has given up, or a worker is gone
        _end(sink, "a process of the collector died")
    except EstatsError as e:  # storage's, or one that a worker sent in place of its part
        with suppress(CollectorError):
            supervisor.send_error(e)
        _end(sink, e.message)


def _forget(sink: Sink, supervisor: Channel, *, waits: bool) -> None:
    """What is not to be kept, a little at a time, until the next tick; a replay's ``waits``."""
    while (waits or not supervisor.wait(0)) and sink.forget():
        pass


def _end(sink: Sink | None, reason: str) -> None:
    """End the run, if it was begun and storage is not what failed."""
    if sink is not None:
        with suppress(StorageError):
            sink.close(reason)


def _run_of(values: dict[str, Any]) -> Run:
    tables: list[str] = values.pop("tables")
    return Run(**values, tables=tuple(tables))


def _gather(
    order: dict[str, Any],
    listeners: Mapping[str, Array],
    workers: Sequence[Channel],
    dtype: Dtype,
) -> Snapshot:
    """One snapshot of every shard's part and the supervisor's: all of the same cut."""
    meters = dict.fromkeys(METERS.keys() - OPTIONAL_METERS, 0) | order["meters"]
    connections, samples = list[bytes](), list[bytes]()
    for worker in workers:
        part, arrays = worker.receive()
        assert part["cut_ns"] == order["cut_ns"], "every shard cuts at the same moment"
        connections.append(arrays["connections"].tobytes())
        samples.append(arrays["samples"].tobytes())
        for name in ("connections", "batches", "ops", "late", "untracked"):
            meters[name] += part["meters"][name]
        meters["lag_us"] = max(meters["lag_us"], part["meters"]["lag_us"])
    return Snapshot(
        cut_ns=order["cut_ns"],
        taken_us=order["taken_us"],
        interval_us=order["interval_us"],
        meters=meters,
        connections=np.frombuffer(b"".join(connections), CONNECTION),
        samples=np.frombuffer(b"".join(samples), dtype),
        endpoints=listeners["endpoints"].view(ENDPOINT) if listeners else np.zeros(0, ENDPOINT),
        listeners=listeners["rows"].view(LISTENER_ROW) if listeners else np.zeros(0, LISTENER_ROW),
        host={Table(name): values for name, values in order["host"].items()},
    )
