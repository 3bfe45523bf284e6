"""``estats`` on a kernel that lacks some tracepoints: this one, with those hidden from it.

ESTATS_TEST_HIDDEN=kfree_skb,tcp_probe python -m tests.kernel.without doctor
"""

import os
import sys

from bpf.btf import Btf
from estats import main

HIDDEN = frozenset(os.environ.get("ESTATS_TEST_HIDDEN", "").split(","))

_arguments_of = Btf.arguments_of


def _seen(self: Btf, tracepoint: str) -> int | None:
    return None if tracepoint in HIDDEN else _arguments_of(self, tracepoint)


if __name__ == "__main__":
    Btf.arguments_of = _seen  # type: ignore[method-assign]  # the one place that knows of them
    sys.exit(main())
