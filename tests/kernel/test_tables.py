"""``--tables``: what serves other tables only is not there, and what is left out is not missed."""

import json
import re
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from bpf.catalogue import in_table
from bpf.loader import attached
from bpf.variable import SAMPLED, Kind, Status, Table, Variable
from tests.kernel.collecting import Collector, collecting
from tests.kernel.net import Net, run
from tests.kernel.traffic import Pair

pytestmark = pytest.mark.kernel

CONNECTIONS, WRITES, OCTETS = 8, 20, 7_300
PORTS = count(8201)


def counters(table: Table) -> list[Variable]:
    """The table's counts of events; times, marks and who limits the sender depend on the clock."""
    return [
        v
        for v in in_table(table)
        if v.kind is Kind.COUNTER
        and v.status is Status.COLLECTED
        and not re.search("second|transition", v.unit)
    ]


def programs(collector: Collector) -> set[str]:
    """The names, as far as the kernel keeps them, of a collector's programs."""
    shown = json.loads(run("bpftool", "-j", "prog", "show"))
    return {p["name"] for p in shown if ("prog", p["id"]) in collector.objects and "name" in p}


def test_a_table_alone_counts_what_it_counts_among_all(
    net: Net, peers: Pair, tmp_path: Path
) -> None:
    """One collector for each table and one for all, on the same lossy connections to their end.

    They may be apart by the runs of hooks that the kernel skipped for the one and not the other.
    """
    with ExitStack() as stack:
        folders = {table: tmp_path / table.value for table in SAMPLED}
        alone = {}
        for table, folder in folders.items():
            folder.mkdir()
            options = ("--source", "bpf", "--shards", "1", "--tables", table.value)
            alone[table] = stack.enter_context(collecting(folder, *options))
            wanted = {probe.function[:15] for probe in attached((table,))}
            assert programs(alone[table]) == wanted - {"on_backfill"}, "that one is done at start"
        every = stack.enter_context(collecting(tmp_path, "--source", "bpf", "--shards", "1"))
        peers.open(net.server, 4, next(PORTS), CONNECTIONS)
        net.client.limit(20)  # its queue is soon full, and says so to the sender
        peers.exchange(WRITES, 4 * OCTETS)
        net.lose(30)
        peers.exchange(WRITES, OCTETS)
        net.lose(0)
        peers.half_close()
        cookies = [witness.cookie for peer in peers.peers for witness in peer.witnesses()]
        for running in (*alone.values(), every):
            running.database.catch_up()
        assert sum(every.database.latest(cookie)["SendStall"] for cookie in cookies) > 0
        for table, running in alone.items():
            names = [v.name for v in counters(table)]
            both = running.database, every.database
            skipped = sum(d.value("SELECT sum(missed) FROM snapshot") for d in both)
            for cookie in cookies:
                ours, whole = (database.latest(cookie) for database in both)
                pairs = {n: (ours[n], whole[n]) for n in names}
                apart = {n: p for n, p in pairs.items() if abs(p[0] - p[1]) > skipped}
                assert not apart, table
