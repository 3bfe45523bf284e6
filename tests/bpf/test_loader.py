"""The loader's own part: what to load, and descriptors that reach the parent in their places."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpf import loader
from bpf.errors import EnvironmentLacksError
from bpf.filters import Filters
from bpf.loader import ListenerFds, Loaded, Request, attached, cgroup_root, load, ring_bytes
from bpf.probes import PROBES, Hook
from bpf.variable import SAMPLED, Table

REQUEST = Request(tables=SAMPLED, shards=2, flush_us=1_000, filters=Filters())


@given(st.integers(1, 1 << 16))
def test_a_ring_is_a_power_of_two_within_bounds(rings: int) -> None:
    """All together about 32 MiB, unless one would be too small or larger than it need be."""
    size = ring_bytes(rings)

    assert size & (size - 1) == 0
    assert 128 << 10 <= size <= 4 << 20
    assert size == 128 << 10 or size * rings <= 32 << 20
    assert size == 4 << 20 or size * rings > 16 << 20


@pytest.mark.parametrize(
    ("tables", "packets"),
    [(SAMPLED, True), ((Table.PERF,), True), ((Table.TUNE,), False), ((Table.EXTRAS,), False)],
)
def test_a_hook_that_no_table_needs_is_not_attached(
    tables: tuple[Table, ...], packets: bool
) -> None:
    """The cheapest hook; the others stay in the order in which they are attached."""
    probes = attached(tables)
    hooks = {probe.hook for probe in probes}

    assert list(probes) == sorted(probes, key=PROBES.index)
    assert {Hook.TRACEPOINT, Hook.ITERATOR} <= hooks
    assert (hooks >= {Hook.INGRESS, Hook.EGRESS}) is packets
    assert all(set(probe.tables).isdisjoint(tables) for probe in set(PROBES) - set(probes))


@pytest.mark.parametrize(
    ("mounts", "root"),
    [
        ("cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\nnone /a cgroup2 rw 0 0\n", "/a"),
        ("none /with\\040space cgroup2 rw,nosuid 0 0\n", "/with space"),
        ("cgroup /sys/fs/cgroup/cpu cgroup rw,cgroup2 0 0\n", None),
    ],
)
def test_cgroup_v2_is_where_it_is_mounted(
    monkeypatch: pytest.MonkeyPatch, mounts: str, root: str | None
) -> None:
    """Nowhere else is assumed; where it is not mounted, the cure is told."""
    monkeypatch.setattr(Path, "read_text", lambda _: mounts)
    if root is not None:
        assert cgroup_root() == Path(root)
        return
    with pytest.raises(EnvironmentLacksError) as lack:
        cgroup_root()
    assert "mount -t cgroup2" in lack.value.advice


def test_a_list_of_cpus_is_read_as_the_kernel_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges and single ones; CPUs may be missing in between."""
    monkeypatch.setattr(Path, "read_text", lambda _: "0-2,5,8-9\n")

    assert loader._cpu_list("online") == [0, 1, 2, 5, 8, 9]
    assert loader._highest_cpu() == 9


class Files:
    """Descriptors that can be told apart on either side of a socket: files named by a number."""

    def __init__(self, folder: Path) -> None:
        """The files are made in ``folder``."""
        self._folder = folder

    def open(self, number: int) -> int:
        """A descriptor of the file of this number."""
        return os.open(self._folder / str(number), os.O_CREAT | os.O_RDWR, 0o600)

    def loaded(self, rings: int, *, listeners: bool = True, settings: bool = True) -> Loaded:
        """As if so many rings were in the kernel, each descriptor with a number of its own."""
        return Loaded(
            rings={(cpu, 1): self.open(100 + cpu) for cpu in range(rings)},
            ring_bytes=4096,
            cpus=rings,
            counters=self.open(1),
            bound=self.open(11),
            finals=self.open(2),
            sweep=self.open(3),
            census=self.open(4),
            listeners=ListenerFds(self.open(8), self.open(9)) if listeners else None,
            settings=self.open(10) if settings else None,
            links=(self.open(5), self.open(6)),
            programs=(self.open(7),),
            unavailable={"CERcvd": "this kernel has none"},
            seconds=0.5,
            origin="from the cache",
        )

    @staticmethod
    def number(fd: int) -> int:
        """The number of the file behind a descriptor."""
        return int(Path(f"/proc/self/fd/{fd}").readlink().name)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    """For one test; afterwards not one descriptor more is open than before it."""
    before = sorted(os.listdir("/proc/self/fd"))
    yield Files(tmp_path)
    assert sorted(os.listdir("/proc/self/fd")) == before


def replaced(monkeypatch: pytest.MonkeyPatch, load_here: Callable[[Request], Loaded]) -> None:
    """Let this do the child's work."""
    monkeypatch.setattr(loader, "_load_here", lambda request, _cache: load_here(request))


@pytest.mark.parametrize("settings", [True, False])
@pytest.mark.parametrize("listeners", [True, False])
@pytest.mark.parametrize("rings", [1, 119, 120, 121, 122, 300])
def test_each_descriptor_arrives_in_its_place(
    monkeypatch: pytest.MonkeyPatch, files: Files, rings: int, listeners: bool, settings: bool
) -> None:
    """However many messages they take; the facts beside them are those of the child."""
    replaced(monkeypatch, lambda _: files.loaded(rings, listeners=listeners, settings=settings))

    loaded = load(REQUEST)

    maps = (loaded.counters, loaded.finals, loaded.bound)
    assert [files.number(fd) for fd in maps] == [1, 2, 11]
    rest = (loaded.sweep, loaded.census, *loaded.links, *loaded.programs)
    assert [files.number(fd) for fd in rest] == [3, 4, 5, 6, 7]
    assert [files.number(fd) for fd in loaded.listeners or ()] == [8, 9] * listeners
    assert (loaded.settings and files.number(loaded.settings)) == (10 if settings else None)
    assert {key: files.number(fd) for key, fd in loaded.rings.items()} == {
        (cpu, 1): 100 + cpu for cpu in range(rings)
    }
    assert (loaded.ring_bytes, loaded.cpus, loaded.seconds) == (4096, rings, 0.5)
    assert loaded.unavailable == {"CERcvd": "this kernel has none"}
    assert loaded.origin == "from the cache"

    loaded.close()


def test_a_worker_keeps_only_its_shard(monkeypatch: pytest.MonkeyPatch, files: Files) -> None:
    """Neither links nor the rings of others, or it would hold the programs; the maps stay."""
    replaced(monkeypatch, lambda _: files.loaded(3))
    loaded = load(REQUEST)
    kept = {*loaded.rings.values(), loaded.counters, loaded.finals}

    loaded.keep_shard(1)

    ours = (*loaded.links, *loaded.programs, loaded.sweep, loaded.census, loaded.bound)
    assert loaded.settings is not None
    for fd in (*ours, *(loaded.listeners or ()), loaded.settings):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
    for fd in kept:
        os.close(fd)  # still open


def test_what_the_host_lacks_is_told_by_the_parent(
    monkeypatch: pytest.MonkeyPatch, files: Files
) -> None:
    """The sentence and the cure, as the child found them."""

    def lack(_: Request) -> Loaded:
        raise EnvironmentLacksError("this kernel has no sockets", "get some")

    replaced(monkeypatch, lack)
    with pytest.raises(EnvironmentLacksError) as told:
        load(REQUEST)

    assert (told.value.message, told.value.advice) == ("this kernel has no sockets", "get some")


def test_what_nobody_foresaw_is_told_too(monkeypatch: pytest.MonkeyPatch, files: Files) -> None:
    """The kind of the error and its words, in one sentence."""

    def fail(_: Request) -> Loaded:
        raise ZeroDivisionError("by zero")

    replaced(monkeypatch, fail)
    with pytest.raises(EnvironmentLacksError, match="ZeroDivisionError: by zero"):
        load(REQUEST)


def test_a_loader_that_is_killed_is_told(monkeypatch: pytest.MonkeyPatch, files: Files) -> None:
    """As by the kernel, when memory is short."""

    def die(_: Request) -> Loaded:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("it is dead")

    replaced(monkeypatch, die)
    with pytest.raises(EnvironmentLacksError, match="was killed"):
        load(REQUEST)


def test_a_loader_killed_between_its_messages_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The facts have come, the descriptors have not."""

    def facts_only(channel: socket.socket, loaded: Loaded) -> None:
        monkeypatch.setattr(socket.socket, "sendmsg", lambda *_: os.kill(os.getpid(), 9))
        send(channel, loaded)

    send = loader._send
    monkeypatch.setattr(loader, "_send", facts_only)
    replaced(monkeypatch, lambda _: Files(tmp_path).loaded(1))
    with pytest.raises(EnvironmentLacksError, match="was killed"):
        load(REQUEST)


def test_no_child_is_left(monkeypatch: pytest.MonkeyPatch, files: Files) -> None:
    """Not even as a zombie."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    before = children.read_text()
    replaced(monkeypatch, lambda _: files.loaded(1))

    load(REQUEST).close()

    assert children.read_text() == before
