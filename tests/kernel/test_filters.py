"""Filters and table masks: only what was asked for is collected, and all of it."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from bpf.catalogue import stored_in
from bpf.variable import SAMPLED, Table
from tests.kernel.collecting import Collector, Database
from tests.kernel.net import Net
from tests.kernel.traffic import Pair, pair

pytestmark = pytest.mark.kernel

FIRST, SECOND = 7401, 7402  # ports of the two servers
EACH = 4  # connections to each of them (even, as the kernel wants ranges of ports)


@dataclass(frozen=True)
class Filtered:
    """What each filtered collector wrote, and who made the traffic."""

    bases: dict[str, Database]
    first: Pair
    second: Pair


#: The name of a collector and its options; ``{…}`` is filled in once the peers exist.
OPTIONS = {
    "port": ["--port", str(FIRST)],
    "dport": ["--dport", str(FIRST)],
    "sport": ["--sport", str(FIRST)],
    "net4": ["--net", "10.23.0.0/24"],
    "net6": ["--net", "fd00:23::2/128"],
    "pid": ["--pid", "{pid}"],
    "comm": ["--comm", "kt-server"],
    "perf": ["--tables", "perf"],
    "picked": ["--sport", "45001"],
}


@pytest.fixture(scope="module")
def filtered(tmp_path_factory: pytest.TempPathFactory, net: Net) -> Iterator[Filtered]:
    """The same traffic, seen by one collector for each filter, all at once.

    The first pair speaks IPv4 to the first port, the second IPv6 to the second.
    """
    with ExitStack() as undo:
        first, second = (undo.enter_context(pair(net.client, net.server)) for _ in range(2))
        collectors = {}
        for name, options in OPTIONS.items():
            words = [word.format(pid=first.client.pid) for word in options]
            collectors[name] = Collector(tmp_path_factory.mktemp(name), *words)
            undo.callback(collectors[name].destroy)
        for collector in collectors.values():
            collector.ready()
        # As many local ports as connections: each is picked once for each server.
        net.client.sysctl("net.ipv4.ip_local_port_range", f"45001 {45000 + EACH}")
        undo.callback(net.client.sysctl, "net.ipv4.ip_local_port_range", "32768 60999")
        first.open(net.server, 4, FIRST, EACH)
        second.open(net.server, 6, SECOND, EACH)
        for both in (first, second):
            both.exchange(3, 1000)
            both.half_close()
        for collector in collectors.values():
            collector.database.catch_up()
            assert collector.stop() == 0, collector.log.read_text()
        yield Filtered({name: c.database for name, c in collectors.items()}, first, second)


def ends(base: Database) -> dict[tuple[int, int, str], int]:
    """How many connections there are of each IP version, server port and side."""
    sides = base.ask(
        "SELECT AddressType, min(LocalPort, RemPort) AS port, origin, count(*) AS n"
        " FROM connection GROUP BY 1, 2, 3"
    )
    return {(s["AddressType"], s["port"], s["origin"]): s["n"] for s in sides}


CLIENT_1, SERVER_1 = (1, FIRST, "active"), (1, FIRST, "passive")
CLIENT_2, SERVER_2 = (2, SECOND, "active"), (2, SECOND, "passive")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("port", {CLIENT_1, SERVER_1}),
        ("dport", {CLIENT_1}),
        ("sport", {SERVER_1}),
        ("net4", {CLIENT_1, SERVER_1}),
        ("net6", {CLIENT_2, SERVER_2}),
        ("pid", {CLIENT_1}),
        ("comm", {SERVER_1, SERVER_2}),
    ],
)
def test_a_filter_keeps_what_it_names_and_nothing_else(
    filtered: Filtered, name: str, wanted: set[tuple[int, int, str]]
) -> None:
    """Each filter finds exactly its ends of the connections, each with a final row."""
    assert ends(filtered.bases[name]) == dict.fromkeys(wanted, EACH)
    base = filtered.bases[name]
    assert base.value("SELECT count(*) FROM connection WHERE closed_us IS NULL") == 0
    assert base.lost() == 0


def test_a_local_port_that_connect_picked_is_filtered_like_any_other(filtered: Filtered) -> None:
    """The kernel picks it after the connection has entered SYN_SENT."""
    assert ends(filtered.bases["picked"]) == {CLIENT_1: 1, CLIENT_2: 1}


def test_a_table_that_was_not_asked_for_stays_empty(filtered: Filtered) -> None:
    """With ``--tables perf`` all connections are there, and variables of perf, and no others."""
    base = filtered.bases["perf"]
    assert ends(base).keys() >= {CLIENT_1, SERVER_1, CLIENT_2, SERVER_2}
    known = {
        v.table
        for table in SAMPLED
        for v in stored_in(table)
        if base.one(f"SELECT count({v.name}) AS known FROM {table.value}")["known"]  # noqa: S608
    }
    assert known == {Table.PERF}
    assert base.one("SELECT count(SegsOut) AS known FROM perf")["known"] >= 4 * EACH
