"""The measurements run, so that they cannot rot; what they say depends on the machine."""

import pytest

from bench.worker import RING_BYTES, measure
from bpf.catalogue import stored_in
from bpf.record import RING_HEADER, batch_dtype
from bpf.variable import SAMPLED

pytestmark = pytest.mark.bench


def test_the_worker_is_measured() -> None:
    """Every batch of the ring is applied, with all its operands."""
    timing = measure(connections=50, rounds=1)

    assert timing.batches == RING_BYTES // (RING_HEADER + batch_dtype().itemsize)
    assert timing.operands == timing.batches * sum(len(stored_in(table)) for table in SAMPLED)
