"""A database looked at again and again: each round has what is new since the one before."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bpf.variable import Variable
from cli.asking import Asked, reading
from cli.notice import losses
from cli.options import period_limits
from storage.question import Period, Question, Sample, Value

if TYPE_CHECKING:
    from storage.reader import Reader

_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Round:
    """The chosen connections as of one snapshot, and what was lost since the first round.

    The base of a sample is what it was in the round before; None if it was not in that.
    """

    period: Period
    taken_us: int
    samples: Sequence[Sample]
    lost: str


class Rounds:
    """The rounds over one database, for one question."""

    def __init__(
        self,
        path: Path,
        asked: Asked,
        variables: Sequence[Variable],
        rest: Callable[[float], None],
    ) -> None:
        """Nothing is opened yet; ``rest`` is what it does for some seconds between two rounds.

        Raises UsageError for a time that is none.
        """
        self._rest = rest
        self._path, self._asked, self._variables = path, asked, variables
        self._since_us, self._until_us = period_limits(asked.since, asked.until)
        self._before: dict[tuple[int, int], Sample] = {}
        self._last = 0
        self._first_us: int | None = None

    def follow(self, seconds: float, goes_on: Callable[[], bool]) -> Iterator[Round]:
        """A round for each new snapshot, that time apart at least, until no more come.

        ``goes_on`` says whether somebody still writes.
        """
        while True:
            is_written = goes_on()
            if found := self._newer(None):
                yield found
                self._rest(seconds)
            elif is_written:
                self._rest(min(seconds, _POLL_SECONDS))
            else:
                return

    def past(self, seconds: float, pause: float) -> Iterator[Round]:
        """The rounds of a period that has passed, that time apart in it; ``pause`` between two."""
        with reading(self._path) as reader:
            parts = reader.parts(reader.period(self._since_us, self._until_us))
        for part in parts:
            for moment_us in _moments(part.from_us, part.to_us, seconds):
                if found := self._newer(moment_us):
                    yield found
                    self._rest(pause)

    def _newer(self, until_us: int | None) -> Round | None:
        """What there is as of a time, if that is another snapshot than the round before had."""
        # Opened each time: a transaction that stays open keeps SQLite's log growing.
        with reading(self._path) as reader:
            period = reader.period(self._since_us, until_us)
            return None if period.last == self._last else self._look(reader, period)

    def _look(self, reader: "Reader", period: Period) -> Round:
        """What there is as of the period's end, and beside it what was in the round before."""
        asked = self._asked
        taken_us = period.newest_us
        self._last = period.last
        if self._first_us is None:
            self._first_us = taken_us
        question = Question(period, asked.wanted, asked.order, asked.limit)
        samples = [self._since_before(s) for s in reader.latest(self._variables, question)]
        self._before = {_key(sample): sample for sample in samples}
        lost = losses(reader.parts(reader.period(self._first_us, period.until_us)))
        return Round(period, taken_us, samples, lost)

    def _since_before(self, sample: Sample) -> Sample:
        before = self._before.get(_key(sample))
        if before is None:
            return sample
        base: tuple[Value, ...] = before.values
        return replace(sample, base=base, base_us=before.as_of_us)


def _key(sample: Sample) -> tuple[int, int]:
    """A number may come to another connection, once it is forgotten."""
    return sample.connection["ConnectIndex"], sample.connection["opened_us"]


def _moments(from_us: int, to_us: int, seconds: float) -> Iterator[int]:
    """Times from the one to the other, so long apart, both included."""
    yield from range(from_us, to_us, round(seconds * 1_000_000))
    yield to_us
