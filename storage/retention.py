"""What to forget, and when: by the database's one writer, a little at a time.

A sample stands until the connection's next one and counters are totals, so all of it is one step,
taken for one snapshot after the other: of each connection with a sample in this snapshot, the one
before it goes. For ``--rollup`` it goes if both are of one step of time; for ``--keep`` always.
What is left of a time that was forgotten is then what each connection stood at when it ended,
which growth is counted from.

How far each of them came is in ``thinned``; a slice is one transaction, so whoever is killed goes
on where it was.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bpf.meters import Snapshot
from bpf.variable import REFERRED, Table
from storage.bounds import Bounds, Clock
from storage.file import log_of
from storage.select import NOT_FROM_BIRTH

_SAMPLES: Final = 500  # that one slice looks at
_PAGES: Final = 200  # that one slice gives back
_SPARE: Final = 20  # of so many pages one may be free: it will be written again soon
_LOG_MAX: Final = 32 << 20  # what the log grows to where nobody reads: see storage.engine
_ALL: Final = 1 << 62  # a step that all times are in

_GROUPS: Final = tuple(group.value for group in REFERRED)
_HOST: Final = (Table.SCALAR.value, Table.CONTROL.value)
#: Of an older snapshot's meters these are amounts: they pass to the next snapshot that is kept.
_AMOUNTS: Final = (
    "interval_us",
    "batches",
    "ops",
    "lost",
    "lost_finals",
    "untracked",
    "late",
    "merged",
    "missed",
    "bpf_ns",
    "sampled_out",
    "evicted",
    "forgotten_samples",
    "forgotten_connections",
    "replaced",
)


def _beside(key: str, than: str, *, newest: bool) -> str:
    """SQL: the connection's sample next to one at a snapshot, on its older or newer side."""
    best, side = ("max", "<") if newest else ("min", ">")
    return (
        f"(SELECT {best}(snapshot_id) FROM sample"  # noqa: S608
        f" WHERE ConnectIndex = {key} AND snapshot_id {side} {than})"
    )


#: Growth of a connection whose birth was not seen is counted from its first sample: it is kept.
_IS_BEGINNING: Final = (
    "q.snapshot_id IS NULL AND EXISTS (SELECT 1 FROM connection AS c"  # noqa: S608
    f" WHERE c.ConnectIndex = p.ConnectIndex AND c.origin IN {NOT_FROM_BIRTH})"
)
#: The samples of a snapshot after a rowid; of each the one before it in the same step, what that
#: refers to, and what its two neighbours do.
_VICTIMS: Final = f"""
    SELECT s.place, p.rowid, p.snapshot_id, {_IS_BEGINNING} AND NOT :forgets,
        {", ".join(f"p.{g}_id, s.{g}_id, q.{g}_id" for g in _GROUPS)}
    FROM (
        SELECT rowid AS place, ConnectIndex, {", ".join(f"{g}_id" for g in _GROUPS)} FROM sample
        WHERE snapshot_id = :snapshot AND rowid > :after ORDER BY rowid LIMIT :many
    ) AS s
    LEFT JOIN sample AS p ON p.ConnectIndex = s.ConnectIndex
        AND p.snapshot_id = {_beside("s.ConnectIndex", ":snapshot", newest=True)}
        AND (SELECT taken_us / :step FROM snapshot WHERE snapshot_id = p.snapshot_id) = :of
    LEFT JOIN sample AS q ON q.ConnectIndex = p.ConnectIndex
        AND q.snapshot_id = {_beside("p.ConnectIndex", "p.snapshot_id", newest=True)}
    ORDER BY s.place
"""  # noqa: S608  (names of the schema, here and below)

_OLDER_LISTENERS: Final = """
    DELETE FROM listener WHERE rowid IN (
        SELECT p.rowid FROM listener AS s JOIN listener AS p ON p.ListenerIndex = s.ListenerIndex
            AND p.snapshot_id = (
                SELECT max(snapshot_id) FROM listener
                WHERE ListenerIndex = s.ListenerIndex AND snapshot_id < :snapshot
            )
        WHERE s.snapshot_id = :snapshot
            AND (SELECT taken_us / :step FROM snapshot WHERE snapshot_id = p.snapshot_id) = :of
    ) RETURNING snapshot_id
"""
_ALL_OF_ONE: Final = (
    "DELETE FROM sample WHERE ConnectIndex = ? RETURNING snapshot_id, "  # noqa: S608
    + ", ".join(f"{g}_id" for g in _GROUPS)
)
_IS_REFERRED: Final = " OR ".join(
    f"EXISTS (SELECT 1 FROM {table} WHERE snapshot_id = :snapshot)"  # noqa: S608
    for table in ("sample", "listener", *_HOST)
)
_PASS_ON: Final = (
    "UPDATE snapshot SET "  # noqa: S608
    + ", ".join(
        f"{name} = CASE WHEN snapshot.{name} IS NULL THEN old.{name}"
        f" ELSE snapshot.{name} + coalesce(old.{name}, 0) END"
        for name in _AMOUNTS
    )
    + " FROM snapshot AS old WHERE old.snapshot_id = :snapshot AND snapshot.snapshot_id = :heir"
)


@dataclass(slots=True)
class _Level:
    """One --rollup, or --keep and --max-db-size, whose step all times are in.

    ``at`` is the last snapshot that was dealt with, ``after`` the last sample of the one after it.
    """

    step_us: int
    age_us: int | None
    at: int = 0
    after: int = 0

    @property
    def forgets(self) -> bool:
        """Whether nothing stays but what stood."""
        return self.step_us == _ALL

    @property
    def name(self) -> int:
        """Its key in ``thinned``."""
        return 0 if self.forgets else self.step_us


class Retention:
    """Forgets in slices, each in a transaction that the writer begins."""

    def __init__(self, database: sqlite3.Connection, path: Path, bounds: Bounds) -> None:
        """Go on where the database says; ``path`` is the file, for its size."""
        self._database = database
        self._log = log_of(path)
        self._octets = bounds.octets
        self._levels = [_Level(r.step_us, r.age_us) for r in bounds.rollups]
        self._keep = _Level(_ALL, bounds.keep_us)
        if bounds.keep_us is not None or bounds.octets is not None:
            self._levels.append(self._keep)
        found = dict(database.execute("SELECT step_us, snapshot_id FROM thinned").fetchall())
        for level in (*self._levels, self._keep):
            level.at = found.get(level.name, 0)
        (self._shrinks,) = database.execute("PRAGMA auto_vacuum").fetchone()
        self._clock = Clock()
        self._now_us = self._newest = 0
        self._swept = 0 if self._keep in self._levels else self._keep.at
        self.samples = self.connections = 0
        self.oversize = False  # even without all that could be forgotten

    def wrote(self, snapshot: Snapshot, number: int) -> None:
        """There is a newer snapshot."""
        self._now_us = self._clock.at(snapshot.cut_ns, snapshot.taken_us)
        self._newest = number

    def slice(self) -> bool:
        """Forget a little, in a transaction of the caller's; False if there was nothing to do."""
        if self._keep.at > self._swept:
            if not self._sweep():
                self._swept = self._keep.at
            return True
        for level in self._levels:
            if (due := self._due(level)) is not None:
                self._thin(level, *due)
                return True
        return False

    def give_back(self) -> bool:
        """Return a few free pages to the file system, outside of any transaction; False if none."""
        pages, free = self._pages()
        is_much = free > pages // _SPARE or (free and self._bytes(pages) > self._limit())
        if self._shrinks != 2 or not is_much:  # 2: incremental
            return False
        # It gives a row without columns for each page: sqlite3's execute() would stop at the first.
        self._database.executescript(f"PRAGMA incremental_vacuum({_PAGES})")
        return self._pages() != (pages, free)

    def _due(self, level: _Level) -> tuple[int, int] | None:
        """The next snapshot that is old enough: its number and time. Never the newest."""
        if (
            level.at < self._keep.at
        ):  # what --keep has dealt with, it has thinned more than any step
            level.at, level.after = self._keep.at, 0
        found: tuple[int, int] | None = self._database.execute(
            "SELECT snapshot_id, taken_us FROM snapshot"
            " WHERE snapshot_id > ? AND snapshot_id < ? ORDER BY snapshot_id LIMIT 1",
            (level.at, self._newest),
        ).fetchone()
        too_large = level.forgets and self._is_too_large()
        if level.forgets:
            self.oversize = too_large and found is None
        if found is None:
            return None
        if too_large or (level.age_us is not None and self._is_older(found[0], level.age_us)):
            return found
        return None

    def _is_older(self, snapshot: int, age_us: int) -> bool:
        """Whether a snapshot is of that age. One from the future is as old as the next that is not.

        All before the first snapshot that is too young stays, whatever its own time: a clock that
        was set back makes nothing old.
        """
        found = self._database.execute(
            "SELECT taken_us FROM snapshot WHERE snapshot_id >= ? AND +taken_us <= ?"
            " ORDER BY snapshot_id LIMIT 1",
            (snapshot, self._now_us),
        ).fetchone()
        return found is not None and found[0] <= self._now_us - age_us

    def _thin(self, level: _Level, number: int, taken_us: int) -> None:
        """Of each connection with a sample in this snapshot, the one before it goes."""
        place = {"snapshot": number, "step": level.step_us, "of": taken_us // level.step_us}
        part = place | {"after": level.after, "many": _SAMPLES, "forgets": level.forgets}
        found = self._database.execute(_VICTIMS, part).fetchall()
        victims = [row for row in found if row[1] is not None and not row[3]]
        self._delete("sample", "rowid", (row[1] for row in victims))
        for n, group in enumerate(_GROUPS):
            free = (
                row[4 + 3 * n]
                for row in victims
                if row[4 + 3 * n] not in row[5 + 3 * n : 7 + 3 * n]
            )
            self._delete(group, f"{group}_id", free)
        self.samples += len(victims)
        touched = {row[2] for row in victims}
        if len(found) == _SAMPLES:
            level.after = found[-1][0]
        else:
            touched.update(row[0] for row in self._database.execute(_OLDER_LISTENERS, place))
            touched.update(self._thin_host(place))
            touched.add(level.at)
            level.at, level.after = number, 0
            self._database.execute(
                "INSERT INTO thinned VALUES (?, ?, ?) ON CONFLICT (step_us)"
                " DO UPDATE SET snapshot_id = excluded.snapshot_id, taken_us = excluded.taken_us",
                (level.name, number, taken_us),
            )
        self._drop_snapshots(level, touched)

    def _thin_host(self, place: dict[str, int]) -> list[int]:
        """The host's own tables: their older rows in the same step go, if there is a newer one."""
        touched: list[int] = []
        for table in _HOST:
            rows = self._database.execute(
                f"DELETE FROM {table} WHERE snapshot_id = ("  # noqa: S608
                f" SELECT max(snapshot_id) FROM {table} WHERE snapshot_id < :snapshot)"
                f" AND EXISTS (SELECT 1 FROM {table} WHERE snapshot_id = :snapshot)"
                " AND (SELECT taken_us / :step FROM snapshot AS t"
                f" WHERE t.snapshot_id = {table}.snapshot_id) = :of RETURNING snapshot_id",
                place,
            )
            touched += [number for (number,) in rows]
        return touched

    def _drop_snapshots(self, level: _Level, numbers: Iterable[int]) -> None:
        """Snapshots that nothing refers to any more; the last one that was thinned stays.

        What a step's snapshots counted passes to the next one of them.
        """
        for number in sorted(numbers):
            place = {"snapshot": number, "step": level.step_us}
            is_bound = number >= level.at or number == self._keep.at
            if is_bound or self._one(f"SELECT {_IS_REFERRED}", place):
                continue
            if number > self._keep.at and not level.forgets:
                heir = self._one(
                    "SELECT n.snapshot_id FROM snapshot AS n, snapshot AS o"
                    " WHERE o.snapshot_id = :snapshot AND n.snapshot_id = ("
                    "  SELECT min(snapshot_id) FROM snapshot WHERE snapshot_id > :snapshot)"
                    " AND n.run_id = o.run_id AND n.taken_us / :step = o.taken_us / :step",
                    place,
                )
                if heir is None:
                    continue
                self._database.execute(_PASS_ON, {"snapshot": number, "heir": heir})
            self._database.execute("DELETE FROM snapshot WHERE snapshot_id = ?", (number,))

    def _sweep(self) -> bool:
        """Who closed before what is kept, and runs that ended before it; False if none is left."""
        bound = self._keep.at
        taken_us, run = self._database.execute(
            "SELECT taken_us, run_id FROM snapshot WHERE snapshot_id = ?", (bound,)
        ).fetchone()
        ended = self._one("SELECT min(run_id) FROM run WHERE run_id < :run", {"run": run})
        for key, owner, forget in (
            ("ConnectIndex", "connection", self._forget_connections),
            ("ListenerIndex", "endpoint", self._forget_endpoints),
        ):
            for which, value in (("closed_us", taken_us), ("run_id", ended)):
                gone = self._database.execute(  # nothing is <= NULL
                    f"SELECT {key} FROM {owner} WHERE {which} <= ? LIMIT {_SAMPLES}",  # noqa: S608
                    (value,),
                ).fetchall()
                if gone:
                    forget([number for (number,) in gone])
                    return True
        return ended is not None and self._forget_run(ended)

    def _forget_connections(self, numbers: Sequence[int]) -> None:
        """Whole: their samples, what these refer to, what was set of them, and their rows."""
        touched = set[int]()
        for number in numbers:
            found = self._database.execute(_ALL_OF_ONE, (number,)).fetchall()
            self.samples += len(found)
            touched.update(row[0] for row in found)
            for n, group in enumerate(_GROUPS):
                self._delete(group, f"{group}_id", {row[1 + n] for row in found})
        for table in ("tuning", "connection"):
            self._delete(table, "ConnectIndex", numbers)
        self.connections += len(numbers)
        self._drop_snapshots(self._keep, touched)

    def _forget_endpoints(self, numbers: Sequence[int]) -> None:
        """Whole: their rows in both tables."""
        touched = set[int]()
        for number in numbers:
            touched.update(
                row[0]
                for row in self._database.execute(
                    "DELETE FROM listener WHERE ListenerIndex = ? RETURNING snapshot_id", (number,)
                )
            )
        self._delete("endpoint", "ListenerIndex", numbers)
        self._drop_snapshots(self._keep, touched)

    def _forget_run(self, run: int) -> bool:
        """One whose connections have gone: what is left of it."""
        of_run = "snapshot_id IN (SELECT snapshot_id FROM snapshot WHERE run_id = :run)"
        for table in (*_HOST, "snapshot"):
            self._database.execute(f"DELETE FROM {table} WHERE {of_run}", {"run": run})  # noqa: S608
        self._database.execute("DELETE FROM run WHERE run_id = ?", (run,))
        return True

    def _delete(self, table: str, key: str, values: Iterable[int]) -> None:
        self._database.executemany(
            f"DELETE FROM {table} WHERE {key} = ?",  # noqa: S608
            ((value,) for value in values),
        )

    def _one(self, statement: str, values: dict[str, int]) -> int | None:
        """The first cell of the first row; None if there is none."""
        found = self._database.execute(statement, values).fetchone()
        return None if found is None else found[0]

    def _is_too_large(self) -> bool:
        pages, free = self._pages()
        return self._bytes(pages - free) > self._limit()

    def _limit(self) -> int:
        return _ALL if self._octets is None else self._octets

    def _pages(self) -> tuple[int, int]:
        """Of the file: all, and those that are free."""
        (pages,) = self._database.execute("PRAGMA page_count").fetchone()
        (free,) = self._database.execute("PRAGMA freelist_count").fetchone()
        return pages, free

    def _bytes(self, pages: int) -> int:
        """So many pages, and the log as it lies on the disk.

        Where a reader keeps it from being folded in, it grows, and by forgetting, too: what is more
        than usual does not count, or one slow reader would cost the whole history.
        """
        (octets,) = self._database.execute("PRAGMA page_size").fetchone()
        log: int = self._log.stat().st_size if self._log.exists() else 0
        return pages * int(octets) + min(log, _LOG_MAX)
