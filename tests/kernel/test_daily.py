"""Everyday programs, for none of which a hook was written: what they and the kernel counted.

A web server behind a thin link, a test of both directions, a redirected port, a crowd of which
a part hangs up, a file sent by the kernel itself over a path that reorders.
"""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kernel.capture import ends
from tests.kernel.collecting import PATIENCE, Database, agree_with_socket, collecting, until
from tests.kernel.edges import agree_with_namespace, capturing_both, row_of, settle, totals
from tests.kernel.leftovers import start
from tests.kernel.net import Host, Net
from tests.kernel.netstat import Sums
from tests.kernel.relay import Relay, Weather
from tests.kernel.traffic import Pair, listening
from tests.kernel.validation import Between, agree

pytestmark = pytest.mark.kernel

QUIET_SECONDS = 0.5  # longer than the last delayed acknowledgement takes
WEB, IPERF, FRONT, BACK, CROWD, FILE = 8301, 5001, 8302, 8303, 8304, 8305
PAGE_OCTETS = 2_000_000
READERS = 6
REFUSED = "new segments that the host's own queue refuses are sent again, and are no retransmission"
CALLERS = 150
FILE_OCTETS = 3_000_000

CROWD_SERVER = f"""
import asyncio
async def serve(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()
async def main():
    server = await asyncio.start_server(serve, "::", {CROWD}, backlog=1000)
    await server.serve_forever()
asyncio.run(main())
"""

CROWD_CLIENT = f"""
import asyncio, sys
async def call(number):
    reader, writer = await asyncio.open_connection(sys.argv[1], {CROWD})
    for size in range(1, 60_000, 7_919 + number):
        writer.write(bytes(size))
        await reader.readexactly(size)
    if number % 3:
        writer.write_eof()
        await reader.read()
        writer.close()
    else:
        writer.transport.abort()
async def main():
    await asyncio.gather(*(call(number) for number in range({CALLERS})))
asyncio.run(main())
"""

FILE_SERVER = f"""
import os, socket, sys
with socket.create_server((sys.argv[1], {FILE})) as listener, open(sys.argv[2], "rb") as file:
    sock, _ = listener.accept()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
    sent = 0
    while count := os.sendfile(sock.fileno(), file.fileno(), sent, 1 << 20):
        sent += count
    sock.shutdown(socket.SHUT_WR)
    sock.recv(1)
"""

FILE_READER = f"""
import socket, sys, time
sock = socket.create_connection((sys.argv[1], {FILE}))
while data := sock.recv(50_000):
    time.sleep(0.002)
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """What one collector writes during all tests here."""
    with collecting(tmp_path_factory.mktemp("daily"), "--source", "bpf") as collector:
        yield collector.database


@contextmanager
def serving(host: Host, port: int, *argv: str) -> Iterator[None]:
    """Run a Python server from when its port listens to the end of the block."""
    silent = subprocess.DEVNULL
    process = start(host.argv(sys.executable, *argv), stdout=silent, stderr=silent)
    try:
        until("the server", lambda: host.run("ss", "-Hltn", f"sport = :{port}"))
        yield
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


def agree_on_sums(sums: Sums, synacks: int = 0) -> None:
    """What a namespace counts of all its connections, ours add up to."""
    sums.agree({"SegsRetrans": sums.kernel("Tcp:RetransSegs")})
    agree_with_namespace(sums, synacks=synacks)


def test_downloads_over_a_thin_link_are_as_long_as_curl_says(
    net: Net, lossless: Net, database: Database, tmp_path: Path
) -> None:
    """Six at once from a web server whose short queue overflows, over IPv6."""
    (tmp_path / "page").write_bytes(os.urandom(PAGE_OCTETS))
    server = Sums(lossless.server, database, WEB)
    net.server.limit(40)
    report = "%{local_port} %{size_header} %{size_download}\n"
    url = f"http://[{net.server.v6}]:{WEB}/page"
    web = ["-m", "http.server", str(WEB), "--bind", "::", "--directory", str(tmp_path)]
    with serving(net.server, WEB, *web):
        argv = net.client.argv("curl", "-sg", "-o", "/dev/null", "-w", report, url)
        clients = [start(argv, stdout=subprocess.PIPE) for _ in range(READERS)]
        reports = [client.communicate(timeout=PATIENCE)[0].split() for client in clients]
        time.sleep(QUIET_SECONDS)
        database.catch_up()
    net.server.run("tc", "qdisc", "del", "dev", "eth0", "root")
    for port, header, body in (map(int, words) for words in reports):
        octets = header + body
        bounds = Between(low=octets, high=octets + 1, reason="the kernel counts the FIN")
        row = row_of(database, net.client, (port, WEB))
        agree("workload", row, {"HCThruOctetsReceived": bounds})
        agree("workload", row, {"LocalPort": port, "RemAddress": net.server.v6})
        assert (row["comm"], row["close_reason"]) == ("curl", "closed")
        far = row_of(database, net.server, (WEB, port))
        once = octets + far["HCOctetsRetrans"]
        agree("workload", far, {"HCDataOctetsOut": Between(low=once, reason=REFUSED)})
    agree_on_sums(server, synacks=server.kernel("TCPSynRetrans"))


def test_a_test_of_both_directions_at_once_adds_up(
    net: Net, lossless: Net, database: Database
) -> None:
    """One connection full of data both ways, under Reno and 1 % loss."""
    both = [Sums(host, database, IPERF) for host in lossless.hosts]
    argv = [
        "iperf",
        "-c",
        net.server.v4,
        "-p",
        str(IPERF),
        "--full-duplex",
        "-b",
        "20m",
        "-Z",
        "reno",
    ]
    with listening(net.server, "iperf", "-s", "-p", str(IPERF), "-Z", "reno"):
        net.lose(10)
        net.client.run(*argv, "-t", "3")
        net.lose(0)
        time.sleep(QUIET_SECONDS)
        database.catch_up()
    for sums in both:
        assert sums.kernel("Tcp:RetransSegs") > 0
        agree_on_sums(sums)


def test_a_redirected_port_and_a_shrinking_path_are_what_each_socket_knows(
    net: Net, lossless: Net, database: Database, peers: Pair
) -> None:
    """The client's row has the port it called, the server's the one it listens on; MSS follows."""
    for host in lossless.hosts:
        host.sysctl("net.ipv4.tcp_ecn", 0)
    rule = f"tcp dport {FRONT} redirect to :{BACK}"
    chain = f"chain in {{\ntype nat hook prerouting priority -100\n{rule}\n}}\n"
    net.server.run("nft", "-f", "-", text=f"table ip front {{\n{chain}}}\n")
    peers.server("listen", address=net.server.v4, port=BACK)
    peers.server.tell("accept", count=3)
    peers.client("connect", address=net.server.v4, port=FRONT, count=3)
    peers.server.hear()
    peers.exchange(3, 10_000)
    route = ["ip", "route", "change", "10.23.0.0/24", "dev", "eth0", "src", net.client.v4]
    net.client.run(*route, "mtu", "700")
    peers.exchange(3, 10_000)
    net.client.run(*route)
    settle(database, peers)
    for peer, known in ((peers.client, {"RemPort": FRONT}), (peers.server, {"LocalPort": BACK})):
        for witness in peer.witnesses():
            row = database.latest(witness.cookie)
            agree_with_socket(row, witness)
            agree("workload", row, known)
            if peer is peers.client:
                assert row["MinMSS"] < 700 < row["MaxMSS"]
    net.server.run("nft", "delete", "table", "ip", "front")


def test_a_crowd_of_which_a_third_hangs_up_leaves_a_row_for_each_end(
    net: Net, lossless: Net, database: Database
) -> None:
    """150 at once over IPv6: as many rows as the kernel counted opens, and every one has closed."""
    hosts = (lossless.client, lossless.server)
    began_us, lost = time.time_ns() // 1000, database.lost()
    before = [host.mib() for host in hosts]
    with serving(net.server, CROWD, "-c", CROWD_SERVER):
        net.client.run(sys.executable, "-c", CROWD_CLIENT, net.server.v6)
        time.sleep(QUIET_SECONDS)
        database.catch_up()
    after = [host.mib() for host in hosts]
    opens = [after[0]["Tcp:ActiveOpens"] - before[0]["Tcp:ActiveOpens"]]
    opens += [after[1]["Tcp:PassiveOpens"] - before[1]["Tcp:PassiveOpens"]]
    sql = "SELECT * FROM latest WHERE ? IN (LocalPort, RemPort) AND opened_us >= ?"
    rows = database.ask(sql, CROWD, began_us)
    origins = Counter(row["origin"] for row in rows)
    assert [origins["active"], origins["passive"]] == opens == [CALLERS, CALLERS]
    assert all(row["closed_us"] for row in rows)
    asked = Counter(sum(range(1, 60_000, 7_919 + number)) for number in range(CALLERS))
    echoed = Counter(row["HCDataOctetsOut"] - row["HCOctetsRetrans"] for row in rows)
    assert echoed == Counter({size: 2 * count for size, count in asked.items()})
    assert database.lost() == lost


def test_a_file_that_the_kernel_sends_over_a_reordering_path_is_as_captured(
    detour: tuple[Net, Relay], relay: Relay, database: Database, tmp_path: Path
) -> None:
    """sendfile() to a reader that is slower than the path: both ends as tcpdump saw them."""
    net, file = detour[0], tmp_path / "file"
    file.write_bytes(os.urandom(FILE_OCTETS))
    sums = [Sums(host, database, FILE) for host in net.hosts]
    with capturing_both(net, tmp_path, FILE) as files:
        with serving(net.server, FILE, "-c", FILE_SERVER, net.server.v4, str(file)):
            relay.weather(Weather(delay_ms=5, late=20, late_ms=8, lose=3))
            net.client.run(sys.executable, "-c", FILE_READER, net.server.v4)
            relay.weather(Weather())
            time.sleep(QUIET_SECONDS)
        database.catch_up()
    (flow,) = ends(files[net.client], net.client.v4)
    for host, way in ((net.client, flow), (net.server, flow[::-1])):
        row = row_of(database, host, way)
        agree("capture", row, totals(files[host], host, way))
        agree("capture", row, ends(files[host], host.v4)[way].values)
    sent = row_of(database, net.server, flow[::-1])
    agree("workload", sent, {"HCDataOctetsOut": FILE_OCTETS + sent["HCOctetsRetrans"]})
    for each in sums:
        agree_on_sums(each)
