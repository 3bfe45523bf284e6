"""Merge batches of ops into the rows of their connections. Pure: arrays in, arrays changed.

For one row the order of batches is that of their stamps: a final one after all others, then by
``head.ts``, then by ``head.sent``. What a variable holds after any batches in any order:

    SET        the operand of the newest batch that knew it
    MAX, MIN   the extreme of all known operands
    ADD, SUB   the sum of all known operands from 0, modulo the width

so it does not matter how the batches were spread over rings, reads and calls. Head and identity
are those of the newest batch; the owner is a SET variable whose known bit is ``Flag.OWNER``.

The only batch of a row that was empty is copied as it is: of connections that come and go there is
no other. Nearly always else the newest batch of a row knows all that was ever known of it. Then all
of it is copied as bytes and only the folded columns (MAX, MIN, ADD, SUB) are looked at. The other
rows go variable by variable (``_settle``), all rows at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from bpf.catalogue import stored_in
from bpf.record import Dtype, Flag, batch_dtype, raw
from bpf.variable import Op, Table
from collector.ring import Batches

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.intp]

_OWNER_FIELDS: Final = ("pid_start_ns", "pid", "comm")
_STAMP: Final[Dtype] = np.dtype([("ts", "u8"), ("sent", "u4")])


@dataclass(frozen=True, slots=True)
class Operand:
    """A variable: the column and bit that say it is known, and a view to reach it by."""

    word: int
    bit: int
    place: Dtype


@dataclass(frozen=True, slots=True)
class Fold:
    """The variables that share an op and a width, as columns of a batch seen as words."""

    op: Op
    dtype: Dtype
    columns: Rows
    words: Rows
    bits: Array
    mask: Array


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the operands lie in a batch and what becomes of them.

    ``known`` are the columns of the known words in a batch seen as u64 words. A known matrix has
    one column for each block and a last one for the owner; ``valid`` and ``sets`` are masks over
    it: the bits that mean something, and those that mean a SET variable. ``operands`` are all
    variables and the owner, ``settable`` those of them that are set; ``padding`` are the u32
    words of a batch that are nobody's.
    """

    dtype: Dtype
    known: Rows
    valid: Array
    sets: Array
    padding: Rows
    operands: tuple[Operand, ...]
    settable: tuple[Operand, ...]
    folds: tuple[Fold, ...]


class State:
    """One merged batch for each row, and the stamps of what its newest batch did not know."""

    def __init__(self, dtype: Dtype, rows: int) -> None:
        """Rows of which nothing is known."""
        self.batch: Batches = np.zeros(rows, dtype)
        # By number of the operand. A column exists once a variable became unknown in any row
        # after it had been known; ts 0 means: as new as the row's newest batch.
        self.held: dict[int, Array] = {}

    def grow(self, rows: int) -> None:
        """Add empty rows up to ``rows``."""
        self.batch = grown(self.batch, rows)
        self.held = {i: grown(column, rows) for i, column in self.held.items()}

    def pack(self, kept: Rows, rows: int) -> None:
        """Keep these rows, as the first ones of ``rows``."""
        self.batch = packed(self.batch, kept, rows)
        self.held = {i: packed(column, kept, rows) for i, column in self.held.items()}

    def clear(self, rows: Rows) -> None:
        """Make rows empty again."""
        for array in (self.batch, *self.held.values()):
            zero_rows(array, rows)


class Merged(NamedTuple):
    """What a merge did: the rows it touched, batches for each, known operands in all."""

    rows: Rows
    batches: Array
    operands: int


def raw_field(array: Array, name: str) -> Array:
    """One field of each element as plain bytes; a write goes through."""
    kind, offset = _field(array.dtype, name)
    return array.view(_place(array.dtype, np.dtype(f"V{kind.itemsize}"), offset))["value"]


def grown(array: Array, rows: int) -> Array:
    """A copy with zeroed elements added up to ``rows``."""
    larger = np.zeros((rows, *array.shape[1:]), array.dtype)
    raw(larger)[: len(array)] = raw(array)
    return larger


def zero_rows(array: Array, rows: Rows) -> None:
    """Zero some elements, their padding too."""
    raw(array)[rows] = np.zeros(1, raw(array).dtype)


def joined(parts: Sequence[Array]) -> Array:
    """One array of them all; as plain bytes, for numpy drops the padding of structures."""
    together: Array = np.concatenate([raw(part) for part in parts]).view(parts[0].dtype)
    return together


def packed(array: Array, kept: Rows, rows: int) -> Array:
    """A copy of so many rows: those that are kept, and zeroed elements after them."""
    smaller = np.zeros((rows, *array.shape[1:]), array.dtype)
    raw(smaller)[: len(kept)] = raw(array)[kept]
    return smaller


@cache
def catalogue_layout(tables: tuple[Table, ...]) -> Layout:
    """The layout of the catalogue's batches that carry ``tables``."""
    ops = {t.value: tuple(v.op for v in stored_in(t)) for t in tables}
    return layout_of(batch_dtype(tables), ops)


def layout_of(dtype: Dtype, ops: Mapping[str, Sequence[Op]]) -> Layout:
    """The layout of a batch dtype: head, identity, and blocks with these ops in their order."""
    assert dtype.names is not None, "a batch is a structure"
    blocks = dtype.names[2:]
    width = len(blocks) + 1
    valid, sets = np.zeros(width, "u8"), np.zeros(width, "u8")
    operands: list[Operand] = []
    settable: list[Operand] = []
    folded: dict[tuple[Op, Dtype], list[tuple[int, int, int]]] = {}
    for word, name in enumerate(blocks):
        block, start = _field(dtype, name)
        assert block.names is not None, "a block is a structure"
        valid[word] = (1 << len(ops[name])) - 1
        for bit, (column, op) in enumerate(zip(block.names[1:], ops[name], strict=True)):
            kind, offset = _field(block, column)
            operands.append(Operand(word, bit, _place(dtype, kind, start + offset)))
            if op is Op.SET:
                sets[word] |= np.uint64(1 << bit)
                settable.append(operands[-1])
            else:
                where = ((start + offset) // kind.itemsize, word, bit)
                folded.setdefault((op, kind), []).append(where)
    identity, start = _field(dtype, "identity")
    valid[-1] = sets[-1] = 1
    for column in _OWNER_FIELDS:
        kind, offset = _field(identity, column)
        operands.append(Operand(width - 1, 0, _place(dtype, kind, start + offset)))
        settable.append(operands[-1])
    known = np.array([_field(dtype, name)[1] // 8 for name in blocks], np.intp)
    folds = tuple(_fold_of(op, kind, places, width) for (op, kind), places in folded.items())
    padding = _padding(dtype)
    return Layout(dtype, known, valid, sets, padding, tuple(operands), tuple(settable), folds)


def merge(layout: Layout, state: State, rows: Rows, batches: Batches) -> Merged:
    """Merge ``batches[i]`` into ``state`` at ``rows[i]``; rows may repeat, in any order."""
    assert batches.itemsize == layout.dtype.itemsize, "np.concatenate drops a batch's padding"
    alone = _is_alone(state, rows, batches)
    if not alone.any():
        return _combine(layout, state, rows, batches)
    begun = _begin(layout, state, rows[alone], raw(batches)[alone].view(layout.dtype))
    rest = _combine(layout, state, rows[~alone], raw(batches)[~alone].view(layout.dtype))
    return Merged(
        np.concatenate([begun.rows, rest.rows]),
        np.concatenate([begun.batches, rest.batches]),
        begun.operands + rest.operands,
    )


def _is_alone(state: State, rows: Rows, batches: Batches) -> Array:
    """Whether a batch is the only one of its row, and nothing was merged into that before."""
    alone: Array = (state.batch["head"]["ts"][rows] == 0) & (batches["head"]["ts"] != 0)
    if alone.any():
        alone &= np.bincount(rows)[rows] == 1
        words = _words(state.batch, np.dtype("u8"))
        alone[alone] = ~words[rows[alone]].any(axis=1)
    return alone


def _begin(layout: Layout, state: State, rows: Rows, batches: Batches) -> Merged:
    """Of empty rows, each with the one batch that there is for it. The batches are changed."""
    known = _words(batches, np.dtype("u8"))[:, layout.known] & layout.valid[:-1]
    _words(batches, np.dtype("u8"))[:, layout.known] = known
    for fold in layout.folds:
        if fold.op is Op.SUB:  # from 0
            operands = _words(batches, fold.dtype)
            operands[:, fold.columns] = 0 - operands[:, fold.columns]
    raw(state.batch)[rows] = raw(batches)
    return Merged(rows, np.ones(len(rows), np.intp), _ones(known))


def _combine(layout: Layout, state: State, rows: Rows, batches: Batches) -> Merged:
    """What ``merge`` does, whatever there is."""
    if not len(rows):
        return Merged(rows, np.zeros(0, np.intp), 0)
    stamps = stamps_of(batches)
    order = _order(rows, stamps)
    rows, batches = rows[order], raw(batches)[order].view(layout.dtype)
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    counts = np.diff(starts, append=len(rows))
    touched, newest = rows[starts], starts + counts - 1

    before = raw(state.batch)[touched].view(layout.dtype)
    known, was_known = _known(layout, batches), _known(layout, before)
    learnt = np.bitwise_or.reduceat(known, starts, axis=0)
    newer = _after(stamps[order[newest]], stamps_of(before))
    group = _Group(batches, known, starts, before, was_known)
    folded = [_folded(fold, group) for fold in layout.folds]

    after = raw(before).copy().view(layout.dtype)
    raw(after)[newer] = raw(batches)[newest[newer]]
    lacking = np.where(newer[:, None], learnt | was_known, learnt)
    lacking &= ~np.where(newer[:, None], known[newest], was_known) & layout.sets
    unsettled = np.bitwise_or.reduce(lacking, axis=1) != 0
    for column in state.held.values():
        np.logical_or(unsettled, ~newer & (column["ts"][touched] != 0), out=unsettled)
        column[touched[newer & ~unsettled]] = np.zeros(1, _STAMP)
    if unsettled.any():
        part = _part(group, np.repeat(unsettled, counts), unsettled)
        settled = raw(after)[unsettled].view(layout.dtype)
        _settle(layout, state, touched[unsettled], part, settled)
        raw(after)[unsettled] = raw(settled)

    for fold, values in zip(layout.folds, folded, strict=True):
        _words(after, fold.dtype)[:, fold.columns] = values
    learnt |= was_known
    _words(after, np.dtype("u8"))[:, layout.known] = learnt[:, :-1]
    after["head"]["flags"] |= learnt[:, -1].astype("u4") * Flag.OWNER.value
    raw(state.batch)[touched] = raw(after)
    return Merged(touched, counts, _ones(known[:, :-1]))


def blank_unknown(layout: Layout, batches: Batches) -> None:
    """Zero what nothing is known of, so that equal rows are equal as bytes.

    The kernel does not clear a record it reserves: where a program writes nothing (padding,
    operands it does not know) there is what lay in the ring before.
    """
    _words(batches, np.dtype("u4"))[:, layout.padding] = 0
    unknown = ~_known(layout, batches) & layout.valid
    anywhere = np.bitwise_or.reduce(unknown, axis=0)
    for operand in layout.operands:
        bit = np.uint64(1 << operand.bit)
        if anywhere[operand.word] & bit:
            rows = (unknown[:, operand.word] & bit) != 0
            column = batches.view(operand.place)["value"]
            column[rows] = np.zeros(1, column.dtype)


def _padding(batch: Dtype) -> Rows:
    """The u32 words of a batch that belong to no field."""
    full = np.zeros(1, batch)
    for name in batch.names or ():
        part, _ = _field(batch, name)
        for column in part.names or ():
            raw_field(full[name], column).view("u1")[:] = 1
    return np.flatnonzero(_words(full, np.dtype("u4"))[0] == 0)


def _field(structure: Dtype, name: str) -> tuple[Dtype, int]:
    """The dtype and the offset of a field."""
    fields = cast("Mapping[str, tuple[Dtype, int]]", structure.fields)
    return fields[name][0], fields[name][1]


def _place(batch: Dtype, kind: Dtype, offset: int) -> Dtype:
    """A view of a batch that shows one operand of it, as the field ``value``."""
    return np.dtype(
        {"names": ["value"], "formats": [kind], "offsets": [offset], "itemsize": batch.itemsize}
    )


def _fold_of(op: Op, dtype: Dtype, places: list[tuple[int, int, int]], width: int) -> Fold:
    """The fold of (column, known word, bit) triples; ``width`` is that of a known matrix."""
    columns, words, bits = np.array(places).T
    mask = np.zeros(width, "u8")
    np.bitwise_or.at(mask, words, np.uint64(1) << bits.astype("u8"))
    return Fold(op, dtype, columns, words, bits.astype("u8"), mask)


class _Group(NamedTuple):
    """Batches sorted by row and stamp, where each row's begin, and the rows as they were."""

    batches: Batches
    known: Array
    starts: Rows
    before: Batches
    was_known: Array


def stamps_of(batches: Batches) -> Array:
    """When each batch was sent, so that a final one is later than any other."""
    head = batches["head"]
    stamps = np.empty(len(batches), _STAMP)
    final = (head["flags"] & np.uint32(Flag.FINAL.value)) != 0
    stamps["ts"] = head["ts"] | (final.astype("u8") << np.uint64(63))
    stamps["sent"] = head["sent"]
    return stamps


def _order(rows: Rows, stamps: Array) -> Rows:
    """By row, then by stamp. Rows go as halves, for numpy sorts 16 bits by radix."""
    halves = rows.astype("<u4").view("<u2").reshape(-1, 2)
    order: Rows = np.lexsort((stamps["sent"], stamps["ts"], halves[:, 0], halves[:, 1]))
    return order


def _after(a: Array, b: Array) -> Array:
    later: Array = (a["ts"] > b["ts"]) | ((a["ts"] == b["ts"]) & (a["sent"] > b["sent"]))
    return later


def _words(array: Array, dtype: Dtype) -> Array:
    """Contiguous structures as rows of words; a write goes through."""
    return array.view(dtype).reshape(len(array), array.itemsize // dtype.itemsize)


def _known(layout: Layout, batches: Batches) -> Array:
    """The known words of each batch, and whether it knows the owner."""
    known = np.empty((len(batches), len(layout.known) + 1), "u8")
    known[:, :-1] = _words(batches, np.dtype("u8"))[:, layout.known]
    known[:, -1] = (batches["head"]["flags"] & np.uint32(Flag.OWNER.value)) != 0
    known &= layout.valid
    return known


def _ones(words: Array) -> int:
    """How many bits are set."""
    if (words == words[0]).all():  # the usual case, and ten times as fast
        return len(words) * sum(int(word).bit_count() for word in words[0])
    return int(np.count_nonzero(np.unpackbits(np.ascontiguousarray(words).view("u1"))))


def _folded(fold: Fold, group: _Group) -> Array:
    """The folded columns of each row after this group."""
    values = _words(group.batches, fold.dtype)[:, fold.columns]
    values = _or_neutral(fold, values, group.known)
    before = _words(group.before, fold.dtype)[:, fold.columns]
    before = _or_neutral(fold, before, group.was_known)
    result: Array
    if fold.op in (Op.ADD, Op.SUB):
        total = np.add.reduceat(values, group.starts, axis=0, dtype=values.dtype)
        result = before + total if fold.op is Op.ADD else before - total
    else:
        extreme = np.maximum if fold.op is Op.MAX else np.minimum
        result = extreme(before, extreme.reduceat(values, group.starts, axis=0))
    return result


def _or_neutral(fold: Fold, values: Array, known: Array) -> Array:
    """Values, but where unknown the one that changes nothing."""
    if ((known & fold.mask) == fold.mask).all():
        return values
    neutral = 0
    if fold.op is Op.MAX:
        neutral = np.iinfo(fold.dtype).min
    elif fold.op is Op.MIN:
        neutral = np.iinfo(fold.dtype).max
    has = (known[:, fold.words] >> fold.bits) & np.uint64(1)
    return np.where(has != 0, values, fold.dtype.type(neutral))


def _part(group: _Group, batches: Array, rows: Array) -> _Group:
    """The group of some of the rows."""
    counts = np.diff(group.starts, append=len(group.batches))[rows]
    return _Group(
        raw(group.batches)[batches].view(group.batches.dtype),
        group.known[batches],
        np.cumsum(counts) - counts,
        raw(group.before)[rows].view(group.before.dtype),
        group.was_known[rows],
    )


def _settle(layout: Layout, state: State, rows: Rows, group: _Group, after: Batches) -> None:
    """Give each SET variable of ``after`` its newest known value, whichever batch had it."""
    stamps, numbers = stamps_of(group.batches), np.arange(len(group.batches))
    row_stamps, stamps_before = stamps_of(after), stamps_of(group.before)
    for i, operand in enumerate(layout.settable):
        bit = np.uint64(1 << operand.bit)
        has = (group.known[:, operand.word] & bit) != 0
        best = np.maximum.reduceat(np.where(has, numbers, -1), group.starts)
        found, was_known = best >= 0, (group.was_known[:, operand.word] & bit) != 0
        stamp = stamps_before
        if i in state.held:
            held = state.held[i][rows]
            stamp = np.where(held["ts"] != 0, held, stamp)
        wins = found & (~was_known | _after(stamps[best], stamp))
        values = group.batches.view(operand.place)["value"][best]
        old = group.before.view(operand.place)["value"]
        after.view(operand.place)["value"] = np.where(wins, values, old)
        stamp = np.where(wins, stamps[best], stamp)
        stale = (found | was_known) & (stamp != row_stamps)
        if stale.any() and i not in state.held:
            state.held[i] = np.zeros(len(state.batch), _STAMP)
        if i in state.held:
            state.held[i][rows] = np.where(stale, stamp, np.zeros(1, _STAMP))
