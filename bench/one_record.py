"""Runs one_record.bpf.c and reads its records with bcc's own ring buffer, one call for each.

Prints "ready"; when it is told to stop, how many records it read and the processor seconds that
took it.
"""

import os
import signal
import time
from pathlib import Path
from typing import Any

from bench.bcc_module import compiled
from bpf import syscall
from bpf.btf import Btf, Kind
from bpf.loader import cgroup_root
from bpf.syscall import AttachType, ProgramType


def _attach(module: Any) -> None:
    """By links that end with this process."""
    target = Btf().find("btf_trace_tcp_probe", Kind.TYPEDEF)
    assert target is not None, "tcp_probe is older than what estats needs"
    received = syscall.load_program(
        "one_received",
        module.dump_func(b"one_received"),
        ProgramType.TRACING,
        AttachType.TRACE_RAW_TP,
        target,
    )
    syscall.attach_tracepoint(received)
    egress = AttachType.CGROUP_INET_EGRESS
    sent = syscall.load_program(
        "one_sent", module.dump_func(b"one_sent"), ProgramType.CGROUP_SKB, egress
    )
    cgroup = os.open(cgroup_root(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    syscall.attach_cgroup(sent, cgroup, egress)


def main() -> None:
    """Read until told to stop."""
    stopping: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: stopping.append(number))
    module = compiled(Path(__file__).with_suffix(".bpf.c"))
    count = 0

    def read(_context: object, _data: object, _size: int) -> int:
        nonlocal count
        count += 1
        return 0

    module[b"records"].open_ring_buffer(read)
    _attach(module)
    print("ready", flush=True)
    before = time.process_time()
    while not stopping:
        module.ring_buffer_poll(100)
    print(count, time.process_time() - before, flush=True)
    os._exit(0)  # bcc's own clean-up has nothing to do, and takes long


if __name__ == "__main__":
    main()
