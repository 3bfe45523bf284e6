"""Who compiles the kernel programs has no right but the one to make maps: docs/security.md."""

import os
from pathlib import Path
from typing import Any

import pytest

from bpf import landlock
from bpf.errors import EnvironmentLacksError
from bpf.filters import Filters
from bpf.loader import Request, load
from bpf.variable import SAMPLED
from tests.kernel.test_privileges import ANONYMOUS, SETS, denied

pytestmark = pytest.mark.kernel

MAKING_MAPS = 1 << 39  # CAP_BPF


def said_on_loading(folder: Path) -> str:
    """What a compiling child says when it is stopped."""
    wanted = Request(tables=SAMPLED, shards=1, flush_us=250_000, filters=Filters())
    with pytest.raises(EnvironmentLacksError) as refusal:
        load(wanted, folder / "no cache" / "here")
    return refusal.value.message


def test_who_compiles_is_nobody_with_a_right_to_make_maps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before clang has read anything; what follows is that it changes no file, either."""

    def tell(*_: object) -> None:
        assert os.path.exists(f"{os.environ['BCC_KERNEL_SOURCE']}/include/linux/kconfig.h")
        denied((tmp_path / "of the compiler").touch)
        raise EnvironmentLacksError(Path("/proc/self/status").read_text())

    monkeypatch.setattr(landlock, "restrict", tell)
    lines = said_on_loading(tmp_path).splitlines()
    status = {name: rest.strip() for name, _, rest in (x.partition(":") for x in lines)}

    assert all(int(uid) in ANONYMOUS for uid in status["Uid"].split())
    assert len(set(status["Uid"].split() + status["Gid"].split() + status["Groups"].split())) == 1
    assert {name: int(status[name], 16) for name in SETS} == {
        "CapInh": 0,
        "CapPrm": MAKING_MAPS,
        "CapEff": MAKING_MAPS,
        "CapBnd": 0,
        "CapAmb": 0,
    }
    assert status["NoNewPrivs"] == "1"


@pytest.mark.skipif(landlock.version() == 0, reason="this kernel has no Landlock")
def test_who_compiles_reads_what_belongs_to_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the headers made for it, wherever they lie."""
    restrict = landlock.restrict
    (tmp_path / "open to all").touch()

    def tell(*arguments: Any) -> None:
        restrict(*arguments)
        Path(os.environ["BCC_KERNEL_SOURCE"], "include/linux/version.h").read_text()
        Path(os.__file__).read_text()
        denied(Path("/proc/kallsyms").read_text)
        denied((tmp_path / "open to all").read_text)
        raise EnvironmentLacksError("all as it should be")

    monkeypatch.setattr(landlock, "restrict", tell)

    assert said_on_loading(tmp_path) == "all as it should be"
