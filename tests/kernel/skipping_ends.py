"""``python -m tests.kernel.skipping_ends collect …``: estats, which sees no connection end.

As on a kernel that runs no tracing program where the end is processed: neither the transition to
CLOSE nor the end of the socket is told.
"""

import sys

from cli.app import run
from tests.kernel import skipping

if __name__ == "__main__":
    skipping.skip(
        {
            "int on_inet_sock_set_state(u64 *ctx)\n{": "if (ctx[2] == ESTATS_TCP_CLOSE) return 0;",
            "int on_tcp_destroy_sock(u64 *ctx)\n{": "return 0;",
        }
    )
    sys.exit(run())
