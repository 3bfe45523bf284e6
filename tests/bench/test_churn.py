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
    samples = [*(sample(m, 5, 5) for m in range(1, 4)), *(sample(m, 50, m) for m in range(4, 41))]

    rows = rows_of(samples)

    assert rows["workers, MB"] == pytest.approx([50, 50, 50, 50, 0])
    assert rows["writer, MB"] == pytest.approx([4, 40, 4, 40, 60])
    assert rows["processes together, MB"] == pytest.approx([74, 110, 74, 110, 60])


def test_a_short_run_begins_where_the_cache_is_full() -> None:
    """Of a quick one a third is left out, for it has no three minutes."""
    ten = [sample(m, 50, 30 if m < 3 else 120) for m in range(1, 11)]
    assert rows_of(ten)["writer, MB"] == pytest.approx([120, 120, 120, 120, 0])

    three = [sample(m, 50, 40 + m) for m in range(1, 4)]
    assert rows_of(three)["writer, MB"] == pytest.approx([41, 43, 41, 43, 60])


def test_what_comes_and_goes_is_no_growth_but_seen() -> None:
    """By the lowest and the highest figure."""
    samples = [sample(m, 50 + 10 * (m % 2), 30) for m in range(1, 41)]

    _, _, lowest, highest, slope = rows_of(samples)["workers, MB"]

    assert (lowest, highest) == (50, 60)
    assert slope == pytest.approx(0, abs=5)
