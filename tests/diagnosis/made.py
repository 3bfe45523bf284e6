"""Made-up observations: a bulk transfer for ten seconds, and what a test changes of it."""

from collections.abc import Mapping
from typing import Any

from bpf.catalogue import BY_NAME
from bpf.variable import Kind
from diagnosis.observed import LIMITS, VARIABLES, Observed, Spread
from storage.question import Sample

SECOND = 1_000_000
MSS = 1448
START_US = 1_700_000_000 * SECOND

#: Ten thousand segments in ten seconds, a round trip of 20 ms that has no queue, nothing lost.
PLAIN: Mapping[str, Any] = {
    **dict.fromkeys(LIMITS, 0),
    "HCDataOctetsOut": 10_000 * MSS,
    "HCThruOctetsReceived": 0,
    "DataSegsOut": 10_000,
    "DataSegsIn": 0,
    "SegsRetrans": 0,
    "DSACKDups": 0,
    "CongSignals": 0,
    "CongAvoid": 50,
    "FastRetran": 0,
    "SpuriousFrDetected": 0,
    "Timeouts": 0,
    "SubsequentTimeouts": 0,
    "HCSumRTTUs": 5000 * 20_000,
    "CountRTT": 5000,
    "ZeroRwinRcvd": 0,
    "ZeroRwinSent": 0,
    "DupAcksOut": 0,
    "LimState": [0],
    "MinRTTUs": [20_000],
    "SmoothedRTTUs": [20_000],
    "RcvRTT": [20_000],
    "CurRTOUs": [220_000],
    "CurMSS": [MSS],
    "Nagle": [1],
    "CurRetxQueue": [0, 0, 20 * MSS, 0],
    "MaxRetxQueue": [40 * MSS],
    "CurAppWQueue": [0, 100_000],
    "CurAppRQueue": [0],
    "CurRwinRcvd": [500_000],
    "CurRwinSent": [64_512],
}


def made(*, seconds: float = 10, born: bool = False, without: str = "", **changed: Any) -> Observed:
    """That transfer with other values; counters are growth, gauges lists of equal times.

    ``cwnd``, ``rwin``, ``snd``, ``startup``, ``tsodefer`` and ``pace`` are shares of the time.
    """
    length_us = round(seconds * SECOND)
    values = dict(PLAIN)
    for name in LIMITS:
        share = changed.pop(name.removeprefix("SndLimTime").removesuffix("Us").lower(), 0)
        values[name] = round(share * length_us)
    values |= changed
    for name in without.split():
        del values[name]
    kinds = {name: BY_NAME[name.lower()].kind for name in values}
    return Observed(
        length_us=length_us,
        grown={n: v for n, v in values.items() if kinds[n] is Kind.COUNTER},
        seen={
            n: Spread([(each, SECOND) for each in v])
            for n, v in values.items()
            if kinds[n] is not Kind.COUNTER
        },
        born=born,
    )


def sample(
    at: float, base: Mapping[str, int | None] | None, base_at: float | None, **values: int | None
) -> Sample:
    """One sample of a connection opened at second 0, as a reader gives it; unnamed values are 0."""

    def row(named: Mapping[str, int | None]) -> tuple[int | None, ...]:
        return tuple(named.get(v.name, 0) for v in VARIABLES)

    taken_us = START_US + round(at * SECOND)
    return Sample(
        connection={"ConnectIndex": 1, "opened_us": START_US, "closed_us": None},
        taken_us=taken_us,
        as_of_us=taken_us,
        values=row(values),
        base=None if base is None else row(base),
        base_us=None if base_at is None else START_US + round(base_at * SECOND),
    )
