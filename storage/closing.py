"""Why a connection closed, in words, from what the kernel says at its end."""

import errno
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from bpf.record import Flag

# The kernel's TCP states, as in include/net/tcp_states.h.
_ESTABLISHED, _SYN_SENT, _SYN_RECV, _FIN_WAIT1, _FIN_WAIT2, _TIME_WAIT = range(1, 7)
_CLOSE_WAIT, _LAST_ACK = 8, 9
_CLOSING, _NEW_SYN_RECV = 11, 12

_HANDSHAKE = {_SYN_SENT, _SYN_RECV, _NEW_SYN_RECV}

_WITHOUT_ERROR = {
    _SYN_SENT: "handshake abandoned",
    _SYN_RECV: "handshake failed",
    _NEW_SYN_RECV: "handshake failed",
    # Both ends have said that they are done, so the connection ended as it should.
    _FIN_WAIT2: "closed",
    _TIME_WAIT: "closed",
    _LAST_ACK: "closed",
    _CLOSING: "closed",
    # This end reset it, or gave up on an answer, with the other end still in the middle of it.
    _ESTABLISHED: "aborted",
    _CLOSE_WAIT: "aborted",
    _FIN_WAIT1: "aborted",
}

_ERRORS = {
    errno.ETIMEDOUT: "timed out",
    errno.ECONNRESET: "reset by peer",
    errno.EPIPE: "reset by peer",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
}
_HANDSHAKE_ERRORS = _ERRORS | {
    errno.ETIMEDOUT: "handshake timed out",
    errno.ECONNREFUSED: "refused",
}


@lru_cache(maxsize=4096)  # thousands may close in one snapshot, in a few different ways
def close_reason(old_state: int, error: int, flags: int) -> str:
    """Why one connection closed; ``old_state`` is the last but CLOSE, ``error`` is sk_err."""
    if flags & Flag.POLLED:
        return "gone"
    if flags & Flag.EVICTED:
        return "evicted"
    if not flags & Flag.FINAL:
        return "close not seen"
    if error == 0:
        return _WITHOUT_ERROR.get(old_state, "unknown")
    reasons = _HANDSHAKE_ERRORS if old_state in _HANDSHAKE else _ERRORS
    return reasons.get(error, f"error: {errno.errorcode.get(error, error)}")


def close_reasons(connections: npt.NDArray[Any]) -> npt.NDArray[np.object_]:
    """``close_reason`` of each row of dtype ``record.CONNECTION``."""
    ends = (connections[name].tolist() for name in ("old_state", "error", "flags"))
    return np.array([close_reason(*end) for end in zip(*ends, strict=True)], dtype=object)
