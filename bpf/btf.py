"""The running kernel's own types, through libbpf: ids, fields, and as much C as is needed.

BCC wants kernel headers; a stock host has none. The kernel carries its types (BTF), and libbpf,
which BCC brings along, prints the ones that are reachable from those we name.
"""

import ctypes as ct
from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path
from typing import Final

from bpf.errors import EnvironmentLacksError

VMLINUX: Final = Path("/sys/kernel/btf/vmlinux")

_PRINTER = ct.CFUNCTYPE(None, ct.c_void_p, ct.c_char_p, ct.c_void_p)


class Kind(IntEnum):
    """The kinds of BTF types that are looked up by name."""

    STRUCT = 4
    ENUM = 6
    TYPEDEF = 8
    FUNC = 12


class _Type(ct.Structure):
    _fields_ = (("name", ct.c_uint32), ("info", ct.c_uint32), ("size", ct.c_uint32))


class _Member(ct.Structure):
    _fields_ = (("name", ct.c_uint32), ("type", ct.c_uint32), ("offset", ct.c_uint32))


class _Constant(ct.Structure):
    _fields_ = (("name", ct.c_uint32), ("value", ct.c_int32))


def _libbpf() -> ct.CDLL:
    try:
        lib = ct.CDLL("libbpf.so.1", use_errno=True)
    except OSError as e:
        raise EnvironmentLacksError(
            "libbpf is not installed", "install python3-bpfcc (it brings libbpf1)"
        ) from e
    pointer, text, number = ct.c_void_p, ct.c_char_p, ct.c_uint32
    for name, result, arguments in (
        ("btf__parse", pointer, [text, pointer]),
        ("btf__find_by_name_kind", ct.c_int32, [pointer, text, number]),
        ("btf__type_by_id", ct.POINTER(_Type), [pointer, number]),
        ("btf__name_by_offset", text, [pointer, number]),
        ("btf_dump__new", pointer, [pointer, _PRINTER, pointer, pointer]),
        ("btf_dump__dump_type", ct.c_int, [pointer, number]),
        ("btf_dump__free", None, [pointer]),
    ):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


class Btf:
    """The types of the running kernel."""

    def __init__(self, path: Path = VMLINUX) -> None:
        """Raises EnvironmentLacksError where the kernel carries no types."""
        self._lib = _libbpf()
        self._btf: int | None = self._lib.btf__parse(str(path).encode(), None)
        if not self._btf:
            raise EnvironmentLacksError(
                f"this kernel carries no type information ({path} cannot be read)",
                "boot a kernel built with CONFIG_DEBUG_INFO_BTF (distribution kernels since"
                " 2020 are), or use --source diag",
            )

    def find(self, name: str, kind: Kind) -> int | None:
        """The type's id, or None where this kernel has no such type."""
        found: int = self._lib.btf__find_by_name_kind(self._btf, name.encode(), kind)
        return found if found > 0 else None

    def size_of(self, struct: str) -> int | None:
        """Bytes of a struct, or None where this kernel has no such struct."""
        found = self.find(struct, Kind.STRUCT)
        if found is None:
            return None
        return int(self._lib.btf__type_by_id(self._btf, found).contents.size)

    def fields(self, struct: str) -> dict[str, int]:
        """Byte offsets of a struct's named members; bit-fields and unnamed unions are left out."""
        found = self.find(struct, Kind.STRUCT)
        if found is None:
            return {}
        pointer = self._lib.btf__type_by_id(self._btf, found)
        count, packed_bits = pointer.contents.info & 0xFFFF, pointer.contents.info >> 31
        members = ct.cast(ct.byref(pointer.contents, ct.sizeof(_Type)), ct.POINTER(_Member))
        offsets: dict[str, int] = {}
        for member in (members[i] for i in range(count)):
            width, offset = divmod(member.offset, 1 << 24) if packed_bits else (0, member.offset)
            name = self._name(member.name)
            if name and not width:
                offsets[name] = offset // 8
        return offsets

    def enumerators(self, enum: str) -> dict[str, int]:
        """The constants of an enum and their values, none where this kernel has no such enum."""
        found = self.find(enum, Kind.ENUM)
        if found is None:
            return {}
        pointer = self._lib.btf__type_by_id(self._btf, found)
        count = pointer.contents.info & 0xFFFF
        constants = ct.cast(ct.byref(pointer.contents, ct.sizeof(_Type)), ct.POINTER(_Constant))
        return {self._name(constants[i].name): constants[i].value for i in range(count)}

    def arguments_of(self, tracepoint: str) -> int | None:
        """How many arguments a tracepoint has, or None where this kernel has no such one."""
        found = self.find(f"btf_trace_{tracepoint}", Kind.TYPEDEF)
        if found is None:
            return None
        for _ in range(2):  # typedef, pointer, function prototype
            found = int(self._lib.btf__type_by_id(self._btf, found).contents.size)
        prototype = self._lib.btf__type_by_id(self._btf, found)
        return int(prototype.contents.info & 0xFFFF) - 1  # the first one is not the event's

    def print_c(self, types: Iterable[tuple[str, Kind]]) -> str:
        """C declarations of ``types`` and of all they need; those not there are left out."""
        pieces: list[bytes] = []
        vsnprintf = ct.CDLL(None).vsnprintf
        vsnprintf.argtypes = [ct.c_char_p, ct.c_size_t, ct.c_char_p, ct.c_void_p]
        buffer = ct.create_string_buffer(1 << 16)

        def keep(_context: int, template: bytes, arguments: int) -> None:
            vsnprintf(buffer, len(buffer), template, arguments)
            pieces.append(buffer.value)

        printer = _PRINTER(keep)  # referred to until the end: C calls it
        dump = self._lib.btf_dump__new(self._btf, printer, None, None)
        try:
            for name, kind in types:
                found = self.find(name, kind)
                if found is not None and self._lib.btf_dump__dump_type(dump, found) != 0:
                    raise EnvironmentLacksError(f"libbpf cannot print {name} of this kernel")
        finally:
            self._lib.btf_dump__free(dump)
        return b"".join(pieces).decode()

    def _name(self, offset: int) -> str:
        name: bytes = self._lib.btf__name_by_offset(self._btf, offset)
        return name.decode()
