"""The stand-in for kernel headers: what is compiled against it reads where the kernel writes."""

import json
import os
import re
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from bpf import kernel_tree
from bpf.btf import Btf
from tests.bpf import vmlinux

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted((ROOT / "bpf").glob("*.bpf.c"))

#: What the programs dereference, and the kernel struct that it points to.
POINTERS = {
    "tp": "tcp_sock",
    "sk": "sock",
    "estats_sock(tp)": "sock",
    "skc": "sock_common",
    "net": "net",
    "leader": "task_struct",
    "bpf_get_current_task_btf()": "task_struct",
    "cgroup": "cgroup",
    "kn": "kernfs_node",
    "last": "sk_buff",
    "cb": "tcp_skb_cb",
    "th": "tcphdr",
    "icsk_ca_ops": "tcp_congestion_ops",
}
#: Pointers to what is ours, and to contexts, which the verifier translates.
OTHERS = {
    *("b", "batch", "blank", "block", "c", "ctx", "e", "h", "in", "ip", "l", "mark", "meta"),
    *("n", "now", "out", "owner", "r", "s", "skb", "t", "w", "wanted", "who"),
}

#: Addresses of the imagined struct and of the context that points to it.
BASE, CONTEXT = 0x10_0000, 0x1000
LOADS = {0x71: 1, 0x69: 2, 0x61: 4, 0x79: 8}
WORD = (1 << 64) - 1


def dereferences() -> set[tuple[str, str]]:
    """All of the programs: the pointer, and the path behind the arrow."""
    text = "\n".join(path.read_text() for path in PROGRAMS)
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    pattern = r"(?<!\w)(?=(\w+(?:\(\w*\))?|\(\w+\))->(\w+(?:\[\d\])?(?:\.\w+(?:\[\d\])?)*))"
    return {(pointer.strip("()") if pointer[0] == "(" else pointer, path)
            for pointer, path in re.findall(pattern, text)}  # fmt: skip


@dataclass(frozen=True)
class Field:
    """A kernel field that the programs read, where BTF says it is, and the code that reads it."""

    struct: str
    path: str
    place: vmlinux.Place
    code: bytes


@dataclass(frozen=True)
class Compiled:
    """The stand-in tree's header, and every field that the programs read."""

    header: str
    fields: list[Field]


def places() -> list[tuple[str, str, vmlinux.Place]]:
    """Every kernel field that the programs read."""
    return [
        (POINTERS[pointer], path, vmlinux.place(POINTERS[pointer], path))
        for pointer, path in sorted(dereferences())
        if pointer in POINTERS
    ]


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    """Made in a process of its own, as the loader does it."""
    fields = places()
    asked = json.dumps([(name, path, place.is_address) for name, path, place in fields])
    command = [sys.executable, "-m", "tests.bpf.field_loads"]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, cwd=ROOT,
                          check=False, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    codes = [bytes.fromhex(code) for code in answer["codes"]]
    return Compiled(
        answer["header"],
        [Field(*field, code) for field, code in zip(fields, codes, strict=True)],
    )


def run(code: bytes, memory: bytes) -> int:
    """What a function of the few instructions that reading a field takes returns."""
    registers = [0] * 11
    registers[1] = CONTEXT
    for opcode, both, offset, constant in struct.iter_unpack("<BBhi", code):
        target, source = both & 15, both >> 4
        if opcode == 0x95:  # exit
            return registers[0]
        if opcode in LOADS:
            address = registers[source] + offset
            if address == CONTEXT:
                registers[target] = BASE
            else:
                start, size = address - BASE, LOADS[opcode]
                assert 0 <= start <= len(memory) - size, "it reads beside the struct"
                registers[target] = int.from_bytes(memory[start : start + size], "little")
            continue
        width = 64 if opcode & 7 == 7 else 32
        assert opcode & 7 in (4, 7), f"opcode {opcode:#x} is no arithmetic"
        operand = registers[source] if opcode & 8 else constant
        registers[target] = arithmetic(opcode & 0xF0, registers[target], operand, width)
    raise AssertionError("the function ends without an exit")


def arithmetic(operation: int, value: int, operand: int, width: int) -> int:
    """One instruction on 32 or 64 bits."""
    mask = (1 << width) - 1
    value &= mask
    signed = value - (1 << width) if value >> (width - 1) else value
    results = {
        0x00: value + operand,
        0x50: value & operand,
        0x60: value << (operand & 63),
        0x70: value >> (operand & 63),
        0xB0: operand,
        0xC0: signed >> (operand & 63),
    }
    return results[operation] & mask


def test_every_pointer_of_the_programs_is_known() -> None:
    """One that is not would be left out of the tests below."""
    pointers = {pointer for pointer, _ in dereferences()}

    assert pointers == set(POINTERS) | OTHERS & pointers
    assert len(dereferences()) > 150


@pytest.mark.kernel
def test_what_is_compiled_reads_where_the_kernel_writes(compiled: Compiled) -> None:
    """Each field's code, run over random memory, gives the bits that BTF calls the field."""
    wrong = []
    for field in compiled.fields:
        memory = os.urandom(vmlinux.struct_named(field.struct).bytes_or_type)
        value = run(field.code, memory)
        if field.place.is_address:
            expected, mask = BASE + field.place.bit // 8, WORD
        else:
            mask = (1 << field.place.bits) - 1
            expected = int.from_bytes(memory, "little") >> field.place.bit & mask
        if value & mask != expected:
            wrong.append(f"{field.struct}.{field.path}")

    assert not wrong
    assert len(compiled.fields) > 80


@pytest.mark.kernel
def test_the_header_measures_what_it_declares(compiled: Compiled, tmp_path: Path) -> None:
    """Its assertions on sizes and offsets hold for gcc too, and one that is wrong is caught."""
    header = tmp_path / "header.h"
    header.write_text(compiled.header)

    assert syntax_errors(header) == ""
    assert compiled.header.count("_Static_assert(__builtin_offsetof(") > 500
    for struct_name in kernel_tree._MEASURED:
        assert f"_Static_assert(sizeof(struct {struct_name}) == " in compiled.header

    size = vmlinux.struct_named("tcp_sock").bytes_or_type
    header.write_text(
        compiled.header.replace(f"(struct tcp_sock) == {size}", f"(struct tcp_sock) == {size + 8}")
    )

    assert "size of tcp_sock" in syntax_errors(header)


def syntax_errors(header: Path) -> str:
    """What gcc has against it."""
    command = ["gcc", "-std=gnu11", "-fsyntax-only", "-w", "-x", "c", str(header)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


@pytest.mark.kernel
def test_the_header_names_every_helper_that_bcc_names(compiled: Compiled) -> None:
    """A kernel may be older than bcc: an id that it lacks is declared, and none twice."""
    declared = re.findall(r"^\tBPF_FUNC_(\w+) = ", compiled.header, re.MULTILINE)
    made_up = re.findall(r"^#define BPF_FUNC_(\w+) 0x7fffffff$", compiled.header, re.MULTILINE)

    assert "sk_storage_get" in declared
    assert not set(declared) & set(made_up)
    assert len(set(declared + made_up)) == len(declared + made_up)


@pytest.mark.kernel
def test_the_tree_is_of_the_running_kernel(tmp_path: Path) -> None:
    """BCC takes the version and the page size from it."""
    kernel_tree.write(tmp_path, Btf())
    major, minor, patch = re.findall(r"\d+", os.uname().release + ".0")[:3]
    code = (int(major) << 16) + (int(minor) << 8) + min(int(patch), 255)

    assert f"LINUX_VERSION_CODE {code}\n" in (tmp_path / "include/linux/version.h").read_text()
    page = (tmp_path / "include/asm/page.h").read_text()
    assert page == f"#define PAGE_SIZE {os.sysconf('SC_PAGESIZE')}\n"


PADDED = """\
struct groups {
\tu32 first;
\tlong: 64;
\tlong: 64;
\tint: 32;
\tshort: 16;
\tchar: 8;
\tu32 last;
};
"""


def test_a_whole_word_of_padding_gets_a_name() -> None:
    """Clang loads what lies behind an unnamed one from elsewhere than it says."""
    named = kernel_tree._name_padding(PADDED)

    assert re.findall(r"\t(\w+) (\w+);", named) == [
        ("u32", "first"),
        ("long", "estats_padding_0"),
        ("long", "estats_padding_1"),
        ("int", "estats_padding_2"),
        ("short", "estats_padding_3"),
        ("char", "estats_padding_4"),
        ("u32", "last"),
    ]


@pytest.mark.parametrize(
    "line",
    ["\tlong: 32;", "\tint: 16;", "\tlong unsigned int used: 64;", "\tu8 flag: 1;", "long: 64;"],
)
def test_other_fields_keep_their_width(line: str) -> None:
    """A part of a word, and what has a name already, stay bit-fields."""
    assert kernel_tree._name_padding(f"{line}\n") == f"{line}\n"
