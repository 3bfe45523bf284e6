"""What the README shows: iperf on port 5001 meets loss, and ``estats query`` tells of it."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.kernel.collecting import HOME, PATIENCE, Collector, Row, collecting
from tests.kernel.leftovers import start
from tests.kernel.net import Net
from tests.kernel.traffic import iperf3_streams, listening
from tests.kernel.validation import agree

pytestmark = pytest.mark.kernel

LOSSY_SECONDS = 3
DURATION_SECONDS = 8  # of the collector: begins before and ends after iperf's five


def query(database: Path, *options: str) -> list[Row]:
    """The answer of ``estats query`` about port 5001, as a user gets it."""
    argv = [sys.executable, "-m", "estats", "query", "--db", str(database), "--dport", "5001"]
    done = subprocess.run(
        [*argv, *options, "--format", "json"], capture_output=True, text=True, cwd=HOME, check=False
    )
    assert done.returncode == 0, done.stderr
    assert " 0 lost" in done.stderr
    answer = json.loads(done.stdout)
    assert isinstance(answer, list)
    return answer


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
def test_the_retransmissions_of_each_stream_are_those_iperf3_counts(
    net: Net, tmp_path: Path, family: int
) -> None:
    """For two streams over 1 % loss, SegsRetrans is the number its sender reads in TCP_INFO.

    iperf3 reads it when its time is up and not at close, so the last two seconds lose nothing:
    what is repeated after its look would be ours alone.
    """
    address = net.server.address(family)
    argv = ["iperf3", "-c", address, "-p", "5001", "-P", "2", "-t", str(LOSSY_SECONDS + 2)]
    argv += ["-b", "20m", "-C", "cubic", "-J"]
    collector = Collector(tmp_path, "--duration", str(DURATION_SECONDS))
    try:
        collector.ready()
        with listening(net.server, "iperf3", "-s", "-p", "5001"):
            net.lose(10)
            client = start(net.client.argv(*argv), stdout=subprocess.PIPE)
            time.sleep(LOSSY_SECONDS)
            net.lose(0)
            report, _ = client.communicate(timeout=PATIENCE)
        assert collector.process.wait(PATIENCE) == 0, collector.log.read_text()
    finally:
        collector.destroy()
    rows = query(collector.database.path, "--var", "SegsRetrans")
    ours = {row["LocalPort"]: row["SegsRetrans"] for row in rows}
    streams = iperf3_streams(report)
    for s in streams:
        agree("iperf3", {"SegsRetrans": ours[s.local_port]}, {"SegsRetrans": s.retransmits})
    assert sum(s.retransmits for s in streams) > 0
    assert {row["RemPort"] for row in rows} == {5001}
    assert {row["RemAddress"] for row in rows} == {address}
    assert len(rows) == 3, "two streams and the one they are controlled by"


def test_iperf_is_found_while_it_is_collected(net: Net, tmp_path: Path) -> None:
    """The only connection of a namespace has all the retransmissions the namespace counted."""
    argv = ["iperf", "-c", net.server.v4, "-p", "5001", "-b", "20m", "-t", "3"]
    with collecting(tmp_path) as collector, listening(net.server, "iperf", "-s", "-p", "5001"):
        before = net.client.mib()["Tcp:RetransSegs"]
        net.lose(10)
        net.client.run(*argv)
        net.lose(0)
        collector.database.catch_up()
        counted = net.client.mib()["Tcp:RetransSegs"] - before
        (row,) = query(collector.database.path, "--var", "SegsRetrans", "--var", "State")
    assert counted > 0
    agree("namespace counters", row, {"SegsRetrans": counted})
    assert row["comm"] == "iperf"
