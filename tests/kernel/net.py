"""Two hosts and the path between them: network namespaces, a veth pair, loss and rate."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

PREFIX = "estats-test"

#: How many times longer than usual may things take? More than once in an emulated machine.
SLOWNESS = float(os.environ.get("ESTATS_TEST_SLOWNESS", "1"))
_NUMBERS = count()

#: Off, so that a packet on the wire, a packet nft may drop and a segment are one thing.
_OFFLOADS = ("rx", "tx", "sg", "tso", "gso", "gro")


def run(*argv: str, text: str | None = None) -> str:
    """Run one command to its end and return what it printed; a failure shows its message."""
    patience = 30 * SLOWNESS
    done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=patience,
                          check=False)  # fmt: skip
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr.strip()}"
    return done.stdout


@dataclass(frozen=True)
class Host:
    """One network namespace with one link; ``v4`` and ``v6`` are its addresses on that link."""

    name: str
    v4: str
    v6: str

    def address(self, family: int) -> str:
        """The address of IP version 4 or 6."""
        return self.v4 if family == 4 else self.v6

    @property
    def inode(self) -> int:
        """The number by which the kernel, and the column ``netns``, name this namespace."""
        path = Path("/run/netns", self.name) if self.name else Path("/proc/self/ns/net")
        return path.stat().st_ino

    def argv(self, *argv: str) -> list[str]:
        """The command line that runs ``argv`` on this host; the process keeps its pid."""
        return ["ip", "netns", "exec", self.name, *argv] if self.name else list(argv)

    def run(self, *argv: str, text: str | None = None) -> str:
        """Run one command on this host to its end."""
        return run(*self.argv(*argv), text=text)

    def is_up(self) -> bool:
        """Whether the kernel has noticed that the link carries."""
        (link,) = json.loads(run("ip", "-n", self.name, "-j", "link", "show", "eth0"))
        return bool(link["operstate"] == "UP")

    def sysctl(self, key: str, value: str | int) -> None:
        """Set one of the sysctls that each namespace has for itself."""
        self.run("sysctl", "-qw", f"{key}={value}")

    def lose(self, per_mille: int) -> None:
        """Drop this share of the TCP packets that arrive here, at random: 0 none, 1000 all."""
        script = "table inet loss\ndelete table inet loss\ntable inet loss { chain input {\n"
        script += "type filter hook input priority 0\n"
        if per_mille:
            chance = "" if per_mille == 1000 else f"numgen random mod 1000 < {per_mille}"
            script += f"meta l4proto tcp {chance} counter drop\n"
        self.run("nft", "-f", "-", text=script + "}\n}\n")

    def lost(self) -> int:
        """How many packets the present rule of ``lose`` has dropped."""
        listing = json.loads(self.run("nft", "-j", "list", "table", "inet", "loss"))
        rules = [item["rule"] for item in listing["nftables"] if "rule" in item]
        return sum(e["counter"]["packets"] for r in rules for e in r["expr"] if "counter" in e)

    def limit(self, megabit: int) -> None:
        """Send no faster than this, behind a queue of 30 ms."""
        rate = ["rate", f"{megabit}mbit", "burst", "64kb", "latency", "30ms"]
        self.run("tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", *rate)

    def mib(self) -> dict[str, int]:
        """The namespace's own sums over all its connections: /proc/net/snmp and netstat."""
        counters: dict[str, int] = {}
        for table in ("snmp", "netstat"):
            lines = self.run("cat", f"/proc/net/{table}").splitlines()  # names, values, names …
            for names, values in zip(lines[::2], lines[1::2], strict=True):
                (prefix, *keys), (_, *numbers) = names.split(), values.split()
                counters |= {prefix + key: int(n) for key, n in zip(keys, numbers, strict=True)}
        return counters


#: The namespace these tests and the collector run in themselves, with its loopback addresses.
HERE = Host("", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Net:
    """Two hosts joined by one link."""

    client: Host
    server: Host

    @property
    def hosts(self) -> tuple[Host, Host]:
        """Both ends."""
        return self.client, self.server

    def lose(self, per_mille: int) -> None:
        """Drop this share of the TCP packets of both directions."""
        for host in self.hosts:
            host.lose(per_mille)

    def lost(self) -> int:
        """Packets dropped in both directions."""
        return sum(host.lost() for host in self.hosts)


@contextmanager
def network() -> Iterator[Net]:
    """A fresh pair of hosts, 10.23.0.1 and .2, fd00:23::1 and ::2; gone at the end, whatever.

    Names carry this process's pid, so that two runs at once do not meet. All sysctls are the
    kernel's defaults.
    """
    number = next(_NUMBERS)
    names = [f"{PREFIX}-{os.getpid()}-{number}{end}" for end in "ab"]
    client, server = (Host(n, f"10.23.0.{i}", f"fd00:23::{i}") for i, n in enumerate(names, 1))
    with ExitStack() as undo:
        for host in (client, server):
            run("ip", "netns", "add", host.name)
            undo.callback(run, "ip", "netns", "delete", host.name)
        link = f"link add eth0 type veth peer name eth0 netns {server.name}"
        run("ip", "-n", client.name, *link.split())
        for host in (client, server):
            _join(host)
        while not all(host.is_up() for host in (client, server)):
            time.sleep(0.02)  # else the first SYN would be lost
        yield Net(client, server)


def _join(host: Host) -> None:
    """Give a host its addresses, in one go: each command costs a fork."""
    lines = [
        "link set lo up",
        f"addr add {host.v4}/24 dev eth0",
        f"addr add {host.v6}/64 dev eth0 nodad",
        "link set eth0 up",
    ]
    run("ip", "-n", host.name, "-batch", "-", text="\n".join(lines))
    host.run("ethtool", "-K", "eth0", *(word for name in _OFFLOADS for word in (name, "off")))


def namespaces() -> set[str]:
    """The namespaces on this machine that a run of these tests made and that still exist."""
    listing = json.loads(run("ip", "-j", "netns", "list") or "[]")
    mine = f"{PREFIX}-{os.getpid()}-"
    return {n["name"] for n in listing if n["name"].startswith(mine)}
