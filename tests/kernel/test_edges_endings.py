"""Connections that end in an unusual way, or hardly live: half-closed, reset, kept alive."""

import socket
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.kernel.capture import Flow, Segment, capturing, segments
from tests.kernel.collecting import Database, collecting, until
from tests.kernel.edges import (
    agree_with_kernel,
    agree_with_namespace,
    bulk,
    capturing_both,
    row_of,
    settle,
    totals,
)
from tests.kernel.net import Host, Net
from tests.kernel.netstat import Sums
from tests.kernel.relay import Relay, Weather
from tests.kernel.script import ACK, FIN, RST, SYN, Script, Wire, mss
from tests.kernel.test_limits import round_trips
from tests.kernel.traffic import Pair, Peer
from tests.kernel.validation import Tolerance, agree

pytestmark = pytest.mark.kernel

PORTS = count(8101)
UNSEEN = Tolerance(relative=0.1, reason="a sample equal to the smoothed value is not seen")
CLOCKS = Tolerance(relative=0.1, reason="the kernel's clock stops a little after the wire's")
CLOSE_WAIT, FIN_WAIT_2, TIME_WAIT = 8, 7, 11  # as the RFC numbers them
KEEP_ALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2),
]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """What one collector writes during all tests here."""
    folder = tmp_path_factory.mktemp("endings")
    with collecting(folder, "--source", "bpf", "--interval", "200ms") as collector:
        yield collector.database


@pytest.fixture(scope="module")
def net(detour: tuple[Net, Relay]) -> Net:
    """The hosts at either side of the relay; ECN is not offered, so it is nobody's refusal."""
    for host in detour[0].hosts:
        host.sysctl("net.ipv4.tcp_ecn", 0)
    return detour[0]


def ends_of(
    net: Net, peers: Pair, local_port: int, port: int
) -> tuple[tuple[Host, Peer, Flow], tuple[Host, Peer, Flow]]:
    """The client and the server, each with its host and its local and remote port."""
    return (
        (net.client, peers.client, (local_port, port)),
        (net.server, peers.server, (port, local_port)),
    )


def half_closed(net: Net, peers: Pair, port: int) -> int:
    """A connection of which the client has sent its FIN; the answer is the client's port."""
    peers.open(net.server, 4, port, 1)
    peers.exchange(1, 5_000)
    ((_, local_port, _, _),) = peers.client("tuples")
    peers.client("half_close")
    peers.server("hear_end")
    return int(local_port)


def test_a_half_closed_connection_counts_what_still_flows_the_other_way(
    net: Net, relay: Relay, database: Database, peers: Pair, tmp_path: Path
) -> None:
    """The client has said its last; the server goes on, and meets loss."""
    port = next(PORTS)
    sums = Sums(net.server, database, port)
    with capturing_both(net, tmp_path, port) as files:
        local_port = half_closed(net, peers, port)
        relay.weather(Weather(delay_ms=2, lose=30))
        bulk(peers.server, peers.client, 1_000_000)
        relay.weather(Weather())
        settle(database, peers)
        agree_with_kernel(database, peers)
    for host, _, flow in ends_of(net, peers, local_port, port):
        agree("capture", row_of(database, host, flow), totals(files[host], host, flow))
    row = row_of(database, net.server, (port, local_port))
    agree_with_namespace(sums)
    assert row["FastRetran"] > 0
    assert row["State"] == CLOSE_WAIT
    assert row_of(database, net.client, (local_port, port))["State"] == FIN_WAIT_2


def test_a_half_closed_connection_is_watched_as_closely_as_an_open_one(
    net: Net, relay: Relay, database: Database, peers: Pair, tmp_path: Path
) -> None:
    """On the way back each round trip is a sample, and what is in flight is as captured."""
    port = next(PORTS)
    relay.weather(Weather(delay_ms=5))
    file = tmp_path / "server.pcap"
    with capturing(net.server, file, port):
        local_port = half_closed(net, peers, port)
        bulk(peers.server, peers.client, 300_000)
        settle(database, peers)
    row = row_of(database, net.server, (port, local_port))
    passed = list(segments(file))
    samples = round_trips(passed, net.server.v4)
    captured = {
        "CountRTT": len(samples),
        "HCSumRTTUs": round(sum(samples) * 1e6),
        "MaxPipeSize": (flight := largest_flight(passed, net.server.v4)),
        "MaxRetxQueue": flight,
    }
    agree("capture", row, captured, {"CountRTT": UNSEEN, "HCSumRTTUs": CLOCKS})
    assert row["SlowStart"] > 0


def largest_flight(passed: list[Segment], address: str) -> int:
    """The most octets sent from an address and not yet acknowledged."""
    sent = acked = largest = 0
    for segment in passed:
        if segment.source == address:
            sent = segment.end
        else:
            acked = segment.ack
        if sent and acked:
            largest = max(largest, (sent - acked) & 0xFFFFFFFF)
    return largest


@pytest.mark.parametrize(
    "how",
    [(4, False, False), (6, False, True), (6, True, False), (4, True, True)],
    ids=["by the client", "by the client, data unread", "by the server", "by the server, unread"],
)
def test_a_reset_ends_both_rows_with_all_that_passed(
    net: Net, database: Database, peers: Pair, tmp_path: Path, how: tuple[int, bool, bool]
) -> None:
    """Whoever resets has aborted, the other was reset, and both have counted what was captured."""
    (family, of_server, unread), port = how, next(PORTS)
    breaker, other = reversed(peers.peers) if of_server else peers.peers
    with capturing_both(net, tmp_path, port) as files:
        peers.open(net.server, family, port, 1)
        peers.exchange(2, 5_000)
        ((_, local_port, _, _),) = peers.client("tuples")
        other("send", size=3_000)
        if unread:
            until("unread data", lambda: breaker.witnesses()[0]["tcpi_bytes_received"] == 13_000)
            breaker("close")
        else:
            breaker("receive", size=3_000)
            breaker("reset")
        database.catch_up()
    for host, peer, flow in ends_of(net, peers, local_port, port):
        row = row_of(database, host, flow)
        agree("capture", row, totals(files[host], host, flow))
        assert row["close_reason"] == ("aborted" if peer is breaker else "reset by peer")


def test_what_comes_in_time_wait_changes_no_row(link: Wire, database: Database) -> None:
    """The connection is over: its row stays as it was at the last FIN, whatever is repeated."""
    script = Script(link, next(PORTS))
    flow = (script.to, script.port)
    host = Peer(link.host, "kt-waiting")
    try:
        host("listen", address=link.host.v4, port=script.to)
        host.tell("accept", count=1)
        script.open(mss(1000))
        host.hear()
        host("half_close")
        assert script.hear().flags & FIN
        script.ack += 1
        script.send(FIN | ACK)
        assert script.hear().ack == script.seq + 1
        database.catch_up()
        before = row_of(database, link.host, flow)
        script.send(FIN | ACK)
        assert script.hear().ack == script.seq + 1, "answered for the connection"
        database.catch_up()
    finally:
        host.stop()
    assert (before["State"], before["close_reason"]) == (TIME_WAIT, "closed")
    assert row_of(database, link.host, flow) == before


def test_a_request_that_is_taken_back_was_no_connection(link: Wire, database: Database) -> None:
    """SYN, SYN-ACK, RST: nothing was established, so there is no row."""
    script = Script(link, next(PORTS))
    host = Peer(link.host, "kt-waiting")
    try:
        host("listen", address=link.host.v4, port=script.to)
        script.send(SYN, ack=0)
        answer = script.hear()
        assert answer.flags & (SYN | ACK) == SYN | ACK
        script.send(RST, seq=answer.ack)
        database.catch_up()
    finally:
        host.stop()
    assert not database.ask("SELECT * FROM connection WHERE LocalPort = ?", script.to)


def test_a_connection_that_is_only_kept_alive_counts_its_probes(
    net: Net, relay: Relay, database: Database, peers: Pair
) -> None:
    """Probes and their answers are segments without data; when none answers it has timed out."""
    peers.client("prepare", options=KEEP_ALIVE)
    peers.open(net.server, 4, port := next(PORTS), 1)
    sums = Sums(net.client, database, port)
    until("two answers", lambda: peers.client.witnesses()[0]["tcpi_segs_in"] == 3)
    relay.weather(Weather(lose=1000))  # nothing comes any more: the counts stand
    database.catch_up()
    agree_with_kernel(database, peers, without=("SegsOut",))
    (client,) = peers.client.witnesses()
    until("the end", lambda: database.latest(client.cookie)["closed_us"])
    row = database.latest(client.cookie)
    assert row["close_reason"] == "timed out"
    handshake, reset = 2, 1
    agree("namespace counters", row, {"SegsOut": handshake + sums.kernel("TCPKeepAlive") + reset})
    silent = {"DataSegsOut": 0, "HCDataOctetsOut": 0, "SegsRetrans": 0, "DupAcksIn": 0}
    agree("workload", row, silent | {"SegsIn": 3})
