"""A recording gives back what was recorded, or says in one typed error why it cannot."""

import dataclasses
import os
import stat
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpf.errors import EstatsError, RecordingError, UsageError
from bpf.record import LISTENER, batch_dtype
from bpf.variable import Table
from collector.recording import (
    BATCHES,
    CHUNK,
    CUT,
    MAGIC,
    PREFIX,
    VERSION,
    Cut,
    Recorder,
    Recording,
    ReplaySource,
    layout_digest,
)
from collector.ring import RingSource
from tests.runs import a_run

TABLES = (Table.TUNE, Table.EXTRAS)
BATCH = batch_dtype(TABLES)
RUN = a_run(shards=2, tables=("tune", "extras"), unavailable={"LimSsthresh": "no such limit"})

Batches = npt.NDArray[Any]


def batches(*stamps: int) -> Batches:
    """Batches with these stamps."""
    made = np.zeros(len(stamps), BATCH)
    made["head"]["ts"] = stamps
    return made


def recorded(path: Path) -> bytes:
    """A recording of two shards and two cuts, and its bytes."""
    recorder = Recorder(path, RUN)
    recorder.batches(0, 0, batches(1, 2))
    recorder.batches(1, 0, batches(3))
    recorder.batches(0, 1, batches(2))
    recorder.cut(5, 1_000_005)
    recorder.batches(1, 1, batches(6, 7))
    recorder.cut(9, 2_000_000)
    recorder.close()
    return path.read_bytes()


def replayed(recording: Recording, shard: int) -> list[list[int]]:
    """The stamps of one shard, cut by cut."""
    source: RingSource = ReplaySource(recording, shard)
    cuts: list[list[int]] = []
    for cut in recording.cuts:
        stamps: list[int] = []
        while True:
            stamps += source.read(cut.cut_ns)["head"]["ts"].tolist()
            source.release()
            if not source.more:
                break
        cuts.append(stamps)
    return cuts


def test_what_was_recorded_is_replayed(tmp_path: Path) -> None:
    """Each shard gets its batches at the cut they were read for."""
    recorded(tmp_path / "r")
    recording = Recording(tmp_path / "r")

    assert (recording.run, recording.tables, recording.truncated) == (RUN, TABLES, False)
    assert recording.cuts == [Cut(5, 1_000_005), Cut(9, 2_000_000)]
    assert recording.cuts[0].wall_offset_ns == 1_000_004_995
    assert replayed(recording, 0) == [[1, 2, 2], []]
    assert replayed(recording, 1) == [[3], [6, 7]]


def test_listeners_are_replayed_with_their_cut(tmp_path: Path) -> None:
    """All of them as they were then; none where their table was masked out."""
    found = np.zeros(2, LISTENER)
    found["identity"]["cookie"] = 7, 8
    recorder = Recorder(tmp_path / "r", RUN)
    for cut_ns, number in ((5, 2), (6, 0), (7, 1)):
        recorder.listeners(found[:number])
        recorder.cut(cut_ns, 1)
    recorder.close()
    recorded(tmp_path / "without")

    recording, without = Recording(tmp_path / "r"), Recording(tmp_path / "without")

    cookies = [recording.listeners(c)["identity"]["cookie"].tolist() for c in recording.cuts]
    assert cookies == [[7, 8], [], [7]]
    assert [len(without.listeners(c)) for c in without.cuts] == [0, 0]


def test_a_replay_is_read_again_until_released(tmp_path: Path) -> None:
    """As a ring is."""
    recorded(tmp_path / "r")
    source: RingSource = ReplaySource(Recording(tmp_path / "r"), 1)

    assert source.read(5)["head"]["ts"].tolist() == source.read(5)["head"]["ts"].tolist() == [3]

    source.release()

    assert len(source.read(5)) == 0
    assert source.fileno() is None


def test_batches_of_a_ring_are_recorded_whole(tmp_path: Path) -> None:
    """A view of a ring has gaps between its batches; the file has none."""
    ring = np.zeros(3, [("header", "u8"), ("batch", BATCH)])
    ring["batch"] = np.frombuffer(os.urandom(3 * BATCH.itemsize), BATCH)
    recorder = Recorder(tmp_path / "r", RUN)
    recorder.batches(0, 0, ring["batch"])
    recorder.batches(0, 0, batches())
    recorder.cut(1 << 62, 2)
    recorder.close()

    source = ReplaySource(Recording(tmp_path / "r"), 0)

    assert source.read(1 << 62)["head"].tolist() == ring["batch"]["head"].tolist()
    assert not source.more


def test_several_processes_append(tmp_path: Path) -> None:
    """A worker records through the descriptor it inherited."""
    recorder = Recorder(tmp_path / "r", RUN)
    worker = os.fork()
    if not worker:
        Recorder.attached(recorder.fileno()).batches(0, 0, batches(1))
        os._exit(0)

    assert os.waitpid(worker, 0)[1] == 0

    recorder.cut(5, 6)
    recorder.close()

    assert replayed(Recording(tmp_path / "r"), 0) == [[1]]


def test_a_recording_replaces_nothing(tmp_path: Path) -> None:
    """Neither a file nor what a link points to; and nobody else may read it."""
    before = recorded(tmp_path / "r")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("r", "link", "no folder/r"):
        with pytest.raises(UsageError):
            Recorder(tmp_path / name, RUN)

    assert (tmp_path / "r").read_bytes() == before
    assert not (tmp_path / "elsewhere").exists()
    assert stat.S_IMODE((tmp_path / "r").stat().st_mode) == 0o600


def test_a_full_disk_is_said() -> None:
    """Not one batch is dropped without a word."""
    with open("/dev/full", "wb") as full, pytest.raises(RecordingError, match="cannot be written"):
        Recorder.attached(full.fileno()).cut(1, 1)


def test_a_killed_collector_leaves_a_recording(tmp_path: Path) -> None:
    """Wherever the file ends: all that is complete is replayed, with a last cut of its own."""
    content = recorded(tmp_path / "whole")
    header = PREFIX.size + PREFIX.unpack_from(content)[2]
    whole = [stamp for shard in (0, 1) for cut in replayed(Recording(tmp_path / "whole"), shard)
             for stamp in cut]  # fmt: skip
    path = tmp_path / "part"
    counts = []
    for end in [*range(header, len(content), 5), len(content)]:
        path.write_bytes(content[:end])
        recording = Recording(path)
        stamps = [s for shard in (0, 1) for cut in replayed(recording, shard) for s in cut]
        counts.append(len(stamps))

        assert set(stamps) <= set(whole)
        assert recording.cuts == sorted(recording.cuts, key=lambda cut: cut.cut_ns)

    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, len(whole))

    path.write_bytes(content[: -CHUNK.size - 1])

    assert Recording(path).truncated


def test_the_cut_that_was_lost_is_made_up(tmp_path: Path) -> None:
    """At the newest stamp, as far after the cut before as the clock says."""
    content = recorded(tmp_path / "r")
    (tmp_path / "part").write_bytes(content[: -CHUNK.size])

    assert Recording(tmp_path / "part").cuts == [Cut(5, 1_000_005), Cut(7, 1_000_005)]


def test_another_version_is_refused(tmp_path: Path) -> None:
    """The format's version, and the meaning of the batches, are those of this program."""
    content = recorded(tmp_path / "r")
    newer = PREFIX.pack(MAGIC, VERSION + 1, 8) + content[PREFIX.size :]
    digest = layout_digest(TABLES).encode()
    layout = content.replace(digest, digest[::-1])
    for other in (newer, layout):
        (tmp_path / "other").write_bytes(other)
        with pytest.raises(RecordingError) as refusal:
            Recording(tmp_path / "other")

        assert "version" in refusal.value.message + refusal.value.advice


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """Without waiting for a pipe's writer."""
    os.mkfifo(tmp_path / "pipe")
    for name in ("missing", "pipe", "."):
        with pytest.raises(UsageError):
            Recording(tmp_path / name)


@pytest.mark.parametrize(
    "chunk",
    [
        (BATCHES, 0, 0, 1 << 63, 0, 0),
        (BATCHES, 0, 0, BATCH.itemsize + 1, 0, 0),
        (BATCHES, 0, 0, 0, 0, 0),
        (BATCHES, 2, 0, BATCH.itemsize, 0, 0),
        (CUT, 0, 0, 8, 10, 10),
        (CUT, 0, 0, 0, 8, 10),
        (CUT, 0, 0, 0, 1 << 63, 10),
        (CUT, 0, 0, 0, 10, 1 << 63),
        (7, 0, 0, 0, 0, 0),
    ],
)
def test_a_chunk_that_cannot_be_is_refused(tmp_path: Path, chunk: tuple[int, ...]) -> None:
    """With its place in the file: sizes, shards and the order of cuts are checked."""
    content = recorded(tmp_path / "r")
    (tmp_path / "bad").write_bytes(content + CHUNK.pack(*chunk) + bytes(2 * BATCH.itemsize))

    with pytest.raises(RecordingError) as refusal:
        Recording(tmp_path / "bad")

    assert refusal.value.offset == len(content)


@given(st.data())
def test_any_bytes_are_a_recording_or_one_typed_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Flipped, cut, overwritten or made of nothing: batches or an EstatsError."""
    folder = tmp_path_factory.mktemp("any")
    content = bytearray(recorded(folder / "r"))
    for _ in range(data.draw(st.integers(0, 3))):
        noise = data.draw(st.binary(min_size=1, max_size=16) | st.integers(0, 1 << 64).map(_word))
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + len(noise)] = noise
    path = folder / "any"
    path.write_bytes(data.draw(st.sampled_from([bytes(content), MAGIC + bytes(content[9:])])))
    try:
        recording = Recording(path)
    except EstatsError as error:
        refusal = error
    else:
        stamps = [replayed(recording, shard) for shard in range(min(recording.run.shards, 4))]
        assert sum(len(cut) for cuts in stamps for cut in cuts) * BATCH.itemsize < len(content)
        return
    assert isinstance(refusal, RecordingError)


def _word(value: int) -> bytes:
    return struct.pack("<Q", value % (1 << 64))


def test_every_value_of_a_run_is_recorded(tmp_path: Path) -> None:
    """A field that Run gains is in the header too, or this fails."""
    changed = dataclasses.replace(RUN, host="\u00e9\x1b", filters='{"port": [1]}', unavailable={})
    Recorder(tmp_path / "r", changed).close()

    assert Recording(tmp_path / "r").run == changed
