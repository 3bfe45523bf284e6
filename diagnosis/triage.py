"""RFC 4898's triage: whose the time of a sender was."""

from collections.abc import Callable
from enum import Enum
from typing import Final

from diagnosis.observed import LIMITS, Observed

#: The largest share must have so much of the time, and so much more than the next one.
LEAD_MIN: Final = 0.5
LEAD_AHEAD: Final = 0.15
#: The sender's times must account for the period, to so much of it.
ACCOUNTED: Final = 0.8


class Side(Enum):
    """Who held the data back; HERE is this host where it receives."""

    SENDER = "sender"
    PATH = "path"
    RECEIVER = "receiver"
    PACING = "pacing"
    HERE = "receiving end"


def shares(seen: Observed) -> dict[Side, float]:
    """The share of the period of each side but HERE; all of LIMITS is known.

    The handshake is the path's. So is the time in which the kernel waits for a larger burst, unless
    the receiver has more: it does that where a window is nearly used up.
    """
    total = sum(seen.grown[name] for name in LIMITS) or 1
    of = {name: seen.grown[name] / total for name in LIMITS}
    found = {
        Side.SENDER: of["SndLimTimeSndUs"],
        Side.PATH: of["SndLimTimeCwndUs"] + of["SndLimTimeStartupUs"],
        Side.RECEIVER: of["SndLimTimeRwinUs"],
        Side.PACING: of["SndLimTimePaceUs"],
    }
    windows = (Side.PATH, Side.RECEIVER)
    found[max(windows, key=found.__getitem__)] += of["SndLimTimeTSODeferUs"]
    return found


def share_of(side: Side) -> Callable[[Observed], float | None]:
    """The share of one side, as a measure."""
    return lambda seen: shares(seen)[side]


def accounted(seen: Observed) -> float:
    """How much of the period the sender's times add up to."""
    return sum(seen.grown[name] for name in LIMITS) / seen.length_us
