"""Each variable has values on this kernel, or the run says which hook they would come from.

The same with hooks hidden, as on older kernels: what they feed is NULL, and all else is right.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from bpf.btf import Btf
from bpf.catalogue import CATALOGUE
from bpf.loader import is_available
from bpf.probes import PROBES, Probe
from bpf.variable import SAMPLED, Status
from tests.kernel.collecting import HOME, Database, agree_with_socket, collecting, until
from tests.kernel.net import Net
from tests.kernel.traffic import Pair

pytestmark = pytest.mark.kernel

CONNECTIONS, WRITES, OCTETS = 8, 20, 7_300
PORTS = count(8101)

OPTIONAL = [probe for probe in PROBES if probe.is_optional]
STORED = {v.name for v in CATALOGUE if v.table in SAMPLED and v.status is Status.COLLECTED}


def lacking(hidden: tuple[Probe, ...] = ()) -> set[Probe]:
    """The optional programs that cannot run."""
    btf = Btf()
    return {probe for probe in OPTIONAL if probe in hidden or not is_available(probe, btf)}


def fed_by(probes: set[Probe]) -> set[str]:
    """The variables that only they know."""
    return {name for probe in probes for name in probe.feeds}


def work(net: Net, peers: Pair) -> None:
    """Some traffic with loss in both directions, and at its end a segment that comes twice."""
    for host in net.hosts:
        host.sysctl("net.ipv4.tcp_ecn", 1)
    peers.open(net.server, 4, next(PORTS), CONNECTIONS)
    net.lose(50)
    peers.exchange(WRITES, OCTETS)
    net.lose(0)
    before = sum(w["tcpi_total_retrans"] for w in peers.client.witnesses())
    net.client.lose(1000)  # no acknowledgement arrives, so what did arrive is sent again
    peers.client("send", size=100)
    until(
        "a repetition",
        lambda: sum(w["tcpi_total_retrans"] for w in peers.client.witnesses()) > before,
    )
    net.client.lose(0)
    peers.server("receive", size=100)
    until("quiet", lambda: not any(w["tcpi_unacked"] for p in peers.peers for w in p.witnesses()))


def check(database: Database, peers: Pair, missing: set[Probe]) -> None:
    """NULL is what the missing hooks feed, and nothing else; the rest is what TCP_INFO says."""
    database.catch_up()
    without = fed_by(missing)
    unavailable = json.loads(database.value("SELECT unavailable FROM run"))
    assert set(unavailable) == without
    for probe in missing:
        assert all(f"no tracepoint {probe.target} " in unavailable[name] for name in probe.feeds)
    rows = database.ask("SELECT * FROM latest")
    assert {name for name in STORED if all(row[name] is None for row in rows)} == without
    for witness in (w for peer in peers.peers for w in peer.witnesses()):
        agree_with_socket(database.latest(witness.cookie), witness, tuple(without))
    assert database.lost() == 0


@pytest.fixture
def database(tmp_path_factory: pytest.TempPathFactory, net: Net, peers: Pair) -> Iterator[Database]:
    """What a collector wrote of the traffic, while its sockets are still open."""
    with collecting(tmp_path_factory.mktemp("available"), "--source", "bpf") as running:
        work(net, peers)
        yield running.database


def test_each_variable_has_values_or_its_missing_hook(database: Database, peers: Pair) -> None:
    """Whatever this kernel has: a variable without either is a bug."""
    check(database, peers, lacking())


@pytest.mark.parametrize(
    "hidden",
    [*((probe,) for probe in OPTIONAL), tuple(OPTIONAL)],
    ids=[*(probe.target for probe in OPTIONAL), "all"],
)
def test_a_hidden_hook_costs_its_variables_only(
    net: Net,
    peers: Pair,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hidden: tuple[Probe, ...],
) -> None:
    """The start succeeds, the run and the doctor name what is missing, and all else is right."""
    monkeypatch.setenv("ESTATS_TEST_HIDDEN", ",".join(probe.target for probe in hidden))
    program = "tests.kernel.without"
    with collecting(tmp_path, "--source", "bpf", program=program) as running:
        work(net, peers)
        check(running.database, peers, lacking(hidden))
    doctor = [sys.executable, "-m", program, "doctor"]
    told = subprocess.run(doctor, capture_output=True, text=True, cwd=HOME, check=True).stdout
    lines = told.splitlines()
    cures = {line.split()[1]: lines[i + 1] for i, line in enumerate(lines) if line[:1] == "m"}
    assert cures.keys() == {probe.function for probe in lacking(hidden)}
    for probe in hidden:
        assert all(name in cures[probe.function] for name in (*probe.feeds, *probe.refines))
