"""What bpf/compiler.py uses of bcc.libbcc."""

import ctypes

class _Library(ctypes.CDLL):
    def bpf_table_fd(self, module: int, name: bytes) -> int: ...

lib: _Library
