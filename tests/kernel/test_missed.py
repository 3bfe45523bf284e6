"""A run of a hook that the kernel skips is made up for by the next hook.

The kernel skips a tracing program where an interrupt finds it running, which no test can bring
about; so the programs here skip themselves, always (tests.kernel.skipping).
"""

import time
from collections.abc import Iterator

import pytest

from tests.kernel.collecting import Collector, agree_with_socket, collecting
from tests.kernel.net import Net
from tests.kernel.netstat import Sums
from tests.kernel.traffic import Pair

pytestmark = pytest.mark.kernel

CONNECTIONS = 12
OCTETS = 20_000
PORT = 7_951
QUIET_SECONDS = 0.5  # longer than the last delayed acknowledgement takes


@pytest.fixture(scope="module")
def skipping(tmp_path_factory: pytest.TempPathFactory, net: Net) -> Iterator[Collector]:
    """A collector whose hooks skip what they are for."""
    folder = tmp_path_factory.mktemp("missed")
    with collecting(folder, "--source", "bpf", program="tests.kernel.skipping") as collector:
        yield collector


def test_recoveries_and_last_words_are_found_by_the_next_hook(
    net: Net, lossless: Net, skipping: Collector, peers: Pair
) -> None:
    """Nearly all recoveries are found, and each row closes with the kernel's last values.

    An episode that begins and ends between two hooks leaves no trace, nor does a timeout that
    follows another without an ACK between.
    """
    database = skipping.database
    for host in lossless.hosts:
        host.sysctl("net.ipv4.tcp_ecn", 0)
    peers.open(lossless.server, 4, PORT, CONNECTIONS)
    client = Sums(net.client, database, PORT)
    server = Sums(net.server, database, PORT)
    net.lose(30)
    peers.exchange(8, OCTETS)
    net.lose(0)
    peers.half_close()
    time.sleep(QUIET_SECONDS)
    witnesses = [w for peer in peers.peers for w in peer.witnesses()]
    for peer in peers.peers:
        peer("close")
    database.catch_up()
    for end in (client, server):
        kernel = end.kernel("TCPSackRecovery", "TCPRenoRecovery")
        assert 0.8 * kernel <= end.ours("FastRetran") <= kernel > 0
        assert end.ours("Timeouts", "SubsequentTimeouts") <= end.kernel("TCPTimeouts")
    for witness in witnesses:
        row = database.latest(witness.cookie)
        assert row["close_reason"] == "closed"
        agree_with_socket(row, witness, ("State",))
