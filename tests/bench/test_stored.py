"""Each part's newest result is kept, and comes back as it was."""

from dataclasses import replace
from pathlib import Path

from bench import stored
from tests.bench.test_report import result

DATA = "benchmarks.json"


def test_a_result_comes_back_as_it_was(tmp_path: Path) -> None:
    """In the order of the parts, not in that of the measurements."""
    speed, weight = result("speed"), result("weight", commit="34cd")
    for one in (weight, speed):
        stored.keep(one, tmp_path / DATA)

    assert stored.kept(["speed", "weight"], tmp_path / DATA) == ([speed, weight], [])


def test_a_part_that_was_never_measured_is_named(tmp_path: Path) -> None:
    """A page without it would pass for the whole."""
    stored.keep(result("speed"), tmp_path / DATA)

    found, lacking = stored.kept(["speed", "weight", "height"], tmp_path / DATA)

    assert [one.part for one in found] == ["speed"]
    assert lacking == ["weight", "height"]


def test_a_part_that_is_measured_again_has_the_newer_result(tmp_path: Path) -> None:
    """And nothing of the older one."""
    newer = replace(result("speed"), seconds=1.0, sections=[])
    for one in (result("speed"), newer):
        stored.keep(one, tmp_path / DATA)

    assert stored.kept(["speed"], tmp_path / DATA) == ([newer], [])
