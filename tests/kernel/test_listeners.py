"""Listening sockets: what comes to them, what becomes of it, and how they keep up."""

import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.capture import ACK, SYN, Segment, capturing, segments
from tests.kernel.collecting import Collector, Row, collecting, until
from tests.kernel.inside import begin, connect, cookie, inside, listen, reset
from tests.kernel.net import Host, Net
from tests.kernel.script import RST, Script, Wire, mss, wire
from tests.kernel.traffic import pair
from tests.kernel.validation import Between, agree

pytestmark = pytest.mark.kernel

PORTS = count(7701)
COUNTS = ("HCSynRcvd", "HCInitial", "HCEstablished", "HCAccepted", "HCExceedBacklog")
MAPPED = "::ffff:"
TCP_FASTOPEN, FASTOPEN_BOTH_WITHOUT_COOKIE = 23, 0x207


@pytest.fixture(scope="module")
def collector(
    nothing_is_left_behind: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Collector]:
    """One for all tests: no listener of theirs is older than it."""
    with collecting(tmp_path_factory.mktemp("listeners"), "--source", "bpf") as made:
        yield made


@pytest.fixture(scope="module")
def link(nothing_is_left_behind: None) -> Iterator[Wire]:
    """A namespace whose peer is a script."""
    with wire() as made:
        made.host.sysctl("net.ipv4.tcp_synack_retries", 0)
        yield made


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """Closes what a test opened."""
    with ExitStack() as stack:
        yield stack


def row(collector: Collector, listener: socket.socket) -> Row:
    """A listener with its newest values, once nothing can be missing in them."""
    collector.database.catch_up()
    (found,) = rows(collector, cookie(listener))
    return found


def rows(collector: Collector, number: int) -> list[Row]:
    """All endpoints that a socket was, oldest first."""
    sql = "SELECT * FROM latest_listener WHERE cookie = ? ORDER BY ListenerIndex"
    return collector.database.ask(sql, number)


def counts(*values: int) -> dict[str, int]:
    """What the counters must be, in the RFC's order; the 32-bit ones say the same."""
    theirs = dict(zip(COUNTS, values, strict=True))
    return theirs | {name.removeprefix("HC"): value for name, value in theirs.items()}


def queues(listener: socket.socket) -> dict[str, object]:
    """What TCP_INFO says of a listener."""
    raw = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 512)
    unacked, sacked = (int.from_bytes(raw[at : at + 4], "little") for at in (24, 28))
    return {"CurEstabBacklog": unacked, "MaxBacklog": sacked}


def shown(host: Host, port: int) -> dict[str, object]:
    """What ss shows of the only listener at a port."""
    (line,) = host.run("ss", "-HOtlnm", f"sport = :{port}").splitlines()
    _, waiting, most, *_ = line.split()
    (drops,) = re.findall(r",d(\d+)\)", line)
    return {
        "CurEstabBacklog": int(waiting),
        "MaxBacklog": int(most),
        "SocketDrops": int(drops),
    }


def now_us() -> int:
    """The wall clock."""
    return time.time_ns() // 1000


def between(before_us: int) -> Between:
    """Since then; what the kernel stamps is made wall time at the next snapshot."""
    reason = "the test looks at its clock before and after; the kernel's is paired with it to 1 ms"
    return Between(low=before_us - 1000, high=now_us() + 1000, reason=reason)


def is_syn(segment: Segment) -> bool:
    """Whether it asks for a connection."""
    return segment.flags & (SYN | ACK) == SYN


def ask(link: Wire, port: int, times: int = 1) -> Script:
    """Send a SYN, so many times; the script then stands before the last ACK of the handshake."""
    peer = Script(link, port)
    for _ in range(times):
        peer.send(SYN, options=mss(1000), ack=0)
        answer = peer.hear()
    peer.seq, peer.ack = peer.seq + 1, answer.seq + 1
    return peer


def begin_fast(host: Host, address: str, port: int) -> socket.socket:
    """A connection whose SYN has data."""
    with inside(host):
        made = socket.socket(socket.AF_INET)
    made.sendto(b"in the SYN", socket.MSG_FASTOPEN, (address, port))
    return made


def accept(listener: socket.socket) -> Any:
    """A connection, if one waits."""
    try:
        return listener.accept()[0]
    except BlockingIOError:
        return None


@pytest.mark.parametrize("family", [4, 6])
def test_a_listener_counts_what_a_capture_shows(
    net: Net, collector: Collector, tmp_path: Path, opened: ExitStack, family: int
) -> None:
    """SYNs and first SYN-ACKs; and the queues are those of TCP_INFO and of ss."""
    server, port = net.server, next(PORTS)
    address = server.address(family)
    listener = opened.enter_context(listen(server, address, port, 23))
    before = server.mib()
    with capturing(server, tmp_path / "pcap", port):
        clients = [opened.enter_context(connect(net.client, address, port)) for _ in range(9)]
        accepted = [opened.enter_context(listener.accept()[0]) for _ in range(6)]
        clients[0].close()
        until("an end", lambda: accepted[0].recv(1) == b"")
        found = row(collector, listener)
    passed = list(segments(tmp_path / "pcap"))
    answered = {(s.flow, s.seq) for s in passed if s.flags & (SYN | ACK) == SYN | ACK}
    agree(
        "capture",
        found,
        {"HCSynRcvd": sum(map(is_syn, passed)), "HCInitial": len(answered)},
    )
    opens = server.mib()["Tcp:PassiveOpens"] - before["Tcp:PassiveOpens"]
    agree("namespace counters", found, {"HCEstablished": opens})
    agree("workload", found, {**counts(9, 9, 9, 6, 0), "CurConns": 5, "CurBacklog": 3})
    agree("TCP_INFO", found, queues(listener))
    agree("ss", found, shown(server, port))


def test_a_listener_is_named_with_its_owner(
    net: Net, collector: Collector, opened: ExitStack
) -> None:
    """Addresses as RFC 4022 has them; owner, namespace and beginning; one row for each socket."""
    v6only = (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    asked: list[tuple[str, tuple[tuple[int, int, int], ...], tuple[int, str]]] = [
        ("0.0.0.0", (), (1, "0.0.0.0")),  # noqa: S104  (a namespace of our own)
        ("::", ((*v6only, 0),), (0, "")),
        ("::", ((*v6only, 1),), (2, "::")),
        (net.server.v6, ((*v6only, 0),), (2, net.server.v6)),
        (MAPPED + net.server.v4, ((*v6only, 0),), (1, net.server.v4)),
    ]
    before_us = now_us()
    listeners = [
        opened.enter_context(listen(net.server, address, next(PORTS), 5, *options))
        for address, options, _ in asked
    ]
    meanwhile = between(before_us)
    collector.database.catch_up()
    for listener, (_, _, (kind, text)) in zip(listeners, asked, strict=True):
        (found,) = rows(collector, cookie(listener))
        assert (found["LocalAddressType"], found["LocalAddress"]) == (kind, text)
        assert found["LocalPort"] == listener.getsockname()[1]
        assert (found["netns"], found["closed_us"]) == (net.server.inode, None)
        assert (found["pid"], found["uid"]) == (os.getpid(), os.getuid())
        assert found["comm"] == Path("/proc/self/comm").read_text().strip()
        assert found["origin"] == "listen"
        assert found["StartTime"] == found["opened_us"]
        agree("workload", found, {"StartTime": meanwhile})


def test_each_namespace_has_its_own(net: Net, collector: Collector, opened: ExitStack) -> None:
    """The same port in two of them."""
    port = next(PORTS)
    for host, other, times in ((net.server, net.client, 3), (net.client, net.server, 2)):
        listener = opened.enter_context(listen(host, host.v4, port))
        for _ in range(times):
            opened.enter_context(connect(other, host.v4, port))
        found = row(collector, listener)
        assert found["netns"] == host.inode
        agree("workload", found, counts(times, times, times, 0, 0))


def test_listeners_that_share_a_port_are_told_apart(
    net: Net, collector: Collector, opened: ExitStack
) -> None:
    """With SO_REUSEPORT the kernel deals connections out; each counts its own."""
    port = next(PORTS)
    share = (socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    both = [opened.enter_context(listen(net.server, net.server.v4, port, 64, share))
            for _ in range(2)]  # fmt: skip
    for _ in range(24):
        opened.enter_context(connect(net.client, net.server.v4, port))
    found = [row(collector, listener) for listener in both]
    for each, listener in zip(found, both, strict=True):
        waiting = queues(listener)["CurEstabBacklog"]
        assert isinstance(waiting, int)
        assert 0 < waiting < 24, "the kernel gave all to one"
        agree("TCP_INFO", each, queues(listener))
        agree("TCP_INFO", each, counts(waiting, waiting, waiting, 0, 0))


def test_many_connections_at_once_are_all_counted(
    net: Net, collector: Collector, opened: ExitStack
) -> None:
    """From two processes at a time; no counter ever goes back, though it is read at any time."""
    port, rounds, each = next(PORTS), 3, 600
    with pair(net.client, net.server) as one, pair(net.client, net.server) as other:
        one.server("listen", address=net.server.v4, port=port)
        for _ in range(rounds):
            one.server.tell("answer", count=2 * each)
            for client in (one.client, other.client):
                client.tell("call", address=net.server.v4, port=port, count=each)
            for peer in (one.client, other.client, one.server):
                peer.hear()
            collector.database.catch_up()
        found = collector.database.one("SELECT * FROM latest_listener WHERE LocalPort = ?", port)
    assert found["comm"] == one.server.comm
    agree(
        "workload", found, {**counts(*4 * [2 * rounds * each], 0), "CurConns": 0, "CurBacklog": 0}
    )
    sql = "SELECT * FROM listener WHERE ListenerIndex = ? ORDER BY snapshot_id"
    history = collector.database.ask(sql, found["ListenerIndex"])
    assert len(history) >= rounds
    for earlier, later in pairwise(history):
        assert all(earlier[name] <= later[name] for name in COUNTS)


def test_a_child_that_is_reset_waits_all_the_same(
    net: Net, collector: Collector, opened: ExitStack
) -> None:
    """It is accepted later, though it is no connection any more."""
    port = next(PORTS)
    listener = opened.enter_context(listen(net.server, net.server.v4, port))
    reset(connect(net.client, net.server.v4, port))
    found = row(collector, listener)
    agree("TCP_INFO", found, queues(listener))
    agree("workload", found, {**counts(1, 1, 1, 0, 0), "CurConns": 0, "CurBacklog": 1})
    opened.enter_context(connect(net.client, net.server.v4, port))
    for _ in range(2):
        opened.enter_context(listener.accept()[0])
    found = row(collector, listener)
    agree("workload", found, {**counts(2, 2, 2, 2, 0), "CurConns": 1, "CurBacklog": 0})


def test_a_full_backlog_drops_what_the_kernel_says(
    net: Net, collector: Collector, opened: ExitStack
) -> None:
    """SYNs that find no room are received and dropped; no state was made, so none is given up."""
    port, server = next(PORTS), net.server
    listener = opened.enter_context(listen(server, server.v4, port, 1))
    before = server.mib()
    for _ in range(2):  # Linux queues one more than the backlog
        opened.enter_context(connect(net.client, server.v4, port))
    tried = [begin(net.client, server.v4, port) for _ in range(5)]
    until("drops", lambda: server.mib()["TcpExt:ListenDrops"] - before["TcpExt:ListenDrops"] >= 5)
    for sock in tried:
        sock.close()
    found = row(collector, listener)
    now = server.mib()
    dropped = now["TcpExt:ListenDrops"] - before["TcpExt:ListenDrops"]
    overflows = now["TcpExt:ListenOverflows"] - before["TcpExt:ListenOverflows"]
    agree("namespace counters", found, {"SocketDrops": dropped, "HCSynRcvd": 2 + overflows})
    agree("ss", found, shown(server, port))
    agree("workload", found, {"HCInitial": 2, "HCEstablished": 2, "HCExceedBacklog": 0})


def test_syn_cookies_take_no_place_in_the_backlog(
    link: Wire, collector: Collector, opened: ExitStack
) -> None:
    """A cookie is no state: a connection counts once its handshake is done."""
    link.host.sysctl("net.ipv4.tcp_syncookies", 2)
    opened.callback(link.host.sysctl, "net.ipv4.tcp_syncookies", 1)
    port = next(PORTS)
    listener = opened.enter_context(listen(link.host, link.host.v4, port))
    before = link.host.mib()
    for _ in range(3):
        ask(link, port)
    agree("packet script", row(collector, listener), {**counts(3, 0, 0, 0, 0), "CurBacklog": 0})
    for _ in range(2):
        Script(link, port).open(mss(1000))
    found = row(collector, listener)
    sums = {k: link.host.mib()[k] - v for k, v in before.items()}
    agree("packet script", found, {**counts(5, 2, 2, 0, 0), "CurBacklog": 2})
    theirs = {"HCSynRcvd": sums["TcpExt:SyncookiesSent"]}
    theirs["HCInitial"] = sums["TcpExt:SyncookiesRecv"]
    agree("namespace counters", found, theirs)


def test_handshakes_that_fail_are_given_up(
    link: Wire, collector: Collector, opened: ExitStack
) -> None:
    """Half open while they last, reset or run out of time; a SYN that comes again is one more."""
    port = next(PORTS)
    listener = opened.enter_context(listen(link.host, link.host.v4, port))
    peers = [ask(link, port, times=2) for _ in range(3)]
    peers[0].send(RST, ack=0)
    until("the end of a half-open connection", lambda: not link.host.run(
        "ss", "-Htn", "state", "syn-recv", f"sport = :{port}"))  # fmt: skip
    found = row(collector, listener)
    agree("packet script", found, {**counts(6, 3, 0, 0, 3), "CurBacklog": 0})
    agree("ss", found, shown(link.host, port))


def test_half_open_connections_are_in_the_backlog(
    link: Wire, collector: Collector, opened: ExitStack
) -> None:
    """As long as they last; a last ACK that finds the queue full is dropped, its state stays."""
    link.host.sysctl("net.ipv4.tcp_synack_retries", 5)
    opened.callback(link.host.sysctl, "net.ipv4.tcp_synack_retries", 0)
    port = next(PORTS)
    listener = opened.enter_context(listen(link.host, link.host.v4, port, 1))
    first, second = ask(link, port), ask(link, port)
    found = row(collector, listener)
    agree("packet script", found, {"CurBacklog": 2, "CurEstabBacklog": 0})
    before = link.host.mib()["TcpExt:ListenDrops"]
    first.send()
    third = ask(link, port)
    second.send()  # the queue is full: Linux takes one more than the backlog
    third.send()
    found = row(collector, listener)
    agree("packet script", found, {**counts(3, 3, 2, 0, 0), "CurBacklog": 3, "CurEstabBacklog": 2})
    assert link.host.mib()["TcpExt:ListenDrops"] - before == 1
    agree("ss", found, shown(link.host, port))
    third.send(RST, ack=0)
    found = row(collector, listener)
    agree("packet script", found, {**counts(3, 3, 2, 0, 1), "CurBacklog": 2})


def test_fast_open_connections_count_like_others(
    net: Net, collector: Collector, opened: ExitStack
) -> None:
    """Their SYN brings data, and their SYN-ACK is the child's."""
    for host in net.hosts:
        host.sysctl("net.ipv4.tcp_fastopen", FASTOPEN_BOTH_WITHOUT_COOKIE)
        opened.callback(host.sysctl, "net.ipv4.tcp_fastopen", 1)
    port = next(PORTS)
    option = (socket.IPPROTO_TCP, TCP_FASTOPEN, 16)
    listener = opened.enter_context(listen(net.server, net.server.v4, port, 16, option))
    opened.enter_context(begin_fast(net.client, net.server.v4, port))
    accepted = opened.enter_context(until("a connection", lambda: accept(listener)))
    assert accepted.recv(23) == b"in the SYN"
    found = row(collector, listener)
    agree("workload", found, {**counts(1, 1, 1, 1, 0), "CurConns": 1, "CurBacklog": 0})


def test_one_that_closes_has_a_last_row(net: Net, collector: Collector, opened: ExitStack) -> None:
    """With what it threw out; the table's change is its end; and listening again is anew."""
    port = next(PORTS)
    again = (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener = opened.enter_context(listen(net.server, net.server.v4, port, 64, again))
    number = cookie(listener)
    for _ in range(3):
        opened.enter_context(connect(net.client, net.server.v4, port))
    opened.enter_context(listener.accept()[0])
    listener.shutdown(socket.SHUT_RD)
    listener.listen(7)
    before_us = now_us()
    listener.close()
    meanwhile = between(before_us)
    collector.database.catch_up()
    first, second = rows(collector, number)
    agree("workload", first, {**counts(3, 3, 3, 1, 2), "CurBacklog": 0, "CurEstabBacklog": 0})
    assert first["CurConns"] is None
    assert first["opened_us"] < first["closed_us"] <= second["opened_us"] < second["closed_us"]
    agree("workload", second, {**counts(0, 0, 0, 0, 0), "MaxBacklog": 7})
    sql = "SELECT * FROM scalar ORDER BY snapshot_id DESC LIMIT 1"
    scalar = collector.database.one(sql)
    assert scalar["ListenerTableLastChange"] == second["closed_us"]
    agree("workload", scalar, {"ListenerTableLastChange": meanwhile})
    agree("agent settings", collector.database.one("SELECT * FROM control"), {
        "ControlPath": 1, "ControlStack": 1, "ControlApp": 1, "ControlTune": 1,
        "ControlNotify": 2, "ConnTableLatency": 4294967295,
    })  # fmt: skip


def test_no_listener_is_without_a_row(collector: Collector) -> None:
    """The kernel had memory for all of the above."""
    assert collector.database.value("SELECT sum(untracked) FROM snapshot") == 0


def test_one_that_is_older_begins_to_count_now(net: Net, tmp_path: Path, opened: ExitStack) -> None:
    """No start time, queues as they are; --sport leaves other listeners out, --tables tables."""
    port, other = next(PORTS), next(PORTS)
    listener = opened.enter_context(listen(net.server, net.server.v4, port, 9))
    opened.enter_context(listen(net.server, net.server.v4, other))
    for _ in range(3):
        opened.enter_context(connect(net.client, net.server.v4, port))
    opened.enter_context(listener.accept()[0])
    options = ("--source", "bpf", "--tables", "path,listener", "--sport", str(port))
    with collecting(tmp_path, *options) as collector:
        found = row(collector, listener)
        assert (found["origin"], found["pid"]) == ("backfill", None)
        agree("TCP_INFO", found, queues(listener))
        agree("workload", found, {**counts(0, 0, 0, 0, 0), "StartTime": 0, "CurBacklog": 2})
        agree("workload", collector.database.one("SELECT * FROM scalar"),
              {"ListenerTableLastChange": 0})  # fmt: skip
        opened.enter_context(connect(net.client, net.server.v4, port))
        for _ in range(3):
            opened.enter_context(listener.accept()[0])
        found = row(collector, listener)
        agree("workload", found, {**counts(1, 1, 1, 3, 0), "CurConns": 1, "CurBacklog": 0})
        assert len(collector.database.ask("SELECT * FROM endpoint")) == 1
        agree("agent settings", collector.database.one("SELECT * FROM control"),
              {"ControlPath": 1, "ControlStack": 2, "ControlApp": 2, "ControlTune": 2})  # fmt: skip
