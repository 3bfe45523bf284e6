"""Rings and maps that are far too small: what they lose is counted, and a ring loses no closing."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

import numpy as np
import pytest

from bpf import loader
from bpf.filters import Filters
from bpf.loader import Loaded, Request, load
from bpf.record import Flag, batch_dtype
from bpf.variable import SAMPLED, Table
from collector.kernel import Counters, Overflow, census, sweep
from collector.listeners import KernelListeners
from collector.ring import Batches, Ring, RingSource

pytestmark = pytest.mark.kernel

RING_BYTES = 8192  # 14 batches
CONNECTIONS = 300
LISTENERS_MAX = 64
BEYOND = 6
FOREVER = (1 << 63) - 1


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A listener on loopback whose port is the only one that is collected."""
    with closing(listener(0)) as made:
        yield made


@pytest.fixture
def port(server: socket.socket) -> int:
    """Its port, which others may share."""
    return int(server.getsockname()[1])


@pytest.fixture
def loaded(server: socket.socket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loaded]:
    """The programs with rings of the smallest size."""
    monkeypatch.setattr(loader, "_RINGS_BYTES", RING_BYTES)
    monkeypatch.setattr(loader, "_RING_BYTES_MIN", RING_BYTES)
    monkeypatch.setattr(loader, "_RING_BYTES_MAX", RING_BYTES)
    ports = (server.getsockname()[1],)
    made = load(Request(tables=SAMPLED, shards=1, flush_us=1_000, filters=Filters(ports=ports)))
    yield made
    made.close()


@pytest.fixture
def few_listeners(server: socket.socket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loaded]:
    """The programs with room for a few listeners."""
    monkeypatch.setattr(loader, "_LISTENERS_MAX", LISTENERS_MAX)
    filters = Filters(ports=(server.getsockname()[1],))
    made = load(Request(tables=(Table.LISTENER,), shards=1, flush_us=1_000, filters=filters))
    yield made
    made.close()


def short_connections(server: socket.socket, count: int) -> None:
    """Connect, one octet, close; one after another."""
    for _ in range(count):
        with closing(socket.create_connection(server.getsockname())) as client:
            accepted, _ = server.accept()
            client.sendall(b"x")
            accepted.recv(1)
        accepted.close()


def listener(port: int) -> socket.socket:
    """One more at this port."""
    return socket.create_server(("127.0.0.1", port), reuse_port=True)


def drained(sources: list[RingSource]) -> Batches:
    """Everything the sources hold now."""
    taken: list[Batches] = []
    for source in sources:
        taken.append(source.read(FOREVER).copy())
        source.release()
    return np.concatenate(taken)


def test_every_closing_arrives_though_the_rings_are_full(
    loaded: Loaded, server: socket.socket
) -> None:
    """Final batches that find no room wait in the overflow map, each exactly once."""
    counters = Counters(loaded, 1)
    sources: list[RingSource] = [
        Ring(fd, RING_BYTES, batch_dtype()) for fd in loaded.rings.values()
    ]
    sources.append(Overflow(loaded, counters, 0, batch_dtype()))

    short_connections(server, CONNECTIONS)
    assert sweep(loaded) == 0, "nothing lives that could want room"
    batches = drained(sources)
    final = batches[(batches["head"]["flags"] & np.uint32(Flag.FINAL)) != 0]["head"]

    assert counters.total("overflowed") > CONNECTIONS
    assert counters.total("lost_finals") == 0
    assert len(final) == len(set(final["id"].tolist())) == 2 * CONNECTIONS
    assert (final["ts"] > 0).all()
    assert len(census(loaded)) == 0
    assert len(drained(sources)) == 0


def test_updates_that_find_no_room_are_counted_and_healed(
    loaded: Loaded, server: socket.socket
) -> None:
    """A gap in ``sent`` tells what was lost; the next batch has the totals all the same."""
    counters = Counters(loaded, 1)
    rings: list[RingSource] = [Ring(fd, RING_BYTES, batch_dtype()) for fd in loaded.rings.values()]
    with closing(socket.create_connection(server.getsockname())) as client:
        accepted, _ = server.accept()
        while counters.total("lost") < 10:
            client.sendall(b"x" * 1000)
            accepted.recv(1000)
        octets = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136)[128:136]
        first = drained(rings)
        sweep(loaded)
        healed = drained(rings)
        accepted.close()

    local = healed[healed["identity"]["local_port"] == server.getsockname()[1]]
    assert local["app"]["hc_thru_octets_received"].tolist() == [int.from_bytes(octets, "little")]
    assert int(healed["head"]["sent"].sum()) == len(first) + len(healed) + counters.total("lost")


def test_listeners_beyond_the_bound_are_counted(few_listeners: Loaded, port: int) -> None:
    """Each of them has a row, or is in ``untracked``."""
    assert few_listeners.listeners is not None
    counters, kernel = Counters(few_listeners, 1), KernelListeners(few_listeners.listeners)
    before = len(kernel.look())
    with ExitStack() as stack:
        for _ in range(LISTENERS_MAX + BEYOND):
            stack.enter_context(listener(port))
        found = len(kernel.look()) - before

    assert 0 < found <= LISTENERS_MAX
    assert found + counters.total("untracked") == LISTENERS_MAX + BEYOND


def test_last_rows_of_listeners_that_find_no_room_are_counted(
    few_listeners: Loaded, port: int
) -> None:
    """Those that were asked for: who is filtered out takes no room, and is no loss."""
    assert few_listeners.listeners is not None
    counters, kernel = Counters(few_listeners, 1), KernelListeners(few_listeners.listeners)
    for _ in range(LISTENERS_MAX + BEYOND):
        listener(port).close()
        listener(0).close()
    rows = kernel.look()

    assert np.count_nonzero(rows["head"]["closed_ns"]) == LISTENERS_MAX
    assert counters.total("lost_finals") == BEYOND
    assert not np.count_nonzero(kernel.look()["head"]["closed_ns"]), "each is told once"
