"""The parts can be chosen, and the traffic and the other design that they measure run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import churn
from bench.beside import ONE_RECORD
from bench.costs import runs_of
from bench.effort import Effort
from bench.overhead import loads
from bench.parts import PARTS
from bench.paths import LOOPBACK, VETH, way
from bench.processes import output
from bench.workloads import PING, WORKLOADS, storm

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="kernel tests need root")
HOME = Path(__file__).parents[2]


def bench(*argv: str) -> "subprocess.CompletedProcess[str]":
    """The command, to its end."""
    whole = [sys.executable, "-m", "bench", *argv]
    return subprocess.run(whole, capture_output=True, text=True, cwd=HOME, timeout=60, check=False)


def test_every_part_is_listed() -> None:
    """By the name that chooses it."""
    listed = bench("--list").stdout.splitlines()

    assert [line.split()[0] for line in listed] == [part.name for part in PARTS]


def test_a_part_that_does_not_exist_is_refused() -> None:
    """A name misspelled would otherwise be a part not measured."""
    refused = bench("ingset")

    assert refused.returncode == 2
    assert "there is no part ingset" in refused.stderr


@pytest.mark.bench
@pytest.mark.slow
@as_root
@pytest.mark.kernel
@pytest.mark.parametrize("path", [LOOPBACK, VETH])
def test_every_workload_gives_its_figures(path: str) -> None:
    """A figure that is missing or 0 could not be compared."""
    with loads() as programs, way(path, programs) as found:
        for workload in WORKLOADS:
            figures = workload.run(found, 1)

            assert all(figures[name] > 0 for name in workload.figures), workload.name


@pytest.mark.bench
@as_root
@pytest.mark.kernel
def test_a_storm_keeps_to_its_rate() -> None:
    """And every connection comes to its end."""
    with loads() as programs, way(LOOPBACK, programs) as found:
        figures = storm(found, 1, 500)

    assert 0 < figures["connections"] <= 500
    assert figures["failed"] == 0


@pytest.mark.bench
@pytest.mark.slow
@as_root
@pytest.mark.kernel
def test_churn_tells_what_the_collector_takes_and_stores() -> None:
    """Every figure is there, and of this collector: a count that found nothing would be 0."""
    taken, complete = churn.run(Effort(minutes=0.05, quick=True))

    assert all(at_the_end for _, _, at_the_end, *_ in taken.rows)
    _, _, _, made, rows, *lost = complete.rows[0]
    assert rows == made
    assert not any(lost)


@pytest.mark.bench
@as_root
@pytest.mark.kernel
def test_the_other_design_sees_segments() -> None:
    """Both its programs are there; one that fails to load would cost nothing."""
    with loads() as programs, way(LOOPBACK, programs) as found, ONE_RECORD.start():
        PING.run(found, 1)

        assert set(runs_of(["one_received", "one_sent"])) == {"one_received", "one_sent"}


@pytest.mark.bench
@as_root
@pytest.mark.kernel
def test_bcc_s_own_ring_brings_every_operand() -> None:
    """Of a ring full; the program fails if it brought another number."""
    assert float(output([sys.executable, "-m", "bench.bcc_ring"])) > 0
