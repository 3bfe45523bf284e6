"""What a collector that root started may do, and what others may do to it: docs/security.md."""

import ctypes
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kernel.collecting import HOME, Collector, Database, collecting, until
from tests.kernel.leftovers import bpf_objects, processes

pytestmark = pytest.mark.kernel

STRANGER = 64_321  # a user without a name, whom nothing belongs to
OWNER = 64_322  # likewise, but for the folder that it gets
ANONYMOUS = range(1_879_048_192, 1 << 31)
#: CAP_DAC_READ_SEARCH, KILL, SETGID, SETUID, SETPCAP
SUPERVISING = 1 << 2 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
PTRACE_ATTACH = 16
SOURCES = pytest.mark.parametrize("source", ["bpf", "diag"])


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder of root's that anybody may enter, which those of pytest are not."""
    folder = Path(tempfile.mkdtemp(prefix="estats-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def made(place: Path, name: str, owner: int = 0, mode: int = 0o755) -> Path:
    """A folder in it, also for a test that is run again."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=place))
    os.chown(folder, owner, owner)
    folder.chmod(mode)
    return folder


@pytest.fixture(scope="module")
def running(place: Path) -> Iterator[Collector]:
    """A collector as root starts it, in a folder of root's, with a recording."""
    folder = made(place, "running")
    with collecting(folder, "--source", "bpf", "--record", str(folder / "rings")) as collector:
        yield collector


def as_user(uid: int, attempt: Callable[[], object]) -> None:
    """Run it in a child of that user; raises AssertionError where it raises anything."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            attempt()
            status = 0
        except BaseException:  # (above is the interpreter's end only)
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0, "see the traceback on stderr"


def denied(attempt: Callable[..., object], *arguments: object) -> None:
    """It is refused for want of a right, and for no other reason."""
    with pytest.raises(PermissionError):
        attempt(*arguments)


def said(pid: int, thread: int | None = None) -> dict[str, str]:
    """/proc/PID/status."""
    lines = Path(f"/proc/{pid}/task/{thread or pid}/status").read_text().splitlines()
    return {name: " ".join(rest.split()) for name, _, rest in (x.partition(":") for x in lines)}


def family(collector: Collector) -> dict[str, int]:
    """Its processes but the supervisor, by name."""
    others = collector.processes() - {collector.process.pid}
    return {said(pid)["Name"]: pid for pid in others}


def uids(pid: int) -> set[int]:
    """Real, effective, saved and that of the file system."""
    return set(map(int, said(pid)["Uid"].split()))


def traffic() -> None:
    """A short connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        peer, _ = listener.accept()
        with client, peer:
            client.sendall(b"x" * 1000)
            assert len(peer.recv(1000, socket.MSG_WAITALL)) == 1000


def files(collector: Collector) -> list[Path]:
    """All that the collector has in its folder, its log of stderr aside."""
    return [p for p in collector.database.path.parent.iterdir() if p.suffix != ".log"]


def test_no_process_but_the_supervisor_has_a_capability(running: Collector) -> None:
    """None in any set of any thread, and none to be had again."""
    others = family(running)
    assert sorted(others)[-1] == "estats-writer" and len(others) >= 2
    for pid in others.values():
        for thread in Path(f"/proc/{pid}/task").iterdir():
            status = said(pid, int(thread.name))
            assert {status[name] for name in SETS} == {"0" * 16}
            assert status["NoNewPrivs"] == "1"


def test_the_supervisor_keeps_what_it_needs_to_have_children(running: Collector) -> None:
    """To make and end processes of another user, and nothing else."""
    pid = running.process.pid
    for thread in Path(f"/proc/{pid}/task").iterdir():
        status = said(pid, int(thread.name))
        held = {name: int(status[name], 16) for name in SETS}
        assert held == {
            "CapInh": 0,
            "CapPrm": SUPERVISING,
            "CapEff": SUPERVISING,
            "CapBnd": SUPERVISING,
            "CapAmb": 0,
        }
        assert status["NoNewPrivs"] == "1"


def test_each_worker_is_a_user_that_nobody_else_is(running: Collector) -> None:
    """Without a group of anybody's, either."""
    seen: set[int] = set()
    for name, pid in family(running).items():
        if name.startswith("estats-worker"):
            (uid,) = uids(pid)
            assert uid in ANONYMOUS and uid not in seen
            assert said(pid)["Groups"] == said(pid)["Gid"].split()[0] == str(uid)
            seen.add(uid)
    assert seen


def test_a_stranger_can_open_no_file_of_it(running: Collector) -> None:
    """Neither to read nor to write: the database, what is beside it, the recording."""
    running.database.catch_up()
    found = files(running)
    assert {p.name for p in found} == {"flows.db", "flows.db-wal", "flows.db-shm", "rings"}
    assert {stat.S_IMODE(p.stat().st_mode) for p in found} == {0o600}

    def attempt() -> None:
        for path in found:
            denied(os.open, path, os.O_RDONLY)
            denied(os.open, path, os.O_WRONLY)
            denied(path.unlink)

    as_user(STRANGER, attempt)


def test_a_stranger_can_look_into_no_process_of_it(running: Collector) -> None:
    """Neither into its memory nor at its descriptors; nor can it be traced."""
    libc = ctypes.CDLL(None, use_errno=True)

    def trace(pid: int) -> None:
        if libc.ptrace(PTRACE_ATTACH, pid, None, None) != 0:
            raise OSError(ctypes.get_errno(), "ptrace")

    def attempt() -> None:
        for pid in running.processes():
            denied(os.open, f"/proc/{pid}/mem", os.O_RDONLY)
            denied(Path(f"/proc/{pid}/environ").read_bytes)
            denied(os.listdir, f"/proc/{pid}/fd")
            denied(trace, pid)

    as_user(STRANGER, attempt)


@pytest.mark.parametrize("uid", [STRANGER, 65_534], ids=["stranger", "nobody"])
def test_a_stranger_can_signal_no_process_of_it(running: Collector, uid: int) -> None:
    """Not even to ask whether it is there; nor can ``nobody``."""

    def attempt() -> None:
        for pid in running.processes():
            denied(os.kill, pid, 0)
            denied(os.kill, pid, signal.SIGKILL)

    as_user(uid, attempt)


@SOURCES
def test_without_rights_it_collects_as_before(place: Path, source: str) -> None:
    """Rows with values, from the kernel programs and from inet_diag."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        peer, _ = listener.accept()
        with client, peer, collecting(made(place, source), "--source", source) as collector:
            client.sendall(b"x" * 100_000)
            port = client.getsockname()[1]
            ask = "SELECT SegsOut, CurCwnd, CurMSS FROM latest WHERE LocalPort = ?"
            row = until("its row", lambda: next(iter(collector.database.ask(ask, port)), None))
            assert row["SegsOut"] >= 1 and row["CurCwnd"] > 0 and row["CurMSS"] > 0
            assert collector.database.value("SELECT count(*) FROM listener") > 0
            for pid in family(collector).values():
                assert int(said(pid)["CapEff"], 16) == 0


def test_a_budget_costs_one_capability_more(place: Path) -> None:
    """CAP_SYS_ADMIN, in the supervisor alone, and programs are timed."""
    with collecting(made(place, "budget"), "--max-overhead", "50%") as collector:
        held = int(said(collector.process.pid)["CapEff"], 16)
        assert held == SUPERVISING | 1 << 21
        assert {int(said(pid)["CapEff"], 16) for pid in family(collector).values()} == {0}
        ask = "SELECT count(*) FROM snapshot WHERE bpf_ns IS NOT NULL"
        until("a look at the programs", lambda: collector.database.value(ask))


def test_the_writer_is_the_owner_of_the_folder(place: Path) -> None:
    """Database and recording are theirs, to read and to query, without root."""
    folder = made(place, "home", OWNER, 0o700)
    with collecting(folder, "--record", str(folder / "rings")) as collector:
        traffic()
        collector.database.catch_up()
        assert uids(family(collector)["estats-writer"]) == {OWNER}
        assert {p.stat().st_uid for p in files(collector)} == {OWNER}

        def ask() -> None:
            database = Database(collector.database.path)
            assert database.value("SELECT count(*) FROM snapshot") > 0
            assert (folder / "rings").read_bytes()

        as_user(OWNER, ask)


@pytest.mark.parametrize("before", ["new", "root's"])
def test_all_but_the_supervisor_are_the_user_asked_for(place: Path, before: str) -> None:
    """Whose the database is then, a new one as well as one that was root's."""
    folder = made(place, f"asked, {before}", 65_534, 0o750)
    if before == "root's":
        with collecting(folder, db=folder / "flows.db", program="estats"):
            pass
        os.chown(folder / "flows.db", 0, 0)
    options = ("--user", "nobody", "--record", str(folder / "rings"))
    with collecting(folder, *options) as collector:
        assert {uid for pid in family(collector).values() for uid in uids(pid)} == {65_534}
        assert {p.stat().st_uid for p in files(collector)} == {65_534}

        def attempt() -> None:
            for pid in collector.processes():
                denied(os.open, f"/proc/{pid}/mem", os.O_RDONLY)

        as_user(65_534, attempt)
    with Database(folder / "flows.db").path.open("rb") as file:
        assert file.read(16) == b"SQLite format 3\0"


def test_a_group_may_read_and_nobody_else(place: Path) -> None:
    """The database, its log and the recording have mode 0640 and the group, from the start."""
    folder = made(place, "shared")
    options = ("--group", "nogroup", "--record", str(folder / "rings"))
    with collecting(folder, *options) as collector:
        found = [p.stat() for p in files(collector)]
        assert len(found) == 4
        assert {stat.S_IMODE(s.st_mode) for s in found} == {0o640}
        assert {s.st_gid for s in found} == {65_534}


def test_code_in_a_folder_that_only_root_enters_will_do(place: Path) -> None:
    """Also for a writer that is not root: it has read it before it is somebody else."""
    hidden = made(place, "hidden", 0, 0o700)
    copy = hidden / "estats"
    copy.mkdir()
    for name in (
        "bpf",
        "collector",
        "storage",
        "migrations",
        "diagnosis",
        "plotting",
        "tuning",
        "cli",
    ):
        shutil.copytree(HOME / name, copy / name)
    shutil.copy(HOME / "estats.py", copy)
    folder = made(place, "elsewhere", OWNER, 0o755)
    argv = [sys.executable, "-m", "estats", "collect", "--db", str(folder / "flows.db")]
    argv += ["--duration", "1", "--interval", "100ms", "--keep", "1h"]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    done = subprocess.run(
        argv, cwd=copy, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert (folder / "flows.db").stat().st_uid == OWNER


def test_killed_it_leaves_nothing(place: Path) -> None:
    """The others go, though they are other users', and the programs."""
    collector = Collector(made(place, "killed"), "--source", "bpf")
    try:
        collector.ready()
        collector.process.kill()
        collector.process.wait(60)
        until("the end of all", lambda: not processes(collector.process.pid))
        until("the end of the programs", lambda: not collector.objects & bpf_objects())
    finally:
        collector.destroy()


@pytest.mark.parametrize("who", ["estats-writer", "estats-worker-0"])
def test_who_takes_the_place_of_one_that_died_has_no_more_rights(place: Path, who: str) -> None:
    """Also in a folder that is not root's; and the collecting goes on."""
    with collecting(made(place, f"kill {who}", OWNER), "--source", "bpf") as collector:
        before = family(collector)[who]
        os.kill(before, signal.SIGKILL)
        now = until("another", lambda: family(collector).get(who, before) - before) + before
        collector.database.catch_up()
        status = said(now)
        assert {status[name] for name in SETS} == {"0" * 16}
        assert status["NoNewPrivs"] == "1"
        (uid,) = uids(now)
        assert uid == OWNER if who == "estats-writer" else uid in ANONYMOUS


def refused(folder: Path, *options: str, db: str = "flows.db", code: int = 4) -> str:
    """A collector that does not even begin; what it says."""
    argv = [sys.executable, "-m", "estats", "collect", "--db", str(folder / db), *options]
    argv += ["--source", "diag", "--duration", "1"]
    done = subprocess.run(argv, cwd=HOME, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert len(done.stderr.splitlines()) >= 2, "the sentence, and the cure"
    return done.stderr


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_no_link_is_followed(place: Path, suffix: str) -> None:
    """In a folder like /tmp, where others may leave them, whatever the kernel's settings are."""
    folder = made(place, f"links{suffix}", 0, 0o1777)
    target = place / f"target{suffix}"
    target.write_text("precious")
    os.symlink(target, folder / f"flows.db{suffix}")
    assert "is a symbolic link" in refused(folder)
    (folder / f"flows.db{suffix}").unlink()
    os.link(target, folder / f"flows.db{suffix}")
    assert "hard link" in refused(folder)
    assert target.read_text() == "precious"


def test_a_recording_replaces_nothing_and_follows_no_link(place: Path) -> None:
    """A name that is taken is refused, whatever has it."""
    folder = made(place, "recordings", 0, 0o1777)
    target = place / "target of a recording"
    os.symlink(target, folder / "rings")
    assert "exists already" in refused(folder, "--record", str(folder / "rings"), code=2)
    assert not target.exists()


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_a_file_that_a_stranger_left_is_refused(place: Path, suffix: str) -> None:
    """Who owns the log could read and change what is in it."""
    folder = made(place, f"left{suffix}", 0, 0o1777)
    as_user(STRANGER, (folder / f"flows.db{suffix}").touch)
    assert f"belongs to the user {STRANGER}" in refused(folder)


def test_a_folder_where_anybody_exchanges_files_is_refused(place: Path) -> None:
    """Unless it is sticky, as /tmp is."""
    assert "anybody may remove files" in refused(made(place, "open", 0, 0o777))


def test_a_folder_that_the_user_cannot_write_is_refused(place: Path) -> None:
    """SQLite makes files beside the database."""
    assert "nobody may not write to the folder" in refused(made(place, "no"), "--user", "nobody")


def test_what_the_owner_of_a_folder_exchanges_gains_nothing(place: Path) -> None:
    """A link to a file of root's, put there while the database is open, is not written through."""
    folder = made(place, "exchange", OWNER, 0o755)
    target = place / "target of an exchange"
    target.write_text("precious")
    target.chmod(0o600)
    collector = Collector(folder)
    try:
        path = collector.ready().database.path

        def exchange() -> None:
            for suffix in ("-wal", "-shm"):
                side = path.with_name(path.name + suffix)
                side.unlink()
                side.symlink_to(target)

        as_user(OWNER, exchange)
        collector.stop()
    finally:
        collector.destroy()
    assert target.read_text() == "precious"


def test_the_capabilities_of_the_unit_will_do(place: Path) -> None:
    """Root without a right to others' files, in a folder that is another user's."""
    unit = (HOME / "packaging" / "estats.service").read_text()
    (held,) = re.findall(r"^CapabilityBoundingSet=(.*)$", unit, re.MULTILINE)
    names = [name.removeprefix("CAP_").lower() for name in held.split()]
    folder = made(place, "service", OWNER, 0o750)
    argv = ["setpriv", "--bounding-set", ",".join(["-all", *(f"+{name}" for name in names)])]
    argv += [sys.executable, "-m", "estats", "collect", "--db", str(folder / "flows.db")]
    argv += ["--source", "bpf", "--max-overhead", "50%", "--duration", "1"]
    done = subprocess.run(argv, cwd=HOME, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "warning" not in done.stderr, done.stderr
    assert Database(folder / "flows.db").value("SELECT count(*) FROM snapshot") >= 2
    assert (folder / "flows.db").stat().st_uid == OWNER


def test_root_without_a_right_to_change_users_goes_on_as_it_is(place: Path) -> None:
    """Writer and workers stay root, yet without a capability; who asked for a user is told."""
    folder = made(place, "confined")
    argv = ["setpriv", "--bounding-set", "-setuid", sys.executable, "-m", "estats", "collect"]
    argv += ["--db", str(folder / "flows.db"), "--source", "diag", "--duration", "1"]
    done = subprocess.run(argv, cwd=HOME, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    argv += ["--user", "nobody"]
    done = subprocess.run(argv, cwd=HOME, capture_output=True, text=True, check=False)
    assert done.returncode == 3 and "cannot change its user" in done.stderr, done.stderr


def test_root_upgrades_with_the_rights_of_the_owner_only(place: Path) -> None:
    """And compacts: what is made beside the database is the owner's, and no link is followed."""
    folder = made(place, "upgrade", OWNER, 0o755)
    with collecting(folder, "--source", "diag"):
        pass
    for words in (["upgrade"], ["compact"]):
        argv = [sys.executable, "-m", "estats", "db", *words, "--db", str(folder / "flows.db")]
        subprocess.run(argv, cwd=HOME, check=True, capture_output=True)
        assert {p.stat().st_uid for p in folder.glob("flows.db*")} == {OWNER}
    target = place / "target of an upgrade"
    (folder / "flows.db-wal").unlink(missing_ok=True)
    (folder / "flows.db-wal").symlink_to(target)
    for words in (["upgrade"], ["compact"]):
        argv = [sys.executable, "-m", "estats", "db", *words, "--db", str(folder / "flows.db")]
        done = subprocess.run(argv, cwd=HOME, check=False, capture_output=True, text=True)
        assert done.returncode == 4, done.stderr
        assert not target.exists()


@pytest.mark.parametrize("reads", ["query", "connections", "listeners", "status", "sql"])
def test_root_and_the_owner_read_it_while_it_is_written(place: Path, reads: str) -> None:
    """Each command that reads."""
    options = {
        "query": ["--var", "SegsOut"],
        "sql": ["SELECT count(*) FROM snapshot"],
    }.get(reads, [])
    folder = made(place, reads, OWNER, 0o700)
    with collecting(folder, "--source", "diag") as collector:
        traffic()
        argv = [sys.executable, "-m", "estats", reads, "--db", str(collector.database.path)]
        for user in (0, OWNER):
            who = {"user": user, "group": user, "extra_groups": []} if user else {}
            done = subprocess.run(
                [*argv, *options],
                cwd=HOME,
                capture_output=True,
                text=True,
                check=False,
                **who,  # type: ignore[call-overload]
            )
            assert done.returncode == 0, done.stderr
