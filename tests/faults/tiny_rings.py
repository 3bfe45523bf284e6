"""``python -m tests.faults.tiny_rings collect …``: estats with the smallest rings there can be."""

import sys

from bpf import loader
from cli.app import run

_BYTES = 8192  # some batches
_FINALS = 64

if __name__ == "__main__":
    for name in ("_RINGS_BYTES", "_RING_BYTES_MIN", "_RING_BYTES_MAX"):
        setattr(loader, name, _BYTES)
    setattr(loader, "_FINALS_MAX", _FINALS)  # noqa: B010  (it is a constant everywhere else)
    sys.exit(run())
