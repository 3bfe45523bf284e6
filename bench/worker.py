"""How many operands one worker applies in a second, from ring memory to changed rows.

The ring is plain memory laid out as the kernel's, full of batches of all tables in random order of
their connections. Reading, applying and handing over are timed, filling is not.
"""

import time
from dataclasses import dataclass

import numpy as np

from bench.flows import NUMBERED
from bpf.catalogue import stored_in
from bpf.record import RING_HEADER, Dtype, Flag, batch_dtype
from bpf.variable import SAMPLED
from collector.ring import Batches, Ring
from collector.tables import Tables

RING_BYTES = 1 << 22
FOREVER = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Timing:
    """What one run took."""

    batches: int
    operands: int
    apply_seconds: float
    take_seconds: float

    @property
    def operands_per_second(self) -> float:
        """From ring memory to tables."""
        return self.operands / self.apply_seconds


def measure(connections: int, rounds: int) -> Timing:
    """Fill, read, apply and hand over ``rounds`` times; the first round is not counted."""
    dtype = batch_dtype()
    random = np.random.default_rng(1)
    consumer, producer = bytearray(8), np.zeros(1, "u8")
    memory = np.zeros(2 * RING_BYTES, "u1")
    ring = Ring.over(consumer, producer.data.cast("B"), memory.data, dtype)
    stride = RING_HEADER + dtype.itemsize
    count = RING_BYTES // stride
    tables = Tables(SAMPLED, NUMBERED, 1, 0)
    apply_seconds = take_seconds = 0.0
    for number in range(rounds + 1):
        records = memory[: count * stride].view(_record(dtype))
        records["len"] = dtype.itemsize
        fill(records["batch"], random, connections, number)
        consumer[:] = bytes(8)
        producer[0] = count * stride
        started = time.perf_counter()
        tables.apply(ring.read(FOREVER), 0)
        ring.release()
        applied = time.perf_counter()
        tables.take()
        if number:
            apply_seconds += applied - started
            take_seconds += time.perf_counter() - applied
        else:
            tables.meters()
    meters = tables.meters()
    return Timing(meters["batches"], meters["ops"], apply_seconds, take_seconds)


def _record(dtype: Dtype) -> Dtype:
    return np.dtype([("len", "u4"), ("page", "u4"), ("batch", dtype)])


def fill(batches: Batches, random: np.random.Generator, connections: int, number: int) -> None:
    """One ring full: every connection about equally often, in random order."""
    count = len(batches)
    head = batches["head"]
    head["id"] = random.permutation(np.arange(count) % connections) + 1
    head["ts"] = (number * count + np.arange(count)) * 1_000 + 1
    head["sent"] = number * count + np.arange(count) + 1
    head["flags"] = Flag.ACTIVE | Flag.OWNER | Flag.IPV4
    for table in SAMPLED:
        block = batches[table.value]
        block["known"] = (1 << len(stored_in(table))) - 1
        for variable in stored_in(table):
            block[variable.column] = random.integers(0, 1 << 31, count)
