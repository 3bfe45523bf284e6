"""The questions the command line asks: latest values, their history, and what they grew from."""

import sqlite3
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

from sqlalchemy import Connection, RowMapping, Select, func, literal_column, select
from sqlalchemy.exc import DBAPIError

from bpf.meters import METERS
from bpf.variable import Variable
from storage import inventory, revision, u64
from storage.engine import open_readonly
from storage.errors import from_sqlite
from storage.excerpt import Part, write_excerpt
from storage.filters import define_net_test
from storage.frame import Frame, frame_of, variables_named
from storage.question import Cut, Period, Question, RunPart, Sample, Standing, Thinned, Value
from storage.schema import ENDPOINT, RUN, SAMPLE, SNAPSHOT, THINNED
from storage.select import (
    NOT_FROM_BIRTH,
    connections,
    count,
    identity,
    is_sampled,
    latest,
    listeners,
    series,
)
from storage.tuned import Logged, pending

_STREAMED: Final = {"yield_per": 500}  # rows that are fetched at a time


@contextmanager
def open_reader(path: Path) -> "Generator[Reader, None, None]":
    """Open a database for reading, also one that is being written, without any right to write.

    Everything is read in one transaction, so all answers are as of one moment. Raises
    StorageError: no database, not ours, another schema, or pages that cannot be read.
    """
    engine = open_readonly(path)
    try:
        revision.check(engine)
        with engine.connect() as connection:
            yield Reader(connection)
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.Error):
            raise from_sqlite(error.orig, path) from error
        raise
    finally:
        engine.dispose()


class Reader:
    """The answers of one database as of one moment; ``open_reader`` makes it."""

    def __init__(self, connection: Connection) -> None:
        """Read through ``connection``, in the transaction that its first statement begins."""
        self._connection = connection

    def period(self, since_us: int | None = None, until_us: int | None = None) -> Period:
        """The snapshots between two times (UTC microseconds, both included; None is no limit)."""
        taken, number = SNAPSHOT.c.taken_us, SNAPSHOT.c.snapshot_id
        newest = select(SNAPSHOT).order_by(taken.desc(), number.desc()).limit(1)
        if until_us is None:  # the last one written, even if the clock was set back since
            last = self._one(select(SNAPSHOT).order_by(number.desc()).limit(1))
        else:
            last = self._one(newest.where(taken <= until_us))
        before = None if since_us is None else self._one(newest.where(taken < since_us))
        first = before["snapshot_id"] + 1 if before else 0
        if last is None:
            return Period(since_us=since_us, until_us=until_us, first=first)
        runs = (
            select(SNAPSHOT.c.run_id, func.max(taken).label("last_us"))
            .where(number.between(first, last["snapshot_id"]))
            .group_by(SNAPSHOT.c.run_id)
        )
        return Period(
            since_us=since_us,
            until_us=until_us,
            first=first,
            last=last["snapshot_id"],
            started_us=before["taken_us"] if before else 0,
            last_run=last["run_id"],
            runs={row.run_id: row.last_us for row in self._connection.execute(runs)},
        )

    def moment(self, until_us: int | None = None) -> int | None:
        """When the newest snapshot up to a time was taken; None without one."""
        if until_us is None:  # the last one written, as in ``period``
            asked = select(SNAPSHOT.c.taken_us).order_by(SNAPSHOT.c.snapshot_id.desc())
        else:
            taken = SNAPSHOT.c.taken_us
            asked = select(taken).where(taken <= until_us).order_by(taken.desc())
        return self._connection.scalar(asked.limit(1))

    def moment_after(self, moment_us: int) -> int | None:
        """When the first snapshot after a time was taken; None without one."""
        taken = SNAPSHOT.c.taken_us
        asked = select(taken).where(taken > moment_us).order_by(taken)
        return self._connection.scalar(asked.limit(1))

    def parts(self, period: Period) -> list[RunPart]:
        """Each run that has snapshots in the period, oldest first."""
        number, taken = SNAPSHOT.c.snapshot_id, SNAPSHOT.c.taken_us
        counts = (
            select(
                SNAPSHOT.c.run_id.label("counted_run"),
                func.count().label("snapshots"),
                func.min(taken).label("from_us"),
                func.max(taken).label("to_us"),
                *(func.sum(SNAPSHOT.c[name]).label(name) for name in METERS),
            )
            .where(number.between(period.first, period.last))
            .group_by(SNAPSHOT.c.run_id)
            .subquery()
        )
        asked = select(RUN, counts).join(counts, counts.c.counted_run == RUN.c.run_id)
        return [
            RunPart(
                run={c.name: row[c.name] for c in RUN.columns},
                snapshots=row["snapshots"],
                from_us=row["from_us"],
                to_us=row["to_us"],
                meters={name: row[name] or 0 for name in METERS},
            )
            for row in self._connection.execute(asked.order_by(RUN.c.run_id)).mappings()
        ]

    def runs(self) -> dict[int, dict[str, Any]]:
        """The rows of ``run`` by their number."""
        found = self._connection.execute(select(RUN)).mappings()
        return {row["run_id"]: dict(row) for row in found}

    def standing(self, recent_us: int) -> Standing | None:
        """Where the newest run stands; what is recent began at that time. None without a run."""
        run = self._one(select(RUN).order_by(RUN.c.run_id.desc()).limit(1))
        if run is None:
            return None
        number, run_id = SNAPSHOT.c.snapshot_id, run["run_id"]
        own = select(SNAPSHOT).where(SNAPSHOT.c.run_id == run_id)
        last = self._one(own.order_by(number.desc()).limit(1))
        newest = last["snapshot_id"] if last else 0
        whole = Period(first=self._first(run["started_us"]), last=newest)
        recent = Period(first=self._first(max(recent_us, run["started_us"])), last=newest)
        count = select(func.count()).where(SAMPLE.c.snapshot_id.between(recent.first, newest))
        return Standing(
            run={c.name: run[c.name] for c in RUN.columns},
            last={c.name: last[c.name] for c in SNAPSHOT.columns} if last else None,
            whole=self._part(run_id, whole),
            recent=self._part(run_id, recent),
            recent_samples=self._connection.scalar(count) or 0,
            samples=self._samples_held(),
        )

    def thinned(self, period: Period) -> list[Thinned]:
        """Where the period's history is not whole any more, what was forgotten first."""
        first, step = period.first, THINNED.c.step_us
        keeps = select(func.max(THINNED.c.snapshot_id)).where(step == 0).scalar_subquery()
        asked = select(step, THINNED.c.taken_us).where(
            THINNED.c.snapshot_id >= first,
            (step == 0) | (THINNED.c.snapshot_id > func.coalesce(keeps, 0)),
        )
        found = self._connection.execute(asked.order_by((step != 0), step.desc()))
        return [Thinned(row.step_us or None, row.taken_us) for row in found]

    def cuts(self, period: Period) -> list[Cut]:
        """The snapshots of the period, in the order in which they were taken."""
        c = SNAPSHOT.c
        asked = select(c.taken_us, c.interval_us).where(
            c.snapshot_id.between(period.first, period.last)
        )
        found = self._connection.execute(asked.order_by(c.snapshot_id))
        return [Cut(row.taken_us, row.interval_us) for row in found]

    def row_counts(self) -> dict[str, int]:
        """How many rows each table has."""
        return inventory.row_counts(self._connection)

    def count(self, question: Question) -> int:
        """How many connections match, whatever the limit."""
        define_net_test(self._connection, question.wanted.nets)
        return self._connection.scalar(count(question)) or 0

    def tuned(self, boot_id: str) -> list[Logged]:
        """What `estats tune` set since that boot and did not revert, oldest first."""
        return pending(self._connection, boot_id)

    def excerpt(self, question: Question, target: Path, *, is_stretch: bool) -> tuple[int, int]:
        """Write the chosen connections to a new database; how many they and their samples are.

        As they stood when the period ended, or with ``is_stretch`` through all of it.
        """
        found = self._rows(connections((), question), question)
        indexes = [row["ConnectIndex"] for row in found]
        part = Part(indexes, question.period, is_stretch)
        return len(indexes), write_excerpt(self._connection, part, target) if indexes else 0

    def latest(
        self, variables: Sequence[Variable], question: Question, *, growth: bool = False
    ) -> Iterator[Sample]:
        """One sample for each connection: its values as of the end of the period.

        With ``growth`` the base is what the values were when the period began.
        """
        names = [c.name for c in identity(variables)]
        for found in self._rows(latest(variables, question, growth=growth), question):
            base = tuple(_base_value(v, found) for v in variables) if growth else None
            yield Sample(
                connection={name: found[name] for name in names},
                taken_us=found.get("taken"),
                as_of_us=_while_open(question.period.runs[found["run_id"]], found["closed_us"]),
                values=tuple(_value(v, found) for v in variables),
                base=base,
                base_us=max(found["opened_us"], question.period.started_us) if growth else None,
            )

    def history(self, variables: Sequence[Variable], question: Question) -> Iterator[Sample]:
        """Every sample of each connection in the period, by connection and then by time.

        The base of a sample is the connection's sample before it, nothing at its birth.
        """
        sampled = [v for v in variables if is_sampled(v)]
        statement = series(sampled, question.period)
        for found in self._rows(connections(variables, question), question):
            yield from self._samples(statement, variables, dict(found), question.period)

    def frame(
        self, names: Sequence[str], question: Question | None = None, *, history: bool = False
    ) -> Frame:
        """Variables by their names as columns: a row for each connection, as ``latest`` has it.

        With ``history`` one for each sample; without a question of all connections and all time.
        Raises UsageError for a name that is no variable of a connection.
        """
        variables = variables_named(names)
        asked = question or Question(self.period())
        samples = self.history if history else self.latest
        return frame_of(samples(variables, asked), variables)

    def listeners(
        self, variables: Sequence[Variable], question: Question, *, history: bool = False
    ) -> Iterator[Sample]:
        """A sample of each listener as of the end of the period, or of each of its rows in it.

        Its row of ``endpoint`` stands in place of a connection's; ``limit`` and order of the
        question do not matter: they come in the order in which they were found.
        """
        for found in self._rows(listeners(variables, question, history=history), question):
            last_us = found["taken"] if history else question.period.runs[found["run_id"]]
            yield Sample(
                connection={c.name: found[c.name] for c in ENDPOINT.columns},
                taken_us=found["taken"],
                as_of_us=_while_open(last_us, found["closed_us"]),
                values=tuple(_decoded(v, found[f"now_{v.id}"]) for v in variables),
            )

    def _samples(
        self,
        statement: Select[Any],
        variables: Sequence[Variable],
        owner: Mapping[str, Any],
        period: Period,
    ) -> Iterator[Sample]:
        """One connection's samples in the period; ``statement`` is what ``series`` made."""
        born = owner["origin"] not in NOT_FROM_BIRTH
        closed_us = owner["closed_us"]
        own = [owner.get(v.name) for v in variables]
        places = [n for n, v in enumerate(variables) if is_sampled(v)]
        wide = [n for n in places if variables[n].bits == 64]
        base: tuple[Value, ...] = (0 if born else None,) * len(variables)
        base_us = owner["opened_us"] if born else None
        parameter = {"connect_index": owner["ConnectIndex"]}
        for part in self._connection.execute(statement, parameter).partitions(1000):
            for row in part:
                number, taken_us, *found = cast(tuple[Any, ...], row)
                values = found if len(places) == len(own) else _put(own, places, found)
                for n in wide:
                    values[n] = _decoded(variables[n], values[n])
                sample = tuple(values)
                if number >= period.first:
                    yield Sample(
                        connection=owner,
                        taken_us=taken_us,
                        as_of_us=_while_open(taken_us, closed_us),
                        values=sample,
                        base=base,
                        base_us=base_us,
                    )
                base, base_us = sample, taken_us

    def _rows(self, statement: Select[Any], question: Question) -> Iterator[RowMapping]:
        """The rows of a statement about connections, a few at a time."""
        define_net_test(self._connection, question.wanted.nets)
        yield from self._connection.execute(statement, execution_options=_STREAMED).mappings()

    def _part(self, run_id: int, period: Period) -> RunPart | None:
        """What one run gave to a period."""
        return next((part for part in self.parts(period) if part.run["run_id"] == run_id), None)

    def _first(self, since_us: int) -> int:
        """The number that the first snapshot from that time on has, or would have."""
        taken, number = SNAPSHOT.c.taken_us, SNAPSHOT.c.snapshot_id
        before = select(number).where(taken < since_us)
        found = self._connection.scalar(before.order_by(taken.desc(), number.desc()).limit(1))
        return 0 if found is None else found + 1

    def _samples_held(self) -> int:
        """About how many rows ``sample`` has, without counting them."""
        rowid = literal_column("sample.rowid", SAMPLE.c.snapshot_id.type)
        # One after the other: SQLite has an index for one extreme at a time.
        least, most = (
            self._connection.scalar(select(extreme(rowid)).select_from(SAMPLE))
            for extreme in (func.min, func.max)
        )
        return 0 if least is None or most is None else most - least + 1

    def _one(self, statement: Select[Any]) -> RowMapping | None:
        return self._connection.execute(statement).mappings().first()


def _put(own: Sequence[Value], places: Sequence[int], found: Sequence[Value]) -> list[Value]:
    """The connection's own values, with what a sample has in its places."""
    values = list(own)
    for place, value in zip(places, found, strict=True):
        values[place] = value
    return values


def _while_open(moment_us: int, closed_us: int | None) -> int:
    """That time, or the connection's end if that came first."""
    return moment_us if closed_us is None else min(moment_us, closed_us)


def _value(v: Variable, found: RowMapping) -> Value:
    own: Value = found[f"now_{v.id}" if is_sampled(v) else v.name]
    return _decoded(v, own)


def _base_value(v: Variable, found: RowMapping) -> Value:
    """What a variable's growth is counted from; nothing, if the connection began in the period."""
    if not is_sampled(v):
        return None
    if found["had"] is None:
        return None if found["origin"] in NOT_FROM_BIRTH else 0
    return _decoded(v, found[f"base_{v.id}"])


def _decoded(v: Variable, stored: Value) -> Value:
    """A stored value as it was meant; only 64-bit values are ever stored as another number."""
    if v.bits == 64 and isinstance(stored, int) and stored < 0:
        return int(u64.decode(stored))
    return stored
