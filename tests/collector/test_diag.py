"""Polling shows what the sockets themselves say, and every connection ends once."""

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import ioctl
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bpf.catalogue import stored_in
from bpf.errors import UsageError
from bpf.filters import Filters
from bpf.record import IDENTITY, Flag, batch_dtype, known_bit
from bpf.variable import SAMPLED, Table
from collector.diag import DiagSource, matches
from collector.ring import RingSource
from collector.sock_diag import SOCKET
from collector.tcp_info import RULES, TCP_INFO

Array = npt.NDArray[Any]
LATER = (1 << 63) - 1
SO_COOKIE = 57
SIOCOUTQ, SIOCOUTQNSD = 0x5411, 0x894B
CLOSE_WAIT = 8

#: Fields that count time: they move while nothing else does.
CLOCKS = [f"tcpi_last_{what}" for what in ("data_sent", "data_recv", "ack_recv", "ack_sent")]
CLOCKS += ["tcpi_busy_time", "tcpi_rwnd_limited", "tcpi_sndbuf_limited"]
#: Variables whose value is made of the field, and is not the field as it stands.
CONVERTED = {
    *("State", "InRecovery", "TimeStamps", "ECN", "WillSendSACK", "WillUseSACK"),
    *("MSSSent", "WinScaleSent", "WinScaleRcvd"),
}
ENDPOINTS = {
    "IPv4": (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
    "IPv6": (socket.AF_INET6, "::1", "::1"),
    "v4-mapped": (socket.AF_INET6, "::ffff:127.0.0.1", "127.0.0.1"),
}


@dataclass(frozen=True)
class Pair:
    """A connection over loopback, and a source that watches its listener's port only."""

    port: int
    source: DiagSource
    before: Array  # the connection
    client: socket.socket
    accepted: socket.socket


@contextmanager
def connected(kind: str) -> Iterator[Pair]:
    """A connection of one of the kinds of ``ENDPOINTS``."""
    family, address, _ = ENDPOINTS[kind]
    with socket.socket(family) as server, socket.socket(family) as client:
        try:
            server.bind((address, 0))
        except OSError as error:
            pytest.skip(f"this host has no {kind} loopback: {error}")
        server.listen()
        port = server.getsockname()[1]
        source = DiagSource(SAMPLED, Filters(ports=(port,)))
        before = source.read(LATER)
        client.connect(server.getsockname())
        with server.accept()[0] as accepted:
            yield Pair(port, source, before, client, accepted)


@pytest.fixture
def pair() -> Iterator[Pair]:
    """An IPv4 connection."""
    with connected("IPv4") as made:
        yield made


def mapped(address: str) -> bytes:
    """An address as 16 octets."""
    octets = ip_address(address).packed
    return octets if len(octets) == 16 else bytes(10) + b"\xff\xff" + octets


def cookie_of(end: socket.socket) -> int:
    """The kernel's name of a socket."""
    return int(struct.unpack("=Q", end.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))[0])


def tcp_info(end: socket.socket) -> Array:
    """What the socket says of itself, its clocks stopped."""
    octets = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO.itemsize)
    info = np.frombuffer(octets.ljust(TCP_INFO.itemsize, b"\0"), TCP_INFO).copy()
    for clock in CLOCKS:
        info[clock] = 0
    return info


def value(batch: Any, table: Table, column: str) -> int | None:
    """One operand of one batch, None if it is unknown."""
    known = int(batch[table.value]["known"]) >> known_bit(table, column) & 1
    return int(batch[table.value][column]) if known else None


def queues(end: socket.socket) -> tuple[int, int]:
    """Octets never sent, and sent but not acknowledged, as the socket says."""
    unsent, both = (
        struct.unpack("=i", ioctl(end, question, bytes(4)))[0]
        for question in (SIOCOUTQNSD, SIOCOUTQ)
    )
    return unsent, both - unsent


def steady(
    source: DiagSource, end: socket.socket, state: int = 1
) -> tuple[Any, Any, tuple[int, int]]:
    """The socket's batch, TCP_INFO and queues, in a moment when it is in ``state`` and at rest.

    That is when it says the same of itself before and after the poll.
    """
    for _ in range(250):
        info, waiting = tcp_info(end), queues(end)
        batches = source.read(LATER)
        if (tcp_info(end), queues(end)) == (info, waiting) and info["tcpi_state"] == state:
            batch = batches[batches["identity"]["cookie"] == cookie_of(end)][0]
            return batch, info[0], waiting
        time.sleep(0.02)
    pytest.fail("the socket never came to rest")


@pytest.mark.parametrize("kind", ENDPOINTS)
def test_a_poll_equals_the_sockets_own_tcp_info(kind: str) -> None:
    """Every variable that is a field as it stands, on both ends of an idle connection."""
    with connected(kind) as pair:
        for _ in range(23):
            pair.client.sendall(bytes(2300))
            pair.accepted.recv(1 << 16)
        pair.accepted.sendall(bytes(23))
        for end in (pair.client, pair.accepted):
            batch, info, _ = steady(pair.source, end)
            compared = 0
            for table in SAMPLED:
                for v in stored_in(table):
                    got = value(batch, table, v.column)
                    if got is not None and v.tcp_info and v.name not in CONVERTED:
                        assert got == info[v.tcp_info], v.name
                        compared += 1
            assert compared >= 23, "TCP_INFO of Linux 5.4 has that many"
            assert value(batch, Table.STACK, "state") == 5
            assert value(batch, Table.STACK, "in_recovery") == 1


@pytest.mark.parametrize("kind", ENDPOINTS)
def test_a_connection_says_who_it_is(kind: str) -> None:
    """Tuple, cookie, owner's uid and namespace; IPv4 on the wire is told from the address."""
    with connected(kind) as pair:
        batches = pair.source.read(LATER)
        mine = batches[batches["identity"]["cookie"] == cookie_of(pair.client)][0]
        who, head = mine["identity"], mine["head"]
        address = mapped(ENDPOINTS[kind][2])
        assert who["local_address"].tobytes() == who["rem_address"].tobytes() == address
        assert who["local_port"] == pair.client.getsockname()[1]
        assert who["rem_port"] == pair.port
        assert who["uid"] == Path("/proc/self").stat().st_uid
        assert who["netns"] == Path("/proc/self/ns/net").stat().st_ino
        assert who["pid"] == 0
        assert head["flags"] == Flag.POLLED | (Flag.IPV4 if kind != "IPv6" else 0)
        assert (head["id"], head["state"], head["old_state"]) == (who["cookie"], 1, 0)


def test_listeners_are_not_connections(pair: Pair) -> None:
    """Two rows for a connection over loopback, none for the port it came in by."""
    assert len(pair.before) == 0
    assert len(pair.source.read(LATER)) == 2


def test_a_connection_is_numbered_from_its_first_poll(pair: Pair) -> None:
    """``sent`` counts the batches and the start stays, so that a loss would show."""
    polls = [pair.source.read(LATER) for _ in range(3)]
    for number, batches in enumerate(polls, 1):
        assert batches["head"]["sent"].tolist() == [number] * 2
        assert (batches["identity"]["start_ns"] == polls[0]["head"]["ts"]).all()
        assert (batches["global"]["start_ts"] == polls[0]["head"]["ts"]).all()
        assert (batches["head"]["id"] == polls[0]["head"]["id"]).all()


def test_no_batch_is_later_than_its_cut(pair: Pair) -> None:
    """A snapshot ends at the cut, so what the poll finds belongs before it."""
    assert pair.source.read(2_300)["head"]["ts"].tolist() == [2_300, 2_300]
    now = time.monotonic_ns()
    assert (pair.source.read(LATER)["head"]["ts"] >= now).all()


def test_a_vanished_connection_ends_exactly_once(pair: Pair) -> None:
    """The last values are sent again as final; a socket in TIME_WAIT has vanished, too."""
    pair.client.sendall(bytes(23))
    pair.accepted.recv(23)
    last = pair.source.read(LATER)
    pair.client.close()
    pair.accepted.close()
    finals: list[Any] = []
    for _ in range(100):
        batches = pair.source.read(LATER)
        finals += [batch for batch in batches if batch["head"]["flags"] & Flag.FINAL]
        if len(batches) == 0:
            break
        time.sleep(0.02)
    assert sorted(f["head"]["id"] for f in finals) == sorted(last["head"]["id"])
    for final in finals:
        assert final["head"]["state"] == 7
        assert final["head"]["old_state"] not in (0, 7)
        assert value(final, Table.STACK, "state") == 1
    sent = [value(final, Table.PERF, "hc_data_octets_out") for final in finals]
    assert sorted(sent, key=str) == [0, 23]


def test_queues_are_what_the_sockets_say(pair: Pair) -> None:
    """Octets not read, not sent and not acknowledged, asked of each end itself; no FIN."""
    pair.client.setblocking(False)
    try:
        while True:
            pair.client.send(bytes(1 << 16))
    except BlockingIOError:
        pass
    sender, _, (unsent, waiting) = steady(pair.source, pair.client)
    assert unsent > 0
    assert value(sender, Table.APP, "cur_app_w_queue") == unsent
    assert value(sender, Table.STACK, "cur_retx_queue") == waiting
    pair.accepted.sendall(bytes(5))
    pair.accepted.shutdown(socket.SHUT_WR)
    reader, _, _ = steady(pair.source, pair.client, CLOSE_WAIT)
    assert value(reader, Table.APP, "cur_app_r_queue") == 5


def test_a_handshake_has_no_values_yet() -> None:
    """A client whose SYN stays unanswered: state 3, nothing measured, nothing negotiated."""
    with socket.socket() as server, socket.socket() as first, socket.socket() as second:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        source = DiagSource(SAMPLED, Filters(dports=(server.getsockname()[1],)))
        first.connect(server.getsockname())
        second.setblocking(False)
        second.connect_ex(server.getsockname())
        batches = source.read(LATER)
        waiting = batches[batches["identity"]["cookie"] == cookie_of(second)][0]
    assert waiting["head"]["state"] == 2
    assert value(waiting, Table.STACK, "state") == 3
    assert value(waiting, Table.PERF, "smoothed_rtt_us") is None
    assert value(waiting, Table.PERF, "cur_mss") is None
    assert value(waiting, Table.PERF, "segs_retrans") == 0


def found(*cookies: int, rem_port: int = 5001) -> Array:
    """Established IPv4 sockets as the kernel lists them."""
    sockets = np.zeros(len(cookies), SOCKET)
    message = sockets["message"]
    message["family"], message["state"], message["cookie"] = socket.AF_INET, 1, cookies
    message["local_port"], message["rem_port"] = 1000, rem_port
    message["rem_address"][:, :4] = 10, 0, 0, 2
    sockets["info"]["tcpi_state"], sockets["info_size"] = 1, TCP_INFO.itemsize
    return sockets


def test_an_incomplete_answer_ends_nothing() -> None:
    """What the kernel could not list may still be there; the next whole answer tells."""
    source = DiagSource([Table.PERF])
    source.look(found(1, 2), 10, complete=True)
    partial = source.look(found(2), 20, complete=False)
    assert partial["head"]["id"].tolist() == [2]
    whole = source.look(found(1), 30, complete=True)
    assert whole["head"]["id"].tolist() == [2, 1]
    assert whole["head"]["sent"].tolist() == [3, 2]
    assert (whole["head"]["flags"] & Flag.FINAL).tolist() == [Flag.FINAL, 0]


def test_no_more_are_known_at_a_time_than_may_be() -> None:
    """Who is known stays; the others are counted once, and come when there is room."""
    source = DiagSource(SAMPLED, connections_max=2)

    def known(*cookies: int, complete: bool = True) -> list[int]:
        batches = source.look(found(*cookies), 10, complete=complete)
        final = (batches["head"]["flags"] & np.uint32(Flag.FINAL)) != 0
        return sorted(batches["identity"]["cookie"][~final].tolist())

    assert (known(5, 6, 7, 8), source.untracked) == ([5, 6], 2)
    assert (known(1, 5, 6, 7), source.untracked) == ([5, 6], 3)
    assert (known(1, 6, 7, complete=False), source.untracked) == ([6], 3)
    assert (known(1, 6, 7), source.untracked) == ([1, 6], 3)
    assert (known(2, 7), source.untracked) == ([2, 7], 3)


def test_a_socket_that_connects_anew_is_another_connection() -> None:
    """The cookie stays, the tuple does not: one ends and the next begins, under its own id."""
    source = DiagSource(SAMPLED)
    source.look(found(1), 10, complete=True)
    for complete in (True, False):
        port = 5002 + complete
        final, new = source.look(found(1, rem_port=port), 20, complete=complete)
        assert final["head"]["flags"] & Flag.FINAL
        assert final["identity"]["rem_port"] != new["identity"]["rem_port"] == port
        assert (new["head"]["sent"], new["identity"]["start_ns"]) == (1, 20)
    assert new["head"]["id"] == 2 << 56 | 1
    assert new["identity"]["cookie"] == 1


def test_a_socket_listed_twice_is_one_connection() -> None:
    """The kernel's list may move on while it is read."""
    batches = DiagSource(SAMPLED).look(found(3, 1, 3), 10, complete=True)
    assert batches["head"]["id"].tolist() == [1, 3]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sets(st.integers(1, 8)), st.booleans()), max_size=8))
def test_every_connection_is_numbered_without_gaps_and_ends_once(
    polls: list[tuple[set[int], bool]],
) -> None:
    """Whatever appears, vanishes and is missed, as an open connection's history tells it."""
    source = DiagSource([Table.STACK])
    sent: dict[int, int] = {}
    for now, (cookies, complete) in enumerate(polls, 1):
        batches = source.look(found(*cookies), now, complete=complete)
        for batch in batches:
            head, cookie = batch["head"], int(batch["head"]["id"])
            assert head["sent"] == sent.get(cookie, 0) + 1
            sent[cookie] = int(head["sent"])
            if head["flags"] & Flag.FINAL:
                assert complete
                assert cookie not in cookies
                del sent[cookie]
        assert cookies <= set(sent)
        assert not complete or set(sent) == cookies


def identities(*tuples: tuple[str, int, str, int]) -> Array:
    """Connections from one address and port to another."""
    who = np.zeros(len(tuples), IDENTITY)
    for row, (local, local_port, rem, rem_port) in zip(who, tuples, strict=True):
        for end, text in (("local_address", local), ("rem_address", rem)):
            row[end] = np.frombuffer(mapped(text), "u1")
        row["local_port"], row["rem_port"] = local_port, rem_port
    return who


@pytest.mark.parametrize(
    ("filters", "matched"),
    [
        (Filters(), [True, True, True]),
        (Filters(ports=(80,)), [True, True, False]),
        (Filters(sports=(80,)), [False, True, False]),
        (
            Filters(
                dports=(
                    80,
                    443,
                )
            ),
            [True, False, True],
        ),
        (Filters(nets=(ip_network("10.1.0.0/16"),)), [True, True, False]),
        (Filters(nets=(ip_network("10.1.2.4/31"),)), [False, True, False]),
        (Filters(nets=(ip_network("fd00::/8"),)), [False, False, True]),
        (
            Filters(
                nets=(
                    ip_network("10.1.2.5/32"),
                    ip_network("fd00::2"),
                )
            ),
            [False, True, True],
        ),
        (Filters(nets=(ip_network("10.1.2.5/32"),), dports=(443,)), [False, False, False]),
    ],
)
def test_filters_say_which_connections_are_wanted(filters: Filters, matched: list[bool]) -> None:
    """Either end for ports and networks, one end for sport and dport; all must hold."""
    who = identities(
        ("10.1.2.3", 40000, "192.0.2.1", 80),
        ("192.0.2.1", 80, "10.1.2.5", 40001),
        ("fd00::1", 40002, "fd00::2", 443),
    )
    assert matches(filters, who).tolist() == matched


@settings(deadline=None)
@given(st.ip_addresses(), st.integers(0, 32), st.ip_addresses(v=4))
@example(ip_address("::ffff:10.1.2.3"), 8, ip_address("10.0.0.0"))
def test_a_network_matches_as_the_standard_library_says(
    address: Any, bits: int, network: Any
) -> None:
    """An IPv4 network holds IPv4 addresses only, the v4-mapped ones among them."""
    net = ip_network((network, bits), strict=False)
    who = identities((str(address), 1, "::", 2))
    meant = getattr(address, "ipv4_mapped", None) or address
    assert matches(Filters(nets=(net,)), who).tolist() == [meant in net]


def test_unwanted_connections_are_never_shown(pair: Pair) -> None:
    """Neither while they live nor when they end."""
    other = DiagSource(SAMPLED, Filters(sports=(pair.port,), dports=(pair.port,)))
    assert len(other.read(LATER)) == 0


@pytest.mark.parametrize("filters", [Filters(pids=(1,)), Filters(comms=("iperf3",))])
def test_a_filter_by_owner_is_refused(filters: Filters) -> None:
    """Collecting nothing without a word would be worse."""
    with pytest.raises(UsageError) as caught:
        DiagSource(SAMPLED, filters)
    assert "root" in caught.value.advice


def test_only_the_tables_asked_for_are_in_a_batch(pair: Pair) -> None:
    """The dtype is that of a ring with the same tables."""
    source: RingSource = DiagSource([Table.APP, Table.PERF])
    batches = source.read(LATER)
    assert batches.dtype == batch_dtype([Table.PERF, Table.APP])
    assert source.fileno() is None
    assert not source.more
    source.release()


def test_a_reader_cannot_change_what_was_polled(pair: Pair) -> None:
    """The next poll compares with it, and a final batch repeats it."""
    with pytest.raises(ValueError, match="read-only"):
        pair.source.read(LATER)["head"]["sent"] = 0


def test_only_variables_with_a_rule_are_known(pair: Pair) -> None:
    """NULL, never 0, for all that inet_diag does not tell."""
    batches = pair.source.read(LATER)
    for table in SAMPLED:
        for bit, v in enumerate(stored_in(table)):
            known = (batches[table.value]["known"] >> np.uint64(bit)) & np.uint64(1)
            assert v.name in RULES or not known.any(), v.name
