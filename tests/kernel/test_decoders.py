"""What tshark and tcptrace read in a capture at either end, they who know nothing of us."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.kernel.capture import Flow, capturing
from tests.kernel.capture import ends as captured
from tests.kernel.collecting import Database, collecting, until
from tests.kernel.decoders import Values, tcptrace, tshark
from tests.kernel.edges import settle
from tests.kernel.net import Host, Net
from tests.kernel.netstat import Growth
from tests.kernel.relay import Relay, Weather, relayed
from tests.kernel.traffic import Pair, pair
from tests.kernel.validation import Between, agree

pytestmark = pytest.mark.kernel

CONNECTIONS = 6
WRITES = 8
OCTETS = 20_000  # in one write: fourteen segments, so that many duplicate ACKs follow a loss
TOS = 0x48
PORTS = count(8101)

DISCARDED = "the kernel reads nothing of a segment that begins below what was acknowledged"
#: Not equal to 0 at one connection at least, or the day was too fine to prove anything.
MOVED = {
    *("SegsRetrans", "DSACKDups", "DupAcksIn", "SACKBlocksRcvd", "ZeroRwinRcvd", "ZeroRwinSent")
}
MARKED = {"CERcvd", "ECESent", "ECNsignals"}  # the relay marks IPv4 only


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """What one collector writes during all tests here."""
    with collecting(tmp_path_factory.mktemp("decoders")) as collector:
        yield collector.database


@pytest.fixture(scope="module")
def detour(database: Database) -> Iterator[tuple[Net, Relay]]:
    """Two hosts with a relay between them, ECN agreed on, and a server with little room."""
    with relayed() as (net, relay):
        for host in net.hosts:
            host.sysctl("net.ipv4.tcp_ecn", 1)
        net.server.sysctl("net.ipv4.tcp_rmem", "4096 65536 131072")
        yield net, relay


@pytest.fixture
def far(detour: tuple[Net, Relay]) -> Iterator[Pair]:
    """A client and a server at the two ends of the relay."""
    with pair(detour[0].client, detour[0].server) as both:
        yield both


def bad_day(net: Net, relay: Relay, far: Pair, port: int, family: int) -> None:
    """Loss, reordering and marks while both ends talk; then a reader that pauses."""
    closings = Growth(net.server)
    far.open(net.server, family, port, CONNECTIONS)
    relay.weather(Weather(delay_ms=3, lose=10, late=15, late_ms=12, mark=20))
    far.exchange(WRITES, OCTETS)
    relay.weather(Weather())
    for peer in far.peers:
        peer("mark", tos=TOS)
    far.client.tell("send", size=20 * OCTETS)
    until("a zero window", lambda: closings.kernel("TCPToZeroWindowAdv"))
    far.server("receive", size=20 * OCTETS)
    far.client.hear()
    far.server("send", size=1)
    far.client("receive", size=1)


def agree_all(
    database: Database, host: Host, witness: str, told: dict[tuple[int, int], Values]
) -> None:
    """Hold the rows of this host's connections against what a reader of its capture tells."""
    sql = "SELECT * FROM latest WHERE LocalPort = ? AND RemPort = ? AND netns = ?"
    for flow, values in told.items():
        agree(witness, database.one(sql, *flow, host.inode), values)


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
def test_both_ends_are_as_three_readers_of_their_captures_say(
    detour: tuple[Net, Relay], database: Database, far: Pair, tmp_path: Path, family: int
) -> None:
    """Segments, octets, repetitions, duplicates, SACK, ECN, windows, options, sequence numbers."""
    (net, relay), port = detour, next(PORTS)
    relay.weather(Weather())
    files = [tmp_path / "client.pcap", tmp_path / "server.pcap"]
    with capturing(net.client, files[0], port), capturing(net.server, files[1], port):
        bad_day(net, relay, far, port, family)
        settle(database, far)
    seen: set[str] = set()
    for host, file in zip(net.hosts, files, strict=True):
        address = host.address(family)
        mine = captured(file, address)
        readers: dict[str, dict[Flow, Values]]
        readers = {"capture": {flow: end.values for flow, end in mine.items()}}
        readers["tshark"] = tshark(file, address)
        readers["tcptrace"] = tcptrace(file, address)
        for flow, values in readers["tcptrace"].items():
            high = values["DSACKDups"]
            low = high - mine[flow].discarded
            values["DSACKDups"] = Between(low=low, high=high, reason=DISCARDED)
        for witness, told in readers.items():
            assert len(told) == CONNECTIONS
            agree_all(database, host, witness, told)
            seen |= {name for values in told.values() for name, value in values.items() if value}
    assert seen >= (MOVED | MARKED if family == 4 else MOVED)
