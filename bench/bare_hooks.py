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

from bpf import syscall
from bpf.btf import Btf, Kind
from bpf.loader import cgroup_root, is_available
from bpf.probes import PROBES, Hook, Probe
from bpf.syscall import AttachType, ProgramType

_MOVE_TO_R0: Final = 0xB7
_EXIT: Final = 0x95
_CGROUP_HOOKS: Final = {
    Hook.INGRESS: AttachType.CGROUP_INET_INGRESS,
    Hook.EGRESS: AttachType.CGROUP_INET_EGRESS,
}


def attach(probe: Probe, btf: Btf, cgroup: int) -> int:
    """Let every packet pass, or look at nothing; the link."""
    code = struct.pack("=BBhiBBhi", _MOVE_TO_R0, 0, 0, probe.hook in _CGROUP_HOOKS, _EXIT, 0, 0, 0)
    where = _CGROUP_HOOKS.get(probe.hook)
    if where is not None:
        program = syscall.load_program("bare", code, ProgramType.CGROUP_SKB, where)
        return syscall.attach_cgroup(program, cgroup, where)
    found = btf.find(probe.hook.value.format(target=probe.target), Kind.TYPEDEF)
    assert found is not None, "only available hooks are asked for"
    where = AttachType.TRACE_RAW_TP
    program = syscall.load_program("bare", code, ProgramType.TRACING, where, found)
    return syscall.attach_tracepoint(program)


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
