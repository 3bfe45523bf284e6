"""Connections that begin in an unusual way, or never do."""

import errno
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from socket import IPPROTO_MPTCP

import pytest

from tests.kernel.collecting import Database, collecting, until
from tests.kernel.edges import (
    QUIET_SECONDS,
    agree_with_kernel,
    bulk,
    capturing_both,
    row_of,
    settle,
    totals,
)
from tests.kernel.net import Host, Net
from tests.kernel.netstat import Sums
from tests.kernel.relay import Relay, Weather
from tests.kernel.tcp_info import OPTIONS, Witness, said
from tests.kernel.traffic import Pair
from tests.kernel.validation import agree

pytestmark = pytest.mark.kernel

PORTS = count(8001)
ESTABLISHED, TIME_WAIT = 5, 11  # as the RFC numbers them
#: Fast Open for clients and servers, without a cookie and without asking each listener.
FAST_OPEN = 0x607
#: A subflow has no socket that could be asked, and the last is looked at on its own.
NOT_TOLD = {*OPTIONS, "CurRwinSent"}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """What one collector writes during all tests here."""
    folder = tmp_path_factory.mktemp("handshakes")
    with collecting(folder, "--source", "bpf", "--interval", "200ms") as collector:
        yield collector.database


@pytest.fixture(scope="module")
def net(detour: tuple[Net, Relay]) -> Net:
    """The hosts at either side of the relay; ECN is not offered, so it is nobody's refusal."""
    for host in detour[0].hosts:
        host.sysctl("net.ipv4.tcp_ecn", 0)
    return detour[0]


def in_state(hosts: tuple[Host, Host], state: str, port: int) -> bool:
    """Whether each of these hosts has a socket with this port in this state."""
    return all(h.run("ss", "-Htn", "state", state, f"sport = :{port}") for h in hosts)


def test_a_simultaneous_open_is_active_at_both_ends_and_so_is_its_close(
    net: Net, relay: Relay, database: Database, peers: Pair, tmp_path: Path
) -> None:
    """SYNs cross, then FINs: both ends connected, counted what passed, and were in timeWait."""
    port = next(PORTS)
    with capturing_both(net, tmp_path, port) as files:
        relay.weather(Weather(held=True))
        for peer, other in zip(peers.peers, (net.server, net.client), strict=True):
            peer.tell("meet", address=other.v4, port=port)
        until("both SYNs", lambda: in_state(net.hosts, "syn-sent", port))
        relay.weather(Weather())
        for peer in peers.peers:
            peer.hear()
        peers.exchange(2, 5_000)
        settle(database, peers)
        agree_with_kernel(database, peers)
        relay.weather(Weather(held=True))
        for peer in peers.peers:
            peer("half_close")
        relay.weather(Weather())
        for peer in peers.peers:
            peer("settle")
    database.catch_up()
    for host, file in files.items():
        row = row_of(database, host, (port, port))
        agree("capture", row, totals(file, host, (port, port)))
        assert (row["origin"], row["ActiveOpen"]) == ("active", 1)
        assert (row["close_reason"], row["State"]) == ("closed", TIME_WAIT)


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
def test_a_host_that_the_network_calls_unreachable_is_shown_as_that(
    net: Net, database: Database, peers: Pair, family: int
) -> None:
    """An ICMP message ends the handshake."""
    rule = "icmp type host-unreachable" if family == 4 else "icmpv6 type addr-unreachable"
    chain = "type filter hook input priority 0; meta l4proto tcp reject with"
    net.server.run(
        "nft", "-f", "-", text=f"table inet deny {{ chain input {{ {chain} {rule}; }}; }}"
    )
    tried = peers.client("attempt", address=net.server.address(family), port=next(PORTS))
    net.server.run("nft", "delete", "table", "inet", "deny")
    database.catch_up()
    assert tried["errno"] == errno.EHOSTUNREACH
    assert database.latest(tried["socket"]["cookie"])["close_reason"] == "unreachable"


def test_a_handshake_that_this_end_gives_up_is_abandoned(
    net: Net, relay: Relay, database: Database, peers: Pair
) -> None:
    """Closed before an answer came: one segment went out, none came in."""
    relay.weather(Weather(held=True))
    tried = peers.client("abandon", address=net.server.v4, port=next(PORTS))
    database.catch_up()
    row = database.latest(tried["cookie"])
    assert (row["close_reason"], row["origin"], row["SegsOut"]) == (
        "handshake abandoned",
        "active",
        1,
    )
    assert row["SegsIn"] == 0


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
def test_a_connection_by_syn_cookie_is_like_any_other(
    net: Net, database: Database, peers: Pair, family: int
) -> None:
    """The server has no memory of the SYN, and both rows are still what the sockets say."""
    net.server.sysctl("net.ipv4.tcp_syncookies", 2)
    sums = Sums(net.server, database, port := next(PORTS))
    peers.open(net.server, family, port, 3)
    net.server.sysctl("net.ipv4.tcp_syncookies", 1)
    peers.exchange(3, 5_000)
    settle(database, peers)
    assert sums.kernel("SyncookiesRecv") == 3
    agree_with_kernel(database, peers)


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
def test_data_in_a_syn_is_counted_at_both_ends(
    net: Net, relay: Relay, database: Database, peers: Pair, tmp_path: Path, family: int
) -> None:
    """Fast Open: octets, segments and initial numbers are the capture's, and the sockets'."""
    for host in net.hosts:
        host.sysctl("net.ipv4.tcp_fastopen", FAST_OPEN)
    address, port = net.server.address(family), next(PORTS)
    relay.weather(Weather(delay_ms=20))
    with capturing_both(net, tmp_path, port) as files:
        peers.server("listen", address=address, port=port)
        peers.server.tell("accept", count=1)
        peers.client("connect_with_data", address=address, port=port, size=1_000)
        peers.server.hear()
        peers.server("receive", size=1_000)
        peers.server("send", size=3_000)  # the last segment of the handshake is still on its way
        peers.client("receive", size=3_000)
        bulk(peers.client, peers.server, 5_000)
        bulk(peers.server, peers.client, 2_000)
        settle(database, peers)
    ((_, local_port, _, _),) = peers.client("tuples")
    for host, flow in zip(net.hosts, ((local_port, port), (port, local_port)), strict=True):
        captured = totals(files[host], host, flow)
        agree("capture", row_of(database, host, flow), captured)
        assert {captured["HCDataOctetsOut"], captured["HCDataOctetsIn"]} == {6_000, 5_000}
    agree_with_kernel(database, peers)


def test_a_full_backlog_costs_the_client_a_timeout(
    net: Net, database: Database, peers: Pair
) -> None:
    """Its SYN is dropped without a word; once there is room the repeated one gets through."""
    port = next(PORTS)
    overflows = Sums(net.server, database, port)
    peers.server("listen", address=net.server.v4, port=port, backlog=0)
    peers.client("connect", address=net.server.v4, port=port)
    peers.client.tell("connect", address=net.server.v4, port=port)
    until("a dropped SYN", lambda: overflows.kernel("ListenOverflows") >= 1)
    peers.server("accept", count=2)
    peers.client.hear()
    peers.exchange(1, 100)
    settle(database, peers)
    agree_with_kernel(database, peers)
    first, second = (database.latest(w.cookie) for w in peers.client.witnesses())
    assert (first["SegsRetrans"], first["Timeouts"]) == (0, 0)
    assert (second["SegsRetrans"], second["Timeouts"]) == (1, 1)
    assert second["CongSignals"] == 1


@pytest.fixture(params=[4, 6], ids=["IPv4", "IPv6"])
def paths(request: pytest.FixtureRequest, net: Net) -> Iterator[str]:
    """The server's address; the client has two, and MPTCP may use both."""
    family: int = request.param
    extra, bits = ("10.23.0.11", 24) if family == 4 else ("fd00:23::11", 64)
    second = [] if family == 4 else ["nodad", "preferred_lft", "0"]  # else IPv6 prefers the newer
    net.client.run("ip", "addr", "add", f"{extra}/{bits}", "dev", "eth0", *second)
    net.client.run("ip", "mptcp", "endpoint", "add", extra, "dev", "eth0", "subflow")
    yield net.server.address(family)
    net.client.run("ip", "mptcp", "endpoint", "flush")
    net.client.run("ip", "addr", "delete", f"{extra}/{bits}", "dev", "eth0")


def test_each_subflow_of_mptcp_is_a_connection(
    net: Net, database: Database, peers: Pair, paths: str
) -> None:
    """Two paths: two rows at either end, each as MPTCP says of that subflow.

    The second is opened by the kernel, so it has no owner; nor have those that were accepted,
    for the application reads from the connection as a whole.
    """
    for peer in peers.peers:
        peer("prepare", protocol=IPPROTO_MPTCP)
    peers.open(Host("", paths, paths), 4, next(PORTS), 1)
    peers.exchange(2, 20_000)
    until("the second subflow", lambda: len(peers.server("subflows")) == 2)
    peers.exchange(2, 20_000)
    time.sleep(QUIET_SECONDS)
    database.catch_up()
    owners = []
    for host, peer in zip(net.hosts, peers.peers, strict=True):
        for subflow in peer("subflows"):
            row = row_of(database, host, tuple(subflow["ports"]))
            witness = Witness(0, bytes.fromhex(subflow["info"]), 0, 0, 0)
            told = {n: v for n, v in said(witness).items() if n not in NOT_TOLD}
            agree("TCP_INFO", row, told)
            # MPTCP sets the kernel's own value for all subflows; the wire has it without fractions.
            fraction = witness["tcpi_rcv_wnd"] % (1 << row["WinScaleSent"])
            assert row["CurRwinSent"] == witness["tcpi_rcv_wnd"] - fraction
            owners.append(row["pid"])
    assert owners == [peers.client.pid, None, None, None]
