"""``--max-overhead``: what is given up for it, in which order, and that all of it is counted."""

import signal
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from bpf import syscall
from bpf.filters import Filters
from bpf.loader import Loaded, Request, load
from bpf.record import Flag, batch_dtype
from bpf.variable import SAMPLED
from collector.kernel import Counters
from collector.ring import Ring
from tests.kernel.collecting import Collector, Database, collecting, until
from tests.kernel.inside import cookie

pytestmark = pytest.mark.kernel

OCTETS = 100
CONNECTIONS = 200
TOGETHER = 20  # connections between two looks at the database
FOREVER = (1 << 63) - 1
GOLDEN = 11400714819323198485
SYSCTL = Path("/proc/sys/kernel/bpf_stats_enabled")

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A listener on loopback whose port is the only one that is collected."""
    with closing(socket.create_server(("127.0.0.1", 0))) as made:
        yield made


@contextmanager
def connected(server: socket.socket) -> Iterator[Ends]:
    """Both ends of a connection that has sent something."""
    with closing(socket.create_connection(server.getsockname())) as client:
        accepted, _ = server.accept()
        with closing(accepted):
            exchange((client, accepted))
            yield client, accepted


def exchange(ends: Ends) -> None:
    """Send a few octets, and read them."""
    client, accepted = ends
    client.sendall(b"x" * OCTETS)
    assert len(accepted.recv(OCTETS, socket.MSG_WAITALL)) == OCTETS


@contextmanager
def adjustable(server: socket.socket) -> Iterator[Loaded]:
    """The programs alone, of the server's port, as for a run with a budget."""
    filters = Filters(ports=(server.getsockname()[1],))
    loaded = load(
        Request(tables=SAMPLED, shards=1, flush_us=1_000, filters=filters, adjustable=True)
    )
    try:
        yield loaded
    finally:
        loaded.close()


def finals(loaded: Loaded) -> list[int]:
    """Whose last batches wait in the rings."""
    found: list[int] = []
    for fd in loaded.rings.values():
        ring = Ring(fd, loaded.ring_bytes, batch_dtype())
        head = ring.read(FOREVER)["head"]
        found += head["id"][(head["flags"] & np.uint32(Flag.FINAL)) != 0].tolist()
        ring.release()
    return found


@pytest.mark.parametrize("bits", [0, 1, 3, 10])
def test_who_is_left_out_is_told_by_the_hash_of_its_cookie(
    server: socket.socket, bits: int
) -> None:
    """Each of the others sends its end; those that do not are counted, one by one."""
    with adjustable(server) as loaded:
        assert loaded.settings is not None
        syscall.set_element(loaded.settings, struct.pack("=I", 0), struct.pack("=II", 0, bits))
        made: list[int] = []
        for _ in range(CONNECTIONS):
            with connected(server) as ends:
                made += map(cookie, ends)
        tracked = [one for one in made if (one * GOLDEN >> 32) % (1 << 32) >> (32 - bits) == 0]

        assert sorted(finals(loaded)) == sorted(tracked)
        assert Counters(loaded, 1).total("sampled_out") == len(made) - len(tracked)


def test_a_connection_that_is_tracked_stays_so(server: socket.socket) -> None:
    """Whatever is set afterwards; one that was left out stays that, too."""
    with adjustable(server) as loaded:
        assert loaded.settings is not None
        with connected(server) as before:
            whose = sorted(map(cookie, before))
            syscall.set_element(loaded.settings, struct.pack("=I", 0), struct.pack("=II", 0, 31))
            with connected(server) as after:
                syscall.set_element(loaded.settings, bytes(4), bytes(8))
                for ends in (before, after):
                    exchange(ends)

        assert sorted(set(finals(loaded))) == whose
        assert Counters(loaded, 1).total("sampled_out") == 2


def budgeted(server: socket.socket, share: str) -> list[str]:
    """Options of a collector of the server's port that has this budget."""
    port = str(server.getsockname()[1])
    options = ["--port", port, "--flush-interval", "250ms"]
    return [*options, "--source", "bpf", "--max-overhead", share]


def storm(server: socket.socket, enough: Callable[[], bool]) -> int:
    """Short connections until there are enough; how many."""
    made = 0

    def go_on() -> bool:
        nonlocal made
        for _ in range(TOGETHER):
            with connected(server):
                made += 1
        return enough()

    until("an effect of the storm", go_on)
    return made


def snapshots(base: Database, question: str) -> int:
    """One value of all snapshots so far."""
    return int(base.value(f"SELECT coalesce({question}, 0) FROM snapshot") or 0)  # noqa: S608


def agree_with_the_storm(base: Database, ends: int) -> None:
    """Every end has a row that closed with all that it sent or received, or was left out."""
    rows = base.ask("SELECT * FROM latest ORDER BY ConnectIndex")
    assert len(rows) + snapshots(base, "sum(sampled_out)") == ends
    assert base.lost() == 0
    for row in rows:
        octets = row["HCDataOctetsOut" if row["origin"] == "active" else "HCDataOctetsIn"]
        assert (row["closed_us"] is not None, octets) == (True, OCTETS)


def test_a_small_budget_first_flushes_less_often_and_then_leaves_connections_out(
    server: socket.socket, tmp_path: Path
) -> None:
    """No end is lost without a word, and a connection from before is told of to its end."""
    with collecting(tmp_path, *budgeted(server, "0.001%")) as collector:
        base = collector.database
        with connected(server) as old:
            whose = list(map(cookie, old))
            until("the old connection", lambda: base.ask("SELECT 1 FROM connection"))
            made = storm(server, lambda: snapshots(base, "sum(sampled_out)") > 0)
            for _ in range(9):
                exchange(old)
        base.catch_up()
    before = base.ask("SELECT * FROM latest WHERE cookie IN (?, ?)", *whose)
    assert [row["closed_us"] is not None for row in before] == [True, True]
    assert sum(row["HCThruOctetsReceived"] or 0 for row in before) >= 10 * OCTETS
    told = base.ask("SELECT * FROM snapshot ORDER BY snapshot_id")
    flush, sampled = ([row[name] for row in told] for name in ("flush_interval_us", "sampled"))
    assert flush == sorted(flush) and flush[0] == 250_000 and flush[-1] == 1_000_000
    assert sampled == sorted(sampled) and sampled[0] == 1 < sampled[-1]
    assert all(most == 1_000_000 for most, of in zip(flush, sampled, strict=True) if of > 1)
    assert sum(row["bpf_ns"] or 0 for row in told) > 0
    assert "left out to keep to --max-overhead" in collector.log.read_text().splitlines()[-1]
    with_old = len(base.ask("SELECT 1 FROM connection")) + snapshots(base, "sum(sampled_out)")
    assert with_old == 2 * made + 2


def test_a_budget_that_is_never_reached_changes_nothing(
    server: socket.socket, tmp_path: Path
) -> None:
    """All ends are there, and what they cost is told."""
    with collecting(tmp_path, *budgeted(server, "100000%")) as collector:
        base = collector.database
        made = storm(server, lambda: snapshots(base, "count(bpf_ns)") > 2)
        base.catch_up()
    agree_with_the_storm(base, 2 * made)
    told = base.ask("SELECT DISTINCT flush_interval_us, sampled, sampled_out FROM snapshot")
    assert [tuple(row.values()) for row in told] == [(250_000, 1, 0)]
    assert snapshots(base, "sum(bpf_ns)") > 0


def test_the_kernel_times_programs_no_longer_than_a_budget_lives(
    server: socket.socket, tmp_path: Path
) -> None:
    """Not even after kill -9 in the middle of a look."""
    if SYSCTL.read_text().strip() != "0":
        pytest.skip("somebody else has the kernel time all programs")

    def spent(loaded: Loaded) -> int:
        with connected(server):
            return sum(map(syscall.run_time_ns, loaded.programs))

    collector = Collector(tmp_path, "--source", "bpf", "--max-overhead", "0.001%")
    try:
        collector.ready()
        with adjustable(server) as loaded:
            before = spent(loaded)
            until("a look of the collector", lambda: spent(loaded) > before)
            collector.stop(signal.SIGKILL)
            after = spent(loaded)
            for _ in range(TOGETHER):
                assert spent(loaded) == after
    finally:
        collector.destroy()
