"""A start from the cache is a start: the same maps, the same programs, the right values."""

import os
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

import pytest

from bpf import compiler, syscall
from bpf.btf import Btf
from bpf.bytecode import Bytecode
from bpf.cache import Cache
from bpf.errors import EnvironmentLacksError
from bpf.filters import Filters
from bpf.loader import Loaded, Request, load
from bpf.variable import HISTORIES, SAMPLED
from tests.kernel.collecting import Collector, agree_with_socket, collecting
from tests.kernel.net import Net
from tests.kernel.traffic import Pair

pytestmark = pytest.mark.kernel

CONNECTIONS, WRITES, OCTETS = 8, 20, 7_300
PORTS = count(8901)
REQUEST = Request(tables=HISTORIES, shards=2, flush_us=250_000, filters=Filters(), adjustable=True)


def maps(loaded: Loaded) -> list[syscall.MapInfo]:
    """What the kernel says of the maps whose descriptors are handed over; numbers are its own."""
    assert loaded.listeners is not None and loaded.settings is not None
    fds = [*loaded.rings.values(), loaded.counters, loaded.finals, loaded.settings]
    return [syscall.map_info(fd)._replace(number=0) for fd in (*fds, loaded.listeners.closed)]


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the compiler fail."""

    def fail(
        _btf: Btf, _text: str, _defines: Mapping[str, int], _functions: Sequence[str]
    ) -> Bytecode:
        raise EnvironmentLacksError("the compiler was run")

    monkeypatch.setattr(compiler, "compile_programs", fail)


def test_a_second_start_runs_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And has the maps of the first one; another request has programs of its own."""
    first = load(REQUEST, tmp_path / "cache")
    before = maps(first)
    first.close()
    assert first.origin == "compiled"
    forbid(monkeypatch)

    second = load(REQUEST, tmp_path / "cache")
    after = maps(second)
    second.close()

    assert second.origin == "from the cache"
    assert after == before
    other = Request(tables=SAMPLED, shards=1, flush_us=250_000, filters=Filters())
    with pytest.raises(EnvironmentLacksError, match="the compiler was run"):
        load(other, tmp_path / "cache")


def test_a_cache_that_cannot_be_used_costs_only_time(tmp_path: Path) -> None:
    """The programs are loaded, and why they were compiled is told."""
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(0o777)

    loaded = load(REQUEST, folder)
    loaded.close()

    assert loaded.origin.startswith(f"compiled; not kept, for {folder}: it is not this user's")


def test_both_ways_to_compile_make_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process on one CPU, two on two: the same instructions for the same maps."""
    parts, made = compiler.parts, []
    for cpus in (1, 2):
        folder = tmp_path / str(cpus)
        monkeypatch.setattr(compiler, "parts", lambda functions, _, n=cpus: parts(functions, n))
        load(REQUEST, folder).close()
        (kept,) = folder.iterdir()
        made.append(Cache(folder).bytecode(kept.name, unasked)[0])
    one, two = made

    assert one.maps == two.maps
    assert one.programs == two.programs


def unasked() -> Bytecode:
    """What is kept needs not be made."""
    raise AssertionError("it was kept")


def traffic(net: Net, peers: Pair, running: Collector) -> None:
    """Connections with loss, and what the database says of them."""
    peers.open(net.server, 4, next(PORTS), CONNECTIONS)
    net.lose(50)
    peers.exchange(WRITES, OCTETS)
    net.lose(0)
    running.database.catch_up()
    witnesses = [witness for peer in peers.peers for witness in peer.witnesses()]
    assert len(witnesses) >= 2 * CONNECTIONS
    for witness in witnesses:
        agree_with_socket(running.database.latest(witness.cookie), witness)
    assert running.database.lost() == 0


def test_programs_from_the_cache_see_what_happens(
    net: Net, peers: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first collector compiles; the second one says that it did not, and is as right."""
    for host in net.hosts:
        host.sysctl("net.ipv4.tcp_ecn", 1)
    monkeypatch.setenv("ESTATS_TEST_CACHE", str(tmp_path / "cache"))
    for name, origin in (("first", "compiled"), ("second", "from the cache")):
        folder = tmp_path / name
        folder.mkdir()
        with collecting(folder, "--source", "bpf", program="tests.kernel.cached") as running:
            if origin == "from the cache":
                traffic(net, peers, running)
        assert f" s, {origin}\n" in running.log.read_text()
    (kept,) = os.listdir(tmp_path / "cache")
    assert len(kept) == 64
