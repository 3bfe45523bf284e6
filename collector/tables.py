"""The state of one shard's connections, and what of it has changed since it was last handed on."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bpf.catalogue import stored_in
from bpf.meters import Inherited
from bpf.record import CONNECTION, Dtype, Flag, new_bit, raw, sample_dtype
from bpf.variable import REFERRED, Group, Kind, Table, Variable
from collector.apply import (
    State,
    blank_unknown,
    catalogue_layout,
    grown,
    merge,
    packed,
    raw_field,
    zero_rows,
)
from collector.index import Index
from collector.ring import Batches

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.intp]

_CHUNK: Final = 2_048  # batches merged, rows taken at once: few enough to stay in the cache
_ROWS_MIN: Final = 1_024
#: Room is made for so many at once: memory is taken only as it is used, and growing copies all.
_ROWS_AHEAD: Final = 65_536
_AHEAD_MOST: Final = 8  # times what there is
_ROOMY_TAKES: Final = 30  # in a row with three quarters of the room unused: it is given back then
_SAME_START_US: Final = 100_000  # one start, dated twice
_FINAL: Final = np.uint32(Flag.FINAL.value)
_LASTING: Final = np.uint32(~Flag.SWEPT.value & 0xFFFF_FFFF)  # SWEPT is true of one batch only

#: What one row holds beside its merged batch. Zero throughout: a free row.
_ROW: Final[Dtype] = np.dtype(
    [
        ("id", "u8"),
        ("connect_index", "u8"),
        *((group.value, "u8") for group in REFERRED),  # the row that stands; 0: none yet
        ("applied", "u4"),
        ("opened_us", "u8"),
        ("closed_us", "u8"),
        ("used", "?"),
        ("dirty", "?"),
        ("final", "?"),
        ("leaving", "?"),
        ("taken", "?"),  # what was handed over last is remembered
        ("inherited", "?"),  # from a dead worker, and no batch came since
        ("lost", "u4"),  # of it, before
    ]
)


class Tables:
    """One row for each connection of a shard, from its first batch until its close is handed on.

    A closed row stays one ``take`` longer than its close: a batch that had been reserved before
    the final one but was submitted after the cut still finds it, and does not make it anew.
    """

    def __init__(
        self, tables: tuple[Table, ...], numbered: Mapping[str, int], shards: int, shard: int
    ) -> None:
        """An empty shard; ``numbered`` has the last number that was taken before the run.

        ConnectIndexes (``connection``) and the rows of the referred groups (by their names) are
        counted from there, each shard leaving room for the others.
        """
        self._layout = catalogue_layout(tables)
        self._sample = sample_dtype(tables)
        self._clocks = [(t.value, v.column) for t in tables for v in stored_in(t) if _is_clock(v)]
        self._masks = {group: _mask(tables, group) for group in REFERRED}
        self._known = _mask(tables, None)
        names = ("connection", *(group.value for group in REFERRED))
        self._numbers = {name: _Numbers(numbered[name], shards, shard) for name in names}
        self._index = Index()
        self._state = State(self._layout.dtype, _ROWS_MIN)
        self._rows = np.zeros(_ROWS_MIN, _ROW)
        # As handed over last: the whole batch (only its blocks count), and the connection.
        self._batch_taken = np.zeros(_ROWS_MIN, self._layout.dtype)
        self._connection_taken = np.zeros(_ROWS_MIN, CONNECTION)
        self._spare = _spare_rows(0, _ROWS_MIN)
        self._leaving: Rows = np.zeros(0, np.intp)  # closed as of the last take
        self._ended: Array = np.zeros(0, CONNECTION)  # inherited, with an end to be handed over
        self._roomy_takes = 0
        self._amounts = dict.fromkeys(("batches", "ops", "late"), 0)

    def apply(self, batches: Batches, wall_offset_ns: int) -> None:
        """Merge batches in any order; ``wall_offset_ns`` is UTC minus CLOCK_MONOTONIC.

        The array is not kept. The offset dates connections that open or close in these batches.
        """
        for start in range(0, len(batches), _CHUNK):
            chunk = batches[start : start + _CHUNK]
            rows = self._index.lookup(chunk["head"]["id"])
            if (rows < 0).any():
                unknown = raw(chunk)[rows < 0].view(self._layout.dtype)
                self._open(unknown, wall_offset_ns)
                rows = self._index.lookup(chunk["head"]["id"])
            self._admit_late(rows[self._rows["leaving"][rows]])
            merged = merge(self._layout, self._state, rows, chunk)
            self._rows["applied"][merged.rows] += merged.batches.astype("u4")
            self._rows["dirty"][merged.rows] = True
            self._count_from_here(merged.rows)
            self._close_finals(merged.rows, wall_offset_ns)
            self._amounts["batches"] += len(chunk)
            self._amounts["ops"] += merged.operands

    def inherit(self, known: Inherited) -> None:
        """Go on with the connections of this shard that the database has, under their numbers.

        To be called before anything is applied. The id of a socket that connected once is its
        cookie; another one's row is found when its first batch comes. If a socket has several rows,
        the newest is its own, and of the others those that are open still are ended.
        """
        for name, numbers in self._numbers.items():
            numbers.go_beyond(known.numbered[name])
        ours = self._numbers["connection"].gave(known.connections["connect_index"])
        told: Batches = raw(known.connections)[ours].view(CONNECTION)
        told, self._ended = _newest_of_each(told)
        rows = self._allot(told["identity"]["cookie"])
        for name in ("connect_index", "opened_us", "closed_us"):
            self._rows[name][rows] = told[name]
        self._rows["inherited"][rows] = True
        raw_field(self._state.batch, "identity")[rows] = raw_field(told, "identity")
        for name in ("flags", "state", "old_state", "error"):
            self._state.batch["head"][name][rows] = told[name]
        self._rows["lost"][rows] = self._state.batch["head"]["sent"][rows] = told["lost"]
        raw(self._connection_taken)[rows] = raw(told)
        closed = told["closed_us"] != 0
        self._rows["final"][rows[closed]] = self._rows["leaving"][rows[closed]] = True
        self._leaving = rows[closed]

    def take(self) -> tuple[Batches, Batches]:
        """What changed since the last call: connections, and their samples.

        The dtypes are ``record.CONNECTION`` and ``record.sample_dtype(tables)``. A connection has
        a sample if something is known of it and any byte of its blocks differs from what was
        handed over last. Connections that were closed in the take before are forgotten.
        """
        changed = np.flatnonzero(self._rows["dirty"])
        self._rows["dirty"][changed] = False
        # Room for all that there can be, of which only what is filled takes memory.
        connections = _Filled(len(self._ended) + len(changed), CONNECTION)
        samples = _Filled(len(changed), self._sample)
        connections.append(self._ended)
        self._ended = np.zeros(0, CONNECTION)
        for start in range(0, len(changed), _CHUNK):
            rows = changed[start : start + _CHUNK]
            newest = self._newest(rows)
            connections.append(self._take_connections(rows, newest))
            samples.append(self._take_samples(rows, newest))
        self._free(self._leaving)
        self._leaving = changed[self._rows["closed_us"][changed] != 0]
        self._rows["leaving"][self._leaving] = True
        self._give_room_back()
        return connections.all, samples.all

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
    def rows_used(self) -> int:
        """How many connections there are, with those that closed and are not forgotten yet."""
        return len(self._rows) - len(self._spare)

    @property
    def rows_allocated(self) -> int:
        """How many connections there is room for now."""
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
        cookies = batches["identity"]["cookie"][first]
        opened_us = _utc_us(batches["identity"]["start_ns"][first], wall_offset_ns)
        new = ~self._claim(ids, cookies, opened_us)
        rows = self._allot(ids[new])
        self._rows["connect_index"][rows] = self._numbers["connection"].take(len(rows))
        self._rows["opened_us"][rows] = opened_us[new]

    def _allot(self, ids: Array) -> Rows:
        """Free rows, one for each id that is unknown so far."""
        if len(self._spare) < len(ids):
            self._grow(len(self._rows) + len(ids) - len(self._spare))
        self._spare, last = np.split(self._spare, [len(self._spare) - len(ids)])
        rows = last[::-1]
        self._index.assign(ids, rows)
        self._rows["id"][rows] = ids
        self._rows["used"][rows] = True
        return rows

    def _claim(self, ids: Array, cookies: Array, opened_us: Array) -> Array:
        """Which of these are inherited: their socket had connected before, so its id is another."""
        if not self._rows["inherited"].any():  # as nearly always
            return np.zeros(len(ids), bool)
        rows = self._index.lookup(cookies)
        row = self._rows[rows]
        apart_us = np.abs(row["opened_us"].astype("i8") - opened_us.astype("i8"))
        ours: Array = (rows >= 0) & row["inherited"] & (apart_us < _SAME_START_US)
        if ours.any():
            self._index.forget(cookies[ours])
            self._index.assign(ids[ours], rows[ours])
            self._rows["id"][rows[ours]] = ids[ours]
        return ours

    def _count_from_here(self, rows: Rows) -> None:
        """At the first batches of an inherited connection: nothing more was lost before them."""
        rows = rows[self._rows["inherited"][rows]]
        sent, lost = self._state.batch["head"]["sent"][rows], self._rows["lost"][rows]
        self._rows["applied"][rows] = sent - np.minimum(sent, lost)
        self._rows["inherited"][rows] = False

    def _admit_late(self, rows: Rows) -> None:
        """Of connections that were handed over as closed: now it matters what was handed over."""
        self._amounts["late"] += len(rows)
        rows = np.unique(rows[~self._rows["taken"][rows]])
        if len(rows):
            self._remember(rows, self._newest(rows))

    def _grow(self, rows: int) -> None:
        had = len(self._rows)
        rows = max(rows, 2 * had, min(_AHEAD_MOST * had, _ROWS_AHEAD))
        self._spare = np.append(_spare_rows(had, rows), self._spare)
        self._state.grow(rows)
        self._rows = grown(self._rows, rows)
        self._batch_taken = grown(self._batch_taken, rows)
        self._connection_taken = grown(self._connection_taken, rows)

    def _give_room_back(self) -> None:
        """After a crowd has gone for good."""
        used = self.rows_used
        is_roomy = len(self._rows) > max(_ROWS_MIN, 4 * used)
        self._roomy_takes = self._roomy_takes + 1 if is_roomy else 0
        if self._roomy_takes == _ROOMY_TAKES:
            self._roomy_takes = 0
            self._pack(max(_ROWS_MIN, 2 * used))

    def _pack(self, rows: int) -> None:
        """Move the rows in use to the front of so many."""
        kept = np.flatnonzero(self._rows["used"])
        places = np.full(len(self._rows), -1)
        places[kept] = np.arange(len(kept))
        self._index.move(places)
        self._leaving = places[self._leaving]
        self._spare = _spare_rows(len(kept), rows)
        self._state.pack(kept, rows)
        self._rows = packed(self._rows, kept, rows)
        self._batch_taken = packed(self._batch_taken, kept, rows)
        self._connection_taken = packed(self._connection_taken, kept, rows)

    def _close_finals(self, rows: Rows, wall_offset_ns: int) -> None:
        """Date the close of connections whose final batch has just come."""
        head = self._state.batch["head"]
        rows = rows[((head["flags"][rows] & _FINAL) != 0) & ~self._rows["final"][rows]]
        self._rows["closed_us"][rows] = _utc_us(head["ts"][rows], wall_offset_ns)
        self._rows["final"][rows] = True

    def _take_connections(self, rows: Rows, newest: Batches) -> Batches:
        """The connections among these rows that changed, remembered as handed over."""
        head, row = newest["head"], raw(self._rows)[rows].view(_ROW)
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

    def _take_samples(self, rows: Rows, newest: Batches) -> Batches:
        """The samples of those among these rows that changed, remembered as handed over.

        Not of a connection that came and went since the last time: nothing is to follow.
        """
        now, taken = self._blocks(newest), self._rows["taken"][rows]
        differing = now.copy()  # from what a row holds at first: zeros
        if taken.any():
            before = raw(self._batch_taken)[rows[taken]].view(self._layout.dtype)
            differing[taken] ^= self._blocks(before)
        lasting = taken | (self._rows["closed_us"][rows] == 0)
        if lasting.any():
            self._remember(rows[lasting], raw(newest)[lasting])
        changed = differing.any(axis=1) & (now & self._known != 0).any(axis=1)
        if not changed.any():
            return np.zeros(0, self._sample)
        rows, differing = rows[changed], differing[changed]
        made = np.zeros(len(rows), self._sample)
        made["connect_index"] = self._rows["connect_index"][rows]
        raw_field(made, "blocks")[:] = _as_bytes(now[changed])
        for table, column in self._clocks:
            made["blocks"][table][column] = self._rows["opened_us"][rows]
        for group, mask in self._masks.items():
            is_new = (differing & mask != 0).any(axis=1)
            is_new |= self._rows[group.value][rows] == 0
            numbers = self._numbers[group.value].take(int(np.count_nonzero(is_new)))
            self._rows[group.value][rows[is_new]] = numbers
            made[group.value] = self._rows[group.value][rows]
            made["new"][is_new] |= np.uint64(new_bit(group))
        return made

    def _newest(self, rows: Rows) -> Batches:
        """What is known of these rows; the rest zero."""
        newest: Batches = raw(self._state.batch)[rows].view(self._layout.dtype)
        blank_unknown(self._layout, newest)
        return newest

    def _remember(self, rows: Rows, newest: Batches) -> None:
        """As what was handed over last of each row."""
        raw(self._batch_taken)[rows] = raw(newest)
        self._rows["taken"][rows] = True

    def _blocks(self, batches: Batches) -> Array:
        """The blocks of batches as u64 words, a row for each batch."""
        words = batches.view("u8").reshape(len(batches), self._layout.dtype.itemsize // 8)
        blocks: Array = words[:, words.shape[1] - len(self._known) :]
        return blocks

    def _free(self, rows: Rows) -> None:
        """Forget connections; all that belonged to their rows becomes zero."""
        self._index.forget(self._rows["id"][rows])
        self._state.clear(rows)
        zero_rows(self._batch_taken, rows[self._rows["taken"][rows]])
        for array in (self._rows, self._connection_taken):
            zero_rows(array, rows)
        self._spare = np.append(self._spare, rows[::-1])


class _Filled:
    """Elements put one behind the other, in room for so many.

    To join parts at the end takes both at once: of 20,000 rows 8 MB more in each worker, for good.
    """

    def __init__(self, room: int, dtype: Dtype) -> None:
        """None yet."""
        self._elements = np.empty(room, dtype)
        self._count = 0

    def append(self, more: Batches) -> None:
        """These, too."""
        end = self._count + len(more)
        raw(self._elements)[self._count : end] = raw(more)
        self._count = end

    @property
    def all(self) -> Batches:
        """Those that are there."""
        return self._elements[: self._count]


class _Numbers:
    """The numbers that one shard may give: every ``shards``-th one after the last taken."""

    def __init__(self, last: int, shards: int, shard: int) -> None:
        """From ``last`` + 1 on, the shard's own place in each round."""
        self._first = self._next = last + 1 + shard
        self._step = shards

    def go_beyond(self, largest: int) -> None:
        """Leave out all up to a number that somebody gave."""
        rounds = -(-(largest + 1 - self._first) // self._step)
        self._next = self._first + max(0, rounds) * self._step

    def gave(self, numbers: Array) -> Array:
        """Which of these are of this shard and this run."""
        first, step = np.uint64(self._first), np.uint64(self._step)
        ours: Array = (numbers >= first) & ((numbers - first) % step == 0)
        return ours

    def take(self, count: int) -> Array:
        """The next ones, as u64."""
        numbers: Array = self._next + np.arange(count, dtype="u8") * np.uint64(self._step)
        self._next += count * self._step
        return numbers


def _spare_rows(start: int, stop: int) -> Rows:
    """The rows between, to be given from the end.

    So those that were used last, which the cache may have still, are used again, and those that
    never were take no memory. They rise from call to call as the numbers of connections do, for
    rows are handed over in their order, and SQLite is fastest at what goes to the end of a table.
    """
    return np.arange(start, stop)[::-1]


def _newest_of_each(told: Batches) -> tuple[Batches, Batches]:
    """The newest row of each socket, and the ends of its older ones that had none yet.

    Whose end was lost is closed as of the next row's beginning. Where the socket was found open
    then, with the same ends, it had been evicted; else its close was not seen.
    """
    order = np.lexsort((told["connect_index"], told["identity"]["cookie"]))
    told = raw(told)[order].view(CONNECTION)
    cookies, followed = told["identity"]["cookie"], np.zeros(len(told), bool)
    followed[:-1] = cookies[1:] == cookies[:-1]
    ended = followed & (told["closed_us"] == 0)
    older, next_one = told[ended], told[np.roll(ended, 1)]
    older["closed_us"] = np.maximum(older["opened_us"], next_one["opened_us"])
    is_evicted = (next_one["flags"] & np.uint32(Flag.BACKFILL)) != 0
    for end in ("local_address", "rem_address"):
        is_evicted &= (older["identity"][end] == next_one["identity"][end]).all(axis=1)
    for end in ("local_port", "rem_port"):
        is_evicted &= older["identity"][end] == next_one["identity"][end]
    older["flags"][is_evicted] |= np.uint32(Flag.FINAL | Flag.EVICTED)
    return told[~followed], older


def _as_bytes(words: Array) -> Array:
    """Each row of a matrix as one element of plain bytes."""
    together: Array = np.ascontiguousarray(words).view(f"V{words.shape[1] * words.itemsize}")
    return together[:, 0]


def _mask(tables: tuple[Table, ...], group: Group | None) -> Array:
    """The bits of the blocks, as u64 words, that are a group's: its known-bits and its operands.

    Without a group the known-bits of all.
    """
    blocks = np.zeros(1, sample_dtype(tables)["blocks"])
    for table in tables:
        block = blocks[table.value]
        for bit, v in enumerate(stored_in(table)):
            if group in (None, v.group):
                block["known"] |= np.uint64(1 << bit)
            if v.group is group:
                block[v.column] = np.array(-1).astype(v.dtype)
    return np.frombuffer(blocks.tobytes(), "u8")


def _is_clock(v: Variable) -> bool:
    """Whether it is the connection's start in UTC, which the kernel cannot know."""
    return v.kind is Kind.TIMESTAMP and v.unit.startswith("microseconds since the epoch")


def _utc_us(monotonic_ns: Array, wall_offset_ns: int) -> Array:
    """Microseconds since the epoch, never 0."""
    utc_us: Array = (monotonic_ns.astype("i8") + wall_offset_ns) // 1_000
    positive: Array = np.maximum(utc_us, 1).astype("u8")
    return positive
