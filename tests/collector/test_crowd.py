"""Who makes room for others: the oldest idle first, nobody who is busy, and no more than needed."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.crowd import BOUND, Crowd, idle_before

MOST = 128
MOMENTS = st.integers(1, 1 << 50)


@given(st.lists(MOMENTS, max_size=2 * MOST, unique=True), MOMENTS)
def test_the_oldest_idle_go_first(moments: list[int], cut_us: int) -> None:
    """One by one, as the model does: until an eighth is free, or only who was active is left."""
    model = sorted(moments)
    gone: list[int] = []
    while len(model) > MOST - MOST // 8 and model[0] < cut_us:
        gone.append(model.pop(0))

    before_us = idle_before(np.array(moments, "u8"), MOST, cut_us)

    assert sorted(moment for moment in moments if moment < before_us) == gone


def test_who_was_active_at_the_same_moment_goes_together() -> None:
    """The programs compare with one moment: there may be a few too many, never too few."""
    moments = np.full(MOST, 5, "u8")

    assert idle_before(moments, MOST, 9) == 6
    assert idle_before(moments[: MOST - MOST // 8], MOST, 9) == 0


class Words:
    """A struct estats_bound in a file, in place of the kernel's."""

    def __init__(self, path: Path) -> None:
        """With room for ``MOST``."""
        self.fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        os.pwrite(self.fd, np.zeros(4096, "u1").tobytes(), 0)
        self.write(most=MOST)
        self.crowd = Crowd(cast("Any", self))

    @property
    def bound(self) -> int:
        """Its descriptor, as ``Loaded`` has it."""
        return self.fd

    def write(self, **words: int) -> None:
        """Set some words, as the programs do."""
        now = self.read()
        for name, value in words.items():
            now[name] = value
        os.pwrite(self.fd, now.tobytes(), 0)

    def read(self) -> Any:
        """All words as they are now."""
        return np.frombuffer(os.pread(self.fd, BOUND.itemsize, 0), BOUND).copy()

    def __getitem__(self, name: str) -> int:
        """One word."""
        return int(self.read()[name][0])


@pytest.fixture
def words(tmp_path: Path) -> Iterator[Words]:
    """For one test."""
    made = Words(tmp_path / "bound")
    yield made
    os.close(made.fd)


def test_it_is_short_before_it_is_full(words: Words) -> None:
    """A sixteenth of the places is to be free; ends that went unseen take none."""
    for tracked, unseen, is_short in ((120, 0, False), (121, 0, True), (121, 1, False)):
        words.write(tracked=tracked)
        words.crowd.note_unseen(unseen)
        assert (words.crowd.is_short(), words["unseen"]) == (is_short, unseen)


def test_a_sweep_evicts_in_the_block_only(words: Words) -> None:
    """Each time is numbered, for who comes back; one with nobody to evict changes nothing."""
    moments = np.arange(1, MOST + 1, dtype="u8")
    for number in (1, 2):
        with words.crowd.making_room(moments, cut_us=1_000):
            assert (words["idle_us"], words["evictions"]) == (MOST // 8 + 1, number)
        assert (words["idle_us"], words["most"]) == (0, MOST)

    with words.crowd.making_room(moments[:9], cut_us=1_000):
        assert (words["idle_us"], words["evictions"]) == (0, 2)


def test_nobody_is_evicted_after_a_sweep_that_failed(words: Words) -> None:
    """The next one is told anew."""
    moments = np.arange(1, MOST + 1, dtype="u8")
    with pytest.raises(OSError, match="refused"), words.crowd.making_room(moments, cut_us=1_000):
        raise OSError("refused")
    assert words["idle_us"] == 0
