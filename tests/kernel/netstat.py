"""The namespace's own sums over all its connections, and ours over the rows of the same."""

from collections.abc import Iterable, Mapping

from tests.kernel.collecting import Database, Row
from tests.kernel.net import Host
from tests.kernel.validation import Tolerance, agree


class Sums:
    """What a host's namespace counts from now on, and what our rows of one port add up to."""

    def __init__(self, host: Host, database: Database, port: int) -> None:
        """Take the counters as they are; no other port may have traffic from now on."""
        self.host = host
        self.port = port
        self._database = database
        self._before = host.mib()

    def kernel(self, *names: str) -> int:
        """The growth of these counters, added up; those of TcpExt need not say so."""
        now = self.host.mib()
        keys = [name if ":" in name else f"TcpExt:{name}" for name in names]
        return sum(now[key] - self._before[key] for key in keys)

    def ours(self, *variables: str) -> int:
        """These variables, added up over all connections of this host from or to the port."""
        return sum(self._totals(variables).values())

    def agree(
        self, theirs: Mapping[str, object], within: Mapping[str, Tolerance] | None = None
    ) -> None:
        """Hold our sums, also those of two variables joined by `` + ``, against the kernel's."""
        names = [term for name in theirs for term in name.split(" + ")]
        agree("namespace counters", self._totals(names), theirs, within)

    def _totals(self, variables: Iterable[str]) -> Row:
        terms = ", ".join(f"coalesce(sum({v}), 0) AS {v}" for v in dict.fromkeys(variables))
        sql = f"SELECT {terms} FROM latest WHERE ? IN (LocalPort, RemPort) AND netns = ?"  # noqa: S608
        return self._database.one(sql, self.port, self.host.inode)
