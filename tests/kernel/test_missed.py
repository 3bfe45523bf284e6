"""A run of a hook that the kernel skips is made up for by the next hook.

The kernel skips a tracing program where an interrupt finds it running, which no test can bring
about; so the programs here skip themselves, always (tests.kernel.skipping).
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.kernel.collecting import Collector, agree_with_socket, collecting, until
from tests.kernel.edges import settle
from tests.kernel.inside import connect, cookie, listen
from tests.kernel.net import Net
from tests.kernel.netstat import Sums
from tests.kernel.traffic import Pair
from tests.kernel.validation import agree

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


def test_connections_whose_end_no_hook_saw_are_closed_and_counted(
    lossless: Net, tmp_path: Path, peers: Pair
) -> None:
    """By a census, with the values of the last sweep; those that are only idle stay open."""
    program, address = "tests.kernel.skipping_ends", lossless.server.v4
    with (
        collecting(tmp_path, "--net", f"{address}/32", program=program) as collector,
        listen(lossless.server, address) as listener,
        connect(lossless.client, address, listener.getsockname()[1]) as idle,
    ):
        database = collector.database
        peers.open(lossless.server, 4, PORT, 3)
        peers.exchange(2, OCTETS)
        settle(database, peers)
        witnesses = [w for peer in peers.peers for w in peer.witnesses()]
        for peer in peers.peers:
            peer("close")
        sql = "SELECT count(*) FROM connection WHERE closed_us IS NOT NULL"
        until("the census", lambda: database.value(sql) == len(witnesses) == 6)
        for witness in witnesses:
            row = database.latest(witness.cookie)
            assert row["close_reason"] == "close not seen"
            agree("TCP_INFO", row, {"DataSegsIn": witness["tcpi_data_segs_in"]})
        assert database.value("SELECT sum(lost_finals) FROM snapshot") == 6
        assert database.latest(cookie(idle))["closed_us"] is None


def test_ends_that_no_hook_saw_are_counted_also_where_no_row_was(
    lossless: Net, tmp_path: Path
) -> None:
    """Most of these come and go between two sweeps: nobody ever heard of them but the count."""
    program, address, rounds = "tests.kernel.skipping_ends", lossless.server.v4, 40
    with collecting(tmp_path, "--net", f"{address}/32", program=program) as collector:
        database = collector.database
        with listen(lossless.server, address) as listener:
            for _ in range(rounds):
                with connect(lossless.client, address, listener.getsockname()[1]):
                    listener.accept()[0].close()
        until("the last snapshot", lambda: collector.stop() == 0)
    assert database.value("SELECT sum(lost_finals) FROM snapshot") == 2 * rounds
    rows = database.ask("SELECT close_reason FROM connection WHERE closed_us IS NOT NULL")
    assert {row["close_reason"] for row in rows} <= {"close not seen"}
    assert len(rows) < 2 * rounds


def test_listeners_count_handshakes_whose_end_went_unseen(
    net: Net, lossless: Net, tmp_path: Path
) -> None:
    """The next look finds the children that still bear their parent's mark."""
    program = "tests.kernel.skipping_handshakes"
    with (
        collecting(tmp_path, "--source", "bpf", program=program) as collector,
        ExitStack() as open_,
    ):
        address = lossless.server.v4
        listener = open_.enter_context(listen(lossless.server, address))
        port = listener.getsockname()[1]
        for _ in range(5):
            open_.enter_context(connect(lossless.client, address, port))
        for _ in range(3):
            open_.enter_context(listener.accept()[0])
        sql = "SELECT * FROM latest_listener WHERE cookie = ?"
        number = cookie(listener)
        collector.database.catch_up()
        collector.database.catch_up()
        theirs = {"HCSynRcvd": 5, "HCInitial": 5, "HCEstablished": 5, "HCAccepted": 3}
        theirs |= {"HCExceedBacklog": 0, "CurEstabBacklog": 2}
        agree("workload", collector.database.one(sql, number), theirs)
        listener.close()
        collector.database.catch_up()
        found = collector.database.one(sql, number)
        assert found["closed_us"], "it is missed in the next look"
        agree("workload", found, theirs)
