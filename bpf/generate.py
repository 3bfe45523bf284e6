"""Writes what is made from the catalogue: the kernel programs' header and the reference page.

``python -m bpf.generate`` writes both; with ``--check`` it writes nothing, names what is stale and
leaves with 1.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from bpf.catalogue import CATALOGUE, in_table, stored_in
from bpf.record import (
    HEAD,
    IDENTITY,
    LISTENER,
    LISTENER_HEAD,
    Dtype,
    Flag,
    batch_dtype,
    block_dtype,
    known_bit,
)
from bpf.variable import HISTORIES, SAMPLED, Op, Status, Table, Variable

_PROJECT: Final = Path(__file__).resolve().parent.parent
HEADER: Final = _PROJECT / "bpf" / "estats_vars.gen.h"
REFERENCE: Final = _PROJECT / "docs" / "variables.md"

_NOTICE = "Made by `python -m bpf.generate` from bpf/catalogue.py and bpf/record.py: edit those."

_C_TYPES: Final = {"u8": "u64", "u4": "u32", "i4": "s32", "u2": "u16", "u1": "u8"}

_STATUS_MEANINGS: Final = {
    Status.COLLECTED: "read in the kernel, or known from the settings, and stored",
    Status.DERIVED: "computed by SQL from a collected one when it is read",
    Status.UNAVAILABLE: "NULL: a stock kernel cannot give it; its exactness says why",
}


def header() -> str:
    """``bpf/estats_vars.gen.h``: the layout of ``bpf.record``, spelled in C."""
    return "\n".join(
        [
            "/* SPDX-License-Identifier: GPL-2.0-only */",
            f"/* {_NOTICE}",
            " * Wants u8, u16, u32, s32 and u64; ESTATS_TABLES chooses the blocks of a batch.",
            " */",
            "#pragma once",
            "",
            *_tables(),
            "",
            *_enum("estats_variable", {v.enum_name: v.id for v in CATALOGUE}),
            "",
            *_enum("estats_op", {f"ESTATS_OP_{op.name}": op.value for op in Op}),
            "",
            *_enum("estats_flag", {f"ESTATS_FLAG_{flag.name}": flag.value for flag in Flag}),
            "",
            *_struct("estats_head", HEAD),
            "",
            *_struct("estats_identity", IDENTITY),
            "",
            *_struct("estats_listener_head", LISTENER_HEAD),
            "",
            *(line for table in HISTORIES for line in _block(table)),
            *_batch(),
            "",
            *_listener(),
            "",
        ]
    )


def _tables() -> Iterator[str]:
    """Masks are macros and not an enum: the preprocessor chooses the blocks by them."""
    for number, table in enumerate(HISTORIES):
        yield f"#define ESTATS_TABLE_{table.name}\t{1 << number:#x}"
    yield f"#define ESTATS_TABLES_ALL\t{(1 << len(HISTORIES)) - 1:#x}"
    yield ""
    yield "#ifndef ESTATS_TABLES"
    yield "#define ESTATS_TABLES\tESTATS_TABLES_ALL"
    yield "#endif"


def _enum(tag: str, members: Mapping[str, int]) -> Iterator[str]:
    yield f"enum {tag} {{"
    yield from (f"\t{name} = {value}," for name, value in members.items())
    yield "};"


def _struct(tag: str, dtype: Dtype) -> Iterator[str]:
    """A struct with the fields of ``dtype``, and the compiler's word that the size is the same."""
    assert dtype.names is not None, "only a structured dtype has fields"
    yield f"struct {tag} {{"
    yield from (f"\t{_declaration(name, dtype[name])};" for name in dtype.names)
    yield "};"
    yield f'_Static_assert(sizeof(struct {tag}) == {dtype.itemsize}, "bpf/record.py: {tag}");'


def _declaration(name: str, dtype: Dtype) -> str:
    """One field: an integer, an array of integers, or the characters of a name."""
    if dtype.kind == "S":
        return f"char {name}[{dtype.itemsize}]"
    c_type = _C_TYPES[dtype.base.str[1:]]
    return f"{c_type} {name}" + "".join(f"[{length}]" for length in dtype.shape)


def _block(table: Table) -> Iterator[str]:
    """One table's block and, for each of its operands, the number of its bit in ``known``."""
    for v in stored_in(table):
        bit = known_bit(table, v.column)
        yield f"#define ESTATS_BIT_{table.value}_{v.column}\t{bit}"
    yield from _struct(f"estats_{table.value}", block_dtype(table))
    yield ""


def _batch() -> Iterator[str]:
    yield "struct estats_batch {"
    yield "\tstruct estats_head head;"
    yield "\tstruct estats_identity identity;"
    for table in SAMPLED:
        yield f"#if ESTATS_TABLES & ESTATS_TABLE_{table.name}"
        yield f"\tstruct estats_{table.value} {table.value};"
        yield "#endif"
    yield "};"
    yield "#if ESTATS_TABLES == ESTATS_TABLES_ALL"
    size = batch_dtype().itemsize
    yield f'_Static_assert(sizeof(struct estats_batch) == {size}, "bpf/record.py: batch");'
    yield "#endif"


def _listener() -> Iterator[str]:
    yield "struct estats_listener_row {"
    yield "\tstruct estats_listener_head head;"
    yield "\tstruct estats_identity identity;"
    yield "\tstruct estats_listener listener;"
    yield "};"
    size = LISTENER.itemsize
    yield (
        f"_Static_assert(sizeof(struct estats_listener_row) == {size},"
        ' "bpf/record.py: estats_listener_row");'
    )


def reference() -> str:
    """``docs/variables.md``: every variable, by table, in the order of the ids."""
    return "\n".join([*_introduction(), *(line for t in Table for line in _section(t)), ""])


def _introduction() -> Iterator[str]:
    counts = Counter(v.status for v in CATALOGUE)
    yield f"""# The variables

<!-- {_NOTICE} -->

The {len(CATALOGUE)} variables of RFC 4898, of Web10G and of our own, by table. A name is spelled as
in SQL and in JSON; `estats query --var` takes it in any case. One that is neither the RFC's nor
Web10G's is marked with a dagger (†): most are finer twins, in microseconds, segments or 64 bits.
"""
    yield from markdown_table(
        ("status", "variables", "meaning"),
        ((s.value, str(counts[s]), _STATUS_MEANINGS[s]) for s in Status),
    )
    yield """
The first word of a variable's exactness: *exact* is what the RFC defines; *equivalent* is counted
at another place and agrees with the RFC but for the cases that are named; an *approximation* may
differ as it says; *impossible* gives the reason."""


def _section(table: Table) -> Iterator[str]:
    yield ""
    yield f"## {table.value}"
    yield ""
    yield from markdown_table(
        ("name", "unit", "kind", "status", "exactness", "meaning", "source"),
        (_row(v) for v in in_table(table)),
    )


def _row(v: Variable) -> tuple[str, ...]:
    ours = "" if v.rfc or v.web10g else " †"
    source = f"`{v.derived}`" if v.derived else v.source
    return (
        f"`{v.name}`{ours}",
        v.unit or "-",
        v.kind.value,
        v.status.value,
        v.exactness,
        v.summary,
        source,
    )


def markdown_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Markdown; a bar inside a cell is escaped, or it would end the cell."""
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def products() -> dict[Path, str]:
    """What each generated file must hold."""
    return {HEADER: header(), REFERENCE: reference()}


def stale(wanted: Mapping[Path, str]) -> list[Path]:
    """The files that are missing or hold something else."""
    return [
        path
        for path, text in wanted.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def main(arguments: list[str] | None = None) -> int:
    """Write what is stale, or name it; leave with 1 if ``--check`` found something."""
    parser = argparse.ArgumentParser(prog="python -m bpf.generate")
    parser.add_argument("--check", action="store_true", help="write nothing, name what is stale")
    check = parser.parse_args(arguments).check
    wanted = products()
    outdated = stale(wanted)
    for path in outdated:
        if check:
            print(f"{path} is stale: run `python -m bpf.generate`", file=sys.stderr)
            continue
        path.parent.mkdir(exist_ok=True)
        path.write_text(wanted[path], encoding="utf-8")
        print(f"wrote {path}")
    return 1 if check and outdated else 0


if __name__ == "__main__":
    sys.exit(main())
