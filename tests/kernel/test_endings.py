"""How a collector ends: a whole database is left of it, and nothing in the kernel."""

import os
import signal
from itertools import count
from pathlib import Path

import pytest

from tests.kernel.collecting import PATIENCE, Collector, Database, collecting, until
from tests.kernel.leftovers import bpf_objects
from tests.kernel.net import Net
from tests.kernel.traffic import Pair

pytestmark = pytest.mark.kernel

PORTS = count(7501)
CONNECTIONS = 23
CLOCK_PAIRING_US = 10_000  # between two readings of clocks a process may be put aside
LOCKED, CHILD_DIED = 4, 6  # exit codes


@pytest.mark.parametrize("whole_group", [False, True], ids=["supervisor", "all processes"])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_what_closed_just_before_the_signal_has_its_final_row(
    net: Net, tmp_path: Path, peers: Pair, signum: int, whole_group: bool
) -> None:
    """The last drain brings all final batches in; the run says when and why it ended.

    A terminal sends Ctrl-C to all processes of the collector, a service manager SIGTERM.
    """
    port = next(PORTS)
    with collecting(tmp_path, "--interval", "30") as collector:
        peers.open(net.server, 4, port, CONNECTIONS)
        peers.exchange(1, 1000)
        peers.half_close()
        if whole_group:
            os.killpg(collector.process.pid, signum)
            assert collector.process.wait(PATIENCE) == 0, collector.log.read_text()
        assert collector.stop(signum) == 0, collector.log.read_text()
    base = collector.database
    final = base.ask(
        "SELECT close_reason, HCThruOctetsReceived AS octets, count(*) AS n FROM latest"
        " WHERE ? IN (LocalPort, RemPort) GROUP BY 1, 2",
        port,
    )
    assert final == [{"close_reason": "closed", "octets": 1001, "n": 2 * CONNECTIONS}]
    assert base.lost() == 0
    run = base.one("SELECT started_us, ended_us, end_reason FROM run")
    assert run["ended_us"] > run["started_us"]
    assert run["end_reason"]
    assert not collector.objects & bpf_objects()
    assert not collector.processes()


def test_a_killed_supervisor_takes_everything_with_it(
    net: Net, tmp_path: Path, peers: Pair
) -> None:
    """After kill -9 no program, map, link or process stays, and the database serves again."""
    collector = Collector(tmp_path)
    try:
        collector.ready()
        peers.open(net.server, 6, next(PORTS), CONNECTIONS)
        peers.exchange(3, 1000)
        collector.database.catch_up()
        assert {kind for kind, _ in collector.objects} == {"prog", "map", "link"}
        os.kill(collector.process.pid, signal.SIGKILL)
        collector.process.wait()
        until("its processes to end", lambda: not collector.processes())
        until("its programs to go", lambda: not collector.objects & bpf_objects())
    finally:
        collector.destroy()
    base = Database(collector.database.path)
    assert base.value("PRAGMA integrity_check") == "ok"
    assert base.value("SELECT ended_us FROM run") is None, "nobody could write its end"
    with collecting(tmp_path) as again:
        again.database.catch_up()
    assert base.value("SELECT count(*) FROM run WHERE ended_us IS NOT NULL") == 1
    twice = "SELECT cookie FROM connection GROUP BY cookie HAVING count(*) = 2"
    assert len(base.ask(twice)) >= 2 * CONNECTIONS, "each run tells of them in its own rows"


@pytest.mark.parametrize("name", ["estats-worker-1", "estats-writer"])
def test_the_death_of_one_process_ends_the_others_in_order(tmp_path: Path, name: str) -> None:
    """Where none can take its place, as in a recording: exit code 6, and nothing stays."""
    collector = Collector(tmp_path, "--shards", "2", "--record", str(tmp_path / "rings.estats"))
    try:
        collector.ready()
        comms = {
            pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in collector.processes()
        }
        (victim,) = (pid for pid, comm in comms.items() if comm == name)
        os.kill(victim, signal.SIGKILL)
        assert collector.process.wait(PATIENCE) == CHILD_DIED
        assert "estats:" in collector.log.read_text()
        assert "Traceback" not in collector.log.read_text()
        until("its processes to end", lambda: not collector.processes())
        until("its programs to go", lambda: not collector.objects & bpf_objects())
    finally:
        collector.destroy()
    assert collector.database.value("PRAGMA integrity_check") == "ok"


def test_a_second_collector_on_a_database_is_refused_and_the_first_goes_on(
    net: Net, tmp_path: Path, peers: Pair
) -> None:
    """It ends with exit code 4 and a sentence; the first one has lost nothing by it."""
    with collecting(tmp_path) as first:
        peers.open(net.server, 4, next(PORTS), CONNECTIONS)
        second = Collector(tmp_path)
        try:
            assert second.process.wait(PATIENCE) == LOCKED
            assert "estats:" in second.log.read_text()
            assert "Traceback" not in second.log.read_text()
        finally:
            second.destroy()
        peers.exchange(3, 1000)
        peers.half_close()
        cookies = [w.cookie for peer in peers.peers for w in peer.witnesses()]
        first.database.catch_up()
        rows = [first.database.latest(cookie) for cookie in cookies]
        assert {row["HCThruOctetsReceived"] for row in rows} == {3001}
        assert first.database.lost() == 0
    assert first.database.value("SELECT count(*) FROM run") == 1


def test_a_recording_replays_to_the_same_connections_and_values(
    net: Net, tmp_path: Path, peers: Pair
) -> None:
    """What was recorded, played through the same pipeline, fills a database with the same rows."""
    recording, played = tmp_path / "rings.rec", tmp_path / "played.db"
    port = next(PORTS)
    with collecting(tmp_path, "--record", str(recording)) as collector:
        peers.open(net.server, 4, port, CONNECTIONS)
        net.lose(10)
        peers.exchange(5, 5_000)
        net.lose(0)
        peers.half_close()
        collector.database.catch_up()
    replay = Collector(tmp_path, "--source", "replay", "--replay", str(recording), db=played)
    try:
        assert replay.process.wait(PATIENCE) == 0, replay.log.read_text()
    finally:
        replay.destroy()
    both = (collector.database, replay.database)
    # Others may have connections on this host, open or halfway through their end.
    ours = "SELECT * FROM latest WHERE ? IN (LocalPort, RemPort) ORDER BY cookie"
    rows, rows_again = (base.ask(ours, port) for base in both)
    assert len(rows) == 2 * CONNECTIONS
    for row, again in zip(rows, rows_again, strict=True):
        for key in ("opened_us", "closed_us", "start_tv", "StartTimeStamp"):
            # The wall clock is paired with the kernel's at each drain, but replayed by the cut.
            assert abs(row.pop(key) - again.pop(key)) < CLOCK_PAIRING_US
        for key in ("ConnectIndex", "run_id"):
            del row[key], again[key]
        assert again == row
