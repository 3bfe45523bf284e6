"""What the kernel's ``struct tcp_info`` tells of the catalogue's variables.

The struct grows at its end only, so how much of it a kernel sends says which fields it knows. A
variable stays unknown (NULL) where the field is missing, where there is no value yet (no RTT
sample, no handshake), and where a look now and then cannot know it: the longest queue, say, lies
between two looks. Hence the only extremes here are those of the MSS, which hardly ever moves,
and the smallest RTT, which the kernel keeps itself (over five minutes).
"""

import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bpf.catalogue import stored_in
from bpf.variable import HISTORIES, Op, Table

Array = npt.NDArray[Any]

_LAYOUT: Final = (
    ("u1", "state ca_state retransmits probes backoff options wscales flags"),
    ("u4", "rto ato snd_mss rcv_mss unacked sacked lost retrans fackets"),
    ("u4", "last_data_sent last_ack_sent last_data_recv last_ack_recv"),
    ("u4", "pmtu rcv_ssthresh rtt rttvar snd_ssthresh snd_cwnd advmss reordering"),
    ("u4", "rcv_rtt rcv_space total_retrans"),
    ("u8", "pacing_rate max_pacing_rate bytes_acked bytes_received"),
    ("u4", "segs_out segs_in notsent_bytes min_rtt data_segs_in data_segs_out"),
    ("u8", "delivery_rate busy_time rwnd_limited sndbuf_limited"),
    ("u4", "delivered delivered_ce"),
    ("u8", "bytes_sent bytes_retrans"),
    ("u4", "dsack_dups reord_seen rcv_ooopack snd_wnd rcv_wnd rehash"),
    ("u2", "total_rto total_rto_recoveries"),
    ("u4", "total_rto_time received_ce"),
    ("u4", "delivered_e1_bytes delivered_e0_bytes delivered_ce_bytes"),
    ("u4", "received_e1_bytes received_e0_bytes received_ce_bytes"),
    ("u2", "accecn_fail_mode accecn_opt_seen"),
)

_FIELDS = [(f"tcpi_{name}", width) for width, names in _LAYOUT for name in names.split()]

#: ``struct tcp_info`` of ``linux/tcp.h`` as of Linux 6.18, in host byte order. The two window
#: scales share an octet, ours in its high half.
TCP_INFO: Final[np.dtype[Any]] = np.dtype(_FIELDS)
assert TCP_INFO.itemsize == 280, "the C struct has this size"

#: Where each field ends: a kernel that sends fewer octets does not know it.
ENDS: Final = dict(
    zip((name for name, _ in _FIELDS), accumulate(int(w[1]) for _, w in _FIELDS), strict=True)
)

OPTION_TIMESTAMPS, OPTION_SACK, OPTION_WSCALE, OPTION_ECN = 1, 2, 4, 8
ENABLED, SELF_DISABLED, PEER_DISABLED = 1, 2, 3
CONTIGUOUS, UNORDERED, RECOVERY = 1, 2, 3
CA_RECOVERY = 3  # and CA_LOSS, 4
TIMESTAMP_OCTETS = 12  # of the segment header, so of the MSS option but not of the MSS

#: Kernel TCP states: SYN_SENT, SYN_RECV; those in which the peer's FIN is in rcv_nxt; CLOSE.
HANDSHAKING, FIN_RECEIVED, CLOSE = (2, 3), (8, 9, 11), 7
#: RFC 4898's number of each kernel state.
RFC_STATES: Final = np.array([0, 5, 3, 4, 6, 7, 11, 1, 8, 9, 2, 10, 4, 1], "u4")


@dataclass(frozen=True, slots=True)
class Look:
    """Sockets as one poll saw them.

    ``sockets`` has dtype ``sock_diag.SOCKET``; ``start_ns`` is when each was first seen;
    ``declined`` is ``declined()`` at that time.
    """

    sockets: Array
    start_ns: Array
    declined: Mapping[str, int]

    def __getitem__(self, field: str) -> Array:
        """One field of every socket's ``tcp_info``, by its name without ``tcpi_``."""
        column: Array = self.sockets["info"][f"tcpi_{field}"]
        return column

    def has(self, option: int) -> Array:
        """Whether each connection negotiated this option."""
        has: Array = (self["options"] & option) != 0
        return has

    @property
    def shaken(self) -> Array:
        """Whether each connection has its handshake behind it."""
        shaken: Array = ~np.isin(self["state"], HANDSHAKING)
        return shaken


#: Values of one variable, and where they are known.
Reading = tuple[Array, Array | bool]


def declined() -> dict[str, int]:
    """Who declined an option that a connection lacks, told from this namespace's sysctls.

    0 where they do not tell: ``tcp_ecn`` 2 answers the peer's wish but has none of its own, so
    it depends on who opened the connection.
    """
    meanings = {
        "tcp_timestamps": {"0": SELF_DISABLED, "1": PEER_DISABLED, "2": PEER_DISABLED},
        "tcp_sack": {"0": SELF_DISABLED, "1": PEER_DISABLED},
        "tcp_ecn": {"0": SELF_DISABLED, "1": PEER_DISABLED},
    }
    answer = dict.fromkeys(meanings, 0)
    for name, meaning in meanings.items():
        try:
            setting = Path("/proc/sys/net/ipv4", name).read_text(encoding="ascii").strip()
        except OSError:
            continue  # /proc is not mounted, or hides it
        answer[name] = meaning.get(setting, 0)
    return answer


def _negotiated(option: int, sysctl: str) -> Callable[[Look], Reading]:
    """The rule of a variable with the values enabled, selfDisabled, peerDisabled."""

    def read(look: Look) -> Reading:
        values = np.where(look.has(option), ENABLED, look.declined[sysctl])
        return values, look.shaken & (values > 0)

    return read


def _handshaken(field: str) -> Callable[[Look], Reading]:
    """The rule of a field that means nothing before the handshake is over."""
    return lambda look: (look[field], look.shaken)


def _first_seen(look: Look) -> Reading:
    return look.start_ns, True


def _retransmit_queue(look: Look) -> Array:
    """snd_nxt - snd_una: all that is not acknowledged, less what was never sent."""
    waiting = look.sockets["message"]["wqueue"].astype(np.int64) - look["notsent_bytes"]
    return np.maximum(waiting, 0)


def _pipe(look: Look) -> Reading:
    """RFC 3517's pipe; the kernel counts segments, so in recovery it is in whole ones."""
    gone = look["sacked"].astype(np.int64) + look["lost"]
    segments = np.maximum(look["unacked"] - gone + look["retrans"], 0)
    undisturbed = (gone == 0) & (look["retrans"] == 0)
    return np.where(undisturbed, _retransmit_queue(look), segments * look["snd_mss"]), True


def _recovery(look: Look) -> Reading:
    """With nothing unacknowledged a recovery is over, whatever ``ca_state`` still says."""
    lossy = (look["ca_state"] >= CA_RECOVERY) & (look["unacked"] > 0)
    calm = np.where(look["sacked"] > 0, UNORDERED, CONTIGUOUS)
    return np.where((look["retrans"] > 0) | lossy, RECOVERY, calm), True


def _app_read_queue(look: Look) -> Reading:
    """A FIN takes a sequence number, but nobody can read it."""
    queue = look.sockets["message"]["rqueue"]
    fin = np.isin(look["state"], FIN_RECEIVED) & (queue > 0)
    return queue - fin, True


def _rfc_state(look: Look) -> Reading:
    values = RFC_STATES[np.minimum(look["state"], len(RFC_STATES) - 1)]
    return values, values > 0


def _mss_sent(look: Look) -> Reading:
    return look["advmss"] + TIMESTAMP_OCTETS * look.has(OPTION_TIMESTAMPS), look.shaken


def _win_scale_sent(look: Look) -> Reading:
    """Unknown if the peer declined: the kernel then forgets what was offered."""
    return look["wscales"] >> 4, look.shaken & look.has(OPTION_WSCALE)


def _win_scale_rcvd(look: Look) -> Reading:
    scales = (look["wscales"] & 15).astype(np.int32)
    return np.where(look.has(OPTION_WSCALE), scales, -1), look.shaken


@dataclass(frozen=True, slots=True)
class Rule:
    """How a variable is read; ``last`` is the latest field of ``tcp_info`` that it needs."""

    last: str
    read: Callable[[Look], Reading]

    @property
    def end(self) -> int:
        """How many octets of ``tcp_info`` a kernel must send."""
        return ENDS[f"tcpi_{self.last}"]


_SPECIAL: Final = {
    "start_ts": Rule("state", _first_seen),
    "start_tv": Rule("state", _first_seen),  # made wall time where rows are taken
    "StartTimeStamp": Rule("state", _first_seen),  # likewise
    "CurMSS": Rule("snd_mss", _handshaken("snd_mss")),
    "PipeSize": Rule("notsent_bytes", _pipe),
    "CurRwinSent": Rule("rcv_wnd", _handshaken("rcv_wnd")),
    "SmoothedRTTUs": Rule("rtt", lambda look: (look["rtt"], look["rtt"] > 0)),
    "MdevUs": Rule("rttvar", lambda look: (look["rttvar"], look["rtt"] > 0)),
    "RcvRTT": Rule("rcv_rtt", lambda look: (look["rcv_rtt"], look["rcv_rtt"] > 0)),
    "MSSSent": Rule("advmss", _mss_sent),
    "WinScaleSent": Rule("wscales", _win_scale_sent),
    "WinScaleRcvd": Rule("wscales", _win_scale_rcvd),
    "TimeStamps": Rule("options", _negotiated(OPTION_TIMESTAMPS, "tcp_timestamps")),
    "ECN": Rule("options", _negotiated(OPTION_ECN, "tcp_ecn")),
    "WillSendSACK": Rule("options", _negotiated(OPTION_SACK, "tcp_sack")),
    "WillUseSACK": Rule("options", _negotiated(OPTION_SACK, "tcp_sack")),
    "State": Rule("state", _rfc_state),
    "InRecovery": Rule("retrans", _recovery),
    "MaxMSS": Rule("snd_mss", _handshaken("snd_mss")),
    "MinMSS": Rule("snd_mss", _handshaken("snd_mss")),
    "CurRetxQueue": Rule("notsent_bytes", lambda look: (_retransmit_queue(look), True)),
    "CurAppRQueue": Rule("state", _app_read_queue),
}


def _plain(field: str) -> Rule:
    """The rule of a variable that is a field as it stands."""
    return Rule(field, lambda look: (look[field], True))


#: Every variable that a poll can know.
RULES: Final[Mapping[str, Rule]] = {
    v.name: _plain(v.tcp_info.removeprefix("tcpi_"))
    for table in HISTORIES
    for v in stored_in(table)
    if v.tcp_info
} | _SPECIAL


def fill(block: Array, table: Table, look: Look) -> None:
    """Write what is known of ``table`` into its ``block`` of as many batches, zero before."""
    size = look.sockets["info_size"]
    for bit, variable in enumerate(stored_in(table)):
        rule = RULES.get(variable.name)
        if rule is None:
            continue
        values, known = rule.read(look)
        known = known & (size >= rule.end)
        block[variable.column] = np.where(known, values, 0)
        block["known"] |= known.astype("u8") << np.uint64(bit)


def unavailable(tables: Collection[Table]) -> dict[str, str]:
    """Each collected variable of ``tables`` that no poll on this kernel can know, and why."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        size = len(probe.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO.itemsize))
    reasons: dict[str, str] = {}
    for variable in (v for table in HISTORIES if table in tables for v in stored_in(table)):
        rule = RULES.get(variable.name)
        if rule is None and variable.op in (Op.MAX, Op.MIN):
            reasons[variable.name] = "an extreme between two polls of inet_diag is not seen"
        elif rule is None:
            reasons[variable.name] = "inet_diag does not tell it"
        elif rule.end > size:
            reasons[variable.name] = f"this kernel's TCP_INFO has no tcpi_{rule.last}"
    return reasons
