"""Beyond what can be taken: how much is lost, and whether all of it is counted."""

import mmap
import multiprocessing
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bench import storms, worker
from bench.beside import holding, snapshots, wait_for_snapshots
from bench.effort import Effort
from bench.flows import NUMBERED
from bench.overhead import loads
from bench.paths import LOOPBACK, Way, way
from bench.report import Cell, Section
from bpf.catalogue import stored_in
from bpf.record import batch_dtype
from bpf.variable import SAMPLED
from collector.ring import Ring
from collector.tables import Tables

_CONNECTIONS: Final = 1_000
_PAUSE_SECONDS: Final = 0.001
_FOREVER_NS: Final = (1 << 63) - 1
_SHARES: Final = (0.25, 0.5, 1.0, 2.0, 4.0)  # of what a worker was seen to take
_HELD: Final = 6_000  # connections: of each end about 1.5 batches of 124 operands a second
_HELD_SECONDS: Final = 60


def run(effort: Effort) -> Sequence[Section]:
    """One worker against a producer, and a collector against a lasting load and storms."""
    curve = _curve(effort)
    with loads() as programs, way(LOOPBACK, programs) as path:
        return [curve, _lasting(path, effort), *storms.sections(path, effort)]


@dataclass(frozen=True, slots=True)
class Flood:
    """What a producer offered and had refused, and what the worker made of the rest."""

    offered: int
    refused: int
    applied: int
    lost: int
    seconds: float


class SharedRing:
    """A ring in memory that two processes share, laid out as the kernel's, and its producer.

    A whole number of batches fits, so that none of them wraps; the second copy of the data is
    written, too, for a read may span the end.
    """

    def __init__(self) -> None:
        """Empty; ``told`` are batches offered, batches refused, and whether that was all."""
        self.dtype = batch_dtype()
        self.record = np.dtype([("len", "u4"), ("page", "u4"), ("batch", self.dtype)])
        self.room = worker.RING_BYTES // self.record.itemsize
        self.consumer, self.producer = mmap.mmap(-1, 8), mmap.mmap(-1, 8)
        self.data = mmap.mmap(-1, 2 * self.room * self.record.itemsize)
        self.told: npt.NDArray[np.uint64] = np.frombuffer(mmap.mmap(-1, 24), "u8")

    def produce(self, rate: float, seconds: float) -> None:
        """Offer ``rate`` batches a second, then one of each connection that is not refused."""
        template = np.zeros(self.room, self.record)
        template["len"] = self.dtype.itemsize
        worker.fill(template["batch"], np.random.default_rng(1), _CONNECTIONS, 0)
        began = time.perf_counter()
        while (passed := time.perf_counter() - began) < seconds:
            due = int(rate * passed) - int(self.told[0])
            accepted = min(due, self._free())
            self._write(template, accepted)
            self.told[0] += np.uint64(due)
            self.told[1] += np.uint64(due - accepted)
            time.sleep(_PAUSE_SECONDS)
        while self._free() < _CONNECTIONS:
            time.sleep(_PAUSE_SECONDS)
        self._write(template, _CONNECTIONS)
        self.told[0] += np.uint64(_CONNECTIONS)
        self.told[2] = 1

    def _free(self) -> int:
        used = self._position(self.producer) - self._position(self.consumer)
        return self.room - used // self.record.itemsize

    def _write(self, template: npt.NDArray[Any], count: int) -> None:
        """The next ``count`` batches of all connections in turn, numbered as they were offered."""
        produced = self._position(self.producer)
        places = (produced // self.record.itemsize + np.arange(count)) % self.room
        serial = int(self.told[0]) + np.arange(count)
        batches = template[:count]
        head = batches["batch"]["head"]
        head["id"] = serial % _CONNECTIONS + 1
        head["sent"] = serial // _CONNECTIONS + 1
        head["ts"] = serial + 1
        both = np.frombuffer(self.data, self.record).reshape(2, self.room)
        both[0, places] = both[1, places] = batches
        self.producer[:] = (produced + count * self.record.itemsize).to_bytes(8, "little")

    @staticmethod
    def _position(page: mmap.mmap) -> int:
        return int.from_bytes(page[:8], "little")


def flood(rate: float, seconds: float) -> Flood:
    """Batches at a rate into one worker's ring, until both are done."""
    shared = SharedRing()
    ring = Ring.over(shared.consumer, shared.producer, memoryview(shared.data), shared.dtype)
    tables = Tables(SAMPLED, NUMBERED, 1, 0)
    producer = multiprocessing.get_context("fork").Process(
        target=shared.produce, args=(rate, seconds)
    )
    producer.start()
    began = time.perf_counter()
    done = False
    while not done:
        done = bool(shared.told[2])  # looked at first: what is read next is then the rest
        batches = ring.read(_FOREVER_NS)
        if len(batches):
            tables.apply(batches, 0)
        else:
            time.sleep(_PAUSE_SECONDS)
        ring.release()
    took = time.perf_counter() - began
    producer.join()
    connections, _ = tables.take()
    lost = int(connections["lost"].sum())
    offered, refused = int(shared.told[0]), int(shared.told[1])
    return Flood(offered, refused, tables.meters()["batches"], lost, took)


def _curve(effort: Effort) -> Section:
    timing = worker.measure(_CONNECTIONS, 20)
    limit = timing.batches / timing.apply_seconds
    operands = sum(len(stored_in(table)) for table in SAMPLED)
    rows: list[tuple[Cell, ...]] = []
    for share in _SHARES:
        found = flood(limit * share, effort.seconds)
        adds_up = found.applied + found.lost == found.offered and found.lost == found.refused
        offered = found.offered * operands / found.seconds / 1e6
        applied = found.applied * operands / found.seconds / 1e6
        rows.append(
            (
                f"{share:.0%}",
                offered,
                applied,
                f"{found.lost / found.offered:.1%}",
                "yes" if adds_up else "NO",
            )
        )
    return Section(
        title="Loss: one worker",
        means="Another process fills a ring of 4 MiB in memory at a share of the rate that one"
        " worker applied just before, and refuses what finds no room, as the kernel does. It takes"
        " processor time, too. Adding up means that batches offered = applied + lost, where the"
        " lost ones are those that the worker missed by the numbers of each connection's batches,"
        " and that they are as many as were refused.",
        columns=("rate", "offered, million operands/s", "applied, million/s", "lost", "adds up"),
        rows=rows,
    )


def _lasting(path: Way, effort: Effort) -> Section:
    count, seconds = (500, 4) if effort.quick else (_HELD, _HELD_SECONDS)
    return Section(
        title="Loss: end to end",
        means="So many connections over loopback, with a request and its answer about once a"
        " second, and a collector at its default settings on the same processors, which stores"
        " both ends of each. Operands are those that came to the tables, late ticks those that"
        " passed while a snapshot was still being written; the collector's processor time is that"
        " of all its processes, in processors.",
        columns=(
            "connections",
            "seconds",
            "million operands / s",
            "lost",
            "lost finals",
            "late ticks",
            "longest lag, ms",
            "collector, CPUs",
        ),
        rows=[_held(path, count, seconds)],
    )


def _held(path: Way, count: int, seconds: int) -> tuple[Cell, ...]:
    with holding(path, count) as (database, process):
        wait_for_snapshots(database, process, 3)
        start, cpu = snapshots(database, process), process.cpu_seconds()
        time.sleep(seconds)  # what is measured lasts so long
        cpu, end = process.cpu_seconds() - cpu, snapshots(database, process)
        with closing(sqlite3.connect(database)) as base:
            (took_us, operands, lost, finals, merged, lag_us) = base.execute(
                "SELECT sum(interval_us), sum(ops), sum(lost), sum(lost_finals), sum(merged),"
                " max(lag_us) FROM snapshot WHERE snapshot_id > ? AND snapshot_id <= ?",
                (start, end),
            ).fetchone()
    share = cpu / seconds
    return count, took_us / 1e6, operands / took_us, lost, finals, merged, lag_us / 1e3, share
