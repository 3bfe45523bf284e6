"""What the ends may refuse each other, the smallest segments, and segments that travel in bulk."""

import socket
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.kernel.capture import segments
from tests.kernel.collecting import Database, collecting
from tests.kernel.edges import (
    agree_with_kernel,
    agree_with_namespace,
    bulk,
    capturing_both,
    row_of,
    settle,
    totals,
)
from tests.kernel.net import Net, network
from tests.kernel.netstat import Sums
from tests.kernel.traffic import Pair, pair
from tests.kernel.validation import agree

pytestmark = pytest.mark.kernel

CONNECTIONS = 4
PORTS = count(8201)
MSS_MIN = 88  # the kernel takes no less from TCP_MAXSEG
STAMPS = 12  # octets that the timestamps take from each segment
ENABLED, SELF_DISABLED, PEER_DISABLED = 1, 2, 3
SCALING, STAMPING, SACKING = "tcp_window_scaling", "tcp_timestamps", "tcp_sack"
#: Without scaling the kernel's own receive window may be larger than what the header can say, and
#: TCP_INFO does not tell who declined.
SCALED = ("WinScaleSent", "WinScaleRcvd", "CurRwinSent")
OPTIONS = (SCALING, STAMPING, SACKING)
BATCHES = ("rx", "tx", "sg", "tso", "gso", "gro")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory, net: Net) -> Iterator[Database]:
    """What one collector writes during all tests here."""
    folder = tmp_path_factory.mktemp("options")
    switch(net, ("tcp_ecn",), 0)
    with collecting(folder, "--source", "bpf", "--interval", "200ms") as collector:
        yield collector.database


def switch(net: Net, names: tuple[str, ...], value: int) -> None:
    """Allow options of TCP on both hosts, or forbid them."""
    for host in net.hosts:
        for name in names:
            host.sysctl(f"net.ipv4.{name}", value)


@pytest.fixture
def agreeable(lossless: Net) -> Iterator[Net]:
    """A path without loss, on which all options are allowed again after the test."""
    yield lossless
    switch(lossless, OPTIONS, 1)
    switch(lossless, ("tcp_ecn",), 0)


@pytest.mark.parametrize(
    ("off", "family"),
    [((SCALING,), 4), ((STAMPING,), 6), ((SACKING,), 4), ((SCALING, STAMPING, SACKING), 6)],
    ids=["window scaling", "timestamps", "SACK", "all three"],
)
def test_without_an_option_all_is_counted_as_with_it(
    net: Net, agreeable: Net, database: Database, peers: Pair, off: tuple[str, ...], family: int
) -> None:
    """With loss both ways, every variable is the socket's and the sums are the namespace's."""
    port = next(PORTS)
    sums = [Sums(host, database, port) for host in net.hosts]
    switch(net, off, 0)
    peers.open(agreeable.server, family, port, CONNECTIONS)
    net.lose(20)
    peers.exchange(8, 20_000)
    net.lose(0)
    settle(database, peers)
    agree_with_kernel(database, peers, without=SCALED if SCALING in off else ())
    agree_with_namespace(*sums)
    assert all(sum(w["tcpi_total_retrans"] for w in peer.witnesses()) for peer in peers.peers)


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
def test_each_end_says_whose_refusal_it_was(
    net: Net, agreeable: Net, database: Database, peers: Pair, family: int
) -> None:
    """Without options at the server, it has disabled them itself; for the client, its peer has."""
    for name in (*OPTIONS, "tcp_ecn"):
        agreeable.client.sysctl(f"net.ipv4.{name}", 1)
        net.server.sysctl(f"net.ipv4.{name}", 0)
    peers.open(net.server, family, next(PORTS), 1)
    peers.exchange(1, 1_000)
    settle(database, peers)
    names = ("TimeStamps", "WillSendSACK", "WillUseSACK", "ECN")
    for peer, who in zip(peers.peers, (PEER_DISABLED, SELF_DISABLED), strict=True):
        row = database.latest(peer.witnesses()[0].cookie)
        agree("workload", row, dict.fromkeys(names, who))


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
def test_the_smallest_segments_are_counted_one_by_one(
    net: Net, lossless: Net, database: Database, peers: Pair, tmp_path: Path, family: int
) -> None:
    """76 octets each: every counter is the capture's."""
    port = next(PORTS)
    peers.server("prepare", options=[(socket.IPPROTO_TCP, socket.TCP_MAXSEG, MSS_MIN)])
    with capturing_both(lossless, tmp_path, port) as files:
        peers.open(net.server, family, port, 1)
        bulk(peers.client, peers.server, 20_000)
        settle(database, peers)
    agree_with_kernel(database, peers)
    ((_, local_port, _, _),) = peers.client("tuples")
    for host, flow in zip(net.hosts, ((local_port, port), (port, local_port)), strict=True):
        agree("capture", row_of(database, host, flow), totals(files[host], host, flow))
    row = row_of(database, net.client, (local_port, port))
    size = MSS_MIN - STAMPS
    agree("workload", row, {"CurMSS": size, "MinMSS": size, "MaxMSS": size, "MSSRcvd": MSS_MIN})


@pytest.fixture(scope="module")
def batched(database: Database) -> Iterator[Net]:
    """Two hosts whose link takes segments in bulk, as real adapters do: TSO, GSO, GRO; with ECN."""
    with network() as net:
        for host in net.hosts:
            words = (word for name in BATCHES for word in (name, "on"))
            host.run("ethtool", "-K", "eth0", *words)
        switch(net, ("tcp_ecn",), 1)
        yield net


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
def test_segments_that_travel_in_bulk_are_counted_one_by_one(
    batched: Net, database: Database, tmp_path: Path, family: int
) -> None:
    """What left one end arrived at the other, in segments of which the link saw far fewer."""
    port = next(PORTS)
    with pair(batched.client, batched.server) as peers:
        with capturing_both(batched, tmp_path, port) as files:
            peers.open(batched.server, family, port, 1)
            bulk(peers.client, peers.server, 3_000_000)
            settle(database, peers)
        agree_with_kernel(database, peers)
        client, server = (database.latest(p.witnesses()[0].cookie) for p in peers.peers)
    captured = [s for s in segments(files[batched.client]) if s.octets]
    assert max(s.octets for s in captured) > client["MaxMSS"]
    assert client["DataSegsOut"] > 2 * len(captured)
    sent = {"DataSegsIn": client["DataSegsOut"], "HCDataOctetsIn": client["HCDataOctetsOut"]}
    agree("peer's end", server, sent)
    assert client["SegsRetrans"] == 0


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
def test_loss_and_marks_of_segments_in_bulk_are_what_the_sockets_say(
    batched: Net, database: Database, family: int
) -> None:
    """A mark on a batch is one on each of its segments; a lost batch is that many segments."""
    port = next(PORTS)
    sums = [Sums(host, database, port) for host in batched.hosts]
    protocol = "ip" if family == 4 else "ip6"
    with pair(batched.client, batched.server) as peers:
        peers.open(batched.server, family, port, 1)
        for rule in ("drop", f"{protocol} ecn set ce"):
            batched.server.run("nft", "-f", "-", text=one_in_twenty(rule))
            bulk(peers.client, peers.server, 3_000_000)
        batched.server.run("nft", "delete", "table", "inet", "batches")
        settle(database, peers)
        agree_with_kernel(database, peers)
        agree_with_namespace(*sums)
        (witness,) = peers.server.witnesses()
        row = database.latest(witness.cookie)
        agree("TCP_INFO", row, {"CERcvd": witness["tcpi_received_ce"]})
        assert row["CERcvd"] > 0
        (witness,) = peers.client.witnesses()
        assert witness["tcpi_total_retrans"] > 0


def one_in_twenty(rule: str) -> str:
    """A script for nft: this happens to one in twenty of the large packets that arrive."""
    chain = "type filter hook prerouting priority 0"
    match = "meta l4proto tcp meta length > 1000 numgen inc mod 20 == 10"
    table = f"table inet batches {{ chain arrivals {{ {chain}; {match} {rule}; }}; }}"
    return f"table inet batches\ndelete table inet batches\n{table}"
