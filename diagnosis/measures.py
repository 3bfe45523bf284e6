"""Numbers made of what was observed: what the rules compare, and what their sentences tell.

Each gives None where what it needs is unknown. Times are microseconds, shares are of the period.
"""

import math
from typing import Final

from diagnosis.observed import Observed

#: As many segments as every connection may send at once (RFC 6928).
INITIAL_WINDOW: Final = 10
#: Fewer segments than that on the way do not fill a queue.
QUEUE_SEGMENTS_MIN: Final = 8
#: A round trip that grew by less may be a busy processor, or an acknowledgement that waited.
QUEUE_US_MIN: Final = 10_000
_SMALL_MSS: Final = 536  # RFC 9293: what every host can receive


def rtt_us(seen: Observed) -> float | None:
    """The mean of the round trips in the period, else the smoothed one."""
    if count := seen.grown.get("CountRTT"):
        return seen.grown["HCSumRTTUs"] / count if "HCSumRTTUs" in seen.grown else None
    smoothed = seen.seen.get("SmoothedRTTUs")
    return float(smoothed.median) if smoothed and smoothed.median else None


def rtt_min_us(seen: Observed) -> int | None:
    """The shortest round trip of the connection's life."""
    found = seen.seen.get("MinRTTUs")
    return found.last if found and found.last else None


def rate(seen: Observed) -> float:
    """Octets of data sent each second."""
    return seen.sent * 1e6 / seen.length_us if seen.length_us else 0.0


def loss(seen: Observed) -> float:
    """The share of data segments that were sent again for a reason; 0 of one alone."""
    lost = max(seen.grown["SegsRetrans"] - seen.grown.get("DSACKDups", 0), 0)
    sent = seen.grown["DataSegsOut"]
    return lost / sent if sent and lost > 1 else 0.0


def needless(seen: Observed) -> float:
    """The share of fast recoveries and of repeats that turned out to be needless."""
    repeats, recoveries = seen.grown["SegsRetrans"], seen.grown["FastRetran"]
    undone = seen.grown["SpuriousFrDetected"]
    if undone < 2 or not repeats:
        return 0.0
    return min(seen.grown["DSACKDups"] / repeats, undone / max(recoveries, 1), 1.0)


def waiting_for_timeouts(seen: Observed) -> float | None:
    """The share of the period that retransmission timers took to expire, at least.

    The timer doubles each time, so a row of n timeouts takes 2^n - 1 of the shortest timer.
    """
    first, later = seen.grown["Timeouts"], seen.grown["SubsequentTimeouts"]
    if not seen.length_us:
        return None
    if not first + later:
        return 0.0
    rows = max(first, 1)
    doubled = math.exp2(min((first + later) / rows, 32))
    return min(rows * (doubled - 1) * seen.seen["CurRTOUs"].low / seen.length_us, 1.0)


def queueing(seen: Observed) -> float | None:
    """How many times the shortest round trip the mean one was; 1 where it is no queue's doing."""
    mean, shortest = rtt_us(seen), rtt_min_us(seen)
    if mean is None or shortest is None:
        return None
    in_flight = rate(seen) * mean / 1e6
    if in_flight < QUEUE_SEGMENTS_MIN * seen.seen["CurMSS"].last:
        return 1.0
    return mean / shortest if mean - shortest >= QUEUE_US_MIN else 1.0


def smallness(seen: Observed) -> float | None:
    """How many times the segment fits into the smallest that every host can receive."""
    largest = seen.seen["CurMSS"].high
    return _SMALL_MSS / largest if largest else None


def slow_start(seen: Observed) -> float | None:
    """The share of the period for which opening the window at doubling speed accounts.

    A round trip for the handshake, one for the first window and one for each doubling up to the
    most that was on the way; 0 if anything but that opened the window, or closed it. As it was
    opened in the period, the maximum of its life is the period's.
    """
    mean = rtt_us(seen)
    if mean is None or not seen.length_us:
        return None
    if not seen.born or seen.grown["CongSignals"] or seen.grown["CongAvoid"]:
        return 0.0
    window = INITIAL_WINDOW * max(seen.seen["CurMSS"].last, 1)
    doublings = math.log2(max(seen.seen["MaxRetxQueue"].last / window, 1))
    return min((2 + doublings) * mean / seen.length_us, 1.0)


def shut(seen: Observed) -> float | None:
    """The share of the period in which the window offered was shut, or had no room to speak of.

    Between two samples it is known only how often it shut, which lasts a round trip at least.
    """
    if not seen.length_us:
        return None
    room = 2 * seen.seen["CurMSS"].last
    looked = seen.seen["CurRwinRcvd"].share(lambda window: window < room)
    return max(looked, min(seen.grown["ZeroRwinRcvd"] * (rtt_us(seen) or 0) / seen.length_us, 1.0))


def held_by_nagle(seen: Observed) -> float | None:
    """The share of the period in which small writes waited for an acknowledgement that was late.

    Late is by how much round trips were longer than the shortest; 0 if Nagle's rule is off, if
    segments were large, or if nothing was seen to wait.
    """
    shortest, segments = rtt_min_us(seen), seen.grown["DataSegsOut"]
    if shortest is None or not seen.length_us:
        return None
    is_on, waits = seen.seen["Nagle"].last == 1, seen.seen["CurAppWQueue"].share(bool) >= 0.1
    if not is_on or not waits or seen.sent > segments * seen.seen["CurMSS"].last / 2:
        return 0.0
    late = seen.grown["HCSumRTTUs"] - seen.grown["CountRTT"] * shortest
    return min(max(late, 0) / seen.length_us, 1.0)


def full_buffer(seen: Observed) -> float:
    """How near to its most what was on the way stood for half of the time, with nothing waiting.

    0 if something was waiting, or the sender had nothing on the way, for a fifth of the time.
    """
    on_the_way, waiting = seen.seen["CurRetxQueue"], seen.seen["CurAppWQueue"]
    least = 2 * seen.seen["CurMSS"].last  # a write at a time looks alike
    is_small = on_the_way.high < max(least, 1)
    if is_small or waiting.share(bool) > 0.2 or on_the_way.share(lambda octets: octets == 0) > 0.2:
        return 0.0
    return on_the_way.median / on_the_way.high


def unread(seen: Observed) -> float:
    """The share of the time in which more waited to be read here than the window had room for."""
    queue, window = seen.seen["CurAppRQueue"].values, seen.seen["CurRwinSent"].values
    pairs = zip(reversed(queue), reversed(window), strict=False)  # at first there is no window yet
    waited = [(q > w, stood) for (q, stood), (w, _) in pairs]
    total = sum(stood for _, stood in waited)
    return sum(stood for is_full, stood in waited if is_full) / total if total else 0.0


def window_used(seen: Observed) -> float | None:
    """Which part of the window offered here came in a round trip; above 1 is rounded to 1."""
    trip, offered = seen.seen["RcvRTT"].median, seen.seen["CurRwinSent"].median
    if not seen.length_us or not trip or not offered:
        return None
    return min(seen.received / seen.length_us * trip / offered, 1.0)


def holes(seen: Observed) -> float:
    """Duplicate acknowledgements sent for each data segment received."""
    segments = seen.grown["DataSegsIn"]
    return seen.grown["DupAcksOut"] / segments if segments else 0.0
