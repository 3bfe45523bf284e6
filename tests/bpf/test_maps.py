"""Maps are made as they were declared, and a refusal says what to do."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from bpf import maps, syscall
from bpf.btf import Btf, Kind
from bpf.bytecode import MapSpec
from bpf.errors import EnvironmentLacksError
from bpf.maps import make_maps, make_rings, types_of_storage

HASH = MapSpec(kind=1, key_bytes=8, value_bytes=792, entries=8192, flags=1)
OUTER = MapSpec(kind=12, key_bytes=4, value_bytes=4, entries=2, flags=0, inner="template")
RING = MapSpec(kind=27, key_bytes=0, value_bytes=0, entries=4096, flags=0)


@pytest.fixture(autouse=True)
def unprivileged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit on locked memory is this process's own: it stays."""
    monkeypatch.setattr(maps.resource, "setrlimit", lambda *_: None)  # type: ignore[attr-defined]


def refusing(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """A kernel that makes no map."""

    def refuse(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(syscall, "create_map", refuse)


def test_a_template_is_made_before_what_holds_its_like(monkeypatch: pytest.MonkeyPatch) -> None:
    """In whatever order they were declared; each gets what its specification says."""
    made: list[tuple[Any, ...]] = []

    def create(name: str, kind: int, shape: tuple[int, ...], flags: int, *, inner: int = 0) -> int:
        made.append((name, kind, *shape, flags, inner))
        return 100 + len(made)

    monkeypatch.setattr(syscall, "create_map", create)

    fds = make_maps({"rings": OUTER, "finals": HASH, "template": RING})

    assert fds == {"finals": 101, "template": 102, "rings": 103}
    assert made == [
        ("finals", 1, 8, 792, 8192, 1, 0),
        ("template", 27, 0, 0, 4096, 0, 0),
        ("rings", 12, 4, 4, 2, 0, 102),
    ]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EACCES])
def test_who_may_not_is_told_so(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """As where a program is refused."""
    refusing(monkeypatch, code)

    with pytest.raises(EnvironmentLacksError, match="refuses BPF to this process") as told:
        make_maps({"finals": HASH})
    assert "CAP_BPF" in told.value.advice


def test_a_map_that_cannot_be_made_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where memory is short."""
    refusing(monkeypatch, errno.ENOMEM)

    with pytest.raises(EnvironmentLacksError, match="does not make the map finals: Cannot alloc"):
        make_maps({"finals": HASH})


def test_rings_without_room_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many, of what size, and that there may be fewer."""
    refusing(monkeypatch, errno.ENOMEM)

    with pytest.raises(EnvironmentLacksError, match="no memory for 6 rings of 4096 bytes") as told:
        make_rings(3, [0, 2], 3, 4096)
    assert "--shards" in told.value.advice


@pytest.mark.skipif(not Path("/sys/kernel/btf/vmlinux").exists(), reason="needs libbpf")
def test_types_of_a_storage_are_types(tmp_path: Path) -> None:
    """As libbpf reads them; the kernel does in the kernel tests."""
    file = tmp_path / "types"
    file.write_bytes(types_of_storage(528))

    assert Btf(file).find("missing", Kind.STRUCT) is None
