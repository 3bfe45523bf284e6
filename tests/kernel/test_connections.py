"""Whose a connection is, how it began and how it ended: one row for each, with the reason."""

import errno
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.kernel.collecting import Collector, collecting
from tests.kernel.net import HERE, Host, Net
from tests.kernel.tcp_info import Witness
from tests.kernel.traffic import Pair, Peer, pair
from tests.kernel.validation import Between, agree

pytestmark = pytest.mark.kernel

SHORT = 2_000
ESTABLISHED, CLOSE_WAIT = 5, 8  # in the numbering of the RFC
TUPLE = ("LocalAddress", "LocalPort", "RemAddress", "RemPort")
PORTS = count(7201)


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory, net: Net) -> Iterator[Collector]:
    """One collector for all tests here."""
    with collecting(tmp_path_factory.mktemp("connections")) as running:
        yield running


def only(peer: Peer) -> Witness:
    """The witness of a peer's only connection."""
    (witness,) = peer.witnesses()
    return witness


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
def test_two_thousand_short_connections_leave_two_thousand_rows_at_either_end(
    net: Net, collector: Collector, peers: Pair, family: int
) -> None:
    """Connect, one octet, close, one after another: each has its final row, and nothing is lost."""
    port, address = next(PORTS), net.server.address(family)
    lost = collector.database.lost()
    peers.server("listen", address=address, port=port)
    peers.server.tell("answer", count=SHORT)
    peers.client("call", address=address, port=port, count=SHORT)
    peers.server.hear()
    collector.database.catch_up()
    for origin, octets_out in (("active", 1), ("passive", 0)):
        ends = collector.database.ask(
            "SELECT origin, close_reason, closed_us >= opened_us AS in_order, HCDataOctetsOut,"
            " HCThruOctetsReceived, lost, count(*) AS n, count(DISTINCT cookie) AS sockets,"
            " count(SegsIn) AS known FROM latest WHERE ? IN (LocalPort, RemPort) AND origin = ?"
            " GROUP BY 1, 2, 3, 4, 5, 6",
            port,
            origin,
        )
        assert ends == [
            {
                "origin": origin,
                "close_reason": "closed",
                "in_order": 1,
                "HCDataOctetsOut": octets_out,
                "HCThruOctetsReceived": 2 - octets_out,
                "lost": 0,
                "n": SHORT,
                "sockets": SHORT,
                "known": SHORT,
            }
        ]
    assert collector.database.lost() == lost


def test_a_connection_is_told_with_its_owner_and_its_namespace(
    net: Net, collector: Collector, peers: Pair
) -> None:
    """The client's row names who connected, the server's who accepted and reads."""
    peers.open(net.server, 4, next(PORTS), 1)
    peers.exchange(1, 100)
    collector.database.catch_up()
    for peer, host in ((peers.client, net.client), (peers.server, net.server)):
        row = collector.database.latest(only(peer).cookie)
        assert (row["pid"], row["comm"], row["uid"]) == (peer.pid, peer.comm, 0)
        assert row["netns"] == host.inode
        assert row["closed_us"] is None
        assert row["close_reason"] is None
        agree("socket options", row, dict(zip(TUPLE, peer("tuples")[0], strict=True)))
    client, server = (collector.database.latest(only(peer).cookie) for peer in peers.peers)
    assert (client["origin"], server["origin"]) == ("active", "passive")
    agree("workload", client, {"ActiveOpen": 1})
    agree("workload", server, {"ActiveOpen": 2})


def test_a_connection_that_nobody_accepts_has_a_row_without_an_owner(
    net: Net, collector: Collector, peers: Pair
) -> None:
    """In the backlog it is established, but no process has touched it: pid and comm are NULL."""
    port = next(PORTS)
    peers.server("listen", address=net.server.v4, port=port)
    peers.client("connect", address=net.server.v4, port=port)
    collector.database.catch_up()
    row = collector.database.one("SELECT * FROM latest WHERE LocalPort = ?", port)
    assert (row["State"], row["origin"]) == (ESTABLISHED, "passive")
    assert (row["pid"], row["comm"], row["pid_start_ns"]) == (None, None, None)


def test_octets_that_nobody_reads_wait_in_the_receive_queue(
    net: Net, collector: Collector, peers: Pair
) -> None:
    """CurAppRQueue is what the application has not read; the peer's FIN is not part of it."""
    peers.open(net.server, 6, next(PORTS), 1)
    cookie = only(peers.server).cookie
    peers.client("send", size=5_000)
    collector.database.catch_up()
    agree("workload", collector.database.latest(cookie), {"CurAppRQueue": 5_000})
    peers.client("half_close")
    collector.database.catch_up()
    row = collector.database.latest(cookie)
    agree("workload", row, {"CurAppRQueue": 5_000, "State": CLOSE_WAIT})
    peers.server("receive", size=2_000)
    collector.database.catch_up()
    agree("workload", collector.database.latest(cookie), {"CurAppRQueue": 3_000})


def test_ipv6_sockets_that_speak_ipv4_are_shown_as_ipv4(
    net: Net, collector: Collector, peers: Pair
) -> None:
    """A v4-mapped address is an IPv4 address at both ends: that is what is on the wire."""
    port = next(PORTS)
    peers.server("listen", address="::", port=port, dual=True)
    peers.server.tell("accept", count=1)
    peers.client("connect", address=f"::ffff:{net.server.v4}", port=port)
    peers.server.hear()
    peers.exchange(1, 100)
    collector.database.catch_up()
    rows = [collector.database.latest(only(peer).cookie) for peer in peers.peers]
    ends = (net.client.v4, net.server.v4)
    for row, local, remote in zip(rows, ends, reversed(ends), strict=True):
        said = {"AddressType": 1, "LocalAddress": local, "RemAddress": remote}
        agree("workload", row, said)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("away", [False, True], ids=["the first namespace", "another"])
def test_a_connection_over_loopback_has_two_rows(
    net: Net, collector: Collector, address: str, away: bool
) -> None:
    """Both ends are sockets of this machine, so both have a row, and the rows mirror each other."""
    host = net.client if away else HERE
    port = next(PORTS)
    with pair(host, host) as both:
        both.open(Host(host.name, address, address), 4, port, 1)
        both.exchange(1, 100)
        collector.database.catch_up()
        ours, theirs = (collector.database.latest(only(p).cookie) for p in both.peers)
    assert ours["RemPort"] == theirs["LocalPort"] == port
    assert ours["LocalPort"] == theirs["RemPort"]
    assert ours["LocalAddress"] == theirs["LocalAddress"] == address
    for row in (ours, theirs):
        agree("workload", row, {"AddressType": 2 if ":" in address else 1})
    assert ours["SegsOut"] >= theirs["DataSegsIn"] > 0


def test_a_refused_handshake_has_a_row_that_says_so(
    net: Net, collector: Collector, peers: Pair
) -> None:
    """Nobody listens there: the row is closed, and refused."""
    tried = peers.client("attempt", address=net.server.v4, port=next(PORTS))
    assert tried["errno"] == errno.ECONNREFUSED
    collector.database.catch_up()
    row = collector.database.latest(tried["socket"]["cookie"])
    assert (row["close_reason"], row["origin"]) == ("refused", "active")
    assert row["RemAddress"] == net.server.v4
    assert row["closed_us"] >= row["opened_us"]


def test_a_handshake_without_an_answer_has_a_row_with_its_repetitions(
    net: Net, collector: Collector, peers: Pair
) -> None:
    """All SYNs are lost: the row counts the repeated ones and says that the handshake timed out."""
    net.client.sysctl("net.ipv4.tcp_syn_retries", 1)
    before = net.client.mib()["Tcp:RetransSegs"]
    net.server.lose(1000)
    try:
        tried = peers.client("attempt", address=net.server.v6, port=next(PORTS))
    finally:
        net.server.lose(0)
        net.client.sysctl("net.ipv4.tcp_syn_retries", 6)
    assert tried["errno"] == errno.ETIMEDOUT
    collector.database.catch_up()
    row = collector.database.latest(tried["socket"]["cookie"])
    assert row["close_reason"] == "handshake timed out"
    # A failed connect() clears the socket's counters, so its own TCP_INFO says 0 by now.
    counted = net.client.mib()["Tcp:RetransSegs"] - before
    assert counted > 0
    agree("namespace counters", row, {"SegsRetrans": counted})


def test_a_reset_is_told_apart_from_a_close_at_either_end(
    net: Net, collector: Collector, peers: Pair
) -> None:
    """Who resets has aborted; the other was reset by its peer."""
    peers.open(net.server, 4, next(PORTS), 1)
    peers.exchange(1, 100)
    ours, theirs = only(peers.client).cookie, only(peers.server).cookie
    peers.client("reset")
    collector.database.catch_up()
    assert collector.database.latest(ours)["close_reason"] == "aborted"
    assert collector.database.latest(theirs)["close_reason"] == "reset by peer"


def test_a_socket_that_connects_twice_is_two_connections(
    net: Net, collector: Collector, peers: Pair
) -> None:
    """Disconnected and connected again, a socket keeps its cookie but gets a row of its own."""
    port = next(PORTS)
    peers.server("listen", address=net.server.v4, port=port)
    peers.server.tell("accept", count=2)
    cookie = peers.client("connect_again", address=net.server.v4, port=port)
    peers.server.hear()
    collector.database.catch_up()
    rows = collector.database.ask(
        "SELECT ConnectIndex, close_reason FROM connection WHERE cookie = ? ORDER BY 1", cookie
    )
    assert [row["close_reason"] for row in rows] == ["aborted", None]


def test_connections_are_numbered_in_the_order_in_which_they_come(
    net: Net, tmp_path: Path, peers: Pair
) -> None:
    """From 1 in a new database; which end of a new connection comes first is open.

    Of several shards each has its own numbers, so there is one.
    """
    port = next(PORTS)
    with collecting(tmp_path, "--port", str(port), "--shards", "1") as collector:
        peers.server("listen", address=net.server.v4, port=port)
        for _ in range(3):
            peers.server.tell("accept", count=1)
            peers.client("connect", address=net.server.v4, port=port)
            peers.server.hear()
            collector.database.catch_up()
        for peer in peers.peers:
            for n, witness in enumerate(peer.witnesses()):
                either = Between(low=2 * n + 1, high=2 * n + 2, reason="two ends begin at once")
                row = collector.database.latest(witness.cookie)
                agree("workload", row, {"ConnectIndex": either})
        indexes = collector.database.ask("SELECT ConnectIndex FROM connection ORDER BY 1")
    assert [row["ConnectIndex"] for row in indexes] == list(range(1, 7))
