"""The state of one shard's connections, and what of it has changed since it was last handed on."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bpf.catalogue import stored_in
from bpf.record import CONNECTION, Dtype, Flag, block_dtype, row_dtype
from bpf.variable import Kind, Table
from collector.apply import State, blank_unknown, catalogue_layout, grown, merge, raw, raw_field
from collector.index import Index
from collector.ring import Batches

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.intp]

_CHUNK: Final = 4_096  # batches merged at once: few enough to stay in the cache
_ROWS_MIN: Final = 1_024
_FINAL: Final = np.uint32(Flag.FINAL.value)
_LASTING: Final = np.uint32(~Flag.SWEPT.value & 0xFFFF_FFFF)  # SWEPT is true of one batch only

#: What one row holds beside its merged batch. Zero throughout: a free row.
_ROW: Final[Dtype] = np.dtype(
    [
        ("id", "u8"),
        ("connect_index", "u8"),
        ("applied", "u4"),
        ("opened_us", "u8"),
        ("closed_us", "u8"),
        ("used", "?"),
        ("dirty", "?"),
        ("final", "?"),
        ("leaving", "?"),
    ]
)


class Tables:
    """One row for each connection of a shard, from its first batch until its close is handed on.

    A closed row stays one ``take`` longer than its close: a batch that had been reserved before
    the final one but was submitted after the cut still finds it, and does not make it anew.
    """

    def __init__(
        self, tables: tuple[Table, ...], first_index: int, shards: int, shard: int
    ) -> None:
        """An empty shard; ``first_index`` is the last ConnectIndex that is taken already.

        ConnectIndexes are counted from there, each shard leaving room for the others. Tables that
        take the place of a dead worker's need a ``first_index`` beyond all that it gave out.
        """
        self._layout = catalogue_layout(tables)
        self._blocks = {t: _block_words(self._layout.dtype, t) for t in tables}
        self._next_index, self._shards = first_index + 1 + shard, shards
        self._index = Index()
        self._state = State(self._layout.dtype, _ROWS_MIN)
        self._rows = np.zeros(_ROWS_MIN, _ROW)
        # As handed over last: the whole batch (only its blocks count), and the connection.
        self._batch_taken = np.zeros(_ROWS_MIN, self._layout.dtype)
        self._connection_taken = np.zeros(_ROWS_MIN, CONNECTION)
        self._spare: Rows = np.arange(_ROWS_MIN)
        self._leaving: Rows = np.zeros(0, np.intp)  # closed as of the last take
        self._amounts = dict.fromkeys(("batches", "ops", "late"), 0)

    def apply(self, batches: Batches, wall_offset_ns: int) -> None:
        """Merge batches in any order; ``wall_offset_ns`` is UTC minus CLOCK_MONOTONIC.

        The array is not kept. The offset dates connections that open or close in these batches.
        """
        for start in range(0, len(batches), _CHUNK):
            chunk = batches[start : start + _CHUNK]
            rows = self._index.lookup(chunk["head"]["id"])
            if (rows < 0).any():
                self._open(chunk[rows < 0], wall_offset_ns)
                rows = self._index.lookup(chunk["head"]["id"])
            self._amounts["late"] += int(np.count_nonzero(self._rows["leaving"][rows]))
            merged = merge(self._layout, self._state, rows, chunk)
            self._rows["applied"][merged.rows] += merged.batches.astype("u4")
            self._rows["dirty"][merged.rows] = True
            self._close_finals(merged.rows, wall_offset_ns)
            self._amounts["batches"] += len(chunk)
            self._amounts["ops"] += merged.operands

    def take(self) -> tuple[Batches, dict[Table, Batches]]:
        """What changed since the last call: connections, and the rows of each table.

        The dtypes are ``record.CONNECTION`` and ``record.row_dtype(table)``. A row is in it if
        something is known in its table and any byte of its block differs from what was handed
        over last. Connections that were closed in the take before are forgotten.
        """
        changed = np.flatnonzero(self._rows["dirty"])
        self._rows["dirty"][changed] = False
        newest = raw(self._state.batch)[changed].view(self._layout.dtype)
        blank_unknown(self._layout, newest)
        connections = self._take_connections(changed, newest)
        rows = self._take_rows(changed, newest)
        self._free(self._leaving)
        self._leaving = changed[self._rows["closed_us"][changed] != 0]
        self._rows["leaving"][self._leaving] = True
        return connections, rows

    def close_missing(self, live_ids: Array, before_ns: int, now_us: int) -> int:
        """Close connections whose final batch was lost, or that the kernel hid: how many.

        Those are the open rows whose id is not in ``live_ids`` and that were silent since
        ``before_ns`` (CLOCK_MONOTONIC), when the census of the living began. They are closed as
        of ``now_us`` and lack ``Flag.FINAL``.
        """
        silent = self._state.batch["head"]["ts"] < np.uint64(before_ns)
        rows = np.flatnonzero(self._rows["used"] & (self._rows["closed_us"] == 0) & silent)
        rows = rows[np.isin(self._rows["id"][rows], live_ids, invert=True)]
        self._rows["closed_us"][rows] = now_us
        self._rows["dirty"][rows] = True
        return len(rows)

    @property
    def rows_allocated(self) -> int:
        """How many connections there is room for without growing."""
        return len(self._rows)

    def meters(self) -> dict[str, int]:
        """Our own counts since the last call; ``connections`` is the number that is open now."""
        connections = np.count_nonzero(self._rows["used"] & (self._rows["closed_us"] == 0))
        amounts = {**self._amounts, "connections": int(connections)}
        self._amounts = dict.fromkeys(self._amounts, 0)
        return amounts

    def _open(self, batches: Batches, wall_offset_ns: int) -> None:
        """Make a row for each connection of batches whose ids are unknown."""
        ids, first = np.unique(batches["head"]["id"], return_index=True)
        if len(self._spare) < len(ids):
            self._grow(len(self._rows) + len(ids) - len(self._spare))
        rows, self._spare = self._spare[: len(ids)], self._spare[len(ids) :]
        self._index.assign(ids, rows)
        self._rows["id"][rows] = ids
        self._rows["used"][rows] = True
        serial = np.arange(len(ids), dtype="u8")
        self._rows["connect_index"][rows] = self._next_index + serial * self._shards
        self._next_index += len(ids) * self._shards
        start_ns = batches["identity"]["start_ns"][first]
        self._rows["opened_us"][rows] = _utc_us(start_ns, wall_offset_ns)

    def _grow(self, rows: int) -> None:
        rows = max(rows, 2 * len(self._rows))
        self._spare = np.append(self._spare, np.arange(len(self._rows), rows))
        self._state.grow(rows)
        self._rows = grown(self._rows, rows)
        self._batch_taken = grown(self._batch_taken, rows)
        self._connection_taken = grown(self._connection_taken, rows)

    def _close_finals(self, rows: Rows, wall_offset_ns: int) -> None:
        """Date the close of connections whose final batch has just come."""
        head = self._state.batch["head"]
        rows = rows[((head["flags"][rows] & _FINAL) != 0) & ~self._rows["final"][rows]]
        self._rows["closed_us"][rows] = _utc_us(head["ts"][rows], wall_offset_ns)
        self._rows["final"][rows] = True

    def _take_connections(self, rows: Rows, newest: Batches) -> Batches:
        """The connections among these rows that changed, remembered as handed over."""
        head, row = newest["head"], self._rows[rows]
        made = np.zeros(len(rows), CONNECTION)
        made["connect_index"] = row["connect_index"]
        raw_field(made, "identity")[:] = raw_field(newest, "identity")
        made["opened_us"], made["closed_us"] = row["opened_us"], row["closed_us"]
        made["flags"] = head["flags"] & _LASTING
        for name in ("state", "old_state", "error"):
            made[name] = head[name]
        sent, applied = head["sent"], row["applied"]
        made["lost"] = np.where(sent > applied, sent - applied, 0)
        differs = raw(made) != raw(self._connection_taken)[rows]
        raw(self._connection_taken)[rows] = raw(made)
        changed: Batches = raw(made)[differs].view(CONNECTION)
        return changed

    def _take_rows(self, rows: Rows, newest: Batches) -> dict[Table, Batches]:
        """For each table the rows among these that changed, remembered as handed over."""
        shape = len(rows), self._layout.dtype.itemsize // 8
        now = newest.view("u8").reshape(shape)
        before = raw(self._batch_taken)[rows].view("u8").reshape(shape)
        raw(self._batch_taken)[rows] = raw(newest)
        taken: dict[Table, Batches] = {}
        for table, words in self._blocks.items():
            differs = (now[:, words] != before[:, words]).any(axis=1)
            # The first word of a block says what is known.
            changed = np.flatnonzero(differs & (now[:, words.start] != 0))
            made = np.zeros(len(changed), row_dtype(table))
            made["connect_index"] = self._rows["connect_index"][rows[changed]]
            raw_field(made, "block")[:] = raw_field(newest, table.value)[changed]
            for column in _wall_clocks(table):
                made["block"][column] = self._rows["opened_us"][rows[changed]]
            taken[table] = made
        return taken

    def _free(self, rows: Rows) -> None:
        """Forget connections; all that belonged to their rows becomes zero."""
        self._index.forget(self._rows["id"][rows])
        self._state.clear(rows)
        for array in (self._rows, self._batch_taken, self._connection_taken):
            raw(array)[rows] = np.zeros(1, raw(array).dtype)
        self._spare = np.append(self._spare, rows)


def _block_words(batch: Dtype, table: Table) -> slice:
    """The u64 words of a batch that are this table's block."""
    assert batch.fields is not None, "a batch is a structure"
    start = batch.fields[table.value][1] // 8
    return slice(start, start + block_dtype(table).itemsize // 8)


def _wall_clocks(table: Table) -> list[str]:
    """The variables that are the connection's start in UTC, which the kernel cannot know."""
    return [
        v.column
        for v in stored_in(table)
        if v.kind is Kind.TIMESTAMP and v.unit.startswith("microseconds since the epoch")
    ]


def _utc_us(monotonic_ns: Array, wall_offset_ns: int) -> Array:
    """Microseconds since the epoch, never 0."""
    utc_us: Array = (monotonic_ns.astype("i8") + wall_offset_ns) // 1_000
    positive: Array = np.maximum(utc_us, 1).astype("u8")
    return positive
