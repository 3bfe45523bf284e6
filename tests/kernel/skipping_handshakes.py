"""``python -m tests.kernel.skipping_handshakes collect …``: estats, which sees no handshake end.

Neither does it see sockets leave LISTEN: as if the kernel had skipped each of these runs.
"""

import sys

from cli.app import run
from tests.kernel import skipping

if __name__ == "__main__":
    skipping.skip(
        {
            "int on_inet_sock_set_state(u64 *ctx)\n{": "if (ctx[1] == ESTATS_TCP_SYN_RECV ||"
            " (ctx[1] == ESTATS_TCP_LISTEN && ctx[2] != ESTATS_TCP_LISTEN)) return 0;"
        }
    )
    sys.exit(run())
