"""Commands that start a collector for the moment, or follow a running one, on live connections."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.collecting import HOME, PATIENCE, collecting, until
from tests.kernel.leftovers import processes, start

pytestmark = pytest.mark.kernel

OCTETS = 300_000
_PART = 10_000


@contextmanager
def talking() -> Iterator[tuple[int, socket.socket, socket.socket]]:
    """A connection over loopback: the port of its server, and both its ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = server.accept()
            with accepted:
                yield port, client, accepted


def send(client: socket.socket, server: socket.socket) -> None:
    """Send OCTETS, and read them at the other end."""
    for _ in range(OCTETS // _PART):
        client.sendall(b"x" * _PART)
        assert len(server.recv(_PART, socket.MSG_WAITALL)) == _PART


def estats(folder: Path, *words: str) -> "subprocess.Popen[str]":
    """Start the command line; what it keeps for the moment is in the folder."""
    environment = {name: value for name, value in os.environ.items() if name != "ESTATS_DB"}
    environment |= {"TMPDIR": str(folder), "PYTHONPATH": str(HOME)}
    command = [sys.executable, str(HOME / "estats.py"), *words]
    return start(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def answer(process: "subprocess.Popen[str]") -> list[dict[str, Any]]:
    """What it said, a JSON object a line, once it has ended well."""
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()]


def test_an_idle_connection_is_read_by_a_collector_for_the_moment(tmp_path: Path) -> None:
    """It is older than the collector, whose totals are the kernel's; nothing stays."""
    with talking() as (port, client, server):
        send(client, server)
        words = ("--dport", str(port), "--format", "ndjson")
        reading = estats(tmp_path, "read", "--live", *words)
        (found,) = answer(reading)
    assert found["HCDataOctetsOut"] == OCTETS
    assert (found["RemPort"], found["origin"]) == (port, "backfill")
    assert list(tmp_path.iterdir()) == []
    assert processes(reading.pid) == set()


def test_the_next_seconds_of_a_running_collector_are_told(tmp_path: Path) -> None:
    """What was sent before is not in them; what is sent until the end, all the time, is."""
    with collecting(tmp_path) as collector, talking() as (port, client, server):
        send(client, server)
        collector.database.catch_up()
        words = ("--db", str(collector.database.path), "--dport", str(port), "--for", "2s")
        asking = estats(tmp_path, "deltas", *words, "--format", "ndjson")
        sent = 0
        while asking.poll() is None:
            send(client, server)
            sent += OCTETS
            time.sleep(0.05)
        (found,) = answer(asking)
    assert 0 < found["HCDataOctetsOut"] <= sent
    assert found["seconds"] >= 2


def test_the_cause_is_told_where_nothing_was_collected_yet(tmp_path: Path) -> None:
    """A person's first command: it starts a collector, says for how long, and names the cause."""
    with talking() as (port, client, _):
        client.setblocking(False)
        asking = estats(tmp_path, "why", "--dport", str(port), "--for", "2s")
        while asking.poll() is None:
            with suppress(BlockingIOError):
                client.send(b"x" * _PART)
            time.sleep(0.01)
        out, err = asking.communicate(timeout=PATIENCE)
    assert asking.returncode == 0, err
    assert "slow reader: " in out
    assert "a collector is started for the moment" in err
    assert "collecting for 2s" in err
    assert "estats: live: " in err
    assert list(tmp_path.iterdir()) == []


def test_the_list_of_the_moment_has_what_moved_just_now(tmp_path: Path) -> None:
    """Without a terminal it is written once, and the collector is gone with it."""
    with talking() as (port, client, server):
        listing = estats(tmp_path, "top", "--live", "--dport", str(port))
        while listing.poll() is None:
            send(client, server)
            time.sleep(0.02)
        out, err = listing.communicate(timeout=PATIENCE)
    assert listing.returncode == 0, err
    _, row = out.splitlines()
    assert f"127.0.0.1:{port}" in row
    assert "  live  1 connection" in err
    assert list(tmp_path.iterdir()) == []
    assert processes(listing.pid) == set()


def test_watching_ends_on_a_signal_and_leaves_nothing(tmp_path: Path) -> None:
    """Its database is private while it is there."""
    with talking() as (port, client, server):
        words = ("--dport", str(port), "--interval", "100ms", "--var", "HCDataOctetsOut")
        watching = estats(tmp_path, "watch", "--live", *words, "--format", "ndjson")
        assert watching.stdout is not None
        send(client, server)
        rounds = (json.loads(line) for line in watching.stdout)
        until("all that was sent", lambda: next(rounds)["HCDataOctetsOut"] == OCTETS)
        (folder,) = tmp_path.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "flows.db").stat().st_mode) == 0o600
        watching.send_signal(signal.SIGTERM)
        watching.communicate(timeout=PATIENCE)
    assert watching.returncode == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
    assert processes(watching.pid) == set()


def test_a_collector_for_the_moment_does_not_outlive_who_started_it(tmp_path: Path) -> None:
    """Not even one that is killed."""
    watching = estats(tmp_path, "watch", "--live", "--interval", "100ms", "--format", "ndjson")
    assert watching.stdout is not None
    with talking():
        assert watching.stdout.readline()
        watching.kill()
        watching.communicate(timeout=PATIENCE)
    until("the end of its processes", lambda: not processes(watching.pid))


def test_rings_are_recorded_and_replayed_elsewhere(tmp_path: Path) -> None:
    """A connection of which they hold all has its final values again."""
    recording = estats(tmp_path, "record", "rings", "--rings", "3s")
    until("the recording", (tmp_path / "rings").exists)
    with talking() as (port, client, server):
        send(client, server)
    out, err = recording.communicate(timeout=PATIENCE)
    assert recording.returncode == 0, err
    assert out.startswith("rings: ")
    words = ("--dport", str(port), "--format", "ndjson")
    (found,) = answer(estats(tmp_path, "replay", "rings", *words))
    assert (found["HCDataOctetsOut"], found["origin"]) == (OCTETS, "active")
    assert found["closed"] is not None
