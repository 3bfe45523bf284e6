"""The same capture read by two programs that nobody here wrote: tshark and tcptrace.

Each tells of the ends at the capturing host, by local and remote port, the variables that it shows
or counts; all that is left to do here is to pick, to add up and to take extremes.
"""

import csv
import subprocess
from collections import defaultdict
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from tests.kernel.capture import Flow
from tests.kernel.validation import Between

Values = dict[str, Any]  # a number for each variable, or the bounds of it

_FIELDS: Final = (
    *("ip.src", "ipv6.src", "tcp.srcport", "tcp.dstport", "tcp.len", "tcp.seq_raw", "tcp.ack_raw"),
    *("tcp.flags.syn", "tcp.flags.fin", "tcp.flags.ece", "tcp.window_size"),
    *("tcp.options.sack.count", "tcp.options.mss_val", "tcp.options.wscale.shift"),
    *("ip.ttl", "ipv6.hlim", "ip.dsfield", "ipv6.tclass"),
    *("tcp.analysis.retransmission", "tcp.analysis.out_of_order", "tcp.analysis.duplicate_ack"),
)
_CE: Final = 3
_U32: Final = 0xFFFFFFFF


def _is_after(a: int, b: int) -> bool:
    """Whether sequence number ``a`` comes after ``b``."""
    return 0 < (a - b) & _U32 < 1 << 31


def _lines(*argv: str) -> list[str]:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


class Frame(dict[str, str]):
    """The fields of one frame as tshark shows them; empty where the frame has no such field."""

    def number(self, *names: str) -> int:
        """The first of these fields that is there, or 0."""
        return next((int(self[name], 0) for name in names if self[name]), 0)

    def has(self, *names: str) -> bool:
        """Whether one of these is there, or true."""
        return any(self[name] not in ("", "0") for name in names)

    @property
    def after(self) -> int:
        """The sequence number behind it."""
        size = self.number("tcp.len") + self.has("tcp.flags.syn") + self.has("tcp.flags.fin")
        return (self.number("tcp.seq_raw") + size) & _U32


@dataclass
class _End:
    """One end, frame by frame."""

    is_active: bool
    values: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    was_zero: dict[str, bool] = field(default_factory=dict)
    was_echo: bool = False
    received: int = 0  # the sequence number behind all that came
    duplicates: int = 0
    overtaken: int = 0

    def told(self) -> Values:
        """All that tshark tells of it."""
        # It was once one below what the reader of our own, which knows no tolerance, had counted.
        high = self.duplicates + self.overtaken + 1
        missed = "it does not take an ACK that data overtook on the way for a duplicate"
        duplicates = Between(low=self.duplicates, high=high, reason=missed)
        return {**self.values, "DupAcksIn": duplicates}

    def add(self, **counts: int) -> None:
        """Count."""
        for name, by in counts.items():
            self.values[name] += by

    def window(self, frame: Frame, way: str) -> None:
        """What one side offers, ``Sent`` or ``Rcvd``."""
        window = frame.number("tcp.window_size")
        self.values[f"CurRwin{way}"] = window
        self.values[f"MaxRwin{way}"] = max(self.values[f"MaxRwin{way}"], window)
        self.values[f"ZeroRwin{way}"] += not window and not self.was_zero.get(way, True)
        self.was_zero[way] = not window

    def handshake(self, frame: Frame, way: str) -> None:
        """What one side's SYN says."""
        if frame.has("tcp.flags.syn"):
            self.values[f"MSS{way}"] = frame.number("tcp.options.mss_val")
            self.values[f"WinScale{way}"] = frame.number("tcp.options.wscale.shift")
            initial = "SndInitial" if way == "Sent" else "RecInitial"
            self.values[initial] = frame.number("tcp.seq_raw")

    def send(self, frame: Frame) -> None:
        """A frame that left this end. The SYN-ACK is the listener's."""
        values, octets = self.values, frame.number("tcp.len")
        self.handshake(frame, "Sent")
        if self.is_active or not frame.has("tcp.flags.syn"):
            self.add(SegsOut=1, DataSegsOut=bool(octets), HCDataOctetsOut=octets)
            repeated = frame.has("tcp.analysis.retransmission", "tcp.analysis.out_of_order")
            self.add(SegsRetrans=repeated, HCOctetsRetrans=octets * repeated)
        if "SndNxt" not in values or _is_after(frame.after, values["SndNxt"]):
            values["SndNxt"] = frame.after
        values["IpTosOut"] = frame.number("ip.dsfield", "ipv6.tclass")
        self.window(frame, "Sent")
        if not frame.has("tcp.flags.syn"):
            values["RcvNxt"] = frame.number("tcp.ack_raw")
            self.add(ECESent=frame.has("tcp.flags.ece") and not self.was_echo)
            self.was_echo = frame.has("tcp.flags.ece")

    def receive(self, frame: Frame) -> None:
        """A frame that came to this end. Of a passive end's SYN the kernel counts the segment."""
        values, octets = self.values, frame.number("tcp.len")
        self.add(SegsIn=1)
        self.handshake(frame, "Rcvd")
        if frame.has("tcp.flags.syn"):
            self.received = frame.after
        if self.is_active or not frame.has("tcp.flags.syn"):
            self.add(DataSegsIn=bool(octets), HCDataOctetsIn=octets, DataOctetsIn=octets)
            values["IpTtl"] = frame.number("ip.ttl", "ipv6.hlim")
            values["IpTosIn"] = frame.number("ip.dsfield", "ipv6.tclass")
            self.add(CERcvd=values["IpTosIn"] & _CE == _CE)
            self.window(frame, "Rcvd")
        if frame.has("tcp.flags.syn"):
            return
        self.add(ECNsignals=frame.has("tcp.flags.ece"))
        blocks = frame.number("tcp.options.sack.count")
        self.add(SACKsRcvd=bool(blocks), SACKBlocksRcvd=blocks)
        ack = frame.number("tcp.ack_raw")
        # tshark does not ask whether anything is outstanding.
        outstanding = _is_after(values["SndNxt"], ack)
        self.duplicates += frame.has("tcp.analysis.duplicate_ack") and outstanding
        self.overtaken += not octets and _is_after(self.received, frame.after)
        self.received = frame.after if _is_after(frame.after, self.received) else self.received
        if "SndUna" not in values or _is_after(ack, values["SndUna"]):
            values["SndUna"] = ack


def tshark(path: Path, address: str) -> dict[Flow, Values]:
    """By local and remote port: what tshark shows of the ends at this address."""
    argv = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "occurrence=f"]
    found: dict[Flow, _End] = {}
    for line in _lines(*argv, *(word for name in _FIELDS for word in ("-e", name))):
        frame = Frame(zip(_FIELDS, line.split("\t"), strict=True))
        is_ours = address in (frame["ip.src"], frame["ipv6.src"])
        here, there = ("tcp.srcport", "tcp.dstport")[:: 1 if is_ours else -1]
        flow = frame.number(here), frame.number(there)
        end = found.setdefault(flow, _End(is_active=is_ours))
        (end.send if is_ours else end.receive)(frame)
    return {flow: end.told() for flow, end in found.items()}


#: What an end's own column of tcptrace tells, and what the other end's does.
_SENT: Final = {
    "SegsOut": "total_packets",
    "DataSegsOut": "actual_data_pkts",
    "HCDataOctetsOut": "actual_data_bytes",
    "SegsRetrans": "rexmt_data_pkts",
    "HCOctetsRetrans": "rexmt_data_bytes",
    "MSSSent": "mss_requested",
    "WinScaleSent": "adv_wind_scale",
    "MaxMSS": "max_segm_size",
}
_RECEIVED: Final = {
    "SegsIn": "total_packets",
    "DataSegsIn": "actual_data_pkts",
    "HCDataOctetsIn": "actual_data_bytes",
    "SACKsRcvd": "sacks_sent",
    "DSACKDups": "dsack_pkts_sent",
    "MSSRcvd": "mss_requested",
    "WinScaleRcvd": "adv_wind_scale",
}


def tcptrace(path: Path, address: str) -> dict[Flow, Values]:
    """By local and remote port: what tcptrace counts of the ends at this address."""
    lines = [
        line for line in _lines("tcptrace", "-lnrW", "--csv", str(path)) if line.count(",") > 9
    ]
    found: dict[Flow, Values] = {}
    for row in csv.DictReader(lines, skipinitialspace=True):
        is_active = ip_address(row["host_a"].strip()) == ip_address(address)
        ways = ("a2b", "b2a") if is_active else ("b2a", "a2b")
        ports = int(row["port_a"]), int(row["port_b"])
        values = {name: int(row[f"{column}_{ways[0]}"]) for name, column in _SENT.items()}
        values |= {name: int(row[f"{column}_{ways[1]}"]) for name, column in _RECEIVED.items()}
        values["SegsOut"] -= not is_active  # the SYN-ACK is the listener's
        found[ports if is_active else ports[::-1]] = values
    return found
