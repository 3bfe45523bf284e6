"""A second reader of the kernel's BTF, written from its documentation: the witness for ours."""

import re
import struct
from dataclasses import dataclass, field
from functools import cache

from bpf.btf import VMLINUX

#: Kinds of types, and how many bytes follow the 12 that all have: fixed, and for each member.
_STRUCT, _UNION, _ARRAY, _PTR = 4, 5, 3, 2
_FIXED = {1: 4, 3: 12, 14: 4, 17: 4}
_EACH = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}
_TRANSPARENT = {8, 9, 10, 11, 18}  # typedef, volatile, const, restrict, type tag


@dataclass
class Type:
    """One type; ``members`` are (name, type, bit offset, width of a bit-field or 0)."""

    kind: int
    name: str
    bytes_or_type: int
    members: list[tuple[str, int, int, int]] = field(default_factory=list)
    element: int = 0


@dataclass(frozen=True)
class Place:
    """Where a field lies in its struct, in bits; arrays and structs are read as addresses."""

    bit: int
    bits: int
    is_address: bool


@cache
def types() -> list[Type]:
    """All types of the running kernel, by their id."""
    data = VMLINUX.read_bytes()
    header_bytes, at, length, strings = struct.unpack_from("<IIII", data, 4)
    at, strings = at + header_bytes, strings + header_bytes
    end = at + length

    def text(offset: int) -> str:
        start = strings + offset
        return data[start : data.index(b"\0", start)].decode()

    found = [Type(0, "void", 0)]
    while at < end:
        name, info, size = struct.unpack_from("<III", data, at)
        kind, count, packed = info >> 24 & 31, info & 0xFFFF, info >> 31
        made = Type(kind, text(name), size)
        at += 12
        if kind in (_STRUCT, _UNION):
            for i in range(count):
                member, of, offset = struct.unpack_from("<III", data, at + 12 * i)
                width = offset >> 24 if packed else 0
                place = offset & 0xFFFFFF if packed else offset
                made.members.append((text(member), of, place, width))
        if kind == _ARRAY:
            made.element = struct.unpack_from("<I", data, at)[0]
        at += _FIXED.get(kind, 0) + _EACH.get(kind, 0) * count
        found.append(made)
    return found


@cache
def struct_named(name: str) -> Type:
    """The struct of this name."""
    return next(t for t in types() if t.kind == _STRUCT and t.name == name)


def place(struct_name: str, path: str) -> Place:
    """Where ``path`` (``a.b.c[1]``) lies in a struct; unnamed structs and unions are looked into.

    Raises KeyError if there is no such field.
    """
    now, bit, width = struct_named(struct_name), 0, 0
    for word in re.findall(r"\w+|\[\d+\]", path):
        if word.startswith("["):
            now = _plain(now.element)
            bit += int(word[1:-1]) * _bits(now)
            continue
        of, offset, width = _member(now, word)
        now, bit = _plain(of), bit + offset
    return Place(bit, width or _bits(now), now.kind in (_ARRAY, _STRUCT, _UNION))


def _member(of: Type, name: str) -> tuple[int, int, int]:
    for member, number, offset, width in of.members:
        if member == name:
            return number, offset, width
        if not member:
            try:
                inner, more, bits = _member(_plain(number), name)
            except KeyError:
                continue
            return inner, offset + more, bits
    raise KeyError(f"{of.name or 'unnamed'}.{name}")


def _plain(number: int) -> Type:
    found = types()[number]
    while found.kind in _TRANSPARENT:
        found = types()[found.bytes_or_type]
    return found


def _bits(of: Type) -> int:
    return 64 if of.kind == _PTR else 8 * of.bytes_or_type
