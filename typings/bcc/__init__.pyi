"""What bpf/loader.py uses of bcc."""

import ctypes
from collections.abc import Sequence

class BPF:
    module: int
    def __init__(self, *, text: bytes, cflags: Sequence[str]) -> None: ...
    def __getitem__(self, table: bytes) -> dict[ctypes.c_int, ctypes.c_int]: ...
    def dump_func(self, function: bytes) -> bytes: ...
