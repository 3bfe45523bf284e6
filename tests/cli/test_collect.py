"""estats collect: options become settings or a sentence, and no file of another's is touched."""

import fcntl
import grp
import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from bpf.errors import EnvironmentLacksError
from bpf.filters import Filters
from bpf.loader import Loaded, Request
from bpf.variable import HISTORIES, Table
from cli import collect
from collector import fleet
from collector.fleet import Source
from collector.privileges import Rights
from collector.settings import Settings
from collector.writing import Prepare
from tests.cli.conftest import Answer, Estats

Called = list[tuple[Settings, Source]]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Called:
    """What the collector is asked to do; it does nothing."""
    calls: Called = []

    def note(settings: Settings, source: Source, prepare: Prepare, version: str, *_: object) -> str:
        calls.append((settings, source))
        assert version and callable(prepare)
        return "duration"

    monkeypatch.setattr(collect, "run_collector", note)
    return calls


def settings(estats: Estats, called: Called, *options: object) -> Settings:
    """What these options ask for."""
    answer = estats("collect", "--db", "x.db", *options)
    assert (answer.code, answer.out) == (0, ""), answer.err
    return called.pop()[0]


def test_a_plain_run_is_of_everything(estats: Estats, called: Called) -> None:
    """All tables, once a second, a worker for each CPU up to eight, until told to stop."""
    made = settings(estats, called)

    assert made == Settings(shards=min(len(os.sched_getaffinity(0)), 8))
    assert (made.tables, made.interval_us, made.flush_us) == (HISTORIES, 1_000_000, 250_000)
    assert made.duration_us is None


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        (["--interval", "500ms"], "interval_us", 500_000),
        (["--interval", "0.5"], "interval_us", 500_000),
        (["--flush-interval", "10ms"], "flush_us", 10_000),
        (["--duration", "20"], "duration_us", 20_000_000),
        (["--duration", "1h30m"], "duration_us", 5_400_000_000),
        (["--shards", "3"], "shards", 3),
        (["--tables", "perf"], "tables", (Table.PERF,)),
        (["--tables", "PATH, perf"], "tables", (Table.PERF, Table.PATH)),
        (["--record", "r"], "record", Path("r")),
        (["--max-overhead", "2%"], "max_overhead", 0.02),
        (["--max-overhead", "0.5 %"], "max_overhead", 0.005),
        (["--max-overhead", "0.02"], "max_overhead", 0.02),
        (["--max-overhead", "150%"], "max_overhead", 1.5),
        (
            ["--port", "1", "--port", "2", "--sport", "3", "--dport", "4"],
            "filters",
            Filters(ports=(1, 2), sports=(3,), dports=(4,)),
        ),
        (
            ["--net", "10.0.0.0/8,::1", "--net", "fd00::/8"],
            "filters",
            Filters(nets=tuple(ip_network(n) for n in ("10.0.0.0/8", "::1", "fd00::/8"))),
        ),
        (
            ["--pid", "7", "--comm", "iperf3"],
            "filters",
            Filters(pids=(7,), comms=("iperf3",)),
        ),
    ],
)
def test_an_option_becomes_a_setting(
    estats: Estats, called: Called, options: list[str], field: str, value: Any
) -> None:
    """Times in microseconds, a bare number is seconds; lists may be joined or repeated."""
    assert getattr(settings(estats, called, *options), field) == value


def test_a_process_may_be_called_anything(estats: Estats, called: Called) -> None:
    """Its name is bytes to the kernel; Python passes those that are no text in its own way."""
    assert settings(estats, called, "--comm", "caf\udce9").filters.comms == ("caf\udce9",)


@pytest.mark.parametrize(
    ("options", "source"),
    [
        ([], Source.AUTO),
        (["--source", "diag"], Source.DIAG),
        (["--replay", "r"], Source.REPLAY),
        (["--replay", "r", "--source", "replay"], Source.REPLAY),
    ],
)
def test_a_recording_to_replay_is_a_source(
    estats: Estats, called: Called, options: list[str], source: Source
) -> None:
    """To name one is enough."""
    assert estats("collect", "--db", "x.db", *options).code == 0
    assert called.pop()[1] is source


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--tables", "perf,nonsense"], "'nonsense'"),
        (["--tables", ","], "no table"),
        (["--interval", "soon"], "--interval"),
        (["--interval", "1ms"], "--interval"),
        (["--interval", "-1"], "--interval"),
        (["--flush-interval", "0"], "--flush-interval"),
        (["--duration", "0s"], "--duration"),
        (["--duration", "\u0661s"], "--duration"),
        (["--shards", "0"], "--shards"),
        (["--shards", "65"], "--shards"),
        (["--port", "65536"], "65536"),
        (["--dport", "https"], "--dport"),
        (["--net", "10.0.0.0/40"], "'10.0.0.0/40'"),
        (["--pid", "0"], "0 is not a process id"),
        (["--comm", "a name of sixteen"], "'a name of sixteen'"),
        (["--group", "no such group"], "'no such group'"),
        (["--source", "replay"], "--replay FILE"),
        (["--max-overhead", "little"], "'little' is no share of a CPU"),
        (["--max-overhead", "2"], "write 2% or"),
        (["--max-overhead", "0"], "write 2% or 0.02"),
        (["--max-overhead", "0%"], "no share of a CPU above 0"),
        (["--max-overhead=-2%"], "'-2%'"),
        (["--max-overhead", "nan"], "'nan'"),
        (["--max-overhead", "2%", "--replay", "r"], "a replay runs no kernel programs"),
        (["--source", "perf"], "--source"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(
    estats: Estats, called: Called, tmp_path: Path, options: list[str], words: str
) -> None:
    """Exit code 2, the option or the value is named, and no database is made."""
    answer = estats("collect", "--db", "x.db", *options)

    assert (answer.code, answer.out) == (2, "")
    assert words in answer.err
    assert "Traceback" not in answer.err
    assert called == []
    assert list(tmp_path.iterdir()) == []


def refused(answer: Answer, words: str) -> None:
    """Two lines, exit code 4."""
    assert (answer.code, answer.out) == (4, ""), answer.err
    sentence, advice = answer.err.splitlines()[-2:]
    assert words in sentence
    assert advice.strip()


def test_a_second_collector_is_refused(estats: Estats, tmp_path: Path) -> None:
    """As long as the first one holds the database."""
    path = tmp_path / "x.db"
    with path.open("wb") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        refused(estats("collect", "--db", path), "another collector")
    assert path.read_bytes() == b""


def test_a_group_that_is_not_ours_to_give_to_is_refused(
    estats: Estats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a root without all that root may."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuse)
    own = grp.getgrgid(os.getgid()).gr_name
    refused(estats("collect", "--db", tmp_path / "x.db", "--group", own), "cannot be given")


def test_a_symbolic_link_is_not_followed(estats: Estats, tmp_path: Path) -> None:
    """Root could be led to write anywhere."""
    (tmp_path / "x.db").symlink_to(tmp_path / "elsewhere")
    refused(estats("collect", "--db", tmp_path / "x.db"), "symbolic link")

    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("no folder/x.db", "there is no folder"),
        ("/proc/x.db", "/proc/x.db cannot be"),
        (".", "is a folder"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused(
    estats: Estats, called: Called, path: str, words: str
) -> None:
    """Before anything is loaded."""
    refused(estats("collect", "--db", path), words)

    assert called == []


def _text(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to be looked at" * 100)


def _foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE music (title)")


@pytest.mark.parametrize("make", [_text, _foreign])
def test_a_file_of_something_else_is_left_as_it_is(
    estats: Estats, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    """Not one byte is changed, and it gets no neighbours."""
    path = tmp_path / "x.db"
    make(path)
    before = path.read_bytes()
    refused(estats("collect", "--db", path, "--source", "diag", "--duration", "1"), "x.db")

    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_fills_a_database_that_only_its_owner_reads(estats: Estats, tmp_path: Path) -> None:
    """And says on stderr what it did; stdout stays free."""
    path = tmp_path / "x.db"
    answer = estats(
        "collect", "--db", path, "--source", "diag", "--duration", "50ms", "--interval", "20ms"
    )

    assert (answer.code, answer.out) == (0, ""), answer.err
    assert "collecting by diag, 1 worker(s)" in answer.err
    assert "stopped (duration): " in answer.err.splitlines()[-1]
    assert str(path) in answer.err.splitlines()[-1]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT end_reason FROM run").fetchall() == [("duration",)]


def test_without_privileges_the_same_command_goes_on(
    estats: Estats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line says what is missing; who asked for the programs gets exit code 3."""

    def lack(_: Request) -> Loaded:
        raise EnvironmentLacksError("the kernel refuses BPF to this process", "run as root")

    monkeypatch.setattr(fleet, "load", lack)
    brief = ["--duration", "20ms", "--interval", "20ms"]

    answer = estats("collect", *brief, "--db", tmp_path / "x.db")
    assert answer.code == 0, answer.err
    assert "the kernel refuses BPF to this process; going on with inet_diag" in answer.err
    # Of its own, for the lock of the first one stays until this process ends.
    answer = estats("collect", *brief, "--db", tmp_path / "y.db", "--source", "bpf")
    assert answer.code == 3
    assert answer.err == "estats: the kernel refuses BPF to this process\n  run as root\n"


@pytest.mark.parametrize("at_large", [True, False])
def test_a_writer_that_stays_root_at_large_is_warned_of(
    estats: Estats, called: Called, monkeypatch: pytest.MonkeyPatch, at_large: bool
) -> None:
    """With the cure, and only then."""
    monkeypatch.setattr(Rights, "leaves_root_at_large", lambda _: at_large)
    answer = estats("collect", "--db", "x.db")
    assert answer.code == 0
    assert ("stays root" in answer.err and "Cure: --user" in answer.err) is at_large
