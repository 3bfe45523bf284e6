"""One life of a collector, as tests need it."""

from dataclasses import replace
from typing import Any, Final

from bpf.meters import Run

_RUN: Final = Run(
    started_us=1_000_000,
    host="here",
    kernel="6.18",
    boot_id="b",
    version="0.1.0",
    source="bpf",
    interval_us=1_000_000,
    flush_us=100_000,
    shards=1,
    tables=("perf",),
    filters="{}",
    unavailable={},
)


def a_run(**differing: Any) -> Run:
    """A run with these fields; the others are whatever they are."""
    return replace(_RUN, **differing)
