"""Made-up connections move as real ones do, or a flow-sample would be as small as one likes."""

import numpy as np

from bench.flows import Flows
from bpf.variable import Table

COUNT, ACTIVE = 30, 12


def test_only_what_moved_is_in_a_snapshot() -> None:
    """The first one has all connections; one that is idle costs nothing after it."""
    flows = Flows(COUNT)

    assert len(flows.snapshot(COUNT).connections) == COUNT
    assert set(flows.snapshot(ACTIVE).rows[Table.PERF]["connect_index"]) == set(
        range(1, ACTIVE + 1)
    )
    assert not any(len(rows) for rows in flows.snapshot(0).rows.values())


def test_a_healthy_transfer_moves_its_counters_and_nothing_of_trouble() -> None:
    """Octets grow at every step; what is configured does not change, and has no row."""
    flows = Flows(COUNT)
    first, second = flows.snapshot(COUNT), flows.snapshot(COUNT)
    before, after = (s.rows[Table.PERF]["block"] for s in (first, second))

    assert np.all(after["hc_data_octets_out"] > before["hc_data_octets_out"])
    assert np.all(after["timeouts"] == before["timeouts"])
    assert len(first.rows[Table.TUNE]) == COUNT
    assert len(second.rows[Table.TUNE]) == 0
