"""What a flood loses is counted by both sides, and they agree."""

import pytest

from bench.loss import flood

pytestmark = pytest.mark.bench


@pytest.mark.parametrize("rate", [20_000, 3_000_000])
def test_batches_offered_are_those_applied_and_those_lost(rate: float) -> None:
    """Nothing is lost without being counted, however much of it there is."""
    found = flood(rate, seconds=0.3)

    assert found.offered > 0.3 * rate * 0.5
    assert found.applied + found.lost == found.offered
    assert found.lost == found.refused
