"""What the load did against what the database has: nothing may be missing that is not counted."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.faults.load import End

#: Of ``snapshot``: ends of connections that have no row with final values, each in one of these.
NOT_IN_ROWS = ("lost_finals", "untracked", "sampled_out")
_U64 = 1 << 64
_SEEN = """
SELECT c.cookie, c.run_id, count(*) AS rows, max(l.HCThruOctetsReceived) AS octets,
       max(c.close_reason) AS reason
FROM connection c LEFT JOIN latest l USING (ConnectIndex)
WHERE c.closed_us IS NOT NULL AND c.close_reason != 'close not seen'
GROUP BY c.cookie, c.run_id
"""
_TWICE = (
    "SELECT count(*) FROM (SELECT 1 FROM connection GROUP BY cookie, run_id HAVING count(*) > 1)"
)
_COUNTED = f"SELECT {' + '.join(f'total({name})' for name in NOT_IN_ROWS)} FROM snapshot"  # noqa: S608
_RUNS = """
SELECT min(taken_us) AS first, max(taken_us) AS last, (SELECT count(*) FROM snapshot) AS snapshots
FROM snapshot GROUP BY run_id ORDER BY run_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Ends of connections.

    ``offered``: closed by the load. ``applied``: with one row that is closed, whose octets are
    those of the oracle. ``unwatched``: closed after the last snapshot of a run that was killed and
    before the first one of the next, as the ``run`` and ``snapshot`` rows tell. ``lost``: the rest.
    ``counted``: what the collector says it lost or left out (NOT_IN_ROWS). ``wrong``: rows
    with other octets, or a second row of the same connection in one run.
    """

    offered: int
    applied: int
    unwatched: int
    lost: int
    counted: int
    wrong: int
    snapshots: int
    intact: bool

    @property
    def accounted(self) -> float:
        """The share of what was offered whose fate is known; more than 1 is as wrong as less."""
        return (self.applied + self.unwatched + self.counted) / self.offered if self.offered else 1

    @property
    def is_good(self) -> bool:
        """Whether nothing is missing that was not counted, nothing wrong, and the file intact."""
        return self.lost == self.counted and not self.wrong and self.intact


def account(database: Path, ends: Sequence[End]) -> Account:
    """Of all runs in one database."""
    with closing(sqlite3.connect(database)) as base:
        intact = base.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        seen = {int(row[0]) % _U64: (row[3], row[1]) for row in base.execute(_SEEN)}
        (twice,) = base.execute(_TWICE).fetchone()
        counted = int(base.execute(_COUNTED).fetchone()[0])
        runs = base.execute(_RUNS).fetchall()
    gaps = _gaps([(first, last) for first, last, _ in runs])
    applied = unwatched = wrong = 0
    for end in ends:
        if end.cookie in seen:
            is_right = seen[end.cookie][0] == end.octets
            applied += is_right
            wrong += not is_right
        else:
            unwatched += any(begin < end.closed_us <= stop for begin, stop in gaps)
    return Account(
        offered=len(ends),
        applied=applied,
        unwatched=unwatched,
        lost=len(ends) - applied - unwatched - wrong,
        counted=counted,
        wrong=wrong + twice,
        snapshots=runs[0][2] if runs else 0,
        intact=intact,
    )


def _gaps(runs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """When nobody looked: before the first run, between two, and after the last."""
    begins = [0, *(last for _, last in runs)]
    ends = [*(first for first, _ in runs), _U64]
    return list(zip(begins, ends, strict=True))
