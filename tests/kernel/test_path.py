"""The ground the other kernel tests stand on: the path loses, peers obey, the witness is read."""

import re
import time
from itertools import count

import pytest

from tests.kernel.net import Net, network, run
from tests.kernel.tcp_info import CLOSE, FIELDS, comparable, expected
from tests.kernel.traffic import Pair, iperf3_streams, listening, pair

pytestmark = pytest.mark.kernel

CONNECTIONS = WRITES = 23
OCTETS = 7_300  # in one write: five segments and a bit
QUIET_SECONDS = 0.5  # longer than the last delayed acknowledgement takes
SLOW_US = 2_000  # five connections' segments of 1.2 ms each before one's own
PORTS = count(7001)


def test_the_offsets_of_tcp_info_are_those_of_the_running_kernel() -> None:
    """Each field the witness reads lies where the kernel's own type information puts it."""
    listing = run("bpftool", "btf", "dump", "file", "/sys/kernel/btf/vmlinux", "format", "raw")
    struct = listing.partition("STRUCT 'tcp_info' ")[2].partition("\n[")[0]
    members = re.findall(r"'(tcpi_\w+)'.*bits_offset=(\d+)$", struct, re.MULTILINE)
    bits = {name: int(at) for name, at in members}
    in_order = sorted(bits.values())
    for field, (offset, size) in FIELDS.items():
        assert bits[field] == offset * 8, field
        following = [at for at in in_order if at > bits[field]]
        assert not following or following[0] >= (offset + size) * 8, field


def test_a_socket_says_who_it_is_and_where_it_goes(lossless: Net, peers: Pair) -> None:
    """Both ends of a connection tell mirrored addresses, and cookies of their own."""
    port = next(PORTS)
    peers.open(lossless.server, 6, port, 3)
    ours, theirs = peers.client("tuples"), peers.server("tuples")
    assert sorted(map(tuple, ours)) == sorted((r, rp, lo, lp) for lo, lp, r, rp in theirs)
    cookies = {w.cookie for peer in peers.peers for w in peer.witnesses()}
    assert len(cookies) == 6


@pytest.mark.parametrize("family", [4, 6])
def test_the_known_workload_meets_loss_and_comes_to_rest(
    net: Net, peers: Pair, family: int
) -> None:
    """23 connections of 23 writes lose packets on the way, repeat them, and then stand still."""
    net.lose(10)
    peers.open(net.server, family, next(PORTS), CONNECTIONS)
    peers.exchange(WRITES, OCTETS)
    assert net.lost() > 0
    net.lose(0)
    witnesses = [w for peer in peers.peers for w in peer.witnesses()]
    assert sum(w["tcpi_total_retrans"] for w in witnesses) > 0
    assert all(w["tcpi_bytes_acked"] >= WRITES * OCTETS for w in witnesses[:CONNECTIONS])
    time.sleep(QUIET_SECONDS)
    quiet = [w.still() for peer in peers.peers for w in peer.witnesses()]
    time.sleep(QUIET_SECONDS)
    assert quiet == [w.still() for peer in peers.peers for w in peer.witnesses()]


def test_half_closed_sockets_reach_close_and_still_speak(lossless: Net, peers: Pair) -> None:
    """With the descriptors kept, TCP_INFO after both FINs is the last word of either end."""
    peers.open(lossless.server, 4, next(PORTS), 3)
    peers.exchange(2, 1000)
    peers.half_close()
    for witness in (w for peer in peers.peers for w in peer.witnesses()):
        assert witness["tcpi_state"] == CLOSE
        assert witness["tcpi_bytes_received"] == 2 * 1000 + 1, "the peer's FIN counts as an octet"


def test_every_comparable_variable_has_a_value(lossless: Net, peers: Pair) -> None:
    """The witness has an answer for each variable it is said to know."""
    peers.open(lossless.server, 4, next(PORTS), 1)
    peers.exchange(1, 1000)
    (witness,) = peers.client.witnesses()
    values = {v.name: expected(v, witness) for v in comparable()}
    assert len(values) >= 44
    assert values["HCDataOctetsOut"] == values["ThruOctetsReceived"] == 1000


def test_iperf3_reports_each_stream(net: Net) -> None:
    """Its report gives the sender's retransmissions with the local port of the stream."""
    net.lose(10)
    with listening(net.server, "iperf3", "-s", "-p", "5001"):
        argv = [
            "iperf3",
            "-c",
            net.server.v6,
            "-p",
            "5001",
            "-n",
            "4M",
            "-P",
            "2",
            "-C",
            "cubic",
            "-J",
        ]
        streams = iperf3_streams(net.client.run(*argv))
    net.lose(0)
    assert len({s.local_port for s in streams}) == 2
    assert sum(s.retransmits for s in streams) > 0


def test_a_rate_makes_a_queue() -> None:
    """Behind 10 Mbit/s and its burst, segments wait: round trips are no longer those of a veth."""
    with network() as slow, pair(slow.client, slow.server) as peers:
        slow.client.limit(10)
        peers.open(slow.server, 4, next(PORTS), 5)
        peers.exchange(10, 20_000)
        assert all(w["tcpi_rtt"] > SLOW_US for w in peers.client.witnesses())
