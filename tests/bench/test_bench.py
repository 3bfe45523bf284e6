"""The measurements run, so that they cannot rot; what they say depends on the machine."""

import pytest

from tests.bench.worker import measure

pytestmark = pytest.mark.bench


def test_the_worker_is_measured() -> None:
    """Every batch of the ring is applied, with all its operands."""
    timing = measure(connections=50, rounds=1)

    assert timing.batches > 7_000
    assert timing.operands == timing.batches * 80
