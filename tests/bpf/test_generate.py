"""The generated files are current, and the C compiler lays a batch out as numpy does."""

import subprocess
from pathlib import Path

import pytest

from bpf.catalogue import CATALOGUE, stored_in
from bpf.generate import HEADER, REFERENCE, header, main, products, reference, stale
from bpf.record import HEAD, IDENTITY, Dtype, Flag, batch_dtype, block_dtype, known_bit
from bpf.variable import SAMPLED, Op, Table

TYPEDEFS = """
#include <stddef.h>
#include <stdio.h>
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32;
typedef int s32; typedef unsigned long long u64;
"""


def _compiled(folder: Path, statements: list[str], *options: str) -> list[str]:
    """The lines that a C program with the header and these statements prints."""
    source, program = folder / "layout.c", folder / "layout"
    body = "\n".join(statements)
    source.write_text(
        f'{TYPEDEFS}\n#include "{HEADER}"\nint main(void) {{\n{body}\nreturn 0;\n}}\n'
    )
    subprocess.run(
        ["gcc", "-std=gnu11", "-Wall", "-Werror", *options, "-o", program, source], check=True
    )
    return subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()


def _print_field(struct: str, field: str) -> str:
    return (
        f'printf("{struct}.{field} %zu %zu\\n", offsetof(struct {struct}, {field}),'
        f" sizeof(((struct {struct} *)0)->{field}));"
    )


def _expected(struct: str, dtype: Dtype) -> list[str]:
    assert dtype.fields is not None
    return [f"{struct}.{n} {f[1]} {f[0].itemsize}" for n, f in dtype.fields.items()]


def test_the_files_in_the_project_are_current() -> None:
    """Whoever changes the catalogue also runs ``python -m bpf.generate``."""
    assert stale(products()) == []


def test_every_field_lies_where_numpy_looks_for_it(tmp_path: Path) -> None:
    """Sizes and offsets of all structs, as the compiler has them, are those of the dtypes."""
    structs = {"estats_head": HEAD, "estats_identity": IDENTITY}
    structs |= {f"estats_{t.value}": block_dtype(t) for t in SAMPLED}
    structs |= {"estats_batch": batch_dtype()}
    statements = [_print_field(s, name) for s, d in structs.items() for name in d.names or ()]
    statements += [f'printf("{s} %zu\\n", sizeof(struct {s}));' for s in structs]

    expected = [line for s, d in structs.items() for line in _expected(s, d)]
    expected += [f"{s} {d.itemsize}" for s, d in structs.items()]
    assert _compiled(tmp_path, statements) == expected


@pytest.mark.parametrize(
    "tables", [(Table.PERF,), (Table.EXTRAS, Table.PATH), ()], ids=["perf", "path,extras", "none"]
)
def test_a_batch_of_some_tables_has_their_blocks_only(
    tables: tuple[Table, ...], tmp_path: Path
) -> None:
    """``-DESTATS_TABLES`` leaves the other blocks out, on both sides."""
    dtype = batch_dtype(tables)
    mask = " | ".join(["0", *(f"ESTATS_TABLE_{t.name}" for t in tables)])
    statements = [_print_field("estats_batch", name) for name in dtype.names or ()]
    statements += ['printf("%zu\\n", sizeof(struct estats_batch));']

    printed = _compiled(tmp_path, statements, f"-DESTATS_TABLES=({mask})")

    assert printed == [*_expected("estats_batch", dtype), str(dtype.itemsize)]


def test_constants_have_the_same_values_on_both_sides(tmp_path: Path) -> None:
    """Ids, ops, flags and known-bits, as the compiler has them, are Python's."""
    constants = {v.enum_name: v.id for v in CATALOGUE}
    constants |= {f"ESTATS_OP_{op.name}": op.value for op in Op}
    constants |= {f"ESTATS_FLAG_{flag.name}": flag.value for flag in Flag}
    constants |= {
        f"ESTATS_BIT_{t.value}_{v.column}": known_bit(t, v.column)
        for t in SAMPLED
        for v in stored_in(t)
    }

    printed = _compiled(tmp_path, [f'printf("%d\\n", (int)({name}));' for name in constants])

    assert dict(zip(constants, map(int, printed), strict=True)) == constants


def test_every_variable_is_in_the_header_and_in_the_reference() -> None:
    """One row of the catalogue reaches both."""
    c, page = header(), reference()
    for v in CATALOGUE:
        assert f"\t{v.enum_name} = {v.id},\n" in c
        assert f"| `{v.name}`" in page


def test_a_cell_cannot_break_its_table() -> None:
    """Every line of a table has as many unescaped bars as its head."""
    rows = [line.replace("\\|", "") for line in reference().splitlines() if line.startswith("|")]

    assert {line.count("|") for line in rows} == {4, 8}


def test_a_stale_or_missing_file_is_named(tmp_path: Path) -> None:
    """Either is stale; a file that holds what it must is not."""
    current, old, missing = tmp_path / "current", tmp_path / "old", tmp_path / "missing"
    current.write_text("text")
    old.write_text("older text")

    assert stale({current: "text", old: "text", missing: "text"}) == [old, missing]


def test_check_writes_nothing_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--check`` leaves with 1 and the way to cure it; without it the files are written."""
    page = tmp_path / "docs" / REFERENCE.name
    monkeypatch.setattr("bpf.generate.products", lambda: {page: "text"})

    assert main(["--check"]) == 1
    assert not page.exists()
    assert f"{page} is stale: run `python -m bpf.generate`" in capsys.readouterr().err
    assert main([]) == 0
    assert page.read_text() == "text"
    assert main(["--check"]) == 0
