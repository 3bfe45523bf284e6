"""What bpf/loader.py uses of bcc.libbcc."""

class _Library:
    def bpf_table_fd(self, module: int, name: bytes) -> int: ...
    def bcc_create_map(
        self, kind: int, name: bytes, key: int, value: int, entries: int, flags: int
    ) -> int: ...

lib: _Library
