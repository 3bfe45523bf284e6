"""The log of `estats tune`: what was set of whom, by whom, and what it was before.

It is written before anything is set, and again when it is known what came of that: so what was
there before is known, whatever happens in between. Another process may be writing the database.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, or_, select, update

from storage import revision
from storage.engine import open_writable
from storage.errors import storage_errors
from storage.schema import CONNECTION, RUN, TUNING


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One value of one connection; ``wanted`` None: it came along with another.

    ``accepted`` None: it was not set, for the reason in ``refused``, or nobody knows.
    """

    connect_index: int
    variable: str
    before: str
    wanted: str | None
    accepted: str | None = None
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class Logged:
    """An entry that was not reverted, and the row of ``connection`` that it is about."""

    number: int
    entry: Entry
    connection: Mapping[str, Any]


class Log:
    """The log in one database, of one use of the command; each call is one transaction."""

    def __init__(self, path: Path, tuned_us: int, uid: int) -> None:
        """In this database, which has this program's schema; when, in UTC microseconds, and who.

        Raises StorageError where it is not, or may not be written.
        """
        self._path = path.absolute()
        self._when = {"tuned_us": tuned_us, "uid": uid}
        self._intended: list[int] = []
        self._engine = open_writable(self._path)
        try:
            revision.check(self._engine)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def intend(self, entries: Sequence[Entry]) -> None:
        """Write what is about to be set. Raises StorageError."""
        with storage_errors(self._path), self._engine.begin() as connection:
            self._intended = self._insert(connection, entries)

    def settle(self, entries: Sequence[Entry]) -> None:
        """Write what came of it in its place. Raises StorageError."""
        with storage_errors(self._path), self._engine.begin() as connection:
            if self._intended:
                gone = delete(TUNING).where(TUNING.c.tuning_id == bindparam("number"))
                connection.execute(gone, [{"number": number} for number in self._intended])
            self._intended = self._insert(connection, entries)

    def revert(self, reverted: Mapping[int, str | None]) -> None:
        """Note, by their numbers, what entries were set back to; None: it cannot be."""
        statement = (
            update(TUNING)
            .where(TUNING.c.tuning_id == bindparam("number"))
            .values(reverted_us=self._when["tuned_us"], reverted=bindparam("value"))
        )
        rows = [{"number": number, "value": value} for number, value in reverted.items()]
        with storage_errors(self._path), self._engine.begin() as connection:
            if rows:
                connection.execute(statement, rows)

    def _insert(self, connection: Connection, entries: Iterable[Entry]) -> list[int]:
        """Add rows; their numbers."""
        first: int = (connection.scalar(select(func.max(TUNING.c.tuning_id))) or 0) + 1
        rows = [
            {
                "tuning_id": number,
                "ConnectIndex": entry.connect_index,
                **self._when,
                "variable": entry.variable,
                "before": entry.before,
                "wanted": entry.wanted,
                "accepted": entry.accepted,
                "refused": entry.refused,
            }
            for number, entry in enumerate(entries, start=first)
        ]
        if rows:
            connection.execute(insert(TUNING), rows)
        return list(range(first, first + len(rows)))


def pending(connection: Connection, boot_id: str) -> list[Logged]:
    """What was set since that boot and may still stand, oldest first.

    Of what is not seen to have closed; a connection that was evicted is there all the same.
    """
    asked = (
        select(TUNING, *(c for c in CONNECTION.columns if c is not CONNECTION.c.ConnectIndex))
        .join(CONNECTION, CONNECTION.c.ConnectIndex == TUNING.c.ConnectIndex)
        .join(RUN, RUN.c.run_id == CONNECTION.c.run_id)
        .where(RUN.c.boot_id == boot_id, TUNING.c.reverted_us.is_(None))
        .where(TUNING.c.refused.is_(None))
        .where(or_(CONNECTION.c.closed_us.is_(None), CONNECTION.c.close_reason == "evicted"))
        .order_by(TUNING.c.tuning_id)
    )
    return [
        Logged(
            row["tuning_id"],
            Entry(
                connect_index=row["ConnectIndex"],
                variable=row["variable"],
                before=row["before"],
                wanted=row["wanted"],
                accepted=row["accepted"],
            ),
            {c.name: row[c.name] for c in CONNECTION.columns},
        )
        for row in connection.execute(asked).mappings()
    ]
