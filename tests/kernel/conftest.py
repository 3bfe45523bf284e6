"""Fixtures for tests on real traffic: who may run them, the path, and that nothing stays.

``--validation FILE`` keeps what the tests compared, and how they ended.

Continuous integration shares its machine with others, and real time with whatever they do: there a
test of this folder that fails is run once more; what it failed on is printed, and the last line
counts it as rerun. Nowhere else, and never for a validation: whoever looks for rare faults shall
see them.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.kernel.collecting import Collector
from tests.kernel.leftovers import left_for_good
from tests.kernel.net import Net, network
from tests.kernel.play import Play, staged
from tests.kernel.relay import Relay, Weather, relayed
from tests.kernel.script import Wire, wire
from tests.kernel.traffic import Pair, pair
from tests.kernel.validation import SESSION, grouped

OUTCOMES: Counter[str] = Counter()
FAILED: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer ``--validation``."""
    parser.addoption("--validation", type=Path, metavar="FILE", help="write what was compared")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let the tests of this folder be run twice where that is the rule."""
    if not os.environ.get("CI") or config.getoption("--validation", default=None):
        return
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count how the tests end, and name those that fail."""
    if report.when == "call" or report.outcome != "passed":
        outcome = "xfailed" if hasattr(report, "wasxfail") else report.outcome
        OUTCOMES[outcome] += 1
        if outcome == "failed":
            FAILED.append(report.nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show in full why a test was run once more, whatever became of that."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.section(f"first attempt of {report.nodeid}", sep="_")
        terminalreporter.write_line(report.longreprtext)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the comparisons of all tests, of those that failed too."""
    path: Path | None = session.config.getoption("--validation", default=None)
    if path is None:
        return
    said = {
        "kernel": os.uname().release,
        "ended": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "tests": OUTCOMES,
        "failed": FAILED,
        "groups": [asdict(group) for group in grouped(SESSION.comparisons)],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(said, indent=1))


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Fail the run if a process, a BPF object or a namespace of ours outlives it."""
    if os.geteuid() != 0:
        pytest.skip("kernel tests need root")
    if not Path("/sys/kernel/btf/vmlinux").exists():
        pytest.skip("this kernel has no BTF")
    yield
    found = left_for_good()
    assert not found, f"left behind: {found}"


@pytest.fixture(scope="module")
def net(nothing_is_left_behind: None) -> Iterator[Net]:
    """Two hosts and a clean path, for all tests of a module."""
    with network() as made:
        yield made


@pytest.fixture
def lossless(net: Net) -> Iterator[Net]:
    """The path without loss, whatever the test before did; and again none after it."""
    net.lose(0)
    yield net
    net.lose(0)


@pytest.fixture
def peers(net: Net) -> Iterator[Pair]:
    """A client and a server, one on each host."""
    with pair(net.client, net.server) as both:
        yield both


@pytest.fixture(scope="module")
def link(nothing_is_left_behind: None) -> Iterator[Wire]:
    """One wire for all scripts, on which no probe runs ahead of the retransmission timer."""
    with wire() as made:
        made.host.sysctl("net.ipv4.tcp_early_retrans", 0)
        yield made


@pytest.fixture
def play(link: Wire, collector: Collector) -> Iterator[Play]:
    """A connection yet to be opened, gone at the end."""
    with staged(link, collector) as one:
        yield one


@pytest.fixture(scope="module")
def detour(nothing_is_left_behind: None) -> Iterator[tuple[Net, Relay]]:
    """Two hosts with a relay between them, for all tests of a module."""
    with relayed() as (made, relay):
        yield made, relay


@pytest.fixture
def relay(detour: tuple[Net, Relay]) -> Iterator[Relay]:
    """The relay; its weather is fine before and after a test."""
    detour[1].weather(Weather())
    yield detour[1]
    detour[1].weather(Weather())
