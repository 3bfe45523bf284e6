"""estats tune: live sockets of another process are changed, in what they do, and changed back."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from bpf.tuner import End, Option, Socket, Tuner
from cli.logbook import Logbook
from cli.targets import Target, socket_of
from storage.errors import UnsafePathError
from storage.question import Question
from storage.reader import open_reader
from tests.cli.conftest import Answer, Estats, estats
from tests.documented import write_database
from tests.kernel.collecting import HOME, Collector, Database, Row, collecting
from tests.kernel.inside import connect, cookie, listen
from tests.kernel.net import HERE, Host, Net
from tests.kernel.tcp_info import Witness
from tests.kernel.traffic import Pair, Peer, pair
from tuning.apply import Effect

__all__ = ["estats"]  # a fixture

pytestmark = pytest.mark.kernel

PORTS = count(7901)
MEBI = 1 << 20
OWNER = 23_456


@pytest.fixture(scope="module")
def collector(
    nothing_is_left_behind: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Collector]:
    """One for all tests: it writes the database while the command does."""
    with collecting(
        tmp_path_factory.mktemp("tune"), "--source", "bpf", "--interval", "100ms"
    ) as made:
        yield made


@dataclass(frozen=True)
class Stage:
    """One connection between two hosts, and the command that is pointed at one of its ends."""

    net: Net
    peers: Pair
    port: int
    collector: Collector
    estats: Estats

    def run(self, *arguments: str) -> Answer:
        """The command, on what the client's end is chosen by unless another is named."""
        whom = () if any("port" in word for word in arguments) else ("--dport", str(self.port))
        database = ("--db", str(self.collector.database.path))
        return self.estats("tune", *whom, *database, *arguments)

    def tune(self, *arguments: str) -> list[Row]:
        """The same with --yes, which has to work; what it answers."""
        answer = self.run(*arguments, "--yes", "--format", "json")
        assert answer.code == 0, answer.err
        rows: list[Row] = json.loads(answer.out)
        return rows

    def set(self, *values: str, at: str = "--dport") -> dict[str, Any]:
        """Set values of one end; what the kernel accepted."""
        options = [word for value in values for word in ("--set", value)]
        rows = self.tune(at, str(self.port), *options)
        return {row["variable"]: row["accepted"] for row in rows}

    def pour(self, size: int = 8 * MEBI) -> None:
        """Have the client send much, and the server read it."""
        self.peers.server.tell("swallow", size=size)
        self.peers.client("pour", size=size)
        self.peers.server.hear()

    def witness(self) -> Witness:
        """The client's TCP_INFO."""
        (found,) = self.peers.client.witnesses()
        return found

    def rate(self, size: int) -> float:
        """Octets a second that the kernel counts while the client pours so many."""
        before = self.witness()
        self.pour(size)
        now = self.witness()
        acked = now["tcpi_bytes_acked"] - before["tcpi_bytes_acked"]
        return acked / (now["tcpi_busy_time"] - before["tcpi_busy_time"]) * 1e6

    def seen(self, host: Host) -> str:
        """What `ss` says about the socket on one host."""
        return host.run("ss", "-HOtinm", f"( sport = :{self.port} or dport = :{self.port} )")

    def number(self, host: Host, pattern: str) -> int:
        """One figure of that."""
        found = re.search(pattern, self.seen(host))
        assert found, self.seen(host)
        return int(found[1])


@pytest.fixture(scope="module")
def both(net: Net) -> Iterator[Pair]:
    """A client and a server for all tests."""
    with pair(net.client, net.server) as peers:
        yield peers


@pytest.fixture
def stage(net: Net, both: Pair, collector: Collector, estats: Estats) -> Iterator[Stage]:
    """A connection that the collector knows."""
    port = next(PORTS)
    both.open(net.server, 4, port, 1)
    both.exchange(1, 100)
    collector.database.catch_up()
    yield Stage(net, both, port, collector, estats)
    for peer in both.peers:
        peer("close")


def logged(stage: Stage) -> dict[str, Row]:
    """What the database has of the changes to this connection, by variable."""
    rows = stage.collector.database.ask(
        "SELECT tuning.* FROM tuning JOIN connection USING (ConnectIndex)"
        " WHERE ? IN (LocalPort, RemPort) ORDER BY tuning_id",
        stage.port,
    )
    return {row["variable"]: row for row in rows}


def test_a_receive_window_is_bounded_and_set_free_again(stage: Stage) -> None:
    """The peer sees it in what is advertised, and the kernel does not raise it behind our back."""
    stage.pour()  # segments of every size have come: the kernel does not reckon anew
    accepted = stage.set("LimRwin=20Ki", at="--sport")
    assert accepted == {"LimRwin": 20480, "rcvbuf-autotuning": "off"}
    stage.pour(stage.witness()["tcpi_snd_wnd"])  # what was promised before is not taken back
    stage.pour()
    (receiver,) = stage.peers.server.witnesses()
    assert receiver.clamp == 20480
    assert 0 < stage.witness()["tcpi_snd_wnd"] <= 20480

    before = int(logged(stage)["LimRwin"]["before"])
    assert stage.tune("--sport", str(stage.port), "--revert")[0]["accepted"] == before
    stage.pour()
    assert stage.witness()["tcpi_snd_wnd"] > 40000


def test_without_its_lock_the_window_is_raised_again(stage: Stage) -> None:
    """Which is why LimRwin brings it along, unless the user says otherwise."""
    accepted = stage.set("LimRwin=20480", "rcvbuf-autotuning=on", at="--sport")
    assert accepted == {"LimRwin": 20480}, "it was on already"
    stage.pour()
    (receiver,) = stage.peers.server.witnesses()
    assert receiver.clamp > 20480


def test_a_receive_buffer_bounds_the_window_for_good(stage: Stage) -> None:
    """Also where no segment had come yet, and the kernel reckons anew as they do."""
    accepted = stage.set("LimRwin=20480", "rcvbuf=20480", at="--sport")
    assert accepted == {"LimRwin": 20480, "rcvbuf": 20480, "rcvbuf-autotuning": "off"}
    stage.pour(MEBI)
    assert 0 < stage.witness()["tcpi_snd_wnd"] <= 20480


def test_a_congestion_window_is_bounded(stage: Stage) -> None:
    """In whole segments; what that does to the slow-start threshold is told and logged."""
    client, database = stage.net.client, stage.collector.database
    mss = stage.witness()["tcpi_snd_mss"]
    accepted = stage.set(f"LimCwnd={3 * mss + 7}")
    assert accepted == {"LimCwnd": 3 * mss, "CurSsthresh": 3 * mss}
    assert stage.witness()["tcpi_snd_ssthresh"] == 3
    stage.pour()
    assert stage.witness()["tcpi_snd_cwnd"] <= 3
    database.catch_up()
    seen = database.value("SELECT LimCwnd FROM latest WHERE RemPort = ?", stage.port)
    assert seen == 3 * mss, "the collector sees it, too"

    said = stage.run("--revert", "--dry-run").out
    assert "it goes with LimCwnd, and cannot be set by itself" in " ".join(said.split())
    rows = {row["variable"]: row["accepted"] for row in stage.tune("--revert")}
    assert rows == {"LimCwnd": "unlimited", "CurSsthresh": "unlimited"}
    stage.pour()
    assert stage.number(client, r" cwnd:(\d+)") > 3


def test_sending_is_paced(stage: Stage) -> None:
    """While it sends, no more is acknowledged in a second than was allowed; before it was."""
    assert stage.rate(8 * MEBI) > 4_000_000
    assert stage.set("pacing=16Mbit")["pacing"] == 2_000_000
    assert stage.rate(MEBI // 2) < 3_000_000
    assert "/16000000bps" in stage.seen(stage.net.client)
    stage.tune("--revert")
    assert stage.rate(8 * MEBI) > 4_000_000
    assert "/16000000bps" not in stage.seen(stage.net.client)


def test_congestion_control_and_the_unsent_limit_are_changed(stage: Stage) -> None:
    """Two values at once, and both go back."""
    assert " cubic " in stage.seen(stage.net.client)
    accepted = stage.set("congestion=reno", "notsent-lowat=16Ki")
    assert accepted["congestion"] == "reno" and accepted["notsent-lowat"] == 16384
    assert " reno " in stage.seen(stage.net.client)
    rows = {row["variable"]: row for row in stage.tune("--revert")}
    assert rows["congestion"]["accepted"] == "cubic"
    assert rows["notsent-lowat"]["accepted"] == "default"
    assert " cubic " in stage.seen(stage.net.client)


def test_buffers_are_sized_and_left_to_the_kernel_again(stage: Stage) -> None:
    """As `ss -m` has them; twice tuned, once reverted: what was there at first comes back."""
    client = stage.net.client
    first = {name: stage.number(client, rf"{name}(\d+)") for name in ("rb", "tb")}
    accepted = stage.set("rcvbuf=100000", "sndbuf=50001")
    assert accepted["rcvbuf"] == 100000 and accepted["sndbuf"] == 50002
    assert accepted["rcvbuf-autotuning"] == accepted["sndbuf-autotuning"] == "off"
    assert stage.set("sndbuf=60000") == {"sndbuf": 60000}
    assert (stage.number(client, r"rb(\d+)"), stage.number(client, r"tb(\d+)")) == (100000, 60000)

    rows = {row["variable"]: row["accepted"] for row in stage.tune("--revert")}
    assert rows["rcvbuf-autotuning"] == rows["sndbuf-autotuning"] == "on"
    now = {name: stage.number(client, rf"{name}(\d+)") for name in ("rb", "tb")}
    assert all(0 <= now[name] - first[name] <= 1 for name in first)
    assert stage.run("--revert", "--yes").out == "", "there is nothing left of it"


def test_what_was_done_is_in_the_log(stage: Stage) -> None:
    """Of whom, by whom, what it was, was to be and is; and what became of it."""
    stage.set("congestion=reno")
    entry = logged(stage)["congestion"]
    assert (entry["before"], entry["wanted"], entry["accepted"]) == ("cubic", "reno", "reno")
    login = int(Path("/proc/self/loginuid").read_text())
    assert entry["uid"] == (os.getuid() if login == 2**32 - 1 else login)
    assert (entry["refused"], entry["reverted_us"], entry["reverted"]) == (None, None, None)
    stage.tune("--revert")
    entry = logged(stage)["congestion"]
    assert entry["reverted"] == "cubic" and entry["reverted_us"] > entry["tuned_us"]
    assert stage.estats("db", "check", "--db", stage.collector.database.path).code == 0


def test_without_a_log_it_says_how_it_is_taken_back(stage: Stage) -> None:
    """And that command does it."""
    answer = stage.run("--set", "congestion=reno", "--no-log", "--yes")
    assert answer.code == 0 and logged(stage) == {}
    (line,) = [line for line in answer.err.splitlines() if "to take it back: " in line]
    command = line.partition("to take it back: estats tune ")[2].split()
    database = ("--db", stage.collector.database.path)
    again = stage.estats("tune", *command, "--yes", "--no-log", *database)
    assert again.code == 0, again.err
    assert " cubic " in stage.seen(stage.net.client)


def test_nothing_is_done_unless_it_is_agreed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """--dry-run, no, and nobody there."""
    setting = ("--set", "congestion=reno")
    planned = stage.run(*setting, "--dry-run")
    assert planned.code == 0 and "reno" in planned.out
    for typed, code, told in (
        ("n\n", 0, "nothing was changed"),
        ("\n", 0, "nothing was changed"),
        ("", 2, "nobody answers"),
    ):
        (tmp_path / "typed").write_text(typed)
        with (tmp_path / "typed").open() as keyboard:
            monkeypatch.setattr("sys.stdin", keyboard)
            asked = stage.run(*setting)
        assert (asked.code, asked.out) == (code, "")
        assert "Set 1 value of 1 connection?" in asked.err and told in asked.err
    assert " cubic " in stage.seen(stage.net.client) and logged(stage) == {}
    (tmp_path / "typed").write_text("y\n")
    with (tmp_path / "typed").open() as keyboard:
        monkeypatch.setattr("sys.stdin", keyboard)
        assert stage.run(*setting).code == 0
    assert " reno " in stage.seen(stage.net.client)


def test_a_number_is_not_enough(stage: Stage, tmp_path: Path) -> None:
    """What is not that very socket any more is told, and left."""
    for n, change in enumerate(
        (
            "connection SET cookie = cookie + 1",
            "connection SET LocalPort = LocalPort + 1",
            "connection SET RemPort = RemPort - 1",
            "connection SET LocalAddress = '10.23.0.9'",
            "connection SET RemAddress = '10.23.0.9'",
            "connection SET netns = netns + 1",
            "run SET boot_id = 'another'",
        )
    ):
        path, copy = stage.collector.database.path, tmp_path / f"{n}.db"
        with closing(sqlite3.connect(path)) as there, closing(sqlite3.connect(copy)) as base, base:
            there.backup(base)
            (index,) = base.execute(
                "SELECT ConnectIndex FROM connection WHERE RemPort = ?", (stage.port,)
            ).fetchone()
            base.execute(f"UPDATE {change}")
        answer = stage.estats("tune", index, "--set", "congestion=reno", "--yes", "--db", copy)
        assert (answer.code, answer.out) == (0, ""), change
        assert "1 of the connections has ended" in answer.err or "earlier boot" in answer.err
    assert " cubic " in stage.seen(stage.net.client)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_every_kind_of_address_is_found(address: str) -> None:
    """IPv4, IPv6, and IPv4 on an IPv6 socket; by its two ends, and its cookie."""
    with (
        Tuner() as tuner,
        listen(HERE, "::" if ":" in address else address) as listener,
        connect(HERE, address, listener.getsockname()[1]) as client,
    ):
        name = End(*client.getsockname()[:2]), End(*client.getpeername()[:2])
        it = Socket(HERE.inode, cookie(client), *name)
        listening = Socket(HERE.inode, cookie(listener), *name)
        assert tuner.change({it: {Option.LOWAT: 5000}, listening: {}}).keys() == {it}
        for other in (
            it._replace(cookie=it.cookie + 1),
            it._replace(local=it.rem, rem=it.local),
            it._replace(netns=it.netns + 1),
        ):
            assert tuner.change({other: {Option.LOWAT: 6000}}) == {}
        both = tuner.look([it, it._replace(local=it.rem)])
        assert both.keys() == {it} and both[it].before.lowat == 5000


def test_a_socket_that_nobody_accepted_has_no_descriptor(stage: Stage) -> None:
    """Its window is bounded all the same; that its buffer cannot be locked is told."""
    port = next(PORTS)
    server, client = stage.net.server, stage.net.client
    with listen(server, server.v4, port), connect(client, server.v4, port) as other:
        other.send(b"x")
        stage.collector.database.catch_up()
        answer = stage.run("--sport", str(port), "--set", "LimRwin=20480", "--yes")
    assert answer.code == 3
    assert "1 of 2 values could not be set: rcvbuf-autotuning" in answer.err
    assert "no process has a descriptor of it" in answer.err
    window = stage.collector.database.value(
        "SELECT accepted FROM tuning JOIN connection USING (ConnectIndex)"
        " WHERE LocalPort = ? AND variable = 'LimRwin'",
        port,
    )
    assert window == "20480"


def test_a_hostile_name_reaches_no_terminal(stage: Stage) -> None:
    """Of the process whose socket it is."""
    name, port = "\x1b]0;owned\x07", next(PORTS)
    peer = Peer(stage.net.client, name)
    try:
        with listen(stage.net.server, stage.net.server.v4, port):
            peer("connect", address=stage.net.server.v4, port=port)
            stage.collector.database.catch_up()
            for form in ("table", "json", "csv"):
                options = ("--dport", str(port), "--set", "congestion=reno", "--format", form)
                answer = stage.run(*options, "--dry-run")
                assert answer.code == 0 and "owned" in answer.out
                assert (answer.out + answer.err).replace("\n", "").isprintable()
    finally:
        peer.stop()


def test_without_rights_it_says_what_it_takes() -> None:
    """Before anything is compiled or looked up."""
    script = (
        "import os; from bpf.errors import EstatsError; from bpf.tuner import Tuner\n"
        "os.setuid(65534)\n"
        "try: Tuner()\n"
        "except EstatsError as e: print(e.exit_code, e.message)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=HOME, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("3 this process may not look into and change the sockets")
    assert done.stdout.rstrip().endswith("it has no CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF")


def test_the_log_is_written_with_the_rights_of_the_owner_only() -> None:
    """What SQLite makes beside the database is the owner's, and no link is followed."""
    with TemporaryDirectory(prefix="estats-test-") as made:
        folder, path = Path(made), Path(made, "flows.db")
        write_database(path)
        for each in (folder, *folder.iterdir()):
            os.chown(each, OWNER, OWNER)
        folder.chmod(0o755)
        with open_reader(path) as reader:
            row, *_ = (sample.connection for sample in reader.latest((), Question(reader.period())))
        socket, effect = socket_of(row), Effect("LimCwnd", "unlimited", 9, 9)
        targets = {socket: Target(row, {})}
        Logbook(path).settle(targets, {socket: [effect]})
        assert Database(path).value("SELECT wanted FROM tuning") == "9"
        assert {file.stat().st_uid for file in folder.iterdir()} == {OWNER}
        book, target = Logbook(path), folder / "target"
        Path(f"{path}-wal").unlink(missing_ok=True)
        Path(f"{path}-wal").symlink_to(target)
        with pytest.raises(UnsafePathError, match="is a symbolic link"):
            book.settle(targets, {socket: [effect]})
        with pytest.raises(UnsafePathError, match="is a symbolic link") as caught:
            Logbook(path)
        assert "--no-log" in caught.value.advice and not target.exists()
