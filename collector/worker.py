"""A worker process: owns one shard, drains its rings, hands over what changed at each cut."""

import select
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from bpf.errors import CollectorError
from collector.channel import Channel
from collector.finals import Finals
from collector.recording import Recorder
from collector.ring import RingSource
from collector.tables import Tables

#: Between wake-ups, which a ring asks for when it is half full, so that none overflows for want of
#: one. This is so that a cut finds little left to read; four times as often costs a host where
#: nothing happens more than all else that we do there.
POLL_SECONDS: Final = 0.2


@dataclass(slots=True)
class Worker:
    """One shard: its sources (index is the CPU), its tables, and its two channels.

    ``finals`` is None where nobody takes the place of a worker that died.

    From one cut to the next it reads no further once its tables have ``rows_max`` rows: what comes
    then fills the rings, and what finds no room there the programs count. So memory is bounded by
    this and what the rings hold, however many connections come and go between two cuts.
    """

    shard: int
    sources: Sequence[RingSource]
    tables: Tables
    orders: Channel
    writer: Channel
    recorder: Recorder | None = None
    finals: Finals | None = None
    rows_max: int = sys.maxsize
    _lost_finals: int = 0
    _untracked: int = 0

    def inherit(self, handed_ns: int) -> None:
        """Begin with what a dead worker had read of this shard and not handed over."""
        assert self.finals, "whose places are taken keep their finals"
        batches, self._lost_finals = self.finals.left_by_the_dead(handed_ns)
        self.tables.apply(batches, time.time_ns() - time.monotonic_ns())

    def run(self) -> None:
        """Until the cut that is marked as the last one, or nobody is there to order one."""
        poll = select.epoll()
        poll.register(self.orders.fileno(), select.EPOLLIN)
        waking = [s for s in self.sources if s.fileno() is not None]
        for source in waking:
            # Edge: a ring stays readable while it holds anything, wanted or not.
            poll.register(source.fileno() or 0, select.EPOLLIN | select.EPOLLET)
        last = False
        while not last:
            ready = {fd for fd, _ in poll.poll(POLL_SECONDS)}
            if self.orders.fileno() in ready:
                last = self._cut()
            elif waking and self.tables.rows_used < self.rows_max:
                offset = time.time_ns() - time.monotonic_ns()
                self.drain(time.monotonic_ns(), offset, waking)

    def drain(self, cut_ns: int, wall_offset_ns: int, sources: Sequence[RingSource]) -> None:
        """Apply everything stamped up to ``cut_ns``."""
        for cpu, source in enumerate(sources):
            more = True
            while more:
                batches = source.read(cut_ns)
                if len(batches):
                    if self.recorder:
                        self.recorder.batches(self.shard, cpu, batches)
                    if self.finals:
                        self.finals.keep(batches)
                    self.tables.apply(batches, wall_offset_ns)
                more = source.more
                source.release()

    def _cut(self) -> bool:
        """Take the order for one cut and carry it out; whether it was the last."""
        try:
            order, arrays = self.orders.receive()
        except CollectorError:
            return True
        cut_ns, taken_us = int(order["cut_ns"]), int(order["taken_us"])
        if self.finals:
            self.finals.written(int(order["written_ns"]))
        self.drain(int(order["until_ns"]), taken_us * 1_000 - cut_ns, self.sources)
        if order["census_ns"]:
            live = arrays["live"].view("u8")
            self.tables.close_missing(live, int(order["census_ns"]), taken_us)
        connections, samples = self.tables.take()
        self.writer.send(
            {"cut_ns": cut_ns, "shard": self.shard, "meters": self._meters(cut_ns, order)},
            {"connections": connections, "samples": samples},
        )
        if self.finals:
            self.finals.handed_over(cut_ns)
        return bool(order["last"])

    def _meters(self, cut_ns: int, order: dict[str, Any]) -> dict[str, int]:
        lag_us = 0 if order["replayed"] else (time.monotonic_ns() - cut_ns) // 1_000
        lost, self._lost_finals = self._lost_finals, 0
        before, self._untracked = self._untracked, sum(s.untracked for s in self.sources)
        untracked = self._untracked - before
        own = {"lag_us": lag_us, "lost_finals": lost, "untracked": untracked}
        return {**self.tables.meters(), **own}
