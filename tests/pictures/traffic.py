"""A minute of a host's connections, made up and always the same, for pictures to be made of."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from bpf.record import CONNECTION, Flag
from diagnosis.observed import LIMITS
from storage.writer import Writer
from tests.cli.story import ACTIVE, ALL, HOSTILE, PASSIVE, connection, one_run, snapshot
from tests.samples import Samples

SECONDS: Final = 60
_MSS: Final = 1448
_ZERO: Final = (
    "SegsRetrans",
    "DSACKDups",
    "CongSignals",
    "CongAvoid",
    "FastRetran",
    "SpuriousFrDetected",
    "Timeouts",
    "SubsequentTimeouts",
    "ZeroRwinRcvd",
    "ZeroRwinSent",
    "DupAcksOut",
    "CurAppWQueue",
    "CurAppRQueue",
    "CurRetxQueue",
    "MaxRetxQueue",
    "Nagle",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A connection: its ends and owner, and by second what it sends, receives and loses.

    ``out`` and ``into`` are octets a second, ``cwnd`` segments, ``rtt`` microseconds, ``limit``
    which of LIMITS is in force.
    """

    local: tuple[str, int]
    remote: tuple[str, int]
    owner: tuple[int, bytes]
    flags: Flag = ACTIVE
    opened: int = 0
    out: Callable[[int], float] = lambda _: 0.0
    into: Callable[[int], float] = lambda _: 0.0
    lost: Callable[[int], int] = lambda _: 0
    cwnd: Callable[[int], int] = lambda _: 10
    rtt: Callable[[int], int] = lambda _: 20_000
    limit: Callable[[int], int] = lambda _: 0


def _sawtooth(second: int) -> int:
    """A window that is halved every quarter of a minute."""
    return 100 + 7 * (second % 15)


_UPLOAD: Final = Flow(
    local=("192.0.2.10", 40312),
    remote=("203.0.113.7", 5001),
    owner=(4120, b"iperf3"),
    out=lambda s: _sawtooth(s) * _MSS / 0.042,
    into=lambda _: 0.0,
    lost=lambda s: 450 if s % 15 == 14 else 0,
    cwnd=_sawtooth,
    rtt=lambda s: 40_000 + 140 * (s % 15),
    limit=lambda _: 1,
)
_FLOWS: Final = (
    _UPLOAD,
    Flow(
        local=("192.0.2.10", 443),
        remote=("198.51.100.23", 52814),
        owner=(871, b"nginx"),
        flags=PASSIVE,
        out=lambda s: 1.9e6 + 4e5 * math.sin(s / 9),
        into=lambda _: 2100.0,
        cwnd=lambda s: 64 + s % 5,
        rtt=lambda s: 118_000 + 400 * (s % 7),
        limit=lambda _: 2,
    ),
    Flow(
        local=("192.0.2.10", 443),
        remote=("198.51.100.150", 60122),
        owner=(871, b"nginx"),
        flags=PASSIVE,
        opened=40,
        out=lambda s: 3e5 * (s % 12 < 4),
        into=lambda s: 900.0 * (s % 12 < 4),
        rtt=lambda _: 31_000,
    ),
    Flow(
        local=("2001:db8:1::10", 443),
        remote=("2001:db8:99:4e::5a2b:17", 49811),
        owner=(871, b"nginx"),
        flags=PASSIVE,
        opened=20,
        out=lambda s: 52_000.0 * (s % 5 == 0),
        into=lambda s: 1_200.0 * (s % 5 == 0),
        rtt=lambda _: 9_400,
    ),
    Flow(
        local=("192.0.2.10", 38990),
        remote=("203.0.113.80", 443),
        owner=(5011, b"apt-get"),
        into=lambda s: 5.2e6 + 9e5 * math.sin(s / 21),
        rtt=lambda _: 14_200,
    ),
    Flow(
        local=("192.0.2.10", 22),
        remote=("198.51.100.4", 51000),
        owner=(912, b"sshd"),
        flags=Flag.BACKFILL,
        out=lambda s: 180.0 * (s % 3 == 0),
        into=lambda s: 60.0 * (s % 3 == 0),
        rtt=lambda _: 27_500,
    ),
    Flow(
        local=("192.0.2.10", 41200),
        remote=("203.0.113.9", 5432),
        owner=(1303, b"postgres"),
        out=lambda _: 6_400.0,
        into=lambda _: 91_000.0,
        rtt=lambda _: 640,
    ),
    Flow(
        local=("192.0.2.10", 40999),
        remote=("203.0.113.66", 6667),
        owner=(6660, HOSTILE),
        out=lambda _: 12.0,
    ),
    Flow(
        local=("192.0.2.10", 41001),
        remote=("203.0.113.66", 6668),
        owner=(6661, b"[red]bold[/]"),
    ),
)


def write_traffic(path: Path, seconds: int = SECONDS) -> None:
    """A snapshot a second, up to so many; two batches were lost in one of them."""
    writer = Writer(path, one_run(0, ALL, {}))
    told = Samples()
    totals: dict[int, dict[str, float]] = {}
    for second in range(1, seconds + 1):
        found = {
            index: _values(flow, second, totals.setdefault(index, {}))
            for index, flow in enumerate(_FLOWS, start=1)
            if flow.opened < second and (second % 10 == 1 or _moves(flow, second))
        }
        born = [
            connection(i, f.local, f.remote, f.flags, opened=f.opened, owner=f.owner)
            for i, f in enumerate(_FLOWS, start=1)
            if f.opened + 1 == second
        ]
        lost = 2 if second == seconds - 30 else 0
        writer.write(snapshot(second, told.of(found), born or [np.zeros(0, CONNECTION)], lost=lost))
    writer.close("stopped")


def _moves(flow: Flow, second: int) -> bool:
    return flow.out(second) > 0 or flow.into(second) > 0


def _values(flow: Flow, second: int, totals: dict[str, float]) -> dict[str, int]:
    """What is known of a connection by then; ``totals`` are its counters so far."""
    sent, received = flow.out(second), flow.into(second)
    passed = second - totals.get("second", second - 1)
    totals["second"] = second
    grown = {
        "HCDataOctetsOut": sent,
        "HCThruOctetsAcked": sent,
        "HCDataOctetsIn": received,
        "HCThruOctetsReceived": received,
        "DataSegsOut": sent / _MSS,
        "SegsOut": sent / _MSS + received / _MSS / 2,
        "DataSegsIn": received / _MSS,
        "SegsIn": received / _MSS + sent / _MSS / 2,
        "SegsRetrans": flow.lost(second),
        "CongSignals": bool(flow.lost(second)),
        "CountRTT": 20,
        "HCSumRTTUs": 20 * flow.rtt(second),
        LIMITS[flow.limit(second)]: passed * 1e6,
    }
    for name in {*LIMITS, *grown}:
        totals[name] = totals.get(name, 0.0) + grown.get(name, 0.0)
    counters = {name: round(total) for name, total in totals.items() if name != "second"}
    return {
        **dict.fromkeys(_ZERO, 0),
        **counters,
        "State": 5,
        "LimState": flow.limit(second),
        "SmoothedRTTUs": flow.rtt(second),
        "MinRTTUs": min(flow.rtt(0), flow.rtt(14)),
        "CurRTOUs": 200_000 + flow.rtt(second),
        "CurCwndSegs": flow.cwnd(second),
        "CurMSS": _MSS,
        "CurRwinRcvd": 262_144,
        "CurRwinSent": 65_536,
    }
