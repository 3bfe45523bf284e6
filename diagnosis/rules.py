"""The table of what may limit a connection: by which numbers it is told, and who says so.

RFC 4898's triage comes first: whose the time was (``triage.py``). A rule then says why, among the
causes that can be of that side; the first that holds is the verdict, and the last one of a side
always holds, for it says no more than the triage does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from diagnosis import words
from diagnosis.measures import (
    full_buffer,
    held_by_nagle,
    holes,
    loss,
    needless,
    queueing,
    shut,
    slow_start,
    smallness,
    unread,
    waiting_for_timeouts,
    window_used,
)
from diagnosis.observed import LIMITS, Observed
from diagnosis.triage import LEAD_MIN, Side, share_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One cause, and how it is told.

    ``measure`` gives a number, or None if it cannot be known; all of ``needs`` is known when it is
    called. The rule holds from ``threshold`` on. From ``worth`` on (None: never) it is told beside
    a verdict that is another. A few segments are enough for one that is about ``standstill``.
    """

    name: str
    sides: tuple[Side, ...]
    needs: tuple[str, ...]
    measure: Callable[[Observed], float | None]
    measured: str
    threshold: float
    worth: float | None = None
    standstill: bool = False
    sentence: Callable[[Observed], str]
    source: str


_RFC4898 = "RFC 4898, section 2.3, on the SndLim instruments"
_TRIPS: Final = ("HCSumRTTUs", "CountRTT", "MinRTTUs")


#: Of an end that sends.
RULES_OF_SENDER: Final = (
    Rule(
        name="timeouts",
        sides=(Side.PATH,),
        needs=("Timeouts", "SubsequentTimeouts", "CurRTOUs"),
        measure=waiting_for_timeouts,
        measured="share of the period spent waiting for retransmission timers, at least",
        threshold=0.25,
        worth=0.02,
        standstill=True,
        sentence=words.timeouts,
        source="RFC 6298, section 5; RFC 4898's Timeouts and SubsequentTimeouts",
    ),
    Rule(
        name="reordering",
        sides=(Side.PATH,),
        needs=("SegsRetrans", "DSACKDups", "FastRetran", "SpuriousFrDetected"),
        measure=needless,
        measured="share of repeats and of fast recoveries that were needless",
        threshold=0.5,
        worth=0.5,
        sentence=words.reordering,
        source="RFC 3708 (DSACK tells needless repeats); RFC 8985, section 3",
    ),
    Rule(
        name="slow reader",
        sides=(Side.RECEIVER,),
        needs=("CurRwinRcvd", "ZeroRwinRcvd", "CurMSS"),
        measure=shut,
        measured="share of the period in which the window it offered was shut, at least",
        threshold=0.2,
        standstill=True,
        sentence=words.slow_reader,
        source="RFC 9293, section 3.8.6; RFC 4898's ZeroRwinRcvd",
    ),
    Rule(
        name="bufferbloat",
        sides=(Side.PATH, Side.RECEIVER),
        needs=(*_TRIPS, "HCDataOctetsOut", "CurMSS"),
        measure=queueing,
        measured="mean round trip over the shortest, if 10 ms longer and 8 segments on the way",
        threshold=2.0,
        worth=2.0,
        sentence=words.bufferbloat,
        source="Gettys and Nichols, Bufferbloat (2011); RFC 7567; RFC 8289, section 3",
    ),
    Rule(
        name="small MSS",
        sides=(Side.PATH,),
        needs=("CurMSS",),
        measure=smallness,
        measured="536 octets over the size of a full segment",
        threshold=1.0,
        worth=1.0,
        sentence=words.small_mss,
        source="RFC 9293, section 3.7.1; Mathis et al. (1997): the rate grows with the MSS",
    ),
    Rule(
        name="loss",
        sides=(Side.PATH,),
        needs=("SegsRetrans", "DataSegsOut"),
        measure=loss,
        measured="share of data segments sent again, needless repeats left out",
        threshold=0.002,
        worth=0.002,
        sentence=words.losses,
        source="Mathis et al., The Macroscopic Behavior of TCP Congestion Avoidance (1997)",
    ),
    Rule(
        name="startup",
        sides=(Side.PATH,),
        needs=("CongSignals", "CongAvoid", "MaxRetxQueue", "CurMSS", *_TRIPS),
        measure=slow_start,
        measured="share of the period that the handshake and doubling the window account for",
        threshold=0.5,
        sentence=words.startup,
        source="RFC 5681, section 3.1; T-RAT (Zhang et al., 2002): opportunity limited",
    ),
    Rule(
        name="congestion window",
        sides=(Side.PATH,),
        needs=LIMITS,
        measure=share_of(Side.PATH),
        measured="share of the time that was the path's, no other cause showing",
        threshold=LEAD_MIN,
        sentence=words.congestion_window,
        source=_RFC4898,
    ),
    Rule(
        name="receive buffer",
        sides=(Side.RECEIVER,),
        needs=LIMITS,
        measure=share_of(Side.RECEIVER),
        measured="share of the time that was the receiver's, its window being open",
        threshold=LEAD_MIN,
        sentence=words.receive_buffer,
        source=f"{_RFC4898}; T-RAT (2002): receiver window limited",
    ),
    Rule(
        name="delayed ACKs",
        sides=(Side.SENDER,),
        needs=("Nagle", "CurAppWQueue", "HCDataOctetsOut", "DataSegsOut", "CurMSS", *_TRIPS),
        measure=held_by_nagle,
        measured="share of the period that acknowledgements were late, small writes waiting",
        threshold=0.3,
        worth=0.3,
        sentence=words.delayed_acks,
        source="RFC 896 and RFC 9293, section 3.8.6.3; Cheshire, TCP Performance problems (2005)",
    ),
    Rule(
        name="send buffer",
        sides=(Side.SENDER,),
        needs=("CurRetxQueue", "CurAppWQueue", "CurMSS"),
        measure=full_buffer,
        measured="median of what was on the way over its most, nothing else being queued",
        threshold=0.75,
        sentence=words.send_buffer,
        source="T-RAT (2002): sender window limited; Linux's tcpi_sndbuf_limited has the same idea",
    ),
    Rule(
        name="application",
        sides=(Side.SENDER,),
        needs=LIMITS,
        measure=share_of(Side.SENDER),
        measured="share of the time that was the sender's, no other cause showing",
        threshold=LEAD_MIN,
        sentence=words.application,
        source=f"{_RFC4898}; T-RAT (2002): application limited",
    ),
    Rule(
        name="pacing",
        sides=(Side.PACING,),
        needs=LIMITS,
        measure=share_of(Side.PACING),
        measured="share of the time that was the pacing timer's",
        threshold=LEAD_MIN,
        sentence=words.pacing,
        source="Web10G's SndLimTimePace, a part of RFC 4898's sender",
    ),
)

#: Of an end that receives: what the other end and the path do does not show here.
RULES_OF_RECEIVER: Final = (
    Rule(
        name="slow reader",
        sides=(Side.HERE,),
        needs=("CurAppRQueue", "CurRwinSent"),
        measure=unread,
        measured="share of the time in which more waited to be read here than the window offered",
        threshold=0.25,
        standstill=True,
        sentence=words.slow_reader_here,
        source="RFC 9293, section 3.8.6; RFC 4898's CurAppRQueue and CurRwinSent",
    ),
    Rule(
        name="receive buffer",
        sides=(Side.HERE,),
        needs=("RcvRTT", "CurRwinSent", "HCThruOctetsReceived"),
        measure=window_used,
        measured="share of the window offered that came in each round trip",
        threshold=0.75,
        sentence=words.receive_buffer_here,
        source="Dynamic Right-Sizing (Fisk and Feng, 2001), which Linux sizes its window by",
    ),
    Rule(
        name="holes",
        sides=(),
        needs=("DupAcksOut", "DataSegsIn"),
        measure=holes,
        measured="duplicate acknowledgements sent for each data segment received",
        threshold=0.02,
        worth=0.02,
        sentence=words.holes,
        source="RFC 5681, section 3.2; RFC 4898's DupAcksOut",
    ),
)

RULES: Final = (*RULES_OF_SENDER, *RULES_OF_RECEIVER)
