"""All sockets' TCP_INFO by inet_diag every 10 ms, decoded and thrown away.

Prints "ready", and runs until it is told to stop.
"""

import signal
import socket
import time
from typing import Final

from collector import sock_diag

_INTERVAL_SECONDS: Final = 0.01


def main() -> None:
    """Poll; a poll that takes longer than the interval is followed by the next at once."""
    print("ready", flush=True)
    due = time.monotonic()
    while True:
        for family in (socket.AF_INET, socket.AF_INET6):
            sock_diag.dump(family)
        due = max(due + _INTERVAL_SECONDS, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    main()
