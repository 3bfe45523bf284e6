"""Makes maps as they were declared in the source, by bpf(2)."""

import contextlib
import errno
import os
import resource
import struct
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Final

from bpf import syscall
from bpf.bytecode import MapSpec
from bpf.errors import EnvironmentLacksError


class MapKind(IntEnum):
    """The kinds of maps that are treated by themselves."""

    ARRAY_OF_MAPS = 12
    SK_STORAGE = 24
    RINGBUF = 27


_BTF_HEADER: Final = struct.Struct("=HBBIIIII")
_BTF_MAGIC: Final = 0xEB9F
_BTF_INT: Final = 1 << 24
_BTF_ARRAY: Final = 3 << 24
_KEY, _OCTET, _VALUE = 1, 2, 3  # ids of the types in ``types_of_storage``


def make_maps(specs: Mapping[str, MapSpec]) -> dict[str, int]:
    """All of them, as descriptors by name. Raises EnvironmentLacksError where one is refused.

    Names in the kernel are cut after 15 octets.
    """
    unlock_memory()
    made: dict[str, int] = {}
    for name, spec in sorted(specs.items(), key=lambda item: item[1].inner is not None):
        try:
            made[name] = _make(name, spec, made)
        except OSError as e:
            raise _refusal(name, e) from e
    return made


def unlock_memory() -> None:
    """Before Linux 5.11 maps count as locked memory, of which a process may have next to none."""
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, unlimited)


def _make(name: str, spec: MapSpec, made: Mapping[str, int]) -> int:
    shape = (spec.key_bytes, spec.value_bytes, spec.entries)
    if spec.kind == MapKind.SK_STORAGE:
        types = syscall.load_btf(types_of_storage(spec.value_bytes))
        try:
            return syscall.create_map(
                name, spec.kind, shape, spec.flags, types=(types, _KEY, _VALUE)
            )
        finally:
            os.close(types)
    inner = made[spec.inner] if spec.inner else 0
    return syscall.create_map(name, spec.kind, shape, spec.flags, inner=inner)


def types_of_storage(value_bytes: int) -> bytes:
    """BTF of what the kernel insists to be told of a socket's storage.

    The key is an integer, for a descriptor; of the value it wants to know the size.
    """
    names = b"\0int\0octet\0"
    types = struct.pack("=4I", names.index(b"int"), _BTF_INT, 4, 1 << 24 | 32)  # signed, 32 bits
    types += struct.pack("=4I", names.index(b"octet"), _BTF_INT, 1, 8)
    types += struct.pack("=6I", 0, _BTF_ARRAY, 0, _OCTET, _KEY, value_bytes)
    size = _BTF_HEADER.size
    header = _BTF_HEADER.pack(_BTF_MAGIC, 1, 0, size, 0, len(types), len(types), len(names))
    return header + types + names


def make_rings(
    outer: int, cpus: Sequence[int], shards: int, size: int
) -> dict[tuple[int, int], int]:
    """A ring of ``size`` octets for each CPU and shard, put into the array of maps ``outer``."""
    rings: dict[tuple[int, int], int] = {}
    for cpu in cpus:
        for shard in range(shards):
            try:
                fd = syscall.create_map("estats_ring", MapKind.RINGBUF, (0, 0, size), 0)
            except OSError as e:
                raise EnvironmentLacksError(
                    f"the kernel gives no memory for {len(cpus) * shards} rings of {size} bytes",
                    "use fewer shards (--shards)",
                ) from e
            place, value = struct.pack("=I", cpu * shards + shard), struct.pack("=I", fd)
            syscall.set_element(outer, place, value)
            rings[cpu, shard] = fd
    return rings


def _refusal(name: str, error: OSError) -> EnvironmentLacksError:
    refused = syscall.refusal("", error)
    if error.errno in (errno.EPERM, errno.EACCES):
        return refused
    return EnvironmentLacksError(
        f"the kernel does not make the map {name}: {error.strerror}", refused.advice
    )
