"""What bpf/compiler.py uses of bcc."""

from collections.abc import Sequence

class BPF:
    module: int
    def __init__(self, *, text: bytes, cflags: Sequence[str]) -> None: ...
    def dump_func(self, function: bytes) -> bytes: ...
