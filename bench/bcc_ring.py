"""Reads batches with bcc's own ring buffer, which calls us for each, and applies them plainly.

Prints how many operands that were in a second.
"""

import ctypes as ct
import os
import time
from pathlib import Path
from typing import Final

import numpy as np

from bench import worker
from bench.bcc_module import compiled
from bench.plain import Values, apply
from bpf import syscall
from bpf.btf import Btf, Kind
from bpf.catalogue import stored_in
from bpf.record import batch_dtype
from bpf.syscall import AttachType, ProgramType
from bpf.variable import SAMPLED

_BATCHES: Final = 4_000  # of the ring's 4 MiB they take 3
_CONNECTIONS: Final = 1_000


def main() -> None:
    """Send one ring full, read it, and tell."""
    dtype = batch_dtype()
    source = Path(__file__).with_suffix(".bpf.c")
    module = compiled(source, BATCHES=_BATCHES, BATCH_OCTETS=dtype.itemsize)
    batches = np.zeros(_BATCHES, dtype)
    worker.fill(batches, np.random.default_rng(1), _CONNECTIONS, 0)
    table = module[b"batches"]
    operands = _BATCHES * sum(len(stored_in(t)) for t in SAMPLED)
    for number, batch in enumerate(batches):
        syscall.set_element(table.map_fd, number.to_bytes(4, "little"), batch.tobytes())
    values: Values = {}
    applied = 0

    def take(_context: object, data: int, octets: int) -> int:
        nonlocal applied
        applied += apply(values, np.frombuffer(ct.string_at(data, octets), dtype))
        return 0

    module[b"records"].open_ring_buffer(take)
    where = Btf().find("bpf_iter_bpf_map_elem", Kind.FUNC)
    assert where is not None, "iterators over maps are as old as those we need"
    program = syscall.load_program(
        "send_batch",
        module.dump_func(b"send_batch"),
        ProgramType.TRACING,
        AttachType.TRACE_ITER,
        where,
    )
    syscall.iterate(syscall.attach_iterator(program, table.map_fd))
    began = time.perf_counter()
    module.ring_buffer_consume()
    seconds = time.perf_counter() - began
    assert applied == operands, "none is lost: the ring has room for all"
    print(applied / seconds, flush=True)
    os._exit(0)  # bcc's own clean-up has nothing to do, and takes long


if __name__ == "__main__":
    main()
