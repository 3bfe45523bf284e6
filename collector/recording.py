"""What the rings held, in a file: written while collecting, replayed without a kernel.

    | MAGIC, version, header bytes | header: JSON, padded to 8 | chunk | chunk | ...

A chunk is six integers and the batches that one shard read from one ring in one go, or all
listeners as they were found before a cut. A chunk without either is a cut: all that was read since
the one before belongs to it. The header is the
Run, with a digest of the batch layout, so that only batches this program understands are
replayed. Integers are little-endian.

Several processes append to one file: each chunk is a single write on a descriptor in append
mode, which Linux does not interleave on a local file system.
"""

import hashlib
import json
import mmap
import os
import stat
import struct
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from bpf.catalogue import stored_in
from bpf.errors import RecordingError, UsageError
from bpf.meters import Run
from bpf.record import HEAD, IDENTITY, LISTENER, LISTENER_HEAD, batch_dtype, raw
from bpf.variable import HISTORIES, Table
from collector.ring import BATCHES_MAX, Batches
from collector.settings import SHARDS_MAX

MAGIC: Final = b"\x89ESTATS\n"  # not text, and broken by whatever translates line ends
VERSION: Final = 1
PREFIX: Final = struct.Struct("<8sII")  # MAGIC, VERSION, bytes of the padded header
CHUNK: Final = struct.Struct("<IHHQQQ")  # kind, shard, cpu, bytes of batches, cut_ns, taken_us

BATCHES: Final = int.from_bytes(b"BATC", "little")
CUT: Final = int.from_bytes(b"CUT ", "little")
LISTENERS: Final = int.from_bytes(b"LIST", "little")

_HEADER_BYTES_MAX: Final = 1 << 20
_TIME_MAX: Final = (1 << 63) - 1  # of nanoseconds, and of all other numbers
_TAKEN_US_MAX: Final = _TIME_MAX // 1_000  # in the year 2262: UTC is reckoned with in nanoseconds
_DAMAGED: Final = "It is damaged or was not made by estats: record again"
_OTHER_VERSION: Final = "Replay it with the version of estats that recorded it"


@dataclass(frozen=True, slots=True)
class Cut:
    """The end of one snapshot: CLOCK_MONOTONIC ns, and the same moment in UTC microseconds."""

    cut_ns: int
    taken_us: int

    @property
    def wall_offset_ns(self) -> int:
        """UTC minus CLOCK_MONOTONIC."""
        return self.taken_us * 1_000 - self.cut_ns


class Recorder:
    """Appends to a recording. All processes of a collector may hold one of the same file."""

    def __init__(self, path: Path, run: Run, group: int | None = None) -> None:
        """Create the recording, which only its owner and ``group`` may read.

        Raises UsageError if the path is taken or cannot be created.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_APPEND | os.O_CLOEXEC
        try:
            self._fd = os.open(path, flags, 0o600)
            if group is not None:
                os.fchown(self._fd, -1, group)
                os.fchmod(self._fd, 0o640)
        except FileExistsError:
            raise UsageError(
                f"{path} exists already", "Choose another name: a recording replaces nothing"
            ) from None
        except OSError as error:
            raise UsageError(
                f"{path} cannot be created: {error.strerror}", "Choose a place that can be written"
            ) from None
        header = _header(run)
        self._append(PREFIX.pack(MAGIC, VERSION, len(header)), header)

    @classmethod
    def attached(cls, fd: int) -> "Recorder":
        """A recorder on the descriptor that another process created the recording with."""
        recorder = cls.__new__(cls)
        recorder._fd = fd
        return recorder

    def batches(self, shard: int, cpu: int, batches: Batches) -> None:
        """Append what a shard read from the ring of one CPU.

        Raises RecordingError when the disk is full: what was appended before stays readable.
        """
        for start in range(0, len(batches), BATCHES_MAX):
            data = np.ascontiguousarray(raw(batches[start : start + BATCHES_MAX]))
            self._append(CHUNK.pack(BATCHES, shard, cpu, data.nbytes, 0, 0), data.tobytes())

    def listeners(self, records: Batches) -> None:
        """Append the listeners of the next cut, of dtype ``record.LISTENER``."""
        self._append(CHUNK.pack(LISTENERS, 0, 0, records.nbytes, 0, 0), records.tobytes())

    def cut(self, cut_ns: int, taken_us: int) -> None:
        """Append a cut: after the last batch of its snapshot, before the first of the next."""
        self._append(CHUNK.pack(CUT, 0, 0, 0, cut_ns, taken_us), b"")

    def fileno(self) -> int:
        """The descriptor, to be inherited by workers."""
        return self._fd

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._fd)

    def _append(self, head: bytes, body: bytes) -> None:
        try:
            written = os.writev(self._fd, [head, body])
        except OSError as error:
            raise RecordingError(
                f"the recording cannot be written: {error.strerror}", "Free space on its disk"
            ) from None
        if written < len(head) + len(body):
            raise RecordingError("the disk of the recording is full", "Free space on its disk")


class _Chunk(NamedTuple):
    """Batches of one shard: at which cut they were read, where they begin, how many."""

    cut_ns: int
    offset: int
    batches: int


class Recording:
    """A recording, checked as a whole before the first batch is handed out.

    ``run`` is the Run that was recorded, ``tables`` are the blocks of its batches, ``cuts`` its
    snapshots in order. ``truncated`` says that the end is missing, as after a killed collector:
    all that is complete is replayed, and what follows the last cut gets one of its own.
    """

    def __init__(self, path: Path) -> None:
        """Open and check; raises UsageError for no file, RecordingError for no recording."""
        self._map = _mapped(path)
        self.run, self.tables, start = _read_header(self._map, path)
        self._dtype = batch_dtype(self.tables)
        self._chunks: dict[int, list[_Chunk]] = {shard: [] for shard in range(self.run.shards)}
        self.cuts: list[Cut] = []
        self._listeners: dict[Cut, Batches] = {}
        self._uncut_listeners: Batches = np.zeros(0, LISTENER)
        self.truncated = False
        self._index(start)

    def chunks(self, shard: int) -> Sequence[_Chunk]:
        """The chunks of one shard, in the order they were read."""
        return self._chunks[shard]

    def batches(self, chunk: _Chunk) -> Batches:
        """The batches of a chunk, a view of the file."""
        return np.frombuffer(self._map, self._dtype, chunk.batches, chunk.offset)

    def listeners(self, cut: Cut) -> Batches:
        """The listeners as of one of ``cuts``: dtype ``record.LISTENER``."""
        return self._listeners[cut]

    def _index(self, offset: int) -> None:
        """Find all chunks; ``offset`` is that of the first."""
        uncut: list[tuple[int, _Chunk]] = []
        while offset + CHUNK.size <= len(self._map):
            kind, shard, _, nbytes, cut_ns, taken_us = CHUNK.unpack_from(self._map, offset)
            body = offset + CHUNK.size
            if kind == CUT and nbytes == 0:
                self._cut(uncut, Cut(cut_ns, taken_us), offset)
                uncut = []
            elif not self._is_sound(kind, shard, nbytes):
                raise RecordingError(f"the recording is damaged at {offset}", _DAMAGED, offset)
            elif body + nbytes > len(self._map):
                break
            elif kind == LISTENERS:
                count = nbytes // LISTENER.itemsize
                self._uncut_listeners = np.frombuffer(self._map, LISTENER, count, body)
            else:
                uncut.append((shard, _Chunk(0, body, nbytes // self._dtype.itemsize)))
            offset = body + nbytes
        self.truncated = offset < len(self._map)
        if uncut:
            self._cut(uncut, self._last_cut([chunk for _, chunk in uncut]), offset)

    def _is_sound(self, kind: int, shard: int, nbytes: int) -> bool:
        if kind != BATCHES:
            return kind == LISTENERS and nbytes % LISTENER.itemsize == 0
        count, rest = divmod(nbytes, self._dtype.itemsize)
        return shard < self.run.shards and rest == 0 and 0 < count <= BATCHES_MAX

    def _cut(self, uncut: list[tuple[int, _Chunk]], cut: Cut, offset: int) -> None:
        """End a snapshot: these chunks belong to it."""
        before_ns = self.cuts[-1].cut_ns if self.cuts else 0
        if not before_ns <= cut.cut_ns <= _TIME_MAX or cut.taken_us > _TAKEN_US_MAX:
            raise RecordingError(
                f"the recording has a cut at {offset} out of order", _DAMAGED, offset
            )
        self.cuts.append(cut)
        self._listeners[cut] = self._uncut_listeners
        for shard, chunk in uncut:
            self._chunks[shard].append(chunk._replace(cut_ns=cut.cut_ns))

    def _last_cut(self, chunks: list[_Chunk]) -> Cut:
        """A cut for what the collector read before it was killed: at its newest stamp."""
        newest_ns = max(int(self.batches(chunk)["head"]["ts"].max()) for chunk in chunks)
        if not self.cuts:
            return Cut(min(newest_ns, _TIME_MAX), self.run.started_us)
        before = self.cuts[-1]
        cut_ns = min(max(newest_ns, before.cut_ns), _TIME_MAX)
        taken_us = before.taken_us + (cut_ns - before.cut_ns) // 1_000
        return Cut(cut_ns, min(taken_us, _TAKEN_US_MAX))


class ReplaySource:
    """A RingSource: one shard of a recording, a chunk at each read."""

    untracked = 0

    def __init__(self, recording: Recording, shard: int) -> None:
        """From the recording's beginning; to be read with its cuts in order."""
        self._recording = recording
        self._chunks = recording.chunks(shard)
        self._empty: Batches = np.zeros(0, batch_dtype(recording.tables))
        self._place = self._next = 0
        self.more = False

    def read(self, cut_ns: int) -> Batches:
        """The next chunk, if it was read by the time of this cut; else nothing."""
        due = self._is_due(self._place, cut_ns)
        self._next = self._place + due
        self.more = due and self._is_due(self._next, cut_ns)
        return self._recording.batches(self._chunks[self._place]) if due else self._empty

    def release(self) -> None:
        """Go on to the chunk after the one that was read last."""
        self._place = self._next

    def fileno(self) -> int | None:
        """There is nothing to wait for."""
        return None

    def _is_due(self, place: int, cut_ns: int) -> bool:
        return place < len(self._chunks) and self._chunks[place].cut_ns <= cut_ns


def layout_digest(tables: Sequence[Table]) -> str:
    """A digest that differs when batches of these tables mean something else."""
    layout = [str(HEAD.descr), str(IDENTITY.descr), str(LISTENER_HEAD.descr)]
    for table in tables:
        layout += [f"{table.value} {v.name} {v.dtype} {v.op} {v.unit}" for v in stored_in(table)]
    return hashlib.sha256("\n".join(layout).encode()).hexdigest()


def _header(run: Run) -> bytes:
    tables = [Table(name) for name in run.tables]
    values: dict[str, Any] = {field.name: getattr(run, field.name) for field in fields(run)}
    values["unavailable"] = dict(run.unavailable)
    text = json.dumps({"layout": layout_digest(tables), **values}).encode()
    return text.ljust((len(text) + 7) // 8 * 8)


def _mapped(path: Path) -> mmap.mmap:
    try:
        # A named pipe would block until somebody writes to it.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", "Name a file made by --record"
        ) from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{path} is not a file", "Name a file made by --record")
        if not status.st_size:
            raise RecordingError(f"{path} is empty", _DAMAGED)
        return mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
    finally:
        os.close(fd)


def _read_header(data: mmap.mmap, path: Path) -> tuple[Run, tuple[Table, ...], int]:
    """The run, its tables, and where the chunks begin."""
    if len(data) < PREFIX.size or data[: len(MAGIC)] != MAGIC:
        raise RecordingError(f"{path} is not a recording", _DAMAGED)
    _, version, nbytes = PREFIX.unpack_from(data)
    if version != VERSION:
        raise RecordingError(
            f"{path} has format {version}, this version reads {VERSION}", _OTHER_VERSION
        )
    end = PREFIX.size + nbytes
    if nbytes > _HEADER_BYTES_MAX or nbytes % 8 or end > len(data):
        raise RecordingError(f"{path} has a damaged header", _DAMAGED, PREFIX.size)
    try:
        values = json.loads(data[PREFIX.size : end])
        layout = values.pop("layout")
        tables = tuple(t for t in HISTORIES if t.value in values["tables"])
        same = layout == layout_digest(tables) and len(tables) == len(values["tables"])
        run = _run_of(values) if same else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise RecordingError(f"{path} has a damaged header", _DAMAGED, PREFIX.size) from None
    if run is None:
        raise RecordingError(f"{path} was recorded by another version", _OTHER_VERSION)
    return run, tables, end


def _run_of(values: dict[str, Any]) -> Run:
    """The Run of a header; raises TypeError, ValueError or KeyError for anything but a Run."""
    values["tables"] = tuple(values["tables"])
    run = Run(**values)
    numbers = (run.started_us, run.interval_us, run.flush_us, run.shards)
    texts = [run.host, run.kernel, run.boot_id, run.version, run.source, run.filters]
    texts += [*run.tables, *run.unavailable.keys(), *run.unavailable.values()]
    if not all(type(number) is int and 0 <= number <= _TIME_MAX for number in numbers):
        raise ValueError("a number of the header is none")
    if not all(type(text) is str for text in texts):
        raise ValueError("a text of the header is none")
    "".join(texts).encode()  # JSON can spell what is no character; a ValueError, too
    if run.started_us > _TAKEN_US_MAX:
        raise ValueError("it began after the end of time")
    if not 1 <= run.shards <= SHARDS_MAX:  # each becomes a process
        raise ValueError("no collector has so many shards")
    return run
