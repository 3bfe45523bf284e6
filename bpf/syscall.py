"""bpf(2), for what BCC has no call for: typed tracepoints, links and iterators by descriptor.

Everything made here is held by file descriptors only: nothing is pinned, so nothing outlives the
processes that hold them, kill -9 included.
"""

import ctypes as ct
import errno
import os
import platform
import struct
from enum import IntEnum
from typing import Final, NamedTuple

from bpf.errors import EnvironmentLacksError
from bpf.libc import LIBC, checked

_NUMBER: Final = {"x86_64": 321, "aarch64": 280}
_ATTR_BYTES: Final = 144
_LOG_BYTES: Final = 1 << 20
_PROGRAM_INFO_BYTES: Final = 216  # struct bpf_prog_info up to its recursion_misses
_MAP_INFO: Final = struct.Struct("=6I16s")  # the beginning of struct bpf_map_info
_RUN_TIME_NS: Final = 192  # offsets in it
_RECURSION_MISSES: Final = 208
_STATS_RUN_TIME: Final = 0
_LICENSE: Final = ct.create_string_buffer(b"GPL")


class Command(IntEnum):
    """Commands of bpf(2)."""

    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    MAP_GET_NEXT_KEY = 4
    PROG_LOAD = 5
    OBJ_GET_INFO_BY_FD = 15
    RAW_TRACEPOINT_OPEN = 17
    BTF_LOAD = 18
    LINK_CREATE = 28
    ENABLE_STATS = 32
    ITER_CREATE = 33


class ProgramType(IntEnum):
    """Program types that are used."""

    CGROUP_SKB = 8
    TRACING = 26


class AttachType(IntEnum):
    """Attach types that are used."""

    CGROUP_INET_INGRESS = 0
    CGROUP_INET_EGRESS = 1
    TRACE_RAW_TP = 23
    TRACE_ITER = 28


def _bpf(command: Command, attr: bytes) -> int:
    """One call; raises OSError. Descriptors that it makes are closed on exec by the kernel."""
    number = _NUMBER.get(platform.machine())
    if number is None:
        raise EnvironmentLacksError(
            f"the number of bpf(2) on {platform.machine()} is not known", "use --source diag"
        )
    buffer = ct.create_string_buffer(attr.ljust(_ATTR_BYTES, b"\0"), _ATTR_BYTES)
    return checked(LIBC.syscall(number, int(command), buffer, _ATTR_BYTES))


class MapInfo(NamedTuple):
    """What the kernel says of a map; sizes in octets."""

    kind: int
    number: int
    key: int
    value: int
    entries: int
    flags: int
    name: bytes


def create_map(
    name: str,
    kind: int,
    shape: tuple[int, int, int],
    flags: int,
    *,
    inner: int = 0,
    types: tuple[int, int, int] = (0, 0, 0),
) -> int:
    """Make a map; its descriptor. Raises OSError.

    ``shape`` is octets of a key, octets of a value, and entries. ``inner`` is a map like those that
    an array of maps will hold; ``types`` the descriptor of BTF, and its ids of key and value.
    """
    numa, interface = 0, 0
    head = struct.pack("=7I16s", kind, *shape, flags, inner, numa, name.encode()[:15])
    return _bpf(Command.MAP_CREATE, head + struct.pack("=4I", interface, *types))


def load_btf(types: bytes) -> int:
    """Load types that a map is described with; their descriptor. Raises OSError."""
    buffer = ct.create_string_buffer(types, len(types))
    attr = struct.pack("=QQIII", ct.addressof(buffer), 0, len(types), 0, 0)
    return _bpf(Command.BTF_LOAD, attr)


def map_info(map_fd: int) -> MapInfo:
    """What a map is."""
    info = ct.create_string_buffer(_MAP_INFO.size)
    attr = struct.pack("=IIQ", map_fd, len(info), ct.addressof(info))
    _bpf(Command.OBJ_GET_INFO_BY_FD, attr)
    return MapInfo(*_MAP_INFO.unpack(info))


def load_program(
    name: str,
    code: bytes,
    program_type: ProgramType,
    attach_type: AttachType,
    btf_id: int = 0,
) -> int:
    """Load instructions; the descriptor of the program.

    Raises EnvironmentLacksError with the verifier's last words where the kernel refuses.
    """
    instructions = ct.create_string_buffer(code, len(code))

    def attributes(log: "ct.Array[ct.c_char] | None") -> bytes:
        return struct.pack(
            "=IIQQIIQII16sIIIIQIIQIII",
            program_type,
            len(code) // 8,
            ct.addressof(instructions),
            ct.addressof(_LICENSE),
            0 if log is None else 1,
            0 if log is None else len(log),
            0 if log is None else ct.addressof(log),
            0,  # kernel version
            0,  # flags
            name.encode()[:15],
            0,  # interface
            attach_type,
            *(0,) * 7,  # BTF of the program itself: none
            btf_id,
            0,
        )

    try:
        return _bpf(Command.PROG_LOAD, attributes(None))
    except OSError as refused:
        log = ct.create_string_buffer(_LOG_BYTES)
        try:
            return _bpf(Command.PROG_LOAD, attributes(log))
        except OSError:
            raise refusal(name, refused, log.value.decode(errors="replace")) from refused


def refusal(name: str, error: OSError, log: str = "") -> EnvironmentLacksError:
    """The error for a program that the kernel did not take, with the cure where there is one."""
    if error.errno in (errno.EPERM, errno.EACCES) and not log:
        return EnvironmentLacksError(
            f"the kernel refuses BPF to this process ({error.strerror})",
            "run as root with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN; in a container these must"
            " be granted; or use --source diag",
        )
    last = [line for line in log.splitlines() if line][-3:]
    return EnvironmentLacksError(
        f"the kernel refuses the program {name}: {error.strerror}"
        + (f" ({'; '.join(last)})" if last else ""),
        "please report this line together with `uname -r`; --source diag works meanwhile",
    )


def attach_tracepoint(program: int) -> int:
    """Attach a program of type TRACING to the tracepoint it was loaded for; the link."""
    return _bpf(Command.RAW_TRACEPOINT_OPEN, struct.pack("=QI", 0, program))


def attach_cgroup(program: int, cgroup: int, attach_type: AttachType) -> int:
    """Attach to a cgroup beside whatever is attached there; the link."""
    return _bpf(Command.LINK_CREATE, struct.pack("=IIII", program, cgroup, attach_type, 0))


def attach_iterator(program: int, map_fd: int | None = None) -> int:
    """The link of an iterator, over ``map_fd`` where it iterates over a map."""
    if map_fd is None:
        return _bpf(Command.LINK_CREATE, struct.pack("=IIII", program, 0, AttachType.TRACE_ITER, 0))
    info = ct.create_string_buffer(struct.pack("=II", map_fd, 0), 8)
    attr = struct.pack("=IIIIQI", program, 0, AttachType.TRACE_ITER, 0, ct.addressof(info), 8)
    return _bpf(Command.LINK_CREATE, attr)


def iterate(link: int, chunk_bytes: int = 1 << 16) -> bytes:
    """Run an iterator once, from the first object to the last; what it wrote."""
    iterator = _bpf(Command.ITER_CREATE, struct.pack("=II", link, 0))
    try:
        pieces: list[bytes] = []
        while True:
            try:
                piece = os.read(iterator, chunk_bytes)
            except InterruptedError:
                continue
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
    finally:
        os.close(iterator)


def missed_runs(program: int) -> int:
    """How often the kernel skipped a program, for it was running on that CPU already.

    0 on a kernel before 5.12, which does not say.
    """
    return _program_info(program, _RECURSION_MISSES)


def run_time_ns(program: int) -> int:
    """How long a program has run, in all the time that statistics were enabled."""
    return _program_info(program, _RUN_TIME_NS)


def _program_info(program: int, offset: int) -> int:
    info = ct.create_string_buffer(_PROGRAM_INFO_BYTES)
    attr = struct.pack("=IIQ", program, len(info), ct.addressof(info))
    _bpf(Command.OBJ_GET_INFO_BY_FD, attr)
    value: int = struct.unpack_from("=Q", info, offset)[0]
    return value


def enable_statistics() -> int:
    """Have the kernel time all BPF programs for as long as the descriptor is open.

    It goes with its process, whatever ends that; the sysctl would stay. Raises OSError: EPERM
    without CAP_SYS_ADMIN, which loading does not need.
    """
    return _bpf(Command.ENABLE_STATS, struct.pack("=I", _STATS_RUN_TIME))


def take_elements(map_fd: int, key_bytes: int, value_bytes: int) -> list[tuple[bytes, bytes]]:
    """All elements of a hash map; they stay in it until ``delete_element``."""
    key = ct.create_string_buffer(key_bytes)
    following = ct.create_string_buffer(key_bytes)
    value = ct.create_string_buffer(value_bytes)
    elements: list[tuple[bytes, bytes]] = []
    first = True
    while True:
        start = 0 if first else ct.addressof(key)
        try:
            _bpf(
                Command.MAP_GET_NEXT_KEY,
                struct.pack("=IxxxxQQ", map_fd, start, ct.addressof(following)),
            )
        except OSError as e:
            if e.errno == errno.ENOENT:
                return elements
            raise
        first = False
        key.raw = following.raw
        attr = struct.pack("=IxxxxQQQ", map_fd, ct.addressof(key), ct.addressof(value), 0)
        try:
            _bpf(Command.MAP_LOOKUP_ELEM, attr)
        except OSError as e:
            if e.errno != errno.ENOENT:
                raise
            continue
        elements.append((key.raw, value.raw))


def set_element(map_fd: int, key: bytes, value: bytes) -> None:
    """Set one element."""
    buffers = [ct.create_string_buffer(part, len(part)) for part in (key, value)]
    where = [ct.addressof(buffer) for buffer in buffers]
    _bpf(Command.MAP_UPDATE_ELEM, struct.pack("=IxxxxQQQ", map_fd, *where, 0))


def delete_element(map_fd: int, key: bytes) -> None:
    """Remove one element; one that is gone already is no error."""
    buffer = ct.create_string_buffer(key, len(key))
    try:
        _bpf(Command.MAP_DELETE_ELEM, struct.pack("=IxxxxQ", map_fd, ct.addressof(buffer)))
    except OSError as e:
        if e.errno != errno.ENOENT:
            raise
