"""What lies where the database is to be written: looked at before, and refused with a cure."""

import os
from pathlib import Path

import pytest

from storage.errors import UnsafePathError
from storage.ownership import (
    refuse_open_folder,
    refuse_unsafe,
    sides,
)


def test_what_is_missing_or_ours_is_safe(tmp_path: Path) -> None:
    """A new database, and one that a killed collector left with its log."""
    path = tmp_path / "flows.db"
    refuse_unsafe(path, os.getuid())
    for file in (path, *sides(path)):
        file.touch()
    refuse_unsafe(path, os.getuid())
    refuse_unsafe(path, None)


@pytest.mark.parametrize("number", range(4))
def test_a_link_of_any_kind_is_refused(tmp_path: Path, number: int) -> None:
    """A symbolic one, dangling or not, and a second name of the same file."""
    path = tmp_path / "flows.db"
    file = (path, *sides(path))[number]
    file.symlink_to(tmp_path / "target")
    for owner in (os.getuid(), None):
        with pytest.raises(UnsafePathError, match="symbolic link"):
            refuse_unsafe(path, owner)
    file.unlink()
    (tmp_path / "target").touch()
    file.hardlink_to(tmp_path / "target")
    with pytest.raises(UnsafePathError, match="hard link"):
        refuse_unsafe(path, None)


@pytest.mark.parametrize("number", range(4))
def test_a_file_of_somebody_else_is_refused(tmp_path: Path, number: int) -> None:
    """With a cure."""
    path = tmp_path / "flows.db"
    (path, *sides(path))[number].touch()
    with pytest.raises(UnsafePathError, match="belongs to the user") as refusal:
        refuse_unsafe(path, os.getuid() + 1)
    assert refusal.value.advice


def test_a_folder_of_everybody_is_refused_unless_sticky(tmp_path: Path) -> None:
    """In a sticky one nobody removes what is another's."""
    path = tmp_path / "flows.db"
    refuse_open_folder(path)
    tmp_path.chmod(0o1777)
    refuse_open_folder(path)
    tmp_path.chmod(0o777)
    with pytest.raises(UnsafePathError, match="anybody may remove files") as refusal:
        refuse_open_folder(path)
    assert "chmod o-w" in refusal.value.advice
