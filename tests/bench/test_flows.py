"""Made-up connections move as real ones do, or a flow-sample would be as small as one likes."""

import numpy as np

from bench.flows import Flows
from bpf.record import new_bit
from bpf.variable import REFERRED

COUNT, ACTIVE = 30, 12


def test_only_what_moved_is_in_a_snapshot() -> None:
    """The first one has all connections; one that is idle costs nothing after it."""
    flows = Flows(COUNT)

    assert len(flows.snapshot(COUNT).connections) == COUNT
    moved = flows.snapshot(ACTIVE).samples
    assert set(moved["connect_index"]) == set(range(1, ACTIVE + 1))
    assert not len(flows.snapshot(0).samples)


def test_a_healthy_transfer_moves_its_counters_and_nothing_of_trouble() -> None:
    """Octets grow at every step; what is configured does not change, and is not stored again."""
    flows = Flows(COUNT)
    first, second = flows.snapshot(COUNT), flows.snapshot(COUNT)
    before, after = (s.samples["blocks"]["perf"] for s in (first, second))

    assert np.all(after["hc_data_octets_out"] > before["hc_data_octets_out"])
    assert np.all(after["timeouts"] == before["timeouts"])
    every = sum(map(new_bit, REFERRED))
    assert np.all(first.samples["new"] == every)
    assert not np.any(second.samples["new"])
