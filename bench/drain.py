"""The kernel side of a collector alone: rings are emptied, and nothing is kept of them.

Prints "ready", and runs until it is told to stop.
"""

import os
import signal
import time
from typing import Final

from bpf.filters import Filters
from bpf.loader import Request, load
from bpf.record import batch_dtype
from bpf.variable import SAMPLED
from collector.kernel import sweep
from collector.ring import Ring
from collector.settings import Settings

_PAUSE_SECONDS: Final = 0.02
_FOREVER_NS: Final = (1 << 63) - 1


def main() -> None:
    """Load with the collector's own defaults, and drain."""
    settings = Settings()
    shards = len(os.sched_getaffinity(0))  # a worker for each, as the command has it
    loaded = load(
        Request(tables=SAMPLED, shards=shards, flush_us=settings.flush_us, filters=Filters())
    )
    rings = [Ring(fd, loaded.ring_bytes, batch_dtype()) for fd in loaded.rings.values()]
    print("ready", flush=True)
    due = time.monotonic()
    while True:
        if time.monotonic() >= due:
            sweep(loaded)
            due += settings.interval_us / 1e6
        for ring in rings:
            ring.read(_FOREVER_NS)
            ring.release()
        time.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    main()
