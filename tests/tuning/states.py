"""A socket's state, as the kernel program tells it."""

from dataclasses import replace
from typing import Any, Final

from bpf.tuner import State

#: One that nothing was set of.
FRESH: Final = State(
    pacing=2**64 - 1,
    cwnd=2**32 - 1,
    ssthresh=2**31 - 1,
    mss=1448,
    rcvbuf=131072,
    sndbuf=87040,
    rwin=65536,
    lowat=0,
    locks=0,
    is_paced=False,
    congestion="cubic",
)


def state(**fields: Any) -> State:
    """The same but for these."""
    return replace(FRESH, **fields)
