"""What a child gives up by itself, without root; with root see tests/kernel/test_privileges.py."""

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bpf import landlock
from bpf.credentials import Capability, Identity
from bpf.errors import UsageError
from collector import privileges
from collector.privileges import Rights
from collector.processes import spawn

LANDLOCK = pytest.mark.skipif(landlock.version() == 0, reason="this kernel has no Landlock")


def refused(attempt: Callable[[], object]) -> None:
    """It is refused for want of a right."""
    with pytest.raises(OSError, match=r"Permission denied|Operation not permitted"):
        attempt()


def in_child(rights: Rights, work: Callable[[], None], *, writer: bool = False) -> None:
    """Run it in a child that has given up its rights."""

    def prepare() -> Callable[[object], object]:
        work()
        return lambda run: run

    def begin() -> None:
        if writer:
            privileges.as_writer(rights, prepare)()  # type: ignore[arg-type]
        else:
            rights.in_worker()
            work()

    assert spawn("tried", begin).wait() == 0


def test_a_child_has_no_way_to_more_rights(tmp_path: Path) -> None:
    """No capability, none to be had by executing anything, and no core with what it read."""

    def work() -> None:
        lines = Path("/proc/self/status").read_text().splitlines()
        status = {name: rest.strip() for name, _, rest in (x.partition(":") for x in lines)}
        assert status["NoNewPrivs"] == "1"
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(status[name], 16) == 0, name
        limits = Path("/proc/self/limits").read_text().splitlines()
        assert [x.split()[-3:-1] for x in limits if x.startswith("Max core")] == [["0", "0"]]
        assert [x.split()[-3:-1] for x in limits if x.startswith("Max proc")] == [["0", "0"]]

    in_child(Rights(tmp_path), work)


@LANDLOCK
def test_a_worker_changes_and_executes_no_file(tmp_path: Path) -> None:
    """Whoever it is, and whosever the file is."""
    (tmp_path / "there").touch()

    def work() -> None:
        refused(lambda: (tmp_path / "there").open("w"))
        refused((tmp_path / "new").touch)
        refused((tmp_path / "there").unlink)
        refused(lambda: os.execv(sys.executable, [sys.executable, "-V"]))  # noqa: S606

    in_child(Rights(tmp_path), work)
    assert [p.name for p in tmp_path.iterdir()] == ["there"]


@LANDLOCK
def test_the_writer_changes_files_in_its_folder_alone(tmp_path: Path) -> None:
    """It makes, writes and removes files there, and nothing else anywhere."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "beside").touch()

    def work() -> None:
        (folder / "new").write_text("value")
        (folder / "new").unlink()
        refused((folder / "subfolder").mkdir)
        refused(lambda: (folder / "link").symlink_to("/"))
        refused(lambda: (tmp_path / "beside").open("a"))
        refused((tmp_path / "beside").unlink)

    in_child(Rights(folder), work, writer=True)


@pytest.mark.skipif(landlock.version() < 4, reason="Linux 6.7 has it")
def test_a_child_connects_to_nobody(tmp_path: Path) -> None:
    """Nor can anybody connect to it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def work() -> None:
            refused(lambda: socket.create_connection(listener.getsockname()))
            refused(lambda: socket.create_server(("127.0.0.1", 0)))

        in_child(Rights(tmp_path), work)


@pytest.mark.skipif(landlock.version() < 6, reason="Linux 6.12 has it")
def test_a_child_signals_nobody(tmp_path: Path) -> None:
    """Not even processes of the same user."""
    in_child(Rights(tmp_path), lambda: refused(lambda: os.kill(os.getppid(), 0)))


def test_old_kernels_want_a_capability_to_use_maps() -> None:
    """From 5.19 on an open descriptor is enough."""
    assert privileges.to_use_maps("5.15.0-91-generic") == {Capability.BPF}
    for release in ("5.19.0", "6.1.0-13-amd64", "6.18.44-fc-v657", "7.0-rc1"):
        assert privileges.to_use_maps(release) == frozenset()


def test_a_user_that_does_not_exist_is_refused() -> None:
    """With a way to make one."""
    with pytest.raises(UsageError, match="no user 'no such user'") as refusal:
        privileges.named("no such user")
    assert "useradd" in refusal.value.advice


def test_who_acts_as_nobody_else_changes_nothing() -> None:
    """As without root."""
    with privileges.acting_as(None):
        assert os.geteuid() == os.getuid()


def test_a_writer_that_is_root_is_kept_to_its_folder_by_landlock_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it was made root, or stays root because nobody may change users."""
    somebody, root = Identity(1000, 1000), Identity(0, 0)
    for version, uid, writer, at_large in (
        (0, 0, root, True),
        (0, 0, None, True),
        (0, 0, somebody, False),
        (0, 1000, None, False),
        (1, 0, root, False),
        (1, 0, None, False),
    ):
        monkeypatch.setattr(landlock, "version", lambda version=version: version)
        monkeypatch.setattr(os, "geteuid", lambda uid=uid: uid)
        assert Rights(tmp_path, writer).leaves_root_at_large() is at_large
