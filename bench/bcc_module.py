"""A program of the benchmark's own, compiled by bcc."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from bpf import kernel_tree
from bpf.btf import Btf


def compiled(source: Path, **defines: int) -> Any:
    """BCC's module; the stand-in for kernel headers is needed only while it compiles."""
    from bcc import BPF  # noqa: PLC0415  (LLVM, which the module list of a test must not have)

    tree = Path(tempfile.mkdtemp(prefix="estats-bench-"))
    try:
        kernel_tree.write(tree, Btf())
        os.environ["BCC_KERNEL_SOURCE"] = str(tree)
        flags = ["-D_UAPI__LINUX_BPF_H__", "-DBPF_NO_PRESERVE_ACCESS_INDEX", "-Wno-visibility"]
        flags += [f"-D{name}={value}" for name, value in defines.items()]
        return BPF(text=source.read_bytes(), cflags=flags)
    finally:
        shutil.rmtree(tree)
