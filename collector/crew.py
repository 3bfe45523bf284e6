"""The processes of a run but the supervisor's own: the writer, and a worker for each shard.

Whoever of them dies can be replaced, and is, while the kernel programs go on. A worker leaves its
rings, which begin where it stopped, and its ``Finals``; what else it knew is in the database or is
told again by the next sweep. A writer takes all workers with it, for they have handed over what it
had not written: the new ones begin from what is in the database.
"""

import select
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from bpf.errors import CollectorError
from bpf.meters import Inherited, Run
from bpf.record import CONNECTION
from collector.channel import Channel
from collector.processes import Child, spawn
from collector.writing import Prepare, run_writer

_STOP_SECONDS: Final = 30.0  # for a child to end by itself once it was told to
_DEATHS_MAX: Final = 3  # of one process, without a snapshot in between


class WriterDiedError(CollectorError):
    """It did not come to answer."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a worker finds as it begins: its channels, and what it takes over.

    ``inherited`` is None for the first one of a shard; ``handed_ns`` is the last cut of which its
    predecessor's part is safe.
    """

    orders: Channel
    writer: Channel
    inherited: Inherited | None
    handed_ns: int


Work = Callable[[int, Place], None]


@dataclass(slots=True)
class Crew:
    """The writer is forked at once, so that it opens storage while the programs are loaded."""

    prepare: Prepare
    writer: Child
    channel: Channel
    workers: list[Child] = field(default_factory=list[Child])
    orders: list[Channel] = field(default_factory=list[Channel])
    _run: Run | None = None
    _work: Work | None = None
    _deaths: Counter[str] = field(default_factory=Counter[str])

    @classmethod
    def start(cls, prepare: Prepare) -> "Crew":
        """Fork the writer."""
        return cls(prepare, *_writer(prepare))

    def begin(self, run: Run) -> dict[str, int]:
        """Begin the run; the last number in use of each table that is numbered by us."""
        self._run = run
        self.answer()  # prepared
        self._send(asdict(run))
        numbered: dict[str, int] = self.answer()["numbered"]
        return numbered

    def add_workers(self, shards: int, work: Work) -> None:
        """Fork a worker for each shard, to do ``work``."""
        self._work = work
        for shard in range(shards):
            orders, child = self._fork(shard, inherits=False, handed_ns=0)
            self.orders.append(orders)
            self.workers.append(child)

    def tell(self, shard: int, order: dict[str, Any], arrays: dict[str, Any]) -> None:
        """An order for a worker; if it is dead, the writer will miss its part."""
        with suppress(CollectorError):
            self.orders[shard].send(order, arrays)

    def write(self, order: dict[str, Any], arrays: dict[str, Any]) -> None:
        """An order for the writer; raises WriterDiedError."""
        self._send(order, arrays)

    def answer(self) -> dict[str, Any]:
        """The writer's next message; raises the error that it or a worker met."""
        return self._receive()[0]

    def replace_worker(self, shard: int, handed_ns: int) -> None:
        """Another one in the place of one that died. Raises CollectorError if that is no use."""
        self._note_death(self.workers[shard])
        self._bury(shard)
        self.orders[shard], self.workers[shard] = self._fork(
            shard, inherits=True, handed_ns=handed_ns
        )

    def replace_writer(self, handed_of: Callable[[int], int]) -> None:
        """Another writer, and other workers. Raises CollectorError if that is no use.

        ``handed_of`` tells the cut at which the last snapshot that is written was taken, of the
        UTC microseconds that the database says.
        """
        assert self._run, "it has begun"
        self._note_death(self.writer)
        for shard in range(len(self.workers)):
            self.workers[shard].kill()
            self._bury(shard)
        self.channel.close()
        self.writer.kill()
        self.writer.wait()
        self.writer, self.channel = _writer(self.prepare)
        self.begin(self._run)
        for shard in range(len(self.workers)):
            self.orders[shard], self.workers[shard] = self._fork(
                shard, inherits=True, handed_of=handed_of
            )

    def proven(self) -> None:
        """A snapshot came through: the deaths before it were not in a row."""
        self._deaths.clear()

    def finish(self, reason: str) -> None:
        """After the last snapshot: let the workers and the writer end."""
        self._send({"reason": reason})
        self.answer()
        self.close()
        for child in (*self.workers, self.writer):
            if not select.select([child], [], [], _STOP_SECONDS)[0]:
                child.kill()
            child.wait()

    def abandon(self) -> None:
        """After an error: the workers first, so that the writer can end the run by itself."""
        for child in self.workers:
            child.kill()
            child.wait()
        self.close()
        if not select.select([self.writer], [], [], _STOP_SECONDS)[0]:
            self.writer.kill()
        self.writer.wait()

    def close(self) -> None:
        """Our ends of all channels, and what the workers would have begun with."""
        self._work = None
        for channel in (self.channel, *self.orders):
            channel.close()

    def _fork(
        self,
        shard: int,
        *,
        inherits: bool,
        handed_ns: int = 0,
        handed_of: Callable[[int], int] | None = None,
    ) -> tuple[Channel, Child]:
        """A worker that the writer knows."""
        assert self._work, "there is something to do"
        work = self._work
        (ours, theirs), (part, writers) = Channel.pair(), Channel.pair()
        self._send({"worker": shard, "inherits": inherits})
        self._send_end(writers)
        inherited = self._inherited() if inherits else None
        if inherited and handed_of:
            handed_ns = handed_of(inherited.taken_us)
        others = [ours, *self.orders, self.channel]

        def begin() -> None:
            for end in others:
                end.close()
            work(shard, Place(theirs, part, inherited, handed_ns))

        child = spawn(f"worker-{shard}", begin)
        theirs.close()
        part.close()
        return ours, child

    def _inherited(self) -> Inherited:
        message, arrays = self._receive()
        connections = arrays["connections"].view(CONNECTION)
        return Inherited(message["numbered"], connections, message["taken_us"])

    def _bury(self, shard: int) -> None:
        self.workers[shard].wait()
        self.orders[shard].close()

    def _note_death(self, child: Child) -> None:
        self._deaths[child.name] += 1
        if self._deaths[child.name] > _DEATHS_MAX:
            raise CollectorError(
                f"the process {child.name} died {self._deaths[child.name]} times in a row",
                "See above, and `dmesg`, for what it died of: memory may be short.",
            )

    def _send(self, message: dict[str, Any], arrays: dict[str, Any] | None = None) -> None:
        try:
            self.channel.send(message, arrays)
        except CollectorError:
            raise _writer_died() from None

    def _send_end(self, end: Channel) -> None:
        try:
            self.channel.send_end(end)
        except CollectorError:
            raise _writer_died() from None

    def _receive(self) -> tuple[dict[str, Any], dict[str, Any]]:
        try:
            return self.channel.receive()
        except CollectorError:
            raise _writer_died() from None


def _writer_died() -> WriterDiedError:
    return WriterDiedError("the writer process died")


def _writer(prepare: Prepare) -> tuple[Child, Channel]:
    """A writer, and our end of the channel to it."""
    ours, theirs = Channel.pair()

    def work() -> None:
        ours.close()
        run_writer(prepare, theirs)

    child = spawn("writer", work)
    theirs.close()
    return child, ours
