"""A process may call itself anything: its name reaches the database, and no terminal."""

import ctypes
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from cli.app import run as run_estats
from storage.cells import spelled
from tests.kernel.collecting import Collector, collecting
from tests.kernel.inside import connect, cookie, listen
from tests.kernel.net import HERE

pytestmark = pytest.mark.kernel

NAMES: Final = {
    "a terminal's title": b"\x1b]0;owned\x07",
    "a cleared screen": b"\x1b[2J\x1b[H\x1b[8m",
    "lines": b"a\nestats: ok\r",
    "no UTF-8": b"\xff\xfe\x80\xc3",
    "an escape of one octet": b"\x9b31m",
    "the same as UTF-8": b"\xc2\x9b31m",
    "text from right to left": "\u202eexe.txt".encode(),
    "half a character at the end": b"0123456789abc\xe2\x82",
    "SQL": b"'; DROP TABLE--",
    "quotes and a formula": b"\"=1+1\", 'x'",
    "an escape of ours": b"a\\x1b[2J",
    "formats": b"%s{0}$(id)`id`",
    "wildcards": b"*?[a]",
    "tabs and spaces": b"\t \v\f\x7f",
    "nothing": b"",
}
PORTS = count(8_901)
FORMS = ("table", "json", "ndjson", "csv")
_PR_SET_NAME, _PR_GET_NAME = 15, 16


@contextmanager
def called(name: bytes) -> Iterator[None]:
    """Let this process go by a name for the length of a block."""
    libc, before = ctypes.CDLL(None), ctypes.create_string_buffer(16)
    libc.prctl(_PR_GET_NAME, before)
    try:
        libc.prctl(_PR_SET_NAME, ctypes.create_string_buffer(name))
        yield
    finally:
        libc.prctl(_PR_SET_NAME, before)


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """One collector for all names."""
    folder = tmp_path_factory.mktemp("names")
    with collecting(folder, "--source", "bpf", "--interval", "100ms") as running:
        yield running


def ask(*arguments: str) -> str:
    """What a command answers; neither that nor what it says beside it can steer a terminal."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        assert run_estats(arguments) == 0, err.getvalue()
    assert (out.getvalue() + err.getvalue()).replace("\n", "").isprintable(), arguments
    return out.getvalue()


def use(port: int) -> tuple[int, int]:
    """Listen, connect, read: the cookies of both ends of a connection that has ended."""
    with listen(HERE, HERE.v4, port) as listener, connect(HERE, HERE.v4, port) as client:
        server, _ = listener.accept()
        with server:
            server.settimeout(10)
            client.sendall(b"x")
            assert server.recv(1) == b"x"
            return cookie(client), cookie(server)


@pytest.mark.parametrize("named", NAMES)
def test_a_name_is_kept_and_shown_as_what_it_is(collector: Collector, named: str) -> None:
    """With escapes for what steers a terminal or is no text: at both ends, and at the listener."""
    name, port, database = NAMES[named], next(PORTS), collector.database
    with called(name):
        cookies = use(port)
    database.catch_up()
    for number in cookies:
        assert database.latest(number)["comm"] == spelled(name)
    listener = database.one("SELECT comm FROM endpoint WHERE LocalPort = ?", port)
    assert listener["comm"] == spelled(name)
    form = ["--format", "json", "--dport", str(port), "--db", str(database.path)]
    answer = json.loads(ask("connections", *form))
    assert [each["comm"] for each in answer] == [spelled(name)]


@pytest.mark.parametrize("form", FORMS)
def test_no_command_lets_a_name_reach_the_terminal(collector: Collector, form: str) -> None:
    """All of them at once, in every form."""
    for name in NAMES.values():
        with called(name):
            use(next(PORTS))
    collector.database.catch_up()
    options = ["--db", str(collector.database.path), "--format", form]
    for command in (
        ("query", "--history", "--var", "*"),
        ("connections", "--sort", "comm"),
        ("listeners",),
        ("sql", "SELECT * FROM latest"),
    ):
        answer = ask(*command, *options)
        if command[0] == "sql" and form in ("table", "csv"):
            plain = [name for name in NAMES.values() if b'"' not in name]  # which CSV doubles
            assert all(spelled(name).strip() in answer for name in plain)
    ask("status", *options)
    for command in (("db", "info"), ("db", "check")):
        ask(*command, *options[:2])


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("named", ["a terminal's title", "SQL", "no UTF-8", "formats"])
def test_a_filter_keeps_who_is_called_so_and_its_log_steers_nothing(
    tmp_path: Path, named: str, form: str
) -> None:
    """The kernel programs compare octets: nothing in a name is C to them, nor SQL."""
    name, port = NAMES[named], next(PORTS)
    options = ("--source", "bpf", "--interval", "100ms", "--log-format", form)
    argument = name.decode("utf-8", "surrogateescape")
    with collecting(tmp_path, *options, "--comm", argument) as collector:
        with called(name):
            kept = use(port)
        with called(b"another"):
            use(next(PORTS))
        collector.database.catch_up()
        found = collector.database.ask("SELECT cookie FROM connection")
        assert sorted(row["cookie"] for row in found) == sorted(kept)
    log = collector.log.read_text(encoding="utf-8")
    assert log.replace("\n", "").isprintable(), log
