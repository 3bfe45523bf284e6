"""What events alone tell of loss, against the namespace's counters and a capture at either end."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.kernel.capture import capturing, ends
from tests.kernel.collecting import Database, collecting, until
from tests.kernel.edges import settle
from tests.kernel.net import Host, Net
from tests.kernel.netstat import Sums
from tests.kernel.relay import Relay, Weather, relayed
from tests.kernel.traffic import Pair, pair
from tests.kernel.validation import Between, Tolerance, agree

pytestmark = pytest.mark.kernel

CONNECTIONS = 12
WRITES = 12
OCTETS = 20_000  # in one write: fourteen segments, so that many duplicate ACKs follow a loss
SERVERS_ROW = "SELECT * FROM latest WHERE LocalPort = ?"
UNDOS = ("TCPPartialUndo", "TCPFullUndo", "TCPDSACKUndo", "TCPLossUndo")
#: Where data flows both ways and is reordered; test_edges_weather compares one way exactly.
OVERTAKEN = Tolerance(
    absolute=3,
    reason="an ACK that its own side's data overtakes repeats, or not, by who looks first",
)
UNDONE = "SpuriousFrDetected + SpuriousRtoDetected"
#: Seen once in some 400; test_scripts has each kind of undo alone, and none is missed there.
UNSEEN = {UNDONE: Tolerance(absolute=1, reason="an undo in the ACK that begins the next episode")}
PORTS = count(7501)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory, net: Net) -> Iterator[Database]:
    """What one collector writes during all tests here."""
    with collecting(tmp_path_factory.mktemp("events")) as collector:
        yield collector.database


@pytest.fixture(scope="module")
def detour(database: Database) -> Iterator[tuple[Net, Relay]]:
    """Two hosts with a relay between them, and ECN agreed on."""
    with relayed() as (net, relay):
        for host in net.hosts:
            host.sysctl("net.ipv4.tcp_ecn", 1)
        yield net, relay


@pytest.fixture
def far(detour: tuple[Net, Relay]) -> Iterator[Pair]:
    """A client and a server at the two ends of the relay, on a fine day."""
    net, relay = detour
    relay.weather(Weather())
    with pair(net.client, net.server) as both:
        yield both


def both_sums(net: Net, database: Database, port: int) -> tuple[Sums, Sums]:
    """The counters of the two hosts, from now on."""
    return Sums(net.client, database, port), Sums(net.server, database, port)


def test_recoveries_timeouts_and_duplicates_add_up_to_the_sums_of_the_namespace(
    net: Net, lossless: Net, database: Database, peers: Pair
) -> None:
    """With 5 % loss both ways each of these variables is its counter of TcpExt, to the unit.

    LostRetransmitSegs is at most its counter: the kernel counts a retransmission when it believes
    it lost, we when it is sent once more. What a timeout gave up and was acknowledged after all
    lies between. A recovery that a timeout followed may be undone as either, so those two are
    compared as a sum.
    """
    port = next(PORTS)
    peers.open(lossless.server, 4, port, CONNECTIONS)
    both = both_sums(net, database, port)
    net.lose(50)
    peers.exchange(WRITES, OCTETS)
    net.lose(0)
    settle(database, peers)
    for end in both:
        recoveries = end.kernel("TCPSackRecovery", "TCPRenoRecovery")
        timeouts, undone = end.kernel("TCPTimeouts"), end.kernel(*UNDOS)
        lost_again = end.kernel("TCPLostRetransmit")
        assert recoveries > 0
        end.agree(
            {
                "FastRetran": recoveries,
                "Timeouts + SubsequentTimeouts": timeouts,
                "AbruptTimeouts": Between(high=timeouts, reason="a hint may have come before"),
                "CongSignals": Between(low=recoveries + timeouts, reason="local reductions too"),
                "DSACKDups": end.kernel("TCPDSACKRecvSegs"),
                UNDONE: undone,
                "CongOverCount": Between(high=undone, reason="some had nothing to take back"),
                "LostRetransmitSegs": Between(high=lost_again, reason="counted when sent again"),
            },
            UNSEEN,
        )
    for name in ("TCPTimeouts", "TCPDSACKRecvSegs", "TCPDSACKUndo", "TCPLostRetransmit"):
        assert sum(end.kernel(name) for end in both) > 0, name


def test_reordering_marks_and_loss_are_counted_as_captured(
    detour: tuple[Net, Relay], database: Database, far: Pair, tmp_path: Path
) -> None:
    """Each end's acknowledgements, SACK blocks, marks and windows are those tcpdump saw there.

    Also, the recoveries that reordering deceived are those the kernel has undone.
    """
    (net, relay), port = detour, next(PORTS)
    files = [tmp_path / "client.pcap", tmp_path / "server.pcap"]
    both = both_sums(net, database, port)
    with capturing(net.client, files[0], port), capturing(net.server, files[1], port):
        far.open(net.server, 4, port, CONNECTIONS)
        relay.weather(Weather(delay_ms=3, lose=10, late=15, late_ms=12, mark=20))
        far.exchange(WRITES, OCTETS)
        relay.weather(Weather())
        settle(database, far)
    for host, file in zip(net.hosts, files, strict=True):
        captured = {flow: end.values for flow, end in ends(file, host.v4).items()}
        agree_with_capture(database, host, captured, {"DupAcksIn": OVERTAKEN})
        moved = {name for values in captured.values() for name, value in values.items() if value}
        assert moved >= {"DupAcksIn", "DupAcksOut", "DupAckEpisodes", "SACKBlocksRcvd"}
        assert moved >= {"CERcvd", "ECESent", "ECNsignals"}
    assert sum(end.ours("SpuriousFrDetected") for end in both) > 0
    for end in both:
        end.agree({UNDONE: end.kernel(*UNDOS)}, UNSEEN)
        assert end.ours("NonRecovDAEpisodes") <= end.ours("NonRecovDA")


def test_reordering_alone_is_counted_as_captured(
    detour: tuple[Net, Relay], database: Database, far: Pair, tmp_path: Path
) -> None:
    """Runs of duplicates that no retransmission followed, and how far the ACKs behind them went."""
    (net, relay), port = detour, next(PORTS)
    file = tmp_path / "client.pcap"
    net.client.sysctl("net.ipv4.tcp_early_retrans", 0)  # else a probe would be taken for a repair
    with capturing(net.client, file, port):
        far.open(net.server, 4, port, CONNECTIONS)
        far.exchange(2, OCTETS)
        relay.weather(Weather(delay_ms=20, late=30, late_ms=1))
        far.exchange(WRITES, OCTETS)
        relay.weather(Weather())
        settle(database, far)
    net.client.sysctl("net.ipv4.tcp_early_retrans", 3)
    runs = {flow: end.runs for flow, end in ends(file, net.client.v4).items()}
    agree_with_capture(database, net.client, runs)
    assert sum(values["NonRecovDAEpisodes"] for values in runs.values()) > 0


def agree_with_capture(
    database: Database,
    host: Host,
    captured: dict[tuple[int, int], dict[str, int]],
    within: dict[str, Tolerance] | None = None,
) -> None:
    """Hold the rows of this host's connections against what a capture there tells of them."""
    sql = "SELECT * FROM latest WHERE LocalPort = ? AND RemPort = ? AND netns = ?"
    for flow, values in captured.items():
        agree("capture", database.one(sql, *flow, host.inode), values, within)


def test_what_was_only_late_is_a_spurious_timeout(
    detour: tuple[Net, Relay], database: Database, far: Pair
) -> None:
    """Data held back until two timeouts have passed on each connection: all are undone."""
    (net, relay), port = detour, next(PORTS)
    sums = Sums(net.client, database, port)
    far.open(net.server, 4, port, CONNECTIONS)
    far.exchange(2, OCTETS)
    relay.weather(Weather(held=True))
    far.client("send", size=OCTETS)
    until("two timeouts each", lambda: sums.kernel("TCPTimeouts") >= 2 * CONNECTIONS)
    relay.weather(Weather())
    far.server("receive", size=OCTETS)
    settle(database, far)
    assert sums.kernel("TCPLossUndo") == sums.kernel(*UNDOS) == CONNECTIONS
    assert sums.kernel("TCPLostRetransmit") > 0
    sums.agree(
        {
            "Timeouts": CONNECTIONS,
            "SubsequentTimeouts": sums.kernel("TCPTimeouts") - CONNECTIONS,
            "AbruptTimeouts": CONNECTIONS,  # each came out of the blue
            "SpuriousRtoDetected": sums.kernel("TCPLossUndo"),
            "CongOverCount": CONNECTIONS,
            "SpuriousFrDetected": 0,
            "LostRetransmitSegs": sums.kernel("TCPLostRetransmit"),
        }
    )


def test_a_lost_syn_times_out_and_a_lost_syn_ack_belongs_to_no_connection(
    net: Net, lossless: Net, database: Database, peers: Pair
) -> None:
    """The client's timeouts before the handshake are the kernel's; the listener's are nobody's.

    The first few are spaced evenly, without backoff, so they are Timeouts and not subsequent ones.
    """
    port = next(PORTS)
    client, server = both_sums(net, database, port)
    lossless.client.lose(1000)  # of what arrives there: SYN-ACKs
    peers.server("listen", address=net.server.v4, port=port)
    peers.server.tell("accept", count=1)
    peers.client.tell("connect", address=net.server.v4, port=port)
    until("two timeouts", lambda: client.kernel("TCPTimeouts") >= 2)
    net.lose(0)
    peers.client.hear()
    peers.server.hear()
    settle(database, peers)
    assert client.kernel("TCPLostRetransmit") > 0
    client.agree(
        {
            "Timeouts": client.kernel("TCPTimeouts"),
            "SubsequentTimeouts": 0,
            "SegsRetrans": client.kernel("TCPSynRetrans"),
            "LostRetransmitSegs": client.kernel("TCPLostRetransmit"),
            "SpuriousRtoDetected": client.kernel(*UNDOS),
        }
    )
    assert server.ours("Timeouts", "SubsequentTimeouts") == 0 < server.kernel("TCPTimeouts")
    assert server.kernel("TCPSynRetrans") > 0
    server.agree({"SegsRetrans": server.kernel("TCPSynRetrans")})


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
def test_a_reader_that_pauses_closes_its_window_as_often_as_captured(
    detour: tuple[Net, Relay], database: Database, far: Pair, tmp_path: Path, family: int
) -> None:
    """Zero windows are as many as the kernel says, and as on the wire, with the extremes there."""
    net, port = detour[0], next(PORTS)
    net.server.sysctl("net.ipv4.tcp_rmem", "4096 65536 131072")  # soon full
    net.server.sysctl("net.ipv4.ip_default_ttl", 61)
    net.server.sysctl("net.ipv6.conf.eth0.hop_limit", 61)
    file, sums = tmp_path / "client.pcap", Sums(net.server, database, port)
    with capturing(net.client, file, port):
        far.open(net.server, family, port, 1)
        far.client.tell("send", size=600_000)
        for closings in (1, 2, 3):
            until("a zero window", lambda n=closings: sums.kernel("TCPToZeroWindowAdv") >= n)
            far.server("receive", size=150_000)
        far.server("receive", size=150_000)
        far.client.hear()
        settle(database, far)
    captured = {flow: e.values for flow, e in ends(file, net.client.address(family)).items()}
    agree_with_capture(database, net.client, captured)
    (values,) = captured.values()
    assert values["ZeroRwinRcvd"] == sums.kernel("TCPToZeroWindowAdv")
    sums.agree({"ZeroRwinSent": sums.kernel("TCPToZeroWindowAdv")})
    received = {"MaxRwinSent": values["MaxRwinRcvd"]}
    agree("capture", database.one(SERVERS_ROW, port), received)
    assert values["IpTtl"] == 61
