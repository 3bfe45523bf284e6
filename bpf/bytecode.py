"""What a compiler makes of the programs, as plain values: no descriptor, no address, no bcc.

A program refers to maps by their names, so it can be kept in a file and loaded by whoever has made
the maps. Pure functions: nothing here speaks to the kernel.
"""

import base64
import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

INSTRUCTION: Final = struct.Struct("<BBhi")  # operation, registers, offset, immediate value
_IMMEDIATE: Final = struct.Struct("<i")
_IMMEDIATE_OFFSET: Final = 4
_LOAD_IMMEDIATE_64: Final = 0x18
_SOURCE_IS_MAP: Final = 1  # BPF_PSEUDO_MAP_FD: the immediate value is a map's descriptor


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSpec:
    """A map that is yet to be made; ``inner`` names the template of an array of maps."""

    kind: int
    key_bytes: int
    value_bytes: int
    entries: int
    flags: int
    inner: str | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """Instructions, and which of them refer to a map: (number of the instruction, map).

    The immediate value of those is 0.
    """

    code: bytes
    references: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Bytecode:
    """Programs by their functions, and the maps that they share, by name."""

    maps: Mapping[str, MapSpec]
    programs: Mapping[str, Program]


def lifted(code: bytes, names: Mapping[int, str]) -> Program:
    """The instructions, with names in place of the descriptors of ``names``.

    Raises ValueError where an instruction refers to anything else of the process that compiled it.
    """
    plain = bytearray(code)
    references: list[tuple[int, str]] = []
    for index, (operation, registers, _, immediate) in enumerate(INSTRUCTION.iter_unpack(code)):
        kind = registers >> 4
        if operation != _LOAD_IMMEDIATE_64 or not kind:
            continue
        if kind != _SOURCE_IS_MAP or immediate not in names:
            raise ValueError(f"instruction {index} refers to what is no map (kind {kind})")
        references.append((index, names[immediate]))
        _IMMEDIATE.pack_into(plain, index * INSTRUCTION.size + _IMMEDIATE_OFFSET, 0)
    return Program(bytes(plain), tuple(references))


def linked(program: Program, descriptors: Mapping[str, int]) -> bytes:
    """The instructions as the kernel takes them, with the maps that were made."""
    code = bytearray(program.code)
    for index, name in program.references:
        place = index * INSTRUCTION.size + _IMMEDIATE_OFFSET
        _IMMEDIATE.pack_into(code, place, descriptors[name])
    return bytes(code)


def check(made: Bytecode, functions: Iterable[str]) -> None:
    """Raises ValueError where it cannot be what a compiler was asked for.

    Only its own maps are referred to: any other descriptor would be one of whoever loads it. What
    the programs do, the kernel's verifier sees to.
    """
    if set(made.programs) != set(functions):
        raise ValueError("other programs than were asked for")
    for function, program in made.programs.items():
        if len(program.code) % INSTRUCTION.size:
            raise ValueError(f"half an instruction in {function}")
        known = {index for index, name in program.references if name in made.maps}
        for index, (operation, registers, _, _) in enumerate(INSTRUCTION.iter_unpack(program.code)):
            kind = registers >> 4 if operation == _LOAD_IMMEDIATE_64 else 0
            if kind and (kind != _SOURCE_IS_MAP or index not in known):
                raise ValueError(f"instruction {index} of {function} refers to what is no map")
            known.discard(index if kind else -1)
        if known:
            raise ValueError(f"{function} has no such reference to a map: {sorted(known)[:3]}")


def joined(parts: Iterable[Bytecode]) -> Bytecode:
    """One of the parts that were compiled apart, of the same source: they name the same maps."""
    maps: dict[str, MapSpec] = {}
    programs: dict[str, Program] = {}
    for part in parts:
        for name, spec in part.maps.items():
            assert maps.setdefault(name, spec) == spec, f"one source has one map {name}"
        assert programs.keys().isdisjoint(part.programs), "each program is in one part"
        programs |= part.programs
    return Bytecode(maps, programs)


def as_json(bytecode: Bytecode) -> str:
    """One line of text that ``from_json`` reads."""
    return json.dumps(
        {
            "maps": {name: asdict(spec) for name, spec in bytecode.maps.items()},
            "programs": {
                function: [base64.b64encode(program.code).decode(), program.references]
                for function, program in bytecode.programs.items()
            },
        }
    )


def from_json(text: str | bytes) -> Bytecode:
    """The reverse of ``as_json``, for nothing else."""
    said: dict[str, Any] = json.loads(text)
    return Bytecode(
        {name: MapSpec(**spec) for name, spec in said["maps"].items()},
        {
            function: Program(
                base64.b64decode(code, validate=True),
                tuple((int(index), str(name)) for index, name in references),
            )
            for function, (code, references) in said["programs"].items()
        },
    )
