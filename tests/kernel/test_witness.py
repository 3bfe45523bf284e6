"""Each value that TCP_INFO knows too is the same, after loss, at both ends, without tolerance."""

import time
from collections.abc import Iterator
from itertools import count

import pytest

from bpf.catalogue import CATALOGUE
from bpf.variable import SAMPLED, Status
from tests.kernel.collecting import Collector, agree_with_socket, collecting
from tests.kernel.net import Net
from tests.kernel.netstat import Sums
from tests.kernel.tcp_info import CLOSE, INCOMPARABLE, Witness, comparable
from tests.kernel.traffic import Pair
from tests.kernel.validation import Between, agree

pytestmark = pytest.mark.kernel

CONNECTIONS = WRITES = 23
OCTETS = 7_300  # in one write: five segments and a bit
QUIET_SECONDS = 0.5  # longer than the last delayed acknowledgement takes
PAUSE_SECONDS = 1.0  # longer than the flush interval and than a snapshot
TIME_WAIT = 11  # in the numbering of the RFC
LATE = "a FIN that comes twice at once is counted again by the socket that has just closed"
PORTS = count(7101)


#: What one end received is what the other sent.
MIRRORED = {
    "DataSegsIn": "DataSegsOut",
    "HCDataOctetsIn": "HCDataOctetsOut",
    "DataOctetsIn": "DataOctetsOut",
}


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory, net: Net) -> Iterator[Collector]:
    """One collector for all tests here."""
    with collecting(tmp_path_factory.mktemp("witness")) as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_lost(collector: Collector) -> Iterator[None]:
    """From before a test's traffic to its end."""
    before = collector.database.lost()
    yield
    assert collector.database.lost() == before


@pytest.fixture(params=[4, 6], ids=["IPv4", "IPv6"])
def workload(request: pytest.FixtureRequest, net: Net, peers: Pair) -> Iterator[Pair]:
    """23 connections on which 23 writes and their echoes met 1 % loss in both directions.

    The handshakes meet none, so that each retransmission belongs to an established connection.
    ECN is negotiated on IPv6 and not offered on IPv4.
    """
    for host in net.hosts:
        host.sysctl("net.ipv4.tcp_ecn", 1 if request.param == 6 else 0)
    peers.open(net.server, request.param, next(PORTS), CONNECTIONS)
    net.lose(10)
    peers.exchange(WRITES, OCTETS)
    assert net.lost() > 0
    yield peers
    net.lose(0)


def all_witnesses(peers: Pair) -> list[Witness]:
    """Both ends of all connections."""
    return [w for peer in peers.peers for w in peer.witnesses()]


def all_agree(collector: Collector, witnesses: list[Witness], but: tuple[str, ...] = ()) -> None:
    """Hold the rows of these sockets against what the kernel said of them."""
    for witness in witnesses:
        agree_with_socket(collector.database.latest(witness.cookie), witness, but)


def test_each_variable_with_a_field_in_tcp_info_is_compared_or_excused() -> None:
    """No variable that the catalogue gives a witness escapes this module unnoticed."""
    filled = (Status.COLLECTED, Status.DERIVED)
    named = {v.name for v in CATALOGUE if v.table in SAMPLED and v.status in filled and v.tcp_info}
    assert named - {v.name for v in comparable()} == INCOMPARABLE.keys()


def test_idle_connections_read_as_the_kernel_says(
    net: Net, collector: Collector, workload: Pair
) -> None:
    """Two intervals after the last segment, each gauge and counter of either end is as there."""
    net.lose(0)
    time.sleep(QUIET_SECONDS)
    before = all_witnesses(workload)
    collector.database.catch_up()
    all_agree(collector, before)
    assert [w.still() for w in all_witnesses(workload)] == [w.still() for w in before]
    assert len(before) == 2 * CONNECTIONS
    assert sum(w["tcpi_total_retrans"] for w in before) > 0, "without loss nothing was proven"


def test_the_final_row_is_the_last_word_of_the_kernel(collector: Collector, workload: Pair) -> None:
    """After both FINs, with loss to the end, the row holds what TCP_INFO reads in CLOSE.

    The end that closed first shows timeWait (11), which its socket never does.
    """
    workload.half_close()
    ends = {peer.comm: peer.witnesses() for peer in workload.peers}
    collector.database.catch_up()
    assert {w["tcpi_state"] for w in ends["kt-client"] + ends["kt-server"]} == {CLOSE}
    all_agree(collector, ends["kt-server"])
    all_agree(collector, ends["kt-client"], but=("State", "SegsIn"))
    for witness in ends["kt-client"]:
        row = collector.database.latest(witness.cookie)
        agree("workload", row, {"State": TIME_WAIT})
        came = witness["tcpi_segs_in"]
        agree("TCP_INFO", row, {"SegsIn": Between(low=came - 1, high=came, reason=LATE)})
    rows = [collector.database.latest(w.cookie) for end in ends.values() for w in end]
    assert {row["close_reason"] for row in rows} == {"closed"}


def test_the_last_acknowledgement_after_a_pause_is_not_forgotten(
    lossless: Net, collector: Collector, peers: Pair
) -> None:
    """A lone write after a silence longer than the flush interval: what its ACK changed is shown.

    That ACK is the first event after the pause and the last one at all.
    """
    for host in lossless.hosts:
        host.sysctl("net.ipv4.tcp_ecn", 0)
    peers.open(lossless.server, 4, next(PORTS), CONNECTIONS)
    time.sleep(PAUSE_SECONDS)
    peers.client("send", size=100)
    peers.server("receive", size=100)
    time.sleep(QUIET_SECONDS)
    collector.database.catch_up()
    all_agree(collector, all_witnesses(peers))


def test_retransmissions_add_up_to_the_sum_the_namespace_keeps(
    net: Net, collector: Collector, peers: Pair
) -> None:
    """SegsRetrans over a namespace's connections is what /proc/net/snmp counted meanwhile."""
    port = next(PORTS)
    both = [Sums(host, collector.database, port) for host in net.hosts]
    peers.open(net.server, 4, port, CONNECTIONS)
    net.lose(20)
    peers.exchange(WRITES, OCTETS)
    net.lose(0)
    time.sleep(QUIET_SECONDS)
    collector.database.catch_up()
    for end in both:
        retransmitted = end.kernel("Tcp:RetransSegs")
        assert retransmitted > 0
        end.agree({"SegsRetrans": retransmitted})


def test_what_one_end_sent_the_other_received(
    net: Net, lossless: Net, collector: Collector, peers: Pair
) -> None:
    """Without loss, segments and octets out of one end are those into the other."""
    port = next(PORTS)
    peers.open(lossless.server, 6, port, CONNECTIONS)
    peers.exchange(3, OCTETS)
    time.sleep(QUIET_SECONDS)
    collector.database.catch_up()
    ends = collector.database.ask(
        "SELECT * FROM latest WHERE ? IN (LocalPort, RemPort) ORDER BY origin", port
    )
    clients, servers = ends[:CONNECTIONS], {end["RemPort"]: end for end in ends[CONNECTIONS:]}
    assert len(servers) == CONNECTIONS
    for client in clients:
        server = servers[client["LocalPort"]]
        for one, other in ((client, server), (server, client)):
            agree("peer's end", one, {inward: other[out] for inward, out in MIRRORED.items()})
            agree("workload", one, {"HCDataOctetsIn": 3 * OCTETS, "HCDataOctetsOut": 3 * OCTETS})


def test_round_trip_marks_enclose_the_smoothed_value(
    net: Net, collector: Collector, workload: Pair
) -> None:
    """MinRTT <= SmoothedRTT <= MaxRTT, and no sample is below the kernel's own minimum."""
    net.lose(0)
    time.sleep(QUIET_SECONDS)
    collector.database.catch_up()
    for witness in all_witnesses(workload):
        row = collector.database.latest(witness.cookie)
        smoothed = witness["tcpi_rtt"]
        low = witness["tcpi_min_rtt"] - 1  # an inverted sample is rounded down
        marks = {
            "MinRTTUs": Between(low=low, high=smoothed + 1, reason="other samples"),
            "MaxRTTUs": Between(low=smoothed, reason="the smoothed value is among the samples"),
            "CountRTT": Between(low=WRITES, reason="each write is acknowledged"),
        }
        agree("TCP_INFO", row, marks)
        assert row["CountRTT"] * row["MinRTTUs"] <= row["HCSumRTTUs"]
        assert row["HCSumRTTUs"] <= row["CountRTT"] * row["MaxRTTUs"]
