"""Who compiles the kernel programs has no right but the one to make maps: docs/security.md."""

import os
from pathlib import Path

import pytest

from bpf import landlock
from bpf.errors import EnvironmentLacksError
from bpf.filters import Filters
from bpf.loader import Request, load
from bpf.variable import SAMPLED
from tests.kernel.test_privileges import ANONYMOUS, SETS, denied

pytestmark = pytest.mark.kernel

MAKING_MAPS = 1 << 39  # CAP_BPF


def test_who_compiles_is_nobody_with_a_right_to_make_maps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before clang has read anything; what follows is that it changes no file, either."""

    def tell(*_: object) -> None:
        assert os.path.exists(f"{os.environ['BCC_KERNEL_SOURCE']}/include/linux/kconfig.h")
        denied((tmp_path / "of the compiler").touch)
        raise EnvironmentLacksError(Path("/proc/self/status").read_text())

    monkeypatch.setattr(landlock, "restrict", tell)
    wanted = Request(tables=SAMPLED, shards=1, flush_us=250_000, filters=Filters())
    with pytest.raises(EnvironmentLacksError) as refusal:
        load(wanted, tmp_path / "no cache" / "here")
    lines = refusal.value.message.splitlines()
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
