"""The namespace's own sums over all its connections, and ours over the rows of the same."""

from tests.kernel.collecting import Database
from tests.kernel.net import Host


class Sums:
    """What a host's namespace counts from now on, and what our rows of one port add up to."""

    def __init__(self, host: Host, database: Database, port: int) -> None:
        """Take the counters as they are; no other port may have traffic from now on."""
        self.host = host
        self.port = port
        self._database = database
        self._before = host.mib()

    def kernel(self, *names: str) -> int:
        """The growth of these counters of TcpExt, added up."""
        now = self.host.mib()
        return sum(now[f"TcpExt:{n}"] - self._before[f"TcpExt:{n}"] for n in names)

    def ours(self, *variables: str) -> int:
        """These variables, added up over all connections of this host from or to the port."""
        terms = " + ".join(f"coalesce(sum({name}), 0)" for name in variables)
        sql = f"SELECT {terms} FROM latest WHERE ? IN (LocalPort, RemPort) AND netns = ?"  # noqa: S608
        return int(self._database.value(sql, self.port, self.host.inode))
