"""Close reasons, from what the kernel says."""

import errno

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpf.record import CONNECTION, Flag
from storage.closing import close_reason, close_reasons

ESTABLISHED, SYN_SENT, SYN_RECV, FIN_WAIT1, FIN_WAIT2, TIME_WAIT, CLOSE, CLOSE_WAIT = range(1, 9)
LAST_ACK, LISTEN, CLOSING, NEW_SYN_RECV = range(9, 13)


@pytest.mark.parametrize(
    ("old_state", "error", "reason"),
    [
        (SYN_SENT, errno.ECONNREFUSED, "refused"),
        (SYN_SENT, errno.ETIMEDOUT, "handshake timed out"),
        (SYN_SENT, errno.EHOSTUNREACH, "unreachable"),
        (SYN_SENT, errno.ENETUNREACH, "unreachable"),
        (SYN_SENT, 0, "handshake abandoned"),
        (SYN_RECV, 0, "handshake failed"),
        (NEW_SYN_RECV, 0, "handshake failed"),
        (ESTABLISHED, errno.ETIMEDOUT, "timed out"),
        (ESTABLISHED, errno.ECONNRESET, "reset by peer"),
        (CLOSE_WAIT, errno.EPIPE, "reset by peer"),
        (ESTABLISHED, errno.EHOSTUNREACH, "unreachable"),
        (ESTABLISHED, 0, "aborted"),
        (CLOSE_WAIT, 0, "aborted"),
        (FIN_WAIT1, 0, "aborted"),
        (FIN_WAIT2, 0, "closed"),
        (CLOSING, 0, "closed"),
        (LAST_ACK, 0, "closed"),
        (TIME_WAIT, 0, "closed"),
        (ESTABLISHED, errno.ECONNABORTED, "error: ECONNABORTED"),
        (ESTABLISHED, 4000, "error: 4000"),
        (LISTEN, 0, "unknown"),
    ],
)
def test_the_state_before_and_the_error_make_the_reason(
    old_state: int, error: int, reason: str
) -> None:
    """A connection with a final batch is judged by sk_err and the state that it left."""
    assert close_reason(old_state, error, Flag.FINAL) == reason


def test_a_close_without_a_final_batch_was_not_seen() -> None:
    """A census closed the row: whatever the state was last, the end is not known."""
    assert close_reason(ESTABLISHED, 0, Flag.ACTIVE) == "close not seen"


def test_a_polled_connection_is_gone() -> None:
    """inet_diag no longer lists it, and that is all it says."""
    assert close_reason(ESTABLISHED, 0, Flag.POLLED | Flag.FINAL) == "gone"


def test_who_made_room_is_evicted() -> None:
    """It lives on: what its state is says nothing of an end."""
    assert close_reason(0, 0, Flag.ACTIVE | Flag.FINAL | Flag.EVICTED) == "evicted"


ENDS = st.tuples(st.integers(0, 255), st.integers(0, 2**32 - 1), st.integers(0, 255))


@given(st.lists(ENDS, max_size=20))
def test_many_are_judged_as_each_one(ends: list[tuple[int, int, int]]) -> None:
    """The reasons of an array are the reasons of its rows."""
    connections = np.zeros(len(ends), CONNECTION)
    for row, end in zip(connections, ends, strict=True):
        row["old_state"], row["error"], row["flags"] = end
    assert close_reasons(connections).tolist() == [close_reason(*end) for end in ends]
