"""Records what docs/plotting.md is drawn from: ``python -m tests.pictures.recorded``, as root.

Three uploads of the same kind of sender over paths of their own, at the same time: one that loses,
one with a deep queue, one to a slow reader. What it writes lies beside it and is kept, so that the
pictures do not change until somebody records anew.
"""

import gzip
import sys
import tempfile
import time
from pathlib import Path as File
from subprocess import run
from typing import Final

from tests.kernel.collecting import HOME, collecting
from tests.kernel.edges import bulk
from tests.kernel.relay import Weather
from tests.kernel.situations import Path, Situation, played

RECORDED: Final = File(__file__).with_name("recorded.db.gz")


def _lossy(path: Path) -> None:
    bulk(path.peers.client, path.peers.server, 6_000_000)


def _queued(path: Path) -> None:
    bulk(path.peers.client, path.peers.server, 9_000_000)


def _read_slowly(path: Path) -> None:
    """The other end reads fast, then slowly for some seconds, then fast again."""
    path.peers.client.tell("send", size=8_000_000)
    path.peers.server("receive", size=3_000_000)
    for _ in range(12):
        path.peers.server("receive", size=60_000)
        time.sleep(0.25)
    path.peers.server("receive", size=8_000_000 - 3_000_000 - 12 * 60_000)
    path.peers.client.hear()


_SITUATIONS: Final = (
    Situation(name="loss", verdict="loss", weather=Weather(25, lose=4), act=_lossy),
    Situation(name="deep queue", verdict="bufferbloat",
              weather=Weather(10, mbit=8, queue_ms=400), act=_queued),
    Situation(name="slow reader", verdict="slow reader",
              weather=Weather(10, mbit=16, queue_ms=100), act=_read_slowly),
)  # fmt: skip


def main() -> None:
    """Let them take place, and keep what was collected of the senders."""
    with tempfile.TemporaryDirectory(prefix="estats-") as made:
        folder = File(made)
        with collecting(folder, "--interval", "250ms", "--flush-interval", "50ms") as collector:
            ports = ",".join(str(each.port) for each in played(_SITUATIONS))
            collector.database.catch_up()
            argv = [sys.executable, "-m", "estats", "record", str(folder / "some.db")]
            argv += ["--db", str(collector.database.path), "--dport", ports, "--since", "10m"]
            run(argv, cwd=HOME, check=True)
        whole = (folder / "some.db").read_bytes()
    RECORDED.write_bytes(gzip.compress(whole, 9, mtime=0))


if __name__ == "__main__":
    main()
