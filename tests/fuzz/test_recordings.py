"""A file of any octets is replayed into a database, or refused in a sentence with exit code 5."""

import json
import struct
import tracemalloc
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import event, example, given
from hypothesis import strategies as st

from bpf.errors import RecordingError
from bpf.meters import METERS, Snapshot
from bpf.record import LISTENER, Flag, batch_dtype
from bpf.variable import REFERRED, Table
from cli.app import run as run_estats
from collector.listeners import Listeners
from collector.recording import CHUNK, PREFIX, Recorder, Recording, ReplaySource, layout_digest
from collector.tables import Tables
from storage.writer import Writer
from tests.cli.story import one_run
from tests.fuzz.examples import fuzzed

TABLES = (Table.PERF, Table.STACK, Table.EXTRAS, Table.LISTENER)
SAMPLED = TABLES[:-1]
RUN = one_run(0, [t.value for t in TABLES], {"IpTtl": "no hook"})
MEMORY_MAX = 64 << 20

Flips = list[tuple[int, int]]


@cache
def valid() -> bytes:
    """A recording of two shards, three connections and two listeners, in three cuts."""
    random = np.random.default_rng(23)
    with TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder) / "r", RUN)
        for cut in (1, 2, 3):
            for shard in (0, 1):
                batches = np.frombuffer(
                    random.bytes(3 * batch_dtype(SAMPLED).itemsize), batch_dtype(SAMPLED)
                ).copy()
                head = batches["head"]
                head["id"], head["ts"], head["sent"] = (1 + shard, 3, 5), cut * 1000, cut
                head["flags"] = Flag.ACTIVE | (Flag.FINAL if cut == 3 else 0)
                batches["identity"]["start_ns"] = 500
                recorder.batches(shard, 0, batches)
            listening = np.zeros(2, LISTENER)
            listening["identity"]["cookie"] = 7, 8
            listening["identity"]["start_ns"] = 400
            recorder.listeners(listening[: cut % 3])
            recorder.cut(cut * 1000 + 500, RUN.started_us + cut * 1_000_000)
        recorder.close()
        return (Path(folder) / "r").read_bytes()


def replay(path: Path, database: Path) -> None:
    """What a collector does with a recording, in one process."""
    recording = Recording(path)
    writer = Writer(database, recording.run)
    shards = range(recording.run.shards)
    sources = [ReplaySource(recording, shard) for shard in shards]
    sampled = tuple(t for t in recording.tables if t is not Table.LISTENER)
    numbered = {"connection": 0, **{group.value: 0 for group in REFERRED}}
    tables = [Tables(sampled, numbered, len(shards), shard) for shard in shards]
    listeners = Listeners(0)
    for cut in recording.cuts:
        parts = []
        for source, table in zip(sources, tables, strict=True):
            more = True
            while more:
                table.apply(source.read(cut.cut_ns), cut.wall_offset_ns)
                source.release()
                more = source.more
            parts.append(table.take())
        changes = listeners.take(recording.listeners(cut), cut)
        writer.write(
            Snapshot(
                cut_ns=cut.cut_ns,
                taken_us=cut.taken_us,
                interval_us=0,
                meters=dict.fromkeys(METERS, 0),
                connections=np.concatenate([connections for connections, _ in parts]),
                samples=np.concatenate([samples for _, samples in parts]),
                listeners=changes.rows,
                endpoints=changes.endpoints,
            )
        )
    writer.close("replayed")


def judged(content: bytes) -> None:
    """Whatever it is: rows that can be asked for, or the one error."""
    with TemporaryDirectory() as folder:
        path, database = Path(folder) / "r", Path(folder) / "flows.db"
        path.write_bytes(content)
        try:
            replay(path, database)
        except RecordingError as error:
            event("refused")
            refusal = error
        else:
            event("replayed")
            for command in (["query", "--history", "--format", "csv"], ["listeners"]):
                assert run_estats([*command, "--db", str(database)]) == 0
            return
    assert refusal.exit_code == 5
    assert refusal.message and refusal.advice


@fuzzed
@example([(PREFIX.size + 40, 255)], None)
@example([], 0)
@example([], PREFIX.size - 1)
@given(
    st.lists(st.tuples(st.integers(0, len(valid()) - 1), st.integers(1, 255)), max_size=12),
    st.none() | st.integers(0, len(valid())),
)
def test_a_recording_with_any_bits_flipped(flips: Flips, end: int | None) -> None:
    """And with any end cut off."""
    content = bytearray(valid())
    for place, bits in flips:
        content[place] ^= bits
    judged(bytes(content[:end]))


words = st.sampled_from(
    [0, 1, 1 << 31, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 9_223_372_036_854_775]
)


@fuzzed
@example([(0, 4, 0, 0)], [(1, (1 << 63) - 1, 1), ((1 << 63) - 1, 1, 0)])
@example([], [(1, 9_223_372_036_854_775, (1 << 64) - 1)])
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 15), words, words), max_size=4),
    st.lists(st.tuples(words, words, words), max_size=4),
)
def test_a_recording_with_any_numbers(
    changes: list[tuple[int, int, int, int]], cuts: list[tuple[int, int, int]]
) -> None:
    """Within its batches, its cuts and its listeners."""
    size = batch_dtype(SAMPLED).itemsize
    content = bytearray(valid())
    start = PREFIX.size + PREFIX.unpack_from(content)[2]
    for chunk, word, first, second in changes:
        place = start + CHUNK.size + chunk * size + 8 * word
        content[place : place + 16] = struct.pack("<QQ", first, second)
    for cut_ns, taken_us, stamp in cuts:
        listening = np.zeros(1, LISTENER)
        listening["identity"]["start_ns"] = listening["head"]["closed_ns"] = stamp
        content += CHUNK.pack(int.from_bytes(b"LIST", "little"), 0, 0, listening.nbytes, 0, 0)
        content += listening.tobytes()
        content += CHUNK.pack(int.from_bytes(b"CUT ", "little"), 0, 0, 0, cut_ns, taken_us)
    judged(bytes(content))


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
flat = st.lists(scalars, max_size=3) | st.dictionaries(st.text(max_size=8), scalars, max_size=3)
anything = scalars | flat | st.lists(flat, max_size=2)


@fuzzed
@example({"shards": 65_536})
@example({"started_us": (1 << 63) - 1})
@example({"tables": ["perf", "perf"]})
@example({"host": "\ud800"})
@given(st.dictionaries(st.sampled_from([*RUN.__slots__, "layout", "more"]), anything, max_size=3))
def test_a_recording_with_any_header(changed: dict[str, Any]) -> None:
    """Of JSON that says anything."""
    header: dict[str, Any] = {"layout": layout_digest(TABLES)}
    header |= {name: getattr(RUN, name) for name in RUN.__slots__} | changed
    text = json.dumps(header).encode()
    text = text.ljust((len(text) + 7) // 8 * 8)
    start = PREFIX.size + PREFIX.unpack_from(valid())[2]
    judged(valid()[:8] + struct.pack("<II", 1, len(text)) + text + valid()[start:])


@fuzzed
@given(st.binary(max_size=400), st.booleans())
def test_octets_that_are_no_recording(noise: bytes, begins_well: bool) -> None:
    """Also such that begin as one."""
    judged((valid()[: PREFIX.size] if begins_well else b"") + noise)


@fuzzed
@given(st.integers(0, 1 << 32), st.integers(0, (1 << 64) - 1))
def test_no_length_of_a_file_takes_memory(header_bytes: int, chunk_bytes: int) -> None:
    """What a file claims to hold is believed when it is there."""
    start = PREFIX.size + PREFIX.unpack_from(valid())[2]
    claims = CHUNK.pack(int.from_bytes(b"BATC", "little"), 0, 0, chunk_bytes, 0, 0)
    tracemalloc.start()
    try:
        judged(valid()[:12] + struct.pack("<I", header_bytes % (1 << 32)) + valid()[16:])
        judged(valid()[:start] + claims + valid()[start:])
        assert tracemalloc.get_traced_memory()[1] < MEMORY_MAX
    finally:
        tracemalloc.stop()
