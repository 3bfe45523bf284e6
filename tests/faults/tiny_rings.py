"""``python -m tests.faults.tiny_rings collect …``: estats with the smallest rings there can be."""

import sys

from bpf import loader
from cli.app import run

_BYTES = 8192  # some batches

if __name__ == "__main__":
    loader._RINGS_BYTES = loader._RING_BYTES_MIN = loader._RING_BYTES_MAX = _BYTES
    loader._FINALS_MAX = 64
    sys.exit(run())
