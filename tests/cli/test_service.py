"""The service manager hears when a collector is ready, alive and stopping, and nothing else."""

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cli.service import Service, patience_us
from tests.cli.notified import Manager, children, collecting, with_signal


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """One with a socket in the file system."""
    with closing(Manager(str(tmp_path / "notify"))) as made:
        yield made


def service(manager: Manager, **more: str) -> Service:
    """A service of that manager."""
    return Service({"NOTIFY_SOCKET": manager.address, **more})


def test_the_first_snapshot_makes_it_ready(manager: Manager) -> None:
    """Once, and with the status line; the next word is of life only."""
    one = service(manager)
    one.alive("23 connections", 1_000)
    assert manager.next() == {"READY": "1", "WATCHDOG": "1", "STATUS": "23 connections"}

    one._told = 0.0
    one.alive("24 connections", 1_000)
    assert manager.next() == {"WATCHDOG": "1", "STATUS": "24 connections"}


def test_short_intervals_are_told_once_a_second(manager: Manager) -> None:
    """A hundred snapshots in no time are one word."""
    one = service(manager)
    for _ in range(100):
        one.alive("", 1_000)
    assert "READY" in manager.next()
    assert manager.next(0.1) == {}


@pytest.mark.parametrize(
    ("watchdog", "asked"),
    [("30000000", "305000000"), ("3000000000", None), ("", None), ("x", None)],
)
def test_a_long_interval_asks_for_patience(
    manager: Manager, watchdog: str, asked: str | None
) -> None:
    """Else the service would be killed between two snapshots; a patient manager stays so."""
    service(manager, WATCHDOG_USEC=watchdog).alive("", 60_000_000)
    assert manager.next().get("WATCHDOG_USEC") == asked


def test_the_watchdog_of_another_process_is_not_ours(manager: Manager) -> None:
    """Whoever starts us may be watched, and leave its environment to us."""
    service(manager, WATCHDOG_USEC="1", WATCHDOG_PID="1").alive("", 1_000_000)
    assert "WATCHDOG_USEC" not in manager.next()


def test_a_status_is_one_line(manager: Manager) -> None:
    """No name in it can add a word of its own."""
    service(manager).stopping("a\nREADY=1\udce9")
    assert manager.next() == {"STOPPING": "1", "STATUS": r"a\nREADY=1\udce9"}


@pytest.mark.parametrize("address", ["", "vsock:2:1", "/no/where", "relative", "/" + "x" * 200])
def test_who_does_not_listen_is_no_reason_to_stop(address: str) -> None:
    """Neither is one that is spoken to in another way."""
    one = Service({"NOTIFY_SOCKET": address})
    one.alive("", 1_000)
    one.stopping()


@pytest.mark.slow
@pytest.mark.parametrize("is_abstract", [False, True])
def test_a_run_is_ready_alive_and_stopping(tmp_path: Path, is_abstract: bool) -> None:
    """Ready means that there is a snapshot; the order ends with the last word."""
    name = str(tmp_path / "notify")
    database = tmp_path / "x.db"
    with closing(Manager(f"@{name}" if is_abstract else name)) as manager:
        options = ("--interval", "100ms", "--duration", "1500ms")
        with collecting(database, *options, address=manager.address) as process:
            first = manager.next()
            with closing(sqlite3.connect(database)) as base:
                ((snapshots,),) = base.execute("SELECT count(*) FROM snapshot").fetchall()
            assert first["READY"] == "1" and " connections " in first["STATUS"]
            assert snapshots >= 1
            second, last = manager.next(), manager.next()
            assert second["WATCHDOG"] == "1" and "READY" not in second
            assert last["STOPPING"] == "1" and "WATCHDOG" not in last
            assert process.wait(60) == 0


@pytest.mark.slow
def test_a_writer_that_stands_still_starves_the_watchdog(manager: Manager, tmp_path: Path) -> None:
    """As it would on a disk that does not answer; once it goes on, so does the feeding."""
    with collecting(tmp_path / "x.db", "--interval", "100ms", address=manager.address) as process:
        assert "READY" in manager.next()
        assert manager.next()["WATCHDOG"] == "1"
        writer = children(process.pid)["estats-writer"]
        with_signal(writer, signal.SIGSTOP)
        manager.forget()
        assert manager.next(2.5) == {}
        with_signal(writer, signal.SIGCONT)
        assert manager.next()["WATCHDOG"] == "1"


@pytest.mark.slow
def test_a_replay_is_ready_and_stops(manager: Manager, tmp_path: Path) -> None:
    """It may be over before a second word is due."""
    recording = tmp_path / "rings"
    options = ("--record", recording, "--interval", "50ms", "--duration", "300ms")
    with collecting(tmp_path / "x.db", *options) as process:
        assert process.wait(60) == 0
    replay = ("--replay", recording)
    with collecting(tmp_path / "y.db", *replay, address=manager.address) as process:
        assert "READY" in manager.next()
        assert "STOPPING" in manager.next()
        assert process.wait(60) == 0


@pytest.mark.slow
def test_an_error_is_told_with_the_stop(manager: Manager, tmp_path: Path) -> None:
    """So that `systemctl status` says why; ready it never was."""
    with collecting(tmp_path / "none" / "x.db", address=manager.address) as process:
        word = manager.next()
        assert process.wait(60) == 4
    assert word["STOPPING"] == "1" and "there is no folder" in word["STATUS"]


def test_patience_grows_with_the_interval() -> None:
    """Five intervals, and five seconds for whatever else the machine does."""
    assert (patience_us(0), patience_us(60_000_000)) == (5_000_000, 305_000_000)
