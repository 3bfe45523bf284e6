"""What a collector's database says, read while it is written and forgotten from."""

import sqlite3
import time
from collections import deque
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from bpf.meters import METERS
from tests.faults.account import NOT_IN_ROWS
from tests.kernel.tcp_info import Witness, said
from tests.soak.verdict import Account

#: A row is there two snapshots after the end at the latest, and a census after ten seconds.
_DUE_SECONDS: Final = 5.0
_OVERDUE_SECONDS: Final = 30.0
_EXAMPLES_MAX: Final = 20
_UNSEEN: Final = "close not seen"
#: Whether ECN is offered is a sysctl, and this host's may be anything; no socket says TIME_WAIT.
_NOT_COMPARED: Final = ("ECN", "State")
_LEVELS: Final = ("connections", "lag_us", "flush_interval_us", "sampled")


class Audit:
    """Counts each connection once while it is in the database, and each snapshot likewise."""

    def __init__(self, database: Path) -> None:
        """Nothing is read yet."""
        self._path = database
        self._seen = bytearray()  # one for each ConnectIndex, which are nearly dense
        self._closed_us = 0
        self._snapshot_id = 0
        self._due: deque[tuple[float, Witness]] = deque()
        self.sums = {name: 0 for name in METERS if name not in _LEVELS}
        self.levels = dict.fromkeys(_LEVELS, 0)
        self.account = Account()

    def expect(self, witnesses: Iterable[Witness]) -> None:
        """Sockets that have closed, to be compared once their rows are there."""
        now = time.monotonic()
        self._due.extend((now, witness) for witness in witnesses)

    def read(self) -> None:
        """Go on from where the last call ended; all that it reads is of one moment."""
        with closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True)) as base:
            base.row_factory = sqlite3.Row
            base.execute("BEGIN")
            self._read_snapshots(base)
            self._read_ends(base)
            self._compare_due(base)

    def faults(self) -> list[str]:
        """What SQLite finds wrong with the file."""
        with closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True)) as base:
            found = [str(row[0]) for row in base.execute("PRAGMA integrity_check")]
            found += [
                f"{row} refers to nothing" for row in base.execute("PRAGMA foreign_key_check")
            ]
        return [fault for fault in found if fault != "ok"]

    def octets(self) -> int:
        """On disk, the write-ahead log included."""
        files = (self._path, self._path.with_name(f"{self._path.name}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def _read_snapshots(self, base: sqlite3.Connection) -> None:
        sql = "SELECT * FROM snapshot WHERE snapshot_id > ? ORDER BY snapshot_id"
        for row in base.execute(sql, (self._snapshot_id,)):
            self._snapshot_id = row["snapshot_id"]
            for name in self.sums:
                self.sums[name] += row[name] or 0
            for name in self.levels:
                self.levels[name] = row[name] or 0
        self.account.replaced = self.sums["replaced"]
        self.account.counted = sum(self.sums[name] for name in NOT_IN_ROWS)

    def _read_ends(self, base: sqlite3.Connection) -> None:
        """A row is stamped by its end and committed later: so look back as far as that may be."""
        sql = "SELECT ConnectIndex, closed_us, close_reason FROM connection WHERE closed_us > ?"
        newest = self._closed_us
        for index, closed_us, reason in base.execute(sql, (newest - 60_000_000,)):
            newest = max(newest, closed_us)
            if index >= len(self._seen):
                self._seen.extend(bytes(index + 65_536 - len(self._seen)))
            if not self._seen[index] and reason != _UNSEEN:
                self._seen[index] = 1
                self.account.rows += 1
        self._closed_us = newest

    def _compare_due(self, base: sqlite3.Connection) -> None:
        now = time.monotonic()
        while self._due and now - self._due[0][0] > _DUE_SECONDS:
            since, witness = self._due[0]
            row = base.execute(
                "SELECT * FROM latest WHERE cookie = ?", (witness.cookie,)
            ).fetchone()
            is_whole = row is not None and row["closed_us"] is not None
            if not is_whole and now - since < _OVERDUE_SECONDS:
                return
            self._due.popleft()
            self._compare(witness, dict(row) if row is not None else None)

    def _compare(self, witness: Witness, row: dict[str, Any] | None) -> None:
        if row is None or row["close_reason"] in (None, _UNSEEN):
            self.account.uncompared += 1
            return
        self.account.compared += 1
        values = {name: v for name, v in said(witness).items() if name not in _NOT_COMPARED}
        wrong = {n: (row[n], v) for n, v in values.items() if row[n] != v}
        if wrong and len(self.account.wrong) < _EXAMPLES_MAX:
            self.account.wrong.append(f"connection {row['ConnectIndex']}: {wrong}")
