"""The witness: what the kernel's own TCP_INFO says about a socket, and what we must say then.

TCP_INFO fills its structure under the socket's lock and is nobody's work here. While a connection
is idle and once it has reached CLOSE nothing in it moves, so a comparison at those moments needs
no tolerance.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from bpf.catalogue import CATALOGUE
from bpf.variable import SAMPLED, Status, Variable

#: Offset and size in octets in ``struct tcp_info``; a test holds it against the kernel's BTF.
FIELDS: Final[Mapping[str, tuple[int, int]]] = {
    "tcpi_state": (0, 1),
    "tcpi_ca_state": (1, 1),
    "tcpi_retransmits": (2, 1),
    "tcpi_options": (5, 1),
    "tcpi_rto": (8, 4),
    "tcpi_snd_mss": (16, 4),
    "tcpi_unacked": (24, 4),
    "tcpi_rtt": (68, 4),
    "tcpi_rttvar": (72, 4),
    "tcpi_snd_ssthresh": (76, 4),
    "tcpi_snd_cwnd": (80, 4),
    "tcpi_advmss": (84, 4),
    "tcpi_reordering": (88, 4),
    "tcpi_rcv_rtt": (92, 4),
    "tcpi_total_retrans": (100, 4),
    "tcpi_bytes_acked": (120, 8),
    "tcpi_bytes_received": (128, 8),
    "tcpi_segs_out": (136, 4),
    "tcpi_segs_in": (140, 4),
    "tcpi_notsent_bytes": (144, 4),
    "tcpi_min_rtt": (148, 4),
    "tcpi_data_segs_in": (152, 4),
    "tcpi_data_segs_out": (156, 4),
    "tcpi_busy_time": (168, 8),
    "tcpi_bytes_sent": (200, 8),
    "tcpi_bytes_retrans": (208, 8),
    "tcpi_dsack_dups": (216, 4),
    "tcpi_snd_wnd": (228, 4),
    "tcpi_rcv_wnd": (232, 4),
    "tcpi_received_ce": (248, 4),
}

#: The two window scales share this octet: the sender's is the low half on a little-endian host.
_SCALES = 6

_TIMESTAMPS, _SACK, _WSCALE, _ECN = 1, 2, 4, 8  # bits of tcpi_options
_ENABLED, _SELF_DISABLED = 1, 2
_INFINITE_SSTHRESH = 0x7FFFFFFF
_U32 = 0xFFFFFFFF

#: The kernel's TCP states in the numbering of the RFC.
_STATES: Final[Mapping[int, int]] = {
    1: 5, 2: 3, 3: 4, 4: 6, 5: 7, 6: 11, 7: 1, 8: 8, 9: 9, 10: 2, 11: 10, 12: 4,
}  # fmt: skip
CLOSE = 7


@dataclass(frozen=True)
class Witness:
    """One socket as the kernel describes it: its TCP_INFO and three of its options."""

    cookie: int
    raw: bytes
    priority: int
    nodelay: int
    clamp: int

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Self:
        """Made from what ``peer.py`` wrote."""
        options = {name: said[name] for name in ("priority", "nodelay", "clamp")}
        return cls(cookie=said["cookie"], raw=bytes.fromhex(said["info"]), **options)

    def has(self, field: str | None) -> bool:
        """Whether this kernel's TCP_INFO is long enough; other fields are not asked about."""
        return sum(FIELDS.get(field or "", (0, 0))) <= len(self.raw)

    def __getitem__(self, field: str) -> int:
        """One field of TCP_INFO."""
        assert self.has(field), f"this kernel's TCP_INFO ends before {field}"
        offset, size = FIELDS[field]
        return int.from_bytes(self.raw[offset : offset + size], sys.byteorder)

    def option(self, bit: int) -> bool:
        """Whether both ends agreed on this TCP option."""
        return bool(self["tcpi_options"] & bit)

    @property
    def scales(self) -> tuple[int, int]:
        """The shift of the windows we get, and of those we send."""
        octet = self.raw[_SCALES]
        low, high = octet & 15, octet >> 4
        return (low, high) if sys.byteorder == "little" else (high, low)

    def still(self) -> tuple[int, ...]:
        """What may not move while the connection is idle: all fields here."""
        return tuple(self[field] for field in FIELDS if self.has(field))


def _agreed(bit: int) -> Callable[[Witness], int]:
    """An option of the RFC's kind: 1 when in use, else 2, for both hosts have the same sysctls."""
    return lambda w: _ENABLED if w.option(bit) else _SELF_DISABLED


def _ssthresh_octets(w: Witness) -> int:
    segments = w["tcpi_snd_ssthresh"]
    return _U32 if segments >= _INFINITE_SSTHRESH else min(segments * w["tcpi_snd_mss"], _U32)


#: Variables whose value is not the bare field that the catalogue names.
CONVERSIONS: Final[Mapping[str, Callable[[Witness], int]]] = {
    "SmoothedRTT": lambda w: w["tcpi_rtt"] // 1000,
    "CurRTO": lambda w: w["tcpi_rto"] // 1000,
    "CurCwnd": lambda w: min(w["tcpi_snd_cwnd"] * w["tcpi_snd_mss"], _U32),
    "CurSsthresh": _ssthresh_octets,
    "PipeSize": lambda w: w["tcpi_unacked"] * w["tcpi_snd_mss"],
    "CurRetxQueue": lambda w: w["tcpi_unacked"] * w["tcpi_snd_mss"],
    "DataOctetsOut": lambda w: w["tcpi_bytes_sent"] & _U32,
    "OctetsRetrans": lambda w: w["tcpi_bytes_retrans"] & _U32,
    "ThruOctetsAcked": lambda w: w["tcpi_bytes_acked"] & _U32,
    "ThruOctetsReceived": lambda w: w["tcpi_bytes_received"] & _U32,
    "MSSSent": lambda w: w["tcpi_advmss"] + 12 * w.option(_TIMESTAMPS),
    "WinScaleRcvd": lambda w: w.scales[0] if w.option(_WSCALE) else -1,
    "WinScaleSent": lambda w: w.scales[1],
    "TimeStamps": _agreed(_TIMESTAMPS),
    "WillSendSACK": _agreed(_SACK),
    "WillUseSACK": _agreed(_SACK),
    "ECN": _agreed(_ECN),
    "State": lambda w: _STATES[w["tcpi_state"]],
    # With nothing in flight no recovery can be under way, whatever tcpi_ca_state remembers.
    "InRecovery": lambda w: 1,
    # Not in TCP_INFO, but in the socket's other options.
    "Priority": lambda w: w.priority,
    "Nagle": lambda w: 2 if w.nodelay else 1,
    "LimRwin": lambda w: w.clamp,
}

#: Variables for which the catalogue names a field that is another quantity, and why.
INCOMPARABLE: Final[Mapping[str, str]] = {
    "RTTVar": "TCP_INFO shows the mean deviation before the floor of the minimum RTO",
    "CERcvd": "the kernel counts after validation: a late duplicate is not in it",
    "MinRTT": "the kernel's minimum is of other samples and forgets after five minutes",
}


#: Variables that are NULL, not 0, until the kernel has taken its first sample: this field tells.
SAMPLES: Final[Mapping[str, str]] = {
    "SmoothedRTTUs": "tcpi_rtt",
    "SmoothedRTT": "tcpi_rtt",
    "MdevUs": "tcpi_rtt",
    "RcvRTT": "tcpi_rcv_rtt",
}


def comparable() -> list[Variable]:
    """The variables whose value a witness knows."""
    filled = (Status.COLLECTED, Status.DERIVED)
    return [
        v
        for v in CATALOGUE
        if v.table in SAMPLED and v.status in filled and v.name not in INCOMPARABLE
        if v.tcp_info or v.name in CONVERSIONS
    ]


#: Those of them that come from another option than TCP_INFO.
OPTIONS: Final = ("Priority", "Nagle", "LimRwin")


def said(witness: Witness) -> dict[str, int | None]:
    """Every variable that this kernel's answer tells, with the value it must have."""
    return {v.name: expected(v, witness) for v in comparable() if witness.has(v.tcp_info)}


def expected(variable: Variable, witness: Witness) -> int | None:
    """The value, NULL included, that a variable must have when TCP_INFO reads thus."""
    if variable.name in SAMPLES and witness[SAMPLES[variable.name]] == 0:
        return None
    if convert := CONVERSIONS.get(variable.name):
        return convert(witness)
    assert variable.tcp_info is not None, f"{variable.name} has no witness"
    return witness[variable.tcp_info]
