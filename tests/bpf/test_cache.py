"""What is kept is what was made, or it is made anew; and whoever starts is told which it was."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bpf.bytecode import Bytecode, MapSpec, Program
from bpf.cache import Cache

KEY, OTHER = "0123456789abcdef" * 4, "fedcba9876543210" * 4
SPEC = MapSpec(kind=1, key_bytes=8, value_bytes=792, entries=8192, flags=1)
MADE = Bytecode({"finals": SPEC}, {"on_sweep": Program(bytes(range(64)), ((1, "finals"),))})


class Compiler:
    """Makes the same each time, and counts how often it was asked."""

    def __init__(self) -> None:
        """Nothing was asked yet."""
        self.runs = 0

    def __call__(self) -> Bytecode:
        """Compile."""
        self.runs += 1
        return MADE


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where bytecode is kept; afterwards not one descriptor more is open than before."""
    before = sorted(os.listdir("/proc/self/fd"))
    yield tmp_path / "estats"
    assert sorted(os.listdir("/proc/self/fd")) == before


def origin(folder: Path, key: str = KEY) -> str:
    """Where the bytecode of a start is from; it must be right, and the compiler was run if told."""
    compiler = Compiler()
    made, told = Cache(folder).bytecode(key, compiler)
    assert made == MADE
    assert compiler.runs == (told != "from the cache")
    return told


def test_a_second_start_needs_no_compiler(folder: Path) -> None:
    """The first one compiles, and keeps it where nobody else can read or write."""
    assert origin(folder) == "compiled"
    assert origin(folder) == "from the cache"

    assert folder.stat().st_mode & 0o777 == 0o700
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_another_key_is_compiled_for_itself(folder: Path) -> None:
    """Both are kept; a file under the other's name is not taken for it."""
    assert [origin(folder, key) for key in (KEY, OTHER)] == ["compiled"] * 2
    assert [origin(folder, key) for key in (KEY, OTHER)] == ["from the cache"] * 2

    (folder / KEY).rename(folder / OTHER)

    assert "damaged" in origin(folder, OTHER)
    assert origin(folder, OTHER) == "from the cache"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(0, 255))
def test_a_damaged_file_is_told_and_written_again(folder: Path, place: float, flip: int) -> None:
    """Cut off at any place (flip 0), or with any octet changed: it is never loaded."""
    origin(folder)
    whole = (folder / KEY).read_bytes()
    at = int(place * len(whole))
    changed = whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :] if flip else whole[:at]
    (folder / KEY).write_bytes(changed)

    assert origin(folder) == f"compiled, for {folder}: {KEY[:8]}… is damaged"
    assert (folder / KEY).read_bytes() == whole


def test_a_file_that_grew_is_damaged(folder: Path) -> None:
    """Its checksum is its end."""
    origin(folder)
    with (folder / KEY).open("ab") as file:
        file.write(b"\n")

    assert "damaged" in origin(folder)


def is_a_link(folder: Path) -> None:
    """To a file that would do."""
    (folder / KEY).rename(folder.with_name("elsewhere"))
    (folder / KEY).symlink_to(folder.with_name("elsewhere"))


def may_be_written_by_others(folder: Path) -> None:
    """By anybody in its group."""
    (folder / KEY).chmod(0o620)


def is_a_pipe(folder: Path) -> None:
    """Which would be waited for."""
    (folder / KEY).unlink()
    os.mkfifo(folder / KEY, 0o600)


@pytest.mark.parametrize("spoil", [is_a_link, may_be_written_by_others, is_a_pipe])
def test_a_file_that_is_not_ours_alone_is_told_and_replaced(folder: Path, spoil: object) -> None:
    """What it says is not even looked at; what it pointed to stays."""
    origin(folder)
    assert callable(spoil)
    spoil(folder)

    assert origin(folder).startswith(f"compiled, for {folder}: ")
    assert origin(folder) == "from the cache"
    assert (folder / KEY).is_file() and not (folder / KEY).is_symlink()
    if (target := folder.with_name("elsewhere")).exists():
        target.unlink()


def test_a_folder_where_the_file_should_be_is_told(folder: Path) -> None:
    """It is left alone."""
    (folder / KEY).mkdir(parents=True)
    folder.chmod(0o700)

    assert origin(folder).startswith("compiled; not kept, for ")


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_folder_that_others_may_enter_is_not_used(folder: Path, mode: int) -> None:
    """Neither to read nor to write."""
    origin(folder)
    before = (folder / KEY).stat().st_mtime_ns
    folder.chmod(mode)

    assert "compiled; not kept" in (told := origin(folder))
    assert "is not this user's alone" in told
    assert (folder / KEY).stat().st_mtime_ns == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_belongs_to_somebody_else_is_not_used(folder: Path) -> None:
    """A file is replaced; a folder is not touched."""
    origin(folder)
    os.chown(folder / KEY, 65534, 65534)
    assert "is not this user's file alone" in origin(folder)
    assert origin(folder) == "from the cache"

    os.chown(folder, 65534, 65534)
    assert "compiled; not kept" in origin(folder)


def test_a_link_to_a_folder_is_not_followed(folder: Path) -> None:
    """Whoever may place one there could choose the folder."""
    real = folder.with_name("real")
    real.mkdir(0o700)
    folder.symlink_to(real)

    assert origin(folder).startswith("compiled; not kept, for ")
    assert list(real.iterdir()) == []


def test_a_place_that_does_not_exist_is_told(tmp_path: Path) -> None:
    """As /var/cache may not; only our own folder is ever made."""
    assert origin(tmp_path / "no" / "estats").startswith("compiled; not kept, for ")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the attempt stays."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)

    assert origin(folder) == f"compiled; not kept, for {folder}: No space left on device"
    assert list(folder.iterdir()) == []


def test_the_newest_eight_are_kept(folder: Path) -> None:
    """Newest is what was used last; what a killed writer left goes the same way."""
    keys = [f"{number:064x}" for number in range(12)]
    for age, key in enumerate(keys[:8]):
        origin(folder, key)
        os.utime(folder / key, (age, age))
    (folder / f".{KEY}.1").write_bytes(b"half")
    os.utime(folder / f".{KEY}.1", (1, 1))
    assert origin(folder, keys[0]) == "from the cache"  # and so the youngest

    for key in keys[8:]:
        origin(folder, key)

    assert {file.name for file in folder.iterdir()} == {keys[0], *keys[5:]}


def test_it_can_be_emptied(folder: Path) -> None:
    """Also where there is nothing."""
    Cache(folder).empty()
    assert not folder.exists() and Cache(folder).is_empty()
    origin(folder)

    Cache(folder).empty()

    assert list(folder.iterdir()) == [] and Cache(folder).is_empty()
    assert origin(folder) == "compiled"
    assert not Cache(folder).is_empty()


def test_a_compiler_that_fails_leaves_nothing(folder: Path) -> None:
    """Its error is everybody's."""

    def fail() -> Bytecode:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Cache(folder).bytecode(KEY, fail)
    assert not folder.exists()
