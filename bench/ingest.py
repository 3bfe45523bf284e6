"""From ring memory to tables: one worker, two workers, and the plain way beside them."""

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Final

import numpy as np

from bench import plain, worker
from bench.effort import Effort
from bench.pairs import Figures, alternate, compare
from bench.processes import output
from bench.report import Section
from bpf.record import batch_dtype
from collector.ring import Batches

_FIGURE: Final = "operands_per_second"
_CONNECTIONS: Final = (100, 1_000, 10_000)


def run(effort: Effort) -> Sequence[Section]:
    """Both tables of this part."""
    rounds = 10 if effort.quick else 40
    return [_one_worker(rounds), _against(effort, rounds)]


def _one_worker(rounds: int) -> Section:
    rows = []
    for connections in _CONNECTIONS:
        timing = worker.measure(connections, rounds)
        apply_ns = timing.apply_seconds / timing.batches * 1e9
        take_ns = timing.take_seconds / timing.batches * 1e9
        rate = timing.operands_per_second / 1e6
        rows.append((connections, apply_ns, rate, take_ns))
    return Section(
        title="Ingest: one worker",
        means="A ring of 4 MiB, full of batches of all tables, is read and merged into the tables;"
        " an operand is one variable of one batch. More connections share the same batches, so that"
        " fewer of them meet in a row. Handing over makes the changed rows that the writer gets,"
        " once for each ring full here; a collector does so once for each snapshot. The kernel's"
        " share is not in it.",
        columns=("connections", "ns / batch", "million operands / s", "handing over, ns / batch"),
        rows=rows,
    )


def _against(effort: Effort, rounds: int) -> Section:
    def one() -> Figures:
        return {_FIGURE: worker.measure(1_000, rounds).operands_per_second}

    def two() -> Figures:
        fork = get_context("fork")
        with ProcessPoolExecutor(2, mp_context=fork) as workers:
            timings = workers.map(worker.measure, [1_000] * 2, [rounds] * 2)
            return {_FIGURE: sum(t.operands_per_second for t in timings)}

    others = {
        "two workers": two,
        "a loop over operands, in Python": _loop,
        "bcc's own ring buffer, and that loop": _bcc_ring,
    }
    rows = []
    for name, other in others.items():
        found = compare(alternate(one, other, effort.pairs), _FIGURE)
        rows.append(
            (name, found.without / 1e6, found.having / 1e6, found.ratio, found.spread, found.pairs)
        )
    return Section(
        title="Ingest: against other ways",
        means="The same batches of 1,000 connections. Two workers have a ring and a processor"
        " each; the loop takes one operand after the other and keeps it in a dictionary; bcc's"
        " ring buffer calls a function for each batch, and that runs the loop over it.",
        columns=("way", "one worker, million/s", "this, million/s", "ratio", "spread", "pairs"),
        rows=rows,
    )


def _loop() -> Figures:
    """The same stream, an operand at a time."""
    batches: Batches = np.zeros(400, batch_dtype())
    worker.fill(batches, np.random.default_rng(1), 1_000, 0)
    began = time.perf_counter()
    applied = plain.apply({}, batches)
    return {_FIGURE: applied / (time.perf_counter() - began)}


def _bcc_ring() -> Figures:
    """From a ring of the kernel's, by bcc."""
    return {_FIGURE: float(output([sys.executable, "-m", "bench.bcc_ring"]))}
