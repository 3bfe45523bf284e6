"""Bytecode is plain: it names maps, can be kept as text, and is linked to the maps there are."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpf.bytecode import Bytecode, MapSpec, Program, as_json, from_json, joined, lifted, linked

HASH = MapSpec(kind=1, key_bytes=8, value_bytes=792, entries=8192, flags=1)
RINGS = MapSpec(kind=12, key_bytes=4, value_bytes=4, entries=2, flags=0, inner="template")

LOAD, IS_MAP, IS_VALUE = 0x18, 1 << 4, 2 << 4  # the register that is written is the lower half
EXIT = struct.pack("<BBhi", 0x95, 0, 0, 0)

names = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=20)
specs = st.builds(
    MapSpec,
    kind=st.integers(1, 40),
    key_bytes=st.integers(0, 64),
    value_bytes=st.integers(0, 4096),
    entries=st.integers(0, 1 << 32),
    flags=st.integers(0, 1 << 31),
    inner=st.none() | names,
)
programs = st.builds(
    Program,
    st.binary(max_size=64),
    st.lists(st.tuples(st.integers(0, 1 << 20), names), max_size=4).map(tuple),
)
bytecodes = st.builds(
    Bytecode,
    st.dictionaries(names, specs, max_size=4),
    st.dictionaries(names, programs, max_size=4),
)


def load(register: int, kind: int, low: int, high: int = 0) -> bytes:
    """Load 64 bits into a register: the only instruction that is two."""
    return struct.pack("<BBhiBBhi", LOAD, register | kind, 0, low, 0, 0, 0, high)


def move(value: int) -> bytes:
    """Set register 1 to a value; it has no map in it, whatever the value is."""
    return struct.pack("<BBhi", 0xB7, 1, 0, value)


def test_a_descriptor_becomes_the_name_of_its_map() -> None:
    """Wherever it stands; all else stays as it is, a constant that looks like one too."""
    code = move(5) + load(1, IS_MAP, 5) + load(2, 0, 5, 9) + load(3, IS_MAP, 7) + EXIT

    program = lifted(code, {5: "counters", 7: "finals"})

    assert program.references == ((1, "counters"), (5, "finals"))
    assert (
        program.code == move(5) + load(1, IS_MAP, 0) + load(2, 0, 5, 9) + load(3, IS_MAP, 0) + EXIT
    )


def test_a_program_is_linked_to_the_maps_that_are_there() -> None:
    """In another process they have other descriptors."""
    code = load(1, IS_MAP, 5) + move(1) + load(3, IS_MAP, 7) + EXIT
    program = lifted(code, {5: "counters", 7: "finals"})

    assert linked(program, {"counters": 5, "finals": 7, "others": 8}) == code
    assert linked(program, {"counters": 11, "finals": 300}) == (
        load(1, IS_MAP, 11) + move(1) + load(3, IS_MAP, 300) + EXIT
    )


@pytest.mark.parametrize("code", [load(1, IS_VALUE, 5), load(1, IS_MAP, 6), load(1, 4 << 4, 5)])
def test_what_only_its_compiler_could_reach_is_refused(code: bytes) -> None:
    """The octets of a map, an unknown map, a function's address: loaded, it would be another."""
    with pytest.raises(ValueError, match="instruction 1 refers to what is no map"):
        lifted(move(5) + code + EXIT, {5: "counters"})


@given(bytecodes)
def test_as_text_it_is_the_same(made: Bytecode) -> None:
    """One line, which a file or a pipe can hold."""
    text = as_json(made)

    assert "\n" not in text
    assert from_json(text) == made


def test_parts_of_one_source_are_joined() -> None:
    """All programs, and each map once."""
    first, second = Program(EXIT, ()), Program(move(1) + EXIT, ())
    maps = {"finals": HASH, "rings": RINGS}

    both = joined([Bytecode(maps, {"on_a": first}), Bytecode(maps, {"on_b": second})])

    assert both == Bytecode(maps, {"on_a": first, "on_b": second})


def test_parts_of_different_sources_are_not() -> None:
    """A map that is another one in each part could serve only one of them."""
    other = MapSpec(kind=1, key_bytes=8, value_bytes=800, entries=8192, flags=1)

    with pytest.raises(AssertionError):
        joined([Bytecode({"finals": HASH}, {}), Bytecode({"finals": other}, {})])
