"""``python -m tests.kernel.skipping collect …``: estats, two of whose programs do nothing.

Those that the kernel would skip where an interrupt finds them running: no change of the congestion
state is seen, and no transition to CLOSE.
"""

import sys
from collections.abc import Mapping
from typing import Final

from bpf import loader
from bpf.btf import Btf
from bpf.filters import Filters
from cli.app import run

#: By the head of a program: what it begins with here.
SKIPS: Final = {
    "int on_tcp_cong_state_set(u64 *ctx)\n{": "if (ctx[0]) return 0;",
    "int on_inet_sock_set_state(u64 *ctx)\n{": "if (ctx[2] == ESTATS_TCP_CLOSE) return 0;",
}


def skip(skips: Mapping[str, str]) -> None:
    """Let programs begin like this from now on."""
    whole = loader.source

    def skipping(filters: Filters, btf: Btf) -> str:
        text = whole(filters, btf)
        for head, first in skips.items():
            assert head in text, "the program is there to be cut short"
            text = text.replace(head, head + first)
        return text

    loader.source = skipping


if __name__ == "__main__":
    skip(SKIPS)
    sys.exit(run())
