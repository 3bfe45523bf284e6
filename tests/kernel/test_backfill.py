"""Connections that are older than the collector: there, flagged, with their totals right."""

import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.kernel.collecting import Collector, Row, agree_with_socket, collecting
from tests.kernel.net import HERE, Host, Net
from tests.kernel.tcp_info import Witness
from tests.kernel.traffic import Pair, pair

pytestmark = pytest.mark.kernel

CONNECTIONS = 5
QUIET_SECONDS = 0.5  # longer than the last delayed acknowledgement takes
PORTS = count(7301)


@pytest.fixture
def here() -> Iterator[Pair]:
    """A client and a server in the namespace that the collector runs in."""
    with pair(HERE, HERE) as both:
        yield both


@pytest.fixture
def away(net: Net) -> Iterator[Pair]:
    """A client and a server in two other namespaces."""
    with pair(net.client, net.server) as both:
        yield both


def begin(both: Pair, host: Host, family: int) -> list[Witness]:
    """Open connections, let them do some work, come to rest, and say what the kernel counted."""
    both.open(host, family, next(PORTS), CONNECTIONS)
    both.exchange(5, 3_000)
    time.sleep(QUIET_SECONDS)
    return [w for peer in both.peers for w in peer.witnesses()]


def rows(collector: Collector, witnesses: list[Witness]) -> list[Row]:
    """What the database says about these sockets."""
    return [collector.database.latest(w.cookie) for w in witnesses]


#: Which end declined cannot be told of a connection whose handshake nobody saw.
UNTOLD = ("ECN",)


def test_connections_from_before_are_there_with_the_kernels_totals(
    net: Net, tmp_path: Path, here: Pair, away: Pair
) -> None:
    """In this and in other namespaces, without a segment since: flagged, and equal to TCP_INFO."""
    witnesses = begin(here, HERE, 4) + begin(away, net.server, 6)
    with collecting(tmp_path) as collector:
        collector.database.catch_up()
        found = rows(collector, witnesses)
        assert {row["origin"] for row in found} == {"backfill"}
        assert {row["ActiveOpen"] for row in found} == {None}, "nobody saw who began"
        assert {row["netns"] for row in found} == {
            host.inode for host in (HERE, net.client, net.server)
        }
        for witness, row in zip(witnesses, found, strict=True):
            agree_with_socket(row, witness, but=UNTOLD)
        assert collector.database.lost() == 0


def test_they_go_on_and_close_like_any_other(net: Net, tmp_path: Path, away: Pair) -> None:
    """Work done since is added to the totals, and the final row is the kernel's last word."""
    begin(away, net.server, 4)
    with collecting(tmp_path) as collector:
        away.exchange(5, 3_000)
        away.half_close()
        witnesses = [w for peer in away.peers for w in peer.witnesses()]
        collector.database.catch_up()
        found = rows(collector, witnesses)
        for witness, row in zip(witnesses, found, strict=True):
            agree_with_socket(row, witness, but=(*UNTOLD, "State"))
        assert [row["State"] for row in found] == CONNECTIONS * [11] + CONNECTIONS * [1]
        assert {row["origin"] for row in found} == {"backfill"}
        assert {row["close_reason"] for row in found} == {"closed"}
        assert {row["HCThruOctetsReceived"] for row in found} == {2 * 5 * 3_000 + 1}
