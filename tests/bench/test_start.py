"""Both ways to start are measured, and neither is taken for the other."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench import start
from bench.effort import Effort
from bench.processes import BenchError
from bpf import cache
from bpf.bytecode import Bytecode
from bpf.cache import Cache

EFFORT = Effort(pairs=3)


def starting(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """Collectors that do nothing but get their programs; where each had them from."""
    origins: list[str] = []
    monkeypatch.setattr(cache, "FOLDER", folder)

    @contextmanager
    def collector() -> Iterator[None]:
        origins.append(Cache().bytecode("0" * 64, lambda: Bytecode({}, {}))[1])
        yield

    monkeypatch.setattr(start, "collector", collector)
    return origins


def test_starts_with_and_without_the_compiler_take_turns(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A row of each, whatever was kept before."""
    origins = starting(monkeypatch, tmp_path / "cache")
    Cache().bytecode("0" * 64, lambda: Bytecode({}, {}))

    section = start._start(EFFORT)

    assert origins == ["compiled", "from the cache"] * EFFORT.pairs
    assert [(row[0], row[-1]) for row in section.rows] == [
        ("with the compiler", EFFORT.pairs),
        ("from the cache", EFFORT.pairs),
    ]


def test_a_host_that_keeps_nothing_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Else both rows would be the compiler's."""
    starting(monkeypatch, tmp_path / "no" / "cache")

    with pytest.raises(BenchError, match="does not keep what was compiled"):
        start._start(EFFORT)
