"""The namespace's own sums over all its connections, and ours over the rows of the same."""

import time
from collections.abc import Iterable, Mapping

from tests.kernel.collecting import Database, Row
from tests.kernel.net import Host
from tests.kernel.validation import Tolerance, agree

#: Totals of the kernel's own: whatever run of a hook it skips, they are right.
_ABSOLUTE = {"SegsRetrans", "DSACKDups"}


class Growth:
    """What a host's namespace counts from now on."""

    def __init__(self, host: Host) -> None:
        """Take the counters as they are."""
        self.host = host
        self._before = host.mib()

    def kernel(self, *names: str) -> int:
        """The growth of these counters, added up; those of TcpExt need not say so."""
        now = self.host.mib()
        keys = [name if ":" in name else f"TcpExt:{name}" for name in names]
        return sum(now[key] - self._before[key] for key in keys)


class Sums(Growth):
    """The same, and what our rows of one port add up to."""

    def __init__(self, host: Host, database: Database, port: int) -> None:
        """No other port may have traffic from now on; what has ended on it by now is not ours.

        So a test that CI runs once more does not add up the rows of its first attempt.
        """
        super().__init__(host)
        self._since_us = time.time_ns() // 1000
        self.port = port
        self._database = database
        self._missed = self._all_missed()

    def ours(self, *variables: str) -> int:
        """These variables, added up over all connections of this host from or to the port."""
        return sum(self._totals(variables).values())

    def agree(
        self, theirs: Mapping[str, object], within: Mapping[str, Tolerance] | None = None
    ) -> None:
        """Hold our sums, also those of two variables joined by `` + ``, against the kernel's.

        A run of a hook that the kernel skipped meanwhile may be an event that nobody saw.
        """
        names = [term for name in theirs for term in name.split(" + ")]
        if missed := self._all_missed() - self._missed:
            skipped = Tolerance(
                absolute=missed, reason=f"the kernel skipped {missed} runs of hooks"
            )
            within = {**dict.fromkeys(theirs.keys() - _ABSOLUTE, skipped), **(within or {})}
        agree("namespace counters", self._totals(names), theirs, within)

    def _all_missed(self) -> int:
        return int(self._database.value("SELECT coalesce(sum(missed), 0) FROM snapshot"))

    def _totals(self, variables: Iterable[str]) -> Row:
        terms = ", ".join(f"coalesce(sum({v}), 0) AS {v}" for v in dict.fromkeys(variables))
        sql = (
            f"SELECT {terms} FROM latest WHERE ? IN (LocalPort, RemPort) AND netns = ?"  # noqa: S608
            " AND coalesce(closed_us >= ?, 1)"
        )
        return self._database.one(sql, self.port, self.host.inode, self._since_us)
