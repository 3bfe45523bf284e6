"""From settings to rows without privileges: polling, the fallback to it, and recordings."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from bpf.errors import EnvironmentLacksError, EstatsError, RecordingError, UsageError
from bpf.filters import Filters
from bpf.loader import Loaded, Request
from bpf.meters import BUDGET_METERS
from bpf.variable import Table
from collector import fleet
from collector.fleet import Source
from collector.recording import Recorder
from collector.settings import Settings
from collector.supervisor import Progress
from tests.collector.running import DIAG, Collected, children

REFUSED = EnvironmentLacksError("this kernel has no sockets", "get some")


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Neither a process nor a descriptor, however a run ended."""
    before = children(), sorted(os.listdir("/proc/self/fd"))
    yield
    assert (children(), sorted(os.listdir("/proc/self/fd"))) == before


@pytest.fixture
def collected(tmp_path: Path) -> Collected:
    """Into a database that is not there yet; told to stop at the third snapshot."""
    made = Collected(tmp_path / "flows.db")

    def stop(progress: Progress) -> None:
        if progress.snapshots == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    made.on_progress = stop
    return made


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """A kernel that takes no programs; what was asked of it."""
    asked: list[Request] = []

    def load(request: Request) -> Loaded:
        asked.append(request)
        raise REFUSED

    monkeypatch.setattr(fleet, "load", load)
    return asked


class Talk:
    """A connection that is opened at one snapshot and closed at another."""

    def __init__(self) -> None:
        """Listening, at a port of its own."""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.ends: list[socket.socket] = []

    def act(self, progress: Progress) -> None:
        """Talk after the first snapshot, hang up after the third, stop after the fifth."""
        if progress.snapshots == 1:
            client = socket.create_connection(("127.0.0.1", self.port))
            server, _ = self.listener.accept()
            self.ends = [client, server]
            client.sendall(b"x" * 230)
            assert len(server.recv(230, socket.MSG_WAITALL)) == 230
        elif progress.snapshots == 3:
            self.close()
        elif progress.snapshots == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    def close(self) -> None:
        """Hang up, both ends."""
        for end in self.ends:
            end.close()
        self.ends = []


@pytest.fixture
def talk() -> Iterator[Talk]:
    """Two ends on loopback."""
    made = Talk()
    with closing(made.listener), closing(made):
        yield made


LATEST = "SELECT * FROM latest ORDER BY LocalPort = {port}"


def test_a_connection_is_collected_without_privileges(collected: Collected, talk: Talk) -> None:
    """Both ends, with what TCP_INFO knows; what it does not know is NULL, and so is the owner."""
    collected.on_progress = talk.act
    settings = replace(DIAG, filters=Filters(ports=(talk.port,)))

    assert collected.run(settings) == "SIGTERM"

    client, server = collected.ask(LATEST.format(port=talk.port))
    assert (client["RemPort"], server["LocalPort"]) == (talk.port, talk.port)
    assert client["LocalPort"] == server["RemPort"]
    assert (client["HCDataOctetsOut"], server["HCThruOctetsReceived"]) == (230, 230)
    for end in (client, server):
        assert end["LocalAddress"] == end["RemAddress"] == "127.0.0.1"
        assert (end["origin"], end["close_reason"]) == ("polled", "gone")
        assert end["closed_us"] > end["opened_us"]
        assert (end["pid"], end["comm"], end["lost"]) == (None, None, 0)
        assert end["SegsRetrans"] == 0
        assert end["MaxRwinSent"] is None


def test_polling_takes_one_worker(collected: Collected) -> None:
    """However many were asked for: there is nothing to share out."""
    assert collected.run(replace(DIAG, shards=3)) == "SIGTERM"
    (run,) = collected.ask("SELECT * FROM run")

    assert (run["source"], run["shards"], run["end_reason"]) == ("diag", 1, "SIGTERM")
    assert collected.said == ["collecting by diag, 1 worker(s)"]


def test_only_the_chosen_tables_are_written(collected: Collected, talk: Talk) -> None:
    """And the run says which."""
    collected.on_progress = talk.act
    collected.run(replace(DIAG, tables=(Table.PERF, Table.APP)))

    assert collected.one("SELECT tables FROM run") == "perf,app"
    assert (
        collected.one("SELECT count(*) FROM history WHERE SegsOut > 0 AND HCThruOctetsAcked > 0")
        > 0
    )
    assert collected.one("SELECT count(coalesce(MinRTTUs, State, start_ts)) FROM history") == 0


def test_auto_goes_on_without_the_kernel_programs(
    collected: Collected, refused: list[Request]
) -> None:
    """It says in one line what is missing, what that means and how to cure it."""
    asked = replace(DIAG, shards=2, filters=Filters(dports=(443,)))

    assert collected.run(asked, Source.AUTO) == "SIGTERM"
    assert refused == [
        Request(tables=asked.tables, shards=2, flush_us=asked.flush_us, filters=asked.filters)
    ]
    (line, _) = collected.said
    assert REFUSED.message in line and REFUSED.advice in line and "inet_diag" in line
    (run,) = collected.ask("SELECT * FROM run")
    assert run["source"] == "diag"
    assert json.loads(run["filters"]) == {
        "dport": ["443"],
        "max_connections": ["250000"],
    }
    assert "MaxRwinSent" in json.loads(run["unavailable"])


@pytest.mark.parametrize("source", [Source.DIAG, Source.AUTO])
def test_a_budget_where_no_programs_run_is_told_to_mean_nothing(
    collected: Collected, refused: list[Request], source: Source
) -> None:
    """In one line; what was asked for is in the run, and nothing is in its snapshots."""
    assert collected.run(replace(DIAG, max_overhead=0.02), source) == "SIGTERM"

    assert [line for line in collected.said if "--max-overhead does not apply" in line]
    assert [request.adjustable for request in refused] == [True] * (source is Source.AUTO)
    asked = json.loads(collected.one("SELECT filters FROM run"))
    assert asked == {"max_connections": ["250000"], "max_overhead": ["0.02"]}
    for meter in BUDGET_METERS:
        assert {row[meter] for row in collected.ask("SELECT * FROM snapshot")} == {None}
    assert all(progress.overhead is None for progress in collected.progress)


def test_bpf_is_not_replaced_where_it_was_asked_for(
    collected: Collected, refused: list[Request], capfd: pytest.CaptureFixture[str]
) -> None:
    """The error is the loader's; no run was begun, and no process complains of its own end."""
    with pytest.raises(EnvironmentLacksError) as lack:
        collected.run(DIAG, Source.BPF)

    assert lack.value is REFUSED
    assert len(refused) == 1
    assert not collected.database.exists()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("source", [Source.DIAG, Source.AUTO])
def test_a_filter_that_polling_cannot_decide_is_refused(
    collected: Collected,
    refused: list[Request],
    capfd: pytest.CaptureFixture[str],
    source: Source,
) -> None:
    """As the mistake that it is: collecting everything, or nothing, would be no answer."""
    with pytest.raises(EstatsError) as refusal:
        collected.run(replace(DIAG, filters=Filters(pids=(1,))), source)

    assert refusal.value.exit_code == UsageError.exit_code
    assert "--pid" in refusal.value.message
    assert len(refused) == (source is Source.AUTO)
    assert capfd.readouterr().err == ""


def test_a_recording_of_a_run_replays_to_the_same(
    collected: Collected, talk: Talk, tmp_path: Path
) -> None:
    """The same connections with the same values at the same moments."""
    collected.on_progress = talk.act
    path = tmp_path / "r"
    collected.run(replace(DIAG, record=path, filters=Filters(ports=(talk.port,))))
    again = Collected(tmp_path / "again.db")

    assert again.run(Settings(replay=path), Source.REPLAY) == "recording ended"
    latest = LATEST.format(port=talk.port)
    assert len(again.ask(latest)) == 2
    assert again.ask(latest) == collected.ask(latest)
    taken = "SELECT DISTINCT taken_us FROM snapshot ORDER BY taken_us"
    assert again.ask(taken) == collected.ask(taken)


def test_a_recording_that_cannot_be_made_ends_the_run(collected: Collected, tmp_path: Path) -> None:
    """Nothing is replaced; the error is the one of whoever names a file that is there."""
    path = tmp_path / "taken"
    path.write_text("mine")

    with pytest.raises(UsageError):
        collected.run(replace(DIAG, record=path))
    assert path.read_text() == "mine"


@pytest.mark.parametrize("content", [b"", b"no recording"])
def test_what_is_no_recording_is_refused_before_anything_begins(
    collected: Collected, tmp_path: Path, content: bytes
) -> None:
    """Not even a database is made."""
    path = tmp_path / "r"
    path.write_bytes(content)

    with pytest.raises(RecordingError):
        collected.run(Settings(replay=path), Source.REPLAY)
    assert not collected.database.exists()


def test_a_full_disk_of_a_recording_ends_the_run_in_words(
    collected: Collected, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The worker that met it is in another process; the sentence is the same."""

    def full(*_: object) -> None:
        raise RecordingError("the recording cannot be written: no space", "Free space on its disk")

    monkeypatch.setattr(Recorder, "batches", full)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with socket.create_connection(address), pytest.raises(EstatsError) as refusal:
            collected.run(replace(DIAG, record=tmp_path / "r"))

    assert refusal.value.exit_code == RecordingError.exit_code
    assert "no space" in refusal.value.message
