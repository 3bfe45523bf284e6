"""A folder that goes with whoever has it open, and a folder where that cannot be."""

import errno
import os
import signal
import tempfile
from pathlib import Path

import pytest

from bpf import credentials, scratch

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where folders for temporary files are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def use(folder: Path) -> None:
    """It takes files and folders, and gives them back."""
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "file").write_text("words")
    assert (folder / "a" / "b" / "file").read_text() == "words"
    assert [path.name for path in folder.iterdir()] == ["a"]


@ROOT
def test_it_is_nowhere_in_the_file_system(temporary: Path) -> None:
    """And no descriptor of it stays."""
    before = sorted(os.listdir("/proc/self/fd"))
    with scratch.folder() as folder:
        use(folder)
        assert list(temporary.iterdir()) == []
        assert "estats" not in Path("/proc/self/mountinfo").read_text()
    assert sorted(os.listdir("/proc/self/fd")) == before


@ROOT
def test_a_child_of_another_user_works_in_a_folder_of_its_own(temporary: Path) -> None:
    """Though nobody may look into it from outside, and it has given up everything."""
    with scratch.folder() as folder:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                mine = folder / "mine"
                mine.mkdir(0o700)
                who = credentials.anonymous()
                os.chown(mine, who.uid, who.gid)
                credentials.give_up(who)
                use(mine)
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert (folder / "mine" / "a" / "b" / "file").read_text() == "words"


def test_where_nothing_may_be_mounted_it_is_a_temporary_folder(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes with the block; others may enter it, and see nothing."""

    def refuse() -> int:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(scratch, "_mounted_nowhere", refuse)
    with scratch.folder() as folder:
        use(folder)
        assert [folder] == list(temporary.iterdir())
        assert folder.stat().st_mode & 0o777 == 0o711
    assert list(temporary.iterdir()) == []


@ROOT
def test_it_goes_with_whoever_is_killed(temporary: Path) -> None:
    """Nothing of it stays in the folder for temporary files."""
    ready, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        with scratch.folder() as folder:
            use(folder)
            os.write(theirs, b".")
            signal.pause()
    os.close(theirs)
    assert os.read(ready, 1) == b"."
    os.close(ready)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)

    assert list(temporary.iterdir()) == []
