"""Bytecode into the kernel: make the maps, load, attach.

It runs in a short-lived child, so that nothing of it stays in the collector. The child sends the
file descriptors of the links and maps to its parent and exits; the descriptors are all that holds
the programs in the kernel. The bytecode is the compiler's, of this start or of an earlier one.
"""

import array
import contextlib
import errno
import json
import os
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from bpf import bytecode, children, compiler, maps, namespaces, syscall
from bpf.btf import Btf, Kind
from bpf.bytecode import Bytecode
from bpf.cache import Cache
from bpf.drops import c_source as drops_source
from bpf.errors import EnvironmentLacksError, exhausted
from bpf.filters import Filters
from bpf.filters import c_source as filters_source
from bpf.probes import PROBES, Hook, Probe
from bpf.syscall import AttachType, ProgramType
from bpf.variable import HISTORIES, Table

_HERE: Final = Path(__file__).resolve().parent
#: One text, in this order: BCC makes programs only of what stands in the main file.
_SOURCES: Final = (
    "state",
    "observe",
    "limits",
    "fill",
    "emit",
    "congestion",
    "listeners",
    "lifecycle",
    "segments",
    "sweep",
)

_FDS_PER_MESSAGE: Final = 128  # the kernel takes 253
_RINGS_BYTES: Final = 32 << 20  # all rings together, if the limits of one allow it
_RING_BYTES_MIN: Final = 128 << 10
_RING_BYTES_MAX: Final = 4 << 20
_FINALS_MAX: Final = 8192
_RETRANSMITTED_MAX: Final = 16384
_LISTENERS_MAX: Final = 16384
_REQUESTS_MAX: Final = 16384
#: Connections that are tracked at a time, unless somebody says otherwise.
CONNECTIONS_MAX: Final = 250_000
_BOUND: Final = struct.Struct("=5Q")  # struct estats_bound
_CLOCK_REALTIME_COARSE: Final = 5  # steps once a tick; Python has no name for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to load: chosen tables, number of shards, intervals in microseconds, filters.

    RTT samples above ``rtt_threshold_us`` count as high (HighRTTm). What is ``adjustable`` is set
    while the programs run. No more than ``connections_max`` are tracked at a time.
    """

    tables: tuple[Table, ...]
    shards: int
    flush_us: int
    filters: Filters
    rtt_threshold_us: int = 100_000
    adjustable: bool = False
    connections_max: int = CONNECTIONS_MAX


class ListenerFds(NamedTuple):
    """``look`` is an iterator that gives a ``record.LISTENER`` of each listener.

    ``closed`` maps cookie and start time, 8 octets each, to the last record of one that is no more.
    """

    look: int
    closed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What is in the kernel now, as file descriptors; closing all of them takes it out again.

    ``rings[(cpu, shard)]`` are BPF ring buffers of ``ring_bytes``. ``counters`` is an array map of
    a struct estats_counters for each ``cpu * shards + shard`` (``collector.kernel.COUNTERS``), fit
    for mmap; so is ``bound``, of one struct estats_bound. ``finals`` maps a connection's id to a
    final batch that found no room. ``links`` hold the programs, of which ``programs`` are those
    that the kernel runs by itself, at segments and events; ``sweep`` and ``census`` are iterators
    for ``syscall.iterate``. ``listeners`` is None where their table is masked out; ``settings``,
    where nothing is adjustable, else an array map of one element: the flush interval in
    microseconds and how many of the highest bits of a new connection's hash must be 0, each a u32.
    ``unavailable`` maps a variable to the reason why this kernel has none. ``origin`` says whether
    the programs were compiled or kept, and what hindered.
    """

    rings: Mapping[tuple[int, int], int]
    ring_bytes: int
    cpus: int
    counters: int
    bound: int
    finals: int
    links: tuple[int, ...]
    programs: tuple[int, ...]
    sweep: int
    census: int
    listeners: ListenerFds | None = None
    settings: int | None = None
    unavailable: Mapping[str, str]
    seconds: float
    origin: str = "compiled"

    def close(self) -> None:
        """Let go of everything: the kernel unloads it."""
        for fd in (*self._steering, *self.rings.values(), self.counters, self.finals):
            os.close(fd)

    def keep_shard(self, shard: int) -> None:
        """In a worker: close what it needs no more, so that it does not hold the programs."""
        others = [fd for (_, owner), fd in self.rings.items() if owner != shard]
        for fd in (*self._steering, *others):
            os.close(fd)

    @property
    def _steering(self) -> tuple[int, ...]:
        """What the supervisor alone needs."""
        settings = () if self.settings is None else (self.settings,)
        looks = (self.sweep, self.census, *(self.listeners or ()))
        return (*self.links, *self.programs, *looks, *settings, self.bound)


def ring_bytes(rings: int) -> int:
    """Size of one ring: a power of two, all together about 32 MiB."""
    share = _RINGS_BYTES // rings
    return max(_RING_BYTES_MIN, min(_RING_BYTES_MAX, 1 << (share.bit_length() - 1)))


def cgroup_root() -> Path:
    """Where cgroup v2 is mounted; raises EnvironmentLacksError where it is not."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(mount.replace("\\040", " "))
    raise EnvironmentLacksError(
        "cgroup v2 is not mounted",
        "mount -t cgroup2 none /sys/fs/cgroup/unified, or use --source diag",
    )


def source(filters: Filters, btf: Btf) -> str:
    """The one text that is compiled."""
    parts = [(_HERE / "estats_vars.gen.h").read_text().replace("#pragma once\n", "")]
    for name in _SOURCES:
        parts.append((_HERE / f"{name}.bpf.c").read_text())
        if name == "fill":
            parts += [filters_source(filters), drops_source(btf)]
    return "\n".join(parts)


def attached(tables: tuple[Table, ...]) -> tuple[Probe, ...]:
    """The programs that these tables need."""
    return tuple(p for p in PROBES if set(p.tables) & set(tables))


def load(request: Request, cache: Path | None = None) -> Loaded:
    """Load in a child and take its descriptors; ``cache`` is another folder to keep bytecode in.

    Raises EnvironmentLacksError where this host cannot run the programs.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        children.die_with(parent)
        ours.close()
        _child(theirs, request, Cache(cache))
    theirs.close()
    try:
        return _receive(ours)
    finally:
        ours.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)


def _child(channel: socket.socket, request: Request, cache: Cache) -> NoReturn:
    status = 1
    try:
        _send(channel, _load_here(request, cache))
        status = 0
    except BaseException as e:  # (the parent reports it; there is nobody above)
        channel.send(children.excuse(e, "loading"))
    finally:
        os._exit(status)


def _load_here(request: Request, cache: Cache) -> Loaded:
    started = time.monotonic()
    cgroup = os.open(cgroup_root(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    btf = Btf()
    wanted = attached(request.tables)
    probes = tuple(p for p in wanted if is_available(p, btf))
    if missing := [p for p in wanted if p not in probes and not p.is_optional]:
        raise EnvironmentLacksError(
            f"this kernel has no {', '.join(p.target for p in missing)} to attach to",
            f"kernels from {missing[0].since} on have it; --source diag works without",
        )
    cpus = _highest_cpu() + 1
    online = sorted(os.sched_getaffinity(0) | set(_cpu_list("online")))
    size = ring_bytes(len(online) * request.shards)
    made, origin = _bytecode(btf, request, probes, (cpus, size), cache)
    fds = maps.make_maps(made.maps)
    rings = maps.make_rings(fds["rings"], online, request.shards, size)
    bound = _BOUND.pack(0, 0, request.connections_max, 0, 0)
    syscall.set_element(fds["bound"], bytes(4), bound)
    programs = {
        probe: load_program(probe, bytecode.linked(made.programs[probe.function], fds), btf)
        for probe in probes
    }
    links = _attach(programs, cgroup, fds)
    _backfill(links.pop("on_backfill"))
    look = links.pop("on_listeners", None)
    return Loaded(
        rings=rings,
        ring_bytes=size,
        cpus=cpus,
        counters=fds["counters"],
        bound=fds["bound"],
        finals=fds["finals"],
        sweep=links.pop("on_sweep"),
        census=links.pop("on_census"),
        listeners=None if look is None else ListenerFds(look, fds["closed_listeners"]),
        links=tuple(links.values()),
        settings=fds["settings"] if request.adjustable else None,
        programs=tuple(fd for p, fd in programs.items() if p.hook is not Hook.ITERATOR),
        unavailable=_unavailable(set(wanted) - set(probes)),
        seconds=time.monotonic() - started,
        origin=origin,
    )


def _bytecode(
    btf: Btf, request: Request, probes: tuple[Probe, ...], sizes: tuple[int, int], cache: Cache
) -> tuple[Bytecode, str]:
    """The programs of these probes, compiled if they are not kept, and where they are from."""
    cpus, ring_size = sizes
    defines = {
        "ESTATS_CPUS": cpus,
        "ESTATS_SHARDS": request.shards,
        "ESTATS_RING_BYTES": ring_size,
        "ESTATS_FLUSH_US": request.flush_us,
        "ESTATS_FINALS_MAX": _FINALS_MAX,
        "ESTATS_US_PER_JIFFY": 1_000_000 // _hz(),
        "ESTATS_TABLES": sum(1 << i for i, t in enumerate(HISTORIES) if t in request.tables),
        "ESTATS_RETRANSMITTED_MAX": _RETRANSMITTED_MAX,
        "ESTATS_LISTENERS_MAX": _LISTENERS_MAX,
        "ESTATS_REQUESTS_MAX": _REQUESTS_MAX,
        "ESTATS_RTT_THRESHOLD_US": request.rtt_threshold_us,
        **({"ESTATS_BUDGET": 1} if request.adjustable else {}),
        **{f"ESTATS_HOOK_{p.function}": btf.arguments_of(p.target) or 1 for p in probes},
    }
    text = source(request.filters, btf)
    functions = [probe.function for probe in probes]
    return cache.bytecode(
        compiler.key(text, defines, functions),
        lambda: compiler.compile_programs(btf, text, defines, functions),
    )


def is_available(probe: Probe, btf: Btf) -> bool:
    """Whether this kernel has what the program hooks, with the arguments that it reads."""
    if probe.hook is Hook.TRACEPOINT:
        arguments = btf.arguments_of(probe.target)
        return arguments is not None and arguments >= probe.arguments
    if probe.hook is Hook.ITERATOR:
        return btf.find(probe.hook.value.format(target=probe.target), Kind.FUNC) is not None
    return True


def _unavailable(missing: set[Probe]) -> dict[str, str]:
    """The variables that stay NULL on this kernel, and why."""
    return {
        variable: f"this kernel has no tracepoint {probe.target} as of {probe.since}"
        for probe in missing
        for variable in probe.feeds
    }


def _attach(programs: Mapping[Probe, int], cgroup: int, fds: Mapping[str, int]) -> dict[str, int]:
    """The links of all programs, by function; called once none of them was refused."""
    links: dict[str, int] = {}
    for probe, program in programs.items():
        try:
            over = fds[probe.over] if probe.over else None
            links[probe.function] = attach_program(probe, program, cgroup, over)
        except OSError as e:
            raise syscall.refusal(probe.function, e) from e
    return links


def attach_program(probe: Probe, program: int, cgroup: int, over: int | None = None) -> int:
    """Attach one to its hook; the link. ``over`` is the map that an iterator runs over."""
    if probe.hook is Hook.TRACEPOINT:
        return syscall.attach_tracepoint(program)
    if probe.hook is Hook.ITERATOR:
        return syscall.attach_iterator(program, over)
    return syscall.attach_cgroup(program, cgroup, _cgroup_hook(probe))


def _cgroup_hook(probe: Probe) -> AttachType:
    ingress = probe.hook is Hook.INGRESS
    return AttachType.CGROUP_INET_INGRESS if ingress else AttachType.CGROUP_INET_EGRESS


def load_program(probe: Probe, code: bytes, btf: Btf) -> int:
    """Load instructions for a program's hook; its descriptor."""
    if probe.hook in (Hook.INGRESS, Hook.EGRESS):
        where = _cgroup_hook(probe)
        return syscall.load_program(probe.function, code, ProgramType.CGROUP_SKB, where)
    iterator = probe.hook is Hook.ITERATOR
    kind = Kind.FUNC if iterator else Kind.TYPEDEF
    btf_id = btf.find(probe.hook.value.format(target=probe.target), kind)
    assert btf_id is not None, "only available programs are loaded"
    where = AttachType.TRACE_ITER if iterator else AttachType.TRACE_RAW_TP
    return syscall.load_program(probe.function, code, ProgramType.TRACING, where, btf_id)


def _backfill(link: int) -> None:
    """Meet the open connections of every network namespace."""
    for _ in namespaces.visit():
        with contextlib.suppress(OSError):
            syscall.iterate(link)
    os.close(link)


def _hz() -> int:
    """The kernel's tick rate: jiffies are not sysconf's clock ticks."""
    return round(1 / time.clock_getres(_CLOCK_REALTIME_COARSE))


def _cpu_list(which: str) -> list[int]:
    text = Path(f"/sys/devices/system/cpu/{which}").read_text().strip()
    cpus: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        cpus += range(int(first), int(last or first) + 1)
    return cpus


def _highest_cpu() -> int:
    return max(_cpu_list("possible"))


def _send(channel: socket.socket, loaded: Loaded) -> None:
    """The facts as one JSON message, then the descriptors in messages of 128."""
    ring_keys = list(loaded.rings)
    single = [loaded.counters, loaded.bound, loaded.finals, loaded.sweep, loaded.census]
    single += loaded.listeners or ()
    single += [] if loaded.settings is None else [loaded.settings]
    fds = [*single, *loaded.links, *loaded.programs, *(loaded.rings[key] for key in ring_keys)]
    facts = {
        "rings": ring_keys,
        "ring_bytes": loaded.ring_bytes,
        "cpus": loaded.cpus,
        "links": len(loaded.links),
        "programs": len(loaded.programs),
        "listeners": loaded.listeners is not None,
        "settings": loaded.settings is not None,
        "unavailable": dict(loaded.unavailable),
        "seconds": loaded.seconds,
        "origin": loaded.origin,
        "fds": len(fds),
    }
    channel.send(json.dumps(facts).encode())
    for start in range(0, len(fds), _FDS_PER_MESSAGE):
        chunk = array.array("i", fds[start : start + _FDS_PER_MESSAGE])
        channel.sendmsg([b"f"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, chunk)])


def _receive(channel: socket.socket) -> Loaded:
    message = channel.recv(1 << 20)
    if not message:
        raise EnvironmentLacksError("the loader of the kernel programs was killed")
    facts = json.loads(message)
    children.check(facts)
    fds: list[int] = []
    while len(fds) < facts["fds"]:
        _, received, flags, _ = socket.recv_fds(channel, 1, _FDS_PER_MESSAGE)
        if flags & socket.MSG_CTRUNC and (lack := exhausted(OSError(errno.EMFILE, ""))):
            raise lack
        if not received:
            raise EnvironmentLacksError("the loader of the kernel programs was killed")
        fds += received
    counters, bound, finals, sweep, census, *rest = fds
    listeners = ListenerFds(rest.pop(0), rest.pop(0)) if facts["listeners"] else None
    settings = rest.pop(0) if facts["settings"] else None
    links, rest = rest[: facts["links"]], rest[facts["links"] :]
    programs, rings = rest[: facts["programs"]], rest[facts["programs"] :]
    return Loaded(
        rings={(cpu, shard): fd for (cpu, shard), fd in zip(facts["rings"], rings, strict=True)},
        ring_bytes=facts["ring_bytes"],
        cpus=facts["cpus"],
        counters=counters,
        bound=bound,
        finals=finals,
        links=tuple(links),
        programs=tuple(programs),
        sweep=sweep,
        census=census,
        listeners=listeners,
        settings=settings,
        unavailable=facts["unavailable"],
        seconds=facts["seconds"],
        origin=facts["origin"],
    )
