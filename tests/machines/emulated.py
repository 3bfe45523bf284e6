"""An emulated machine on this one's file system, with another kernel, for one examination."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.machines.debian import Kernel

HOME: Final = Path(__file__).parents[2]
PATIENCE: Final = 3600  # seconds; a machine that needs longer hangs
_SLOWNESS: Final = 10  # of a processor that is emulated, about


def command(kernel: Kernel, folder: Path) -> list[str]:
    """The command line that boots a kernel and examines it, with ``folder`` for the findings.

    The machine may write into that folder only; it has no network and no disk. It is emulated even
    where the processor could help: a /dev/kvm within a virtual machine has been seen to hang.
    """
    virtme = [sys.executable, "-m", "virtme.commands.run"]
    virtme += ["--kimg", str(kernel.image), "--mods", "auto", "--force-9p", "--user", "root"]
    virtme += ["--disable-kvm", "--memory", "3G", "--cpus", "2", "--verbose", "--show-boot-console"]
    virtme += ["--rodir", "/run/host=/", "--rwdir", f"/run/results={folder}"]
    inside = [HOME / "tests/machines/inside.sh", HOME, kernel.root, _SLOWNESS]
    return [*virtme, "--script-sh", shlex.join(map(str, inside))]


def examine(kernel: Kernel, folder: Path) -> None:
    """Boot, examine, shut down; console.txt in ``folder`` has what the machine said."""
    # depmod and modprobe are not on everybody's path.
    paths = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    with (folder / "console.txt").open("w") as console:
        subprocess.run(
            ["nice", "-n", "10", *command(kernel, folder)],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            env={**os.environ, "PATH": paths, "TMPDIR": str(kernel.root)},
            timeout=PATIENCE,
            check=False,  # the exit code is the emulator's
        )
