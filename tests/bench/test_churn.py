"""Whether something grows is told by the samples after the start."""

import pytest

from bench.churn import Sample, growth
from bench.footprint import Footprint


def sample(minute: int, workers: int, writer: int) -> Sample:
    """A collector as it was then; figures in MB."""
    taken = Footprint(
        supervisor=20_000_000,
        writer=writer * 1_000_000,
        workers=workers * 1_000_000,
        maps=0,
        descriptors=100,
    )
    return Sample(hours=minute / 60, taken=taken, rows=0, database=0)


def rows_of(samples: list[Sample]) -> dict[object, tuple[object, ...]]:
    """Figures by their name."""
    return {name: figures for name, *figures in growth(samples).rows}  # type: ignore[misc]


def test_the_first_tenth_is_not_growth() -> None:
    """Buffers reach their size then; what comes after is to stay."""
    samples = [sample(1, 5, 5), *(sample(m, 50, 30 + 2 * m) for m in range(2, 21))]

    rows = rows_of(samples)

    assert rows["workers, MB"] == pytest.approx([50, 50, 50, 50, 0])
    assert rows["writer, MB"] == pytest.approx([36, 70, 36, 70, 120])
    assert rows["processes together, MB"] == pytest.approx([106, 140, 106, 140, 120])


def test_what_comes_and_goes_is_no_growth_but_seen() -> None:
    """By the lowest and the highest figure."""
    samples = [sample(m, 50 + 10 * (m % 2), 30) for m in range(1, 41)]

    _, _, lowest, highest, slope = rows_of(samples)["workers, MB"]

    assert (lowest, highest) == (50, 60)
    assert slope == pytest.approx(0, abs=5)
