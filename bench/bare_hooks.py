"""Programs of two instructions on the hooks of a collector: what the hooks cost by themselves.

    python -m bench.bare_hooks [FUNCTION …]

Without a FUNCTION all hooks of ``bpf.probes`` but the iterators. Prints "ready", and runs until it
is told to stop.
"""

import os
import signal
import struct
import sys
from typing import Final

from bpf.btf import Btf
from bpf.loader import attach_program, cgroup_root, is_available, load_program
from bpf.probes import PROBES, Hook, Probe

_MOVE_TO_R0: Final = 0xB7
_EXIT: Final = 0x95


def attach(probe: Probe, btf: Btf, cgroup: int) -> int:
    """Let every packet pass, or look at nothing; the link."""
    answer = probe.hook in (Hook.INGRESS, Hook.EGRESS)
    code = struct.pack("=BBhiBBhi", _MOVE_TO_R0, 0, 0, answer, _EXIT, 0, 0, 0)
    return attach_program(probe, load_program(probe, code, btf), cgroup)


def main() -> None:
    """Attach, and wait."""
    btf, asked = Btf(), sys.argv[1:]
    cgroup = os.open(cgroup_root(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    links = [
        attach(probe, btf, cgroup)
        for probe in PROBES
        if probe.hook is not Hook.ITERATOR and is_available(probe, btf)
        if not asked or probe.function in asked
    ]
    assert links, "one of the functions exists"
    print("ready", flush=True)
    signal.pause()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    main()
