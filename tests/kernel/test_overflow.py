"""Rings that are far too small lose updates, never a closing, and count what they lose."""

import socket
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest

from bpf import loader
from bpf.filters import Filters
from bpf.loader import Loaded, Request, load
from bpf.record import Flag, batch_dtype
from bpf.variable import SAMPLED
from collector.kernel import Counters, Overflow, census, sweep
from collector.ring import Batches, Ring, RingSource

pytestmark = pytest.mark.kernel

RING_BYTES = 8192  # 14 batches
CONNECTIONS = 300
FOREVER = (1 << 63) - 1


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A listener on loopback whose port is the only one that is collected."""
    with closing(socket.create_server(("127.0.0.1", 0))) as made:
        yield made


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


def short_connections(server: socket.socket, count: int) -> None:
    """Connect, one octet, close; one after another."""
    for _ in range(count):
        with closing(socket.create_connection(server.getsockname())) as client:
            accepted, _ = server.accept()
            client.sendall(b"x")
            accepted.recv(1)
        accepted.close()


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
