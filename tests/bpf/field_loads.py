"""Run in a process of its own, for LLVM stays: what BCC makes of reads of kernel fields.

Reads ``[[struct, path, is_address], …]`` from stdin; writes the stand-in tree's header and, for
each field, the instructions of a function that reads it, in hexadecimal.
"""

import ctypes
import json
import os
import sys
import tempfile
from pathlib import Path

from bpf import kernel_tree
from bpf.btf import Btf

FLAGS = ["-D_UAPI__LINUX_BPF_H__", "-DBPF_NO_PRESERVE_ACCESS_INDEX", "-Wno-visibility"]


def main() -> None:
    """Compile; nothing is loaded into the kernel."""
    fields: list[tuple[str, str, bool]] = json.load(sys.stdin)
    ctypes.CDLL("libbcc.so.0")  # its text names the helpers
    with tempfile.TemporaryDirectory() as folder:
        kernel_tree.write(Path(folder), Btf())
        header = (Path(folder) / "include/uapi/linux/if_packet.h").read_text()
        os.environ["BCC_KERNEL_SOURCE"] = folder
        from bcc import BPF  # noqa: PLC0415

        module = BPF(
            text="\n".join(
                f"u64 read_{i}(u64 *ctx) {{ struct {struct} *p = (struct {struct} *)ctx[0];"
                f" return (u64){'&' if is_address else ''}p->{path}; }}"
                for i, (struct, path, is_address) in enumerate(fields)
            ).encode(),
            cflags=FLAGS,
        )
    codes = [module.dump_func(f"read_{i}".encode()).hex() for i in range(len(fields))]
    json.dump({"header": header, "codes": codes}, sys.stdout)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
