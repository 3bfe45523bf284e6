"""A batch has the layout that C gives it, and carries just the tables that were asked for."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpf.catalogue import stored_in
from bpf.record import (
    HEAD,
    IDENTITY,
    Dtype,
    Flag,
    batch_dtype,
    block_dtype,
    known_bit,
    sample_dtype,
)
from bpf.variable import SAMPLED, Table

some_tables = st.sets(st.sampled_from(SAMPLED))
every_table = pytest.mark.parametrize("table", SAMPLED, ids=lambda t: t.value)


def offset_of(dtype: Dtype, name: str) -> int:
    """Where a field begins, in bytes."""
    assert dtype.fields is not None
    return dtype.fields[name][1]


def _leaves(dtype: Dtype, base: int = 0) -> list[tuple[int, int]]:
    """(offset, size) of every scalar or array field, nested ones included."""
    spans: list[tuple[int, int]] = []
    for name in dtype.names or ():
        field, offset = dtype[name], offset_of(dtype, name)
        nested = field.names is not None
        spans += _leaves(field, base + offset) if nested else [(base + offset, field.itemsize)]
    return spans


@given(some_tables)
def test_a_batch_is_made_of_whole_words(tables: set[Table]) -> None:
    """A ring record is a multiple of 8 bytes, so batches lie in it without gaps."""
    assert batch_dtype(tables).itemsize % 8 == 0


@given(some_tables)
def test_fields_touch_but_do_not_overlap(tables: set[Table]) -> None:
    """Only the end of a block may have padding: less than the 8 bytes it is rounded up to."""
    spans = _leaves(batch_dtype(tables))

    for (offset, size), (following, _) in pairwise(spans):
        assert 0 <= following - (offset + size) < 8


@given(some_tables)
def test_every_operand_lies_at_a_multiple_of_its_size(tables: set[Table]) -> None:
    """Or the kernel's verifier refuses the store and numpy reads it slowly."""
    dtype = batch_dtype(tables)
    for table in tables:
        block = block_dtype(table)
        start = offset_of(dtype, table.value)
        for name in block.names or ():
            assert (start + offset_of(block, name)) % block[name].itemsize == 0


@given(some_tables)
def test_blocks_keep_the_order_of_the_catalogue(tables: set[Table]) -> None:
    """However ``--tables`` was spelled, both sides agree on the order."""
    assert batch_dtype(tables).names == (
        "head",
        "identity",
        *(t.value for t in SAMPLED if t in tables),
    )


@every_table
def test_known_has_a_bit_for_each_operand(table: Table) -> None:
    """Bit i is the i-th stored variable, and there are no more than 64."""
    stored = stored_in(table)

    assert [known_bit(table, v.column) for v in stored] == list(range(len(stored)))
    assert len(stored) <= 64


@given(some_tables)
def test_a_sample_carries_the_blocks_as_they_came(tables: set[Table]) -> None:
    """Storage reads the same bytes that the kernel wrote: nothing is renamed between the rooms."""
    blocks = sample_dtype(tables)["blocks"]
    carried = [t for t in SAMPLED if t in tables]

    assert blocks.names == tuple(t.value for t in carried)
    assert [blocks[t.value] for t in carried] == [block_dtype(t) for t in carried]
    assert blocks.itemsize == batch_dtype(tables).itemsize - batch_dtype(()).itemsize


def test_the_largest_operand_survives() -> None:
    """2^64 - 1 goes in and comes out."""
    batch = np.zeros(1, dtype=batch_dtype())
    batch["perf"]["hc_data_octets_out"] = 2**64 - 1

    assert int(batch["perf"]["hc_data_octets_out"][0]) == 2**64 - 1


def test_every_flag_has_its_own_bit_and_fits_the_field() -> None:
    """Flags combine, in a u32."""
    assert len({flag.value.bit_length() for flag in Flag}) == len(Flag)
    assert int(~Flag(0)) < 2 ** (8 * HEAD["flags"].itemsize)


def test_the_command_name_has_the_kernels_length() -> None:
    """TASK_COMM_LEN is 16."""
    assert IDENTITY["comm"].itemsize == 16
