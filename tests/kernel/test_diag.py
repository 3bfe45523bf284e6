"""Without kernel programs: what polling inet_diag finds is what TCP_INFO says."""

import time
from itertools import count
from pathlib import Path

import pytest

from tests.kernel.collecting import collecting
from tests.kernel.net import HERE
from tests.kernel.tcp_info import said
from tests.kernel.traffic import pair

pytestmark = pytest.mark.kernel

CONNECTIONS = 23
QUIET_SECONDS = 0.5  # longer than the last delayed acknowledgement takes
PORTS = count(7601)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_what_is_polled_is_what_the_kernel_says(tmp_path: Path, address: str) -> None:
    """Idle connections of this namespace: each value is TCP_INFO's, or NULL, and few are NULL."""
    port = next(PORTS)
    with pair(HERE, HERE) as peers, collecting(tmp_path, "--source", "diag") as collector:
        peers.server("listen", address=address, port=port)
        peers.server.tell("accept", count=CONNECTIONS)
        peers.client("connect", address=address, port=port, count=CONNECTIONS)
        peers.server.hear()
        peers.exchange(5, 3_000)
        time.sleep(QUIET_SECONDS)
        witnesses = [w for peer in peers.peers for w in peer.witnesses()]
        collector.database.catch_up()
        for witness in witnesses:
            row = collector.database.latest(witness.cookie)
            known = {name: v for name, v in said(witness).items() if row[name] is not None}
            assert {name: row[name] for name in known} == known
            assert row["origin"] == "polled"
            assert len(known) >= 35
        peers.client("close")
        peers.server("close")
        collector.database.catch_up()
        rows = [collector.database.latest(w.cookie) for w in witnesses]
        assert {row["close_reason"] for row in rows} == {"gone"}
    assert collector.database.value("SELECT source FROM run") == "diag"
