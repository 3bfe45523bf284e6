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
    assert sorted(os.listdir("/proc/self/fd")) == before


@ROOT
def test_a_child_of_another_user_reads_what_is_in_it(temporary: Path) -> None:
    """Though it has given up everything; it changes nothing, nor does it look around."""
    with scratch.folder() as folder:
        (folder / "file").write_text("words")
        (folder / "file").chmod(0o644)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                credentials.give_up(credentials.anonymous())
                assert (folder / "file").read_text() == "words"
                for attempt in (lambda: list(folder.iterdir()), (folder / "new").touch):
                    with pytest.raises(PermissionError):
                        attempt()
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0


def test_where_nothing_may_be_mounted_it_is_a_temporary_folder(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes with the block."""

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
