"""Merging is the same in any order, in any portions, and as one record at a time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from bpf.record import HEAD, IDENTITY, Flag
from bpf.variable import SAMPLED, Op
from collector.apply import State, catalogue_layout, layout_of, merge

ROWS = 3
OPS = {
    "first": (Op.SET, Op.MAX, Op.SET, Op.ADD, Op.MIN, Op.SET),
    "second": (Op.ADD, Op.SUB, Op.SUB, Op.MAX, Op.MIN, Op.SET),
}
TYPES = {
    "first": ("u8", "u8", "u4", "u4", "i4", "i4"),
    "second": ("u8", "u8", "u4", "i4", "u4", "i4"),
}
BATCH = np.dtype(
    [("head", HEAD), ("identity", IDENTITY)]
    + [
        (block, [("known", "u8"), *((f"v{i}", kind) for i, kind in enumerate(kinds))])
        for block, kinds in TYPES.items()
    ]
)
LAYOUT = layout_of(BATCH, OPS)
COLUMNS = [(b, f"v{i}", i, op) for b, ops in OPS.items() for i, op in enumerate(ops)]
OWNER = Flag.OWNER.value

Batches = npt.NDArray[Any]


@st.composite
def sequences(draw: st.DrawFn) -> tuple[npt.NDArray[np.intp], Batches]:
    """Batches of a few rows, no two of one row with one stamp, any bits known."""
    rows = draw(st.lists(st.integers(0, ROWS - 1), max_size=12))
    seed = draw(st.integers(0, 1 << 30))
    blank = draw(st.sampled_from([0, 0, 1, 2]))
    random = np.random.default_rng(seed)
    batches = np.frombuffer(random.bytes(BATCH.itemsize * len(rows)), BATCH).copy()
    batches["head"]["ts"] = random.integers(1, 5, len(rows))
    batches["head"]["sent"] = random.permutation(len(rows)) + 1
    batches["head"]["flags"] = random.choice([0, OWNER, OWNER | Flag.FINAL.value], len(rows))
    for block in OPS:
        if blank == 0:
            batches[block]["known"] |= np.uint64(0x3F)
        elif blank == 1:
            batches[block]["known"] |= random.choice(np.array([0x3F, 0x3E, 0x1F], "u8"), len(rows))
    return np.array(rows, np.intp), batches


def stamp(batch: Any) -> tuple[bool, int, int]:
    """What orders the batches of a row."""
    head = batch["head"]
    return bool(head["flags"] & Flag.FINAL.value), int(head["ts"]), int(head["sent"])


def model(rows: Sequence[int], batches: Batches) -> list[dict[str, Any]]:
    """The answer by definition: one row, one variable, one batch at a time, oldest first."""
    states: list[dict[str, Any]] = [{} for _ in range(ROWS)]
    for i in sorted(range(len(rows)), key=lambda i: stamp(batches[i])):
        batch, state = batches[i], states[rows[i]]
        flags = int(batch["head"]["flags"])
        owned = OWNER if flags & OWNER else state.get("flags", 0) & OWNER
        for name in ("ts", "sent", "id"):
            state[name] = int(batch["head"][name])
        state["flags"], state["cookie"] = flags | owned, int(batch["identity"]["cookie"])
        if flags & OWNER:
            state["pid"] = int(batch["identity"]["pid"])
            state["comm"] = bytes(batch["identity"]["comm"])
        for block, column, bit, op in COLUMNS:
            if int(batch[block]["known"]) >> bit & 1:
                kind = BATCH[block][column]
                value, key = int(batch[block][column]), f"{block}.{column}"
                state[key] = combine(op, state.get(key), value, kind)
    return states


def combine(op: Op, old: int | None, value: int, kind: np.dtype[Any]) -> int:
    """One op on one variable; ``old`` is None while it is unknown."""
    if op is Op.SET:
        return value
    if op in (Op.ADD, Op.SUB):
        total = (old or 0) + (value if op is Op.ADD else -value)
        return total % (1 << 8 * kind.itemsize)
    if old is None:
        return value
    return max(old, value) if op is Op.MAX else min(old, value)


def shown(state: State) -> list[dict[str, Any]]:
    """The merged rows in the model's words."""
    states: list[dict[str, Any]] = []
    for row in state.batch:
        head, identity = row["head"], row["identity"]
        values: dict[str, Any] = {}
        if head["sent"]:
            values = {name: int(head[name]) for name in ("ts", "sent", "id", "flags")}
            values["cookie"] = int(identity["cookie"])
        if head["flags"] & OWNER:
            values |= {"pid": int(identity["pid"]), "comm": bytes(identity["comm"])}
        for block, column, bit, _ in COLUMNS:
            if int(row[block]["known"]) >> bit & 1:
                values[f"{block}.{column}"] = int(row[block][column])
        states.append(values)
    return states


@given(sequences())
def test_a_merge_is_what_the_definition_says(sequence: tuple[Any, Batches]) -> None:
    """All ops, all widths, all patterns of known and unknown."""
    rows, batches = sequence
    state = State(BATCH, ROWS)

    merged = merge(LAYOUT, state, rows, batches)

    assert shown(state) == model(rows, batches)
    assert dict(zip(merged.rows.tolist(), merged.batches.tolist(), strict=True)) == {
        row: rows.tolist().count(row) for row in set(rows.tolist())
    }
    assert merged.operands == sum(
        (int(batch[block]["known"]) & 0x3F).bit_count() for batch in batches for block in OPS
    )


@given(sequences(), st.randoms(use_true_random=False))
def test_spread_and_order_do_not_matter(sequence: tuple[Any, Batches], random: Any) -> None:
    """However batches lie in rings and reads, the rows end up the same."""
    rows, batches = sequence
    order = list(range(len(rows)))
    random.shuffle(order)
    whole, state = State(BATCH, ROWS), State(BATCH, ROWS)
    merge(LAYOUT, whole, rows, batches)

    while order:
        portion = np.array(order[: random.randint(1, len(order))], np.intp)
        order = order[len(portion) :]
        merge(LAYOUT, state, rows[portion], batches[portion])

    assert shown(state) == shown(whole)


@given(sequences())
def test_a_cleared_row_remembers_nothing(sequence: tuple[Any, Batches]) -> None:
    """What follows in a reused row is not touched by what was there, growth included."""
    rows, batches = sequence
    state = State(BATCH, ROWS)
    merge(LAYOUT, state, rows[::2], batches[::2])
    merge(LAYOUT, state, rows[::2], batches[::2])
    state.grow(2 * ROWS)
    state.clear(np.arange(ROWS))

    merge(LAYOUT, state, rows, batches)

    assert shown(state)[:ROWS] == model(rows, batches)


def test_a_late_batch_only_moves_extremes() -> None:
    """What a row already has from a newer batch stays, maxima and minima apart."""
    state, zero = State(BATCH, ROWS), np.zeros(1, np.intp)
    batches = np.zeros(2, BATCH)
    batches["head"]["ts"], batches["head"]["sent"] = [9, 3], [2, 1]
    batches["first"]["known"] = 0x3F
    batches["first"]["v0"], batches["first"]["v1"], batches["first"]["v4"] = [7, 5], [7, 8], [7, -8]

    merge(LAYOUT, state, zero, batches[:1])
    merge(LAYOUT, state, zero, batches[1:])

    row = state.batch[0]["first"]
    assert (int(row["v0"]), int(row["v1"]), int(row["v4"])) == (7, 8, -8)
    assert not state.held, "the usual case needs no stamps"


def test_a_value_known_again_is_as_new_as_its_batch() -> None:
    """A variable that was unknown for a while is not taken for old once it is known again."""
    state, zero = State(BATCH, ROWS), np.zeros(1, np.intp)
    for ts, known, value in ((1, 1, 11), (2, 0, 0), (9, 1, 99), (5, 1, 55)):
        one = np.zeros(1, BATCH)
        one["head"]["ts"], one["head"]["sent"] = ts, ts
        one["first"]["known"], one["first"]["v0"] = known, value
        merge(LAYOUT, state, zero, one)

    assert int(state.batch[0]["first"]["v0"]) == 99


def test_the_catalogue_has_a_layout() -> None:
    """Each collected variable of the sampled tables is set or folded exactly once."""
    layout = catalogue_layout(SAMPLED)
    bits = sum(int(mask).bit_count() for mask in layout.valid)
    folded = sum(len(fold.columns) for fold in layout.folds)

    assert sum(int(mask).bit_count() for mask in layout.sets) + folded == bits
