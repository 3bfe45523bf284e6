"""The sentences of the rules: what the numbers of one connection say, for a person."""

from diagnosis.measures import (
    full_buffer,
    held_by_nagle,
    loss,
    rate,
    rtt_min_us,
    rtt_us,
    shut,
    unread,
    waiting_for_timeouts,
    window_used,
)
from diagnosis.observed import Observed


def percent(share: float) -> str:
    """A share; small ones with a digit more."""
    return f"{100 * share:.0f} %" if share >= 0.0995 or not share else f"{100 * share:.1f} %"


def octets(count: float) -> str:
    """An amount of data."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} octet{'' if round(count) == 1 else 's'}"


def how_long(length_us: float | None) -> str:
    """A round trip, a timer, a period."""
    if length_us is None:
        return "an unknown time"
    for unit, size_us in (("h", 3600e6), ("min", 60e6), ("s", 1e6)):
        if length_us >= (size_us if unit == "s" else 2 * size_us):
            return f"{length_us / size_us:.3g} {unit}"
    return f"{length_us / 1000:.3g} ms"


def times(count: int) -> str:
    """How often."""
    return "once" if count == 1 else f"{count} times"


def timeouts(seen: Observed) -> str:
    """Of the retransmission timer."""
    again = seen.grown["SubsequentTimeouts"]
    share = waiting_for_timeouts(seen) or 0
    repeated = f", {again} of them once more for the same data" if again else ""
    return (
        f"For {percent(share)} of the time at least, nothing came back and it waited for the"
        f" retransmission timer: it expired {times(seen.grown['Timeouts'] + again)}"
        f"{repeated}, and reached {how_long(seen.seen['CurRTOUs'].high)}."
    )


def bufferbloat(seen: Observed) -> str:
    """Of a queue that stands."""
    mean, shortest = rtt_us(seen) or 0, rtt_min_us(seen) or 1
    queued = (mean - shortest) * rate(seen) / 1e6
    return (
        f"A queue stands on the path: the round trip was {how_long(mean)} on average, and"
        f" {how_long(shortest)} without it ({mean / shortest:.1f} times); of this connection"
        f" alone about {octets(queued)} waited there at a time."
    )


def reordering(seen: Observed) -> str:
    """Of segments that overtake others."""
    return (
        f"Segments arrive out of order: {seen.grown['SpuriousFrDetected']} of"
        f" {seen.grown['FastRetran']} fast recoveries were needless, and"
        f" {seen.grown['DSACKDups']} of {seen.grown['SegsRetrans']} segments sent again had"
        f" arrived after all; each time the window was cut."
    )


def small_mss(seen: Observed) -> str:
    """Of the size of segments."""
    mss = seen.seen["CurMSS"].high
    return (
        f"A full segment has {mss} octets only: the same congestion window, which is counted in"
        f" segments, would carry {1448 / mss:.1f} times as much with those of an Ethernet (1448)."
    )


def _beside_losses(seen: Observed) -> str:
    """Whether the round trip tells of a queue beside the losses."""
    mean, shortest = rtt_us(seen), rtt_min_us(seen)
    if mean is None or shortest is None:
        return ""
    if mean < 1.5 * shortest:
        return (
            f" The round trip hardly grew ({how_long(mean)} on average,"
            f" {how_long(shortest)} at least): the path loses by itself, or the queue that"
            " overflows is short. Which of them, these numbers do not tell."
        )
    return (
        f" The round trip grew from {how_long(shortest)} to {how_long(mean)} on average:"
        " so does a queue before it overflows."
    )


def losses(seen: Observed) -> str:
    """Of segments that were lost."""
    again, sent = seen.grown["SegsRetrans"], seen.grown["DataSegsOut"]
    cuts = seen.grown.get("CongSignals")
    cut = "" if cuts is None else f", and the window was cut {times(cuts)}"
    return (
        f"The path loses segments: {again} of {sent} were sent again,"
        f" {percent(loss(seen))} because they were lost{cut}.{_beside_losses(seen)}"
    )


def startup(seen: Observed) -> str:
    """Of slow start."""
    return (
        f"It was over before it was up to speed: with a round trip of {how_long(rtt_us(seen))},"
        f" the handshake and slow start took most of its {how_long(seen.length_us)}; the window"
        f" was still doubling, and nothing was lost."
    )


def congestion_window(seen: Observed) -> str:
    """Of the window alone."""
    mean = rtt_us(seen)
    carried = "" if mean is None else f", which let {octets(rate(seen) * mean / 1e6)} pass in each"
    trip = "" if mean is None else f" round trip of {how_long(mean)}"
    return (
        f"It waited for its congestion window{carried}{trip}; no loss, no queue and no small"
        " segments explain why that is no larger: it may be growing still, or be limited here."
    )


def slow_reader(seen: Observed) -> str:
    """Of a reader at the other end."""
    share = shut(seen) or 0
    return (
        f"The other end does not read fast enough: its window was shut for {percent(share)} of the"
        f" time at least, and was shut {times(seen.grown['ZeroRwinRcvd'])}."
    )


def receive_buffer(seen: Observed) -> str:
    """Of the other end's window."""
    window, mean = seen.seen.get("CurRwinRcvd"), rtt_us(seen)
    if window is None or not mean:
        return "The window that the other end offers was open, but too small for this path."
    return (
        f"The other end reads, but offers {octets(window.median)} at a time: with a round trip of"
        f" {how_long(mean)} no more than {octets(window.median * 1e6 / mean)} a second can"
        " pass. Its receive buffer is too small for this path."
    )


def delayed_acks(seen: Observed) -> str:
    """Of Nagle's rule and the other end's delayed acknowledgements."""
    size, share = seen.sent / max(seen.grown["DataSegsOut"], 1), held_by_nagle(seen) or 0
    return (
        f"Small writes ({octets(size)} a segment) waited for acknowledgements that the other end"
        f" delays: {percent(share)} of the time. Nagle's rule is on here; write a message at once,"
        " or set TCP_NODELAY."
    )


def send_buffer(seen: Observed) -> str:
    """Of the buffer of the socket."""
    way = seen.seen["CurRetxQueue"]
    return (
        f"All that was written was sent at once, and yet something was always on the way: mostly"
        f" {octets(way.median)}, never more than {octets(way.high)}"
        f" ({percent(full_buffer(seen))}). So the socket's send buffer is full and too small for"
        " this path; an application that writes as evenly at just this rate would look the same."
    )


def application(seen: Observed) -> str:
    """Of a sender without data."""
    return (
        f"The sending application gave nothing to send: {octets(seen.sent)} in"
        f" {how_long(seen.length_us)}; neither the path nor the receiver kept it waiting for"
        " long."
    )


def pacing(seen: Observed) -> str:
    """Of the pacing timer."""
    return (
        f"The sender spaced its segments by a timer, at {octets(rate(seen))} a second: a limit that"
        " was set (SO_MAX_PACING_RATE), or what its congestion control believes of the path, as BBR"
        " does. Which of them, these numbers do not tell."
    )


def slow_reader_here(seen: Observed) -> str:
    """Of a reader on this host."""
    queue = seen.seen["CurAppRQueue"]
    shut_so_often = seen.grown.get("ZeroRwinSent")
    was_shut = (
        "" if shut_so_often is None else f", and this end's window was shut {times(shut_so_often)}"
    )
    return (
        f"The application here does not read fast enough: for {percent(unread(seen))} of the time"
        f" more waited to be read (mostly {octets(queue.median)}) than there was room for"
        f"{was_shut}."
    )


def receive_buffer_here(seen: Observed) -> str:
    """Of the window of this host."""
    trip, window = seen.seen["RcvRTT"].median, seen.seen["CurRwinSent"].median
    return (
        f"This end reads, but offers {octets(window)} at a time, and"
        f" {percent(window_used(seen) or 0)} of that came in each round trip of"
        f" {how_long(trip)}: the receive buffer here is too small for this path."
    )


def holes(seen: Observed) -> str:
    """Of what did not come in order."""
    return (
        f"Segments were lost, or overtaken, on the way here: {seen.grown['DupAcksOut']} duplicate"
        f" acknowledgements for {seen.grown['DataSegsIn']} data segments."
    )
