"""What the path does to segments, under each congestion control and both versions of IP."""

import time
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

import pytest

from tests.kernel.capture import ends
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
from tests.kernel.traffic import Pair
from tests.kernel.validation import Between, agree

pytestmark = pytest.mark.kernel

CONNECTIONS = 4
OVERTAKEN = "the kernel does not take the window of a segment that a later one has overtaken"
PORTS = count(8301)
BOTH = pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """What one collector writes during all tests here."""
    folder = tmp_path_factory.mktemp("weather")
    with collecting(folder, "--source", "bpf", "--interval", "200ms") as collector:
        yield collector.database


@pytest.fixture(scope="module")
def net(detour: tuple[Net, Relay]) -> Net:
    """The hosts at either side of the relay; ECN is agreed on."""
    for host in detour[0].hosts:
        host.sysctl("net.ipv4.tcp_ecn", 1)
    return detour[0]


def agree_with_captures(
    net: Net,
    database: Database,
    files: Mapping[Host, Path],
    family: int,
    *,
    overtaking: bool = False,
) -> set[str]:
    """Compare all ends with what was captured there; the answer is which variables moved."""
    seen = set()
    for host in net.hosts:
        for flow, end in ends(files[host], host.address(family)).items():
            told: dict[str, object] = dict(end.values)
            if overtaking:
                told["MaxRwinRcvd"] = Between(high=end.values["MaxRwinRcvd"], reason=OVERTAKEN)
            agree("capture", row_of(database, host, flow), told)
            seen |= {name for name, value in end.values.items() if value}
    return seen


@pytest.mark.parametrize("congestion", ["reno", "cubic", "bbr"])
def test_under_each_congestion_control_loss_is_counted_as_the_kernel_does(
    net: Net, relay: Relay, database: Database, peers: Pair, tmp_path: Path, congestion: str
) -> None:
    """With 2 % loss: the sockets, the namespace and the captures at both ends agree."""
    port = next(PORTS)
    sums = [Sums(host, database, port) for host in net.hosts]
    for peer in peers.peers:
        peer("prepare", congestion=congestion)
    with capturing_both(net, tmp_path, port) as files:
        peers.open(net.server, 4, port, CONNECTIONS)
        relay.weather(Weather(delay_ms=4, lose=20))
        peers.exchange(6, 30_000)
        relay.weather(Weather())
        settle(database, peers)
    agree_with_kernel(database, peers)
    agree_with_namespace(*sums)
    for _, local_port, _, _ in peers.client("tuples"):
        for host, flow in (net.client, (local_port, port)), (net.server, (port, local_port)):
            agree("capture", row_of(database, host, flow), totals(files[host], host, flow))
    assert agree_with_captures(net, database, files, 4) >= {"DupAcksIn", "SACKBlocksRcvd"}


@BOTH
def test_reordering_and_marks_are_no_loss(
    net: Net, relay: Relay, database: Database, peers: Pair, tmp_path: Path, family: int
) -> None:
    """Nothing is lost, some is overtaken and some is marked: each end is as captured there.

    One way after the other: an acknowledgement that data of its own side overtakes may be taken
    for a duplicate or not, depending on who looks first.
    """
    port = next(PORTS)
    with capturing_both(net, tmp_path, port) as files:
        peers.open(net.server, family, port, CONNECTIONS)
        relay.weather(Weather(delay_ms=3, late=30, late_ms=8, mark=20))
        bulk(peers.client, peers.server, 200_000)
        bulk(peers.server, peers.client, 200_000)
        relay.weather(Weather())
        settle(database, peers)
    agree_with_kernel(database, peers)
    moved = agree_with_captures(net, database, files, family, overtaking=True)
    assert moved >= {"DupAcksIn", "DupAcksOut", "DupAckEpisodes", "SACKBlocksRcvd"}
    assert moved >= {"CERcvd", "ECESent", "ECNsignals"}


@BOTH
def test_what_arrives_twice_is_counted_twice(
    net: Net, relay: Relay, database: Database, peers: Pair, tmp_path: Path, family: int
) -> None:
    """Duplicates made by the path are received octets too, and reported back by D-SACK."""
    port = next(PORTS)
    sums = [Sums(host, database, port) for host in net.hosts]
    with capturing_both(net, tmp_path, port) as files:
        peers.open(net.server, family, port, CONNECTIONS)
        relay.weather(Weather(delay_ms=3, twice=100))
        peers.exchange(6, 30_000)
        relay.weather(Weather())
        settle(database, peers)
    agree_with_kernel(database, peers)
    for end in sums:
        # TCPDSACKRecvSegs leaves out what this end never sent again: the RFC counts all reports.
        blocks = end.kernel("TCPDSACKRecv", "TCPDSACKOfoRecv")
        told = Between(low=blocks, reason="a block may report several segments")
        agree("namespace counters", {"DSACKDups": end.ours("DSACKDups")}, {"DSACKDups": told})
        assert blocks > 0
    assert agree_with_captures(net, database, files, family) >= {"HCDataOctetsIn", "SACKsRcvd"}
    for witness in (w for peer in peers.peers for w in peer.witnesses()):
        row = database.latest(witness.cookie)
        sent = 6 * 30_000 + row["HCOctetsRetrans"]  # a busy host may probe for what was not lost
        agree("workload", row, {"HCDataOctetsOut": sent, "HCThruOctetsReceived": 6 * 30_000})
    assert all(end.ours("HCDataOctetsIn") > CONNECTIONS * 6 * 30_000 for end in sums)


@BOTH
def test_a_lost_tail_is_found_by_a_probe_and_is_one_congestion_signal(
    net: Net, relay: Relay, database: Database, peers: Pair, family: int
) -> None:
    """The last segment is lost: a probe sends it again, and the window is cut without a timeout."""
    port = next(PORTS)
    peers.open(net.server, family, port, 1)
    relay.weather(Weather(delay_ms=50))
    bulk(peers.client, peers.server, 20_000)
    settle(database, peers)
    sums = Sums(net.client, database, port)
    relay.weather(Weather(delay_ms=50, lose=1000))
    peers.server.tell("receive", size=1_000)
    peers.client("send", size=1_000)
    time.sleep(0.02)
    relay.weather(Weather(delay_ms=50))
    peers.server.hear()
    bulk(peers.client, peers.server, 1_000)  # only what is acknowledged later proves the loss
    settle(database, peers)
    agree_with_kernel(database, peers)
    row = database.latest(peers.client.witnesses()[0].cookie)
    agree(
        "namespace counters",
        row,
        {
            "CongSignals": sums.kernel("TCPLossProbeRecovery"),
            "Timeouts": sums.kernel("TCPTimeouts"),
        },
    )
    assert sums.kernel("TCPLossProbes") > 0
    agree("workload", row, {"CongSignals": 1, "Timeouts": 0, "FastRetran": 0})
    assert row["SegsRetrans"] >= 1  # a busy host may probe for what was not lost too


def test_a_window_that_stays_shut_is_probed(
    net: Net, relay: Relay, database: Database, peers: Pair, tmp_path: Path
) -> None:
    """A reader that reads nothing for long: probes and answers are segments as captured."""
    port = next(PORTS)
    sums = Sums(net.client, database, port)
    net.server.sysctl("net.ipv4.tcp_rmem", "4096 65536 131072")  # soon full
    with capturing_both(net, tmp_path, port) as files:
        peers.open(net.server, 4, port, 1)
        peers.client.tell("send", size=1_000_000)
        until("three probes", lambda: sums.kernel("TCPWinProbe") >= 3)
        peers.server("receive", size=1_000_000)
        peers.client.hear()
        settle(database, peers)
    net.server.sysctl("net.ipv4.tcp_rmem", "4096 131072 6291456")
    agree_with_kernel(database, peers)
    assert agree_with_captures(net, database, files, 4) >= {"ZeroRwinRcvd", "ZeroRwinSent"}
    ((_, local_port, _, _),) = peers.client("tuples")
    for host, flow in (net.client, (local_port, port)), (net.server, (port, local_port)):
        agree("capture", row_of(database, host, flow), totals(files[host], host, flow))
