"""What is known of one connection in a period: how counters grew, and where gauges stood.

Counters count by the difference from the sample that stood when the period began, so nothing of
before is in it. Gauges are those of the samples in the period, each for as long as it stood. A
maximum or minimum of the catalogue is of the connection's whole life: the shortest round trip is
wanted like that, and the most that was on the way is asked for of connections only that were opened
in the period.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bpf.catalogue import BY_NAME
from bpf.variable import Kind, Variable
from storage.question import Sample, Value

#: The times in which RFC 4898 shares out a sender's life, finer than there; by LimState.
LIMITS: Final = (
    "SndLimTimeSndUs",
    "SndLimTimeCwndUs",
    "SndLimTimeRwinUs",
    "SndLimTimeStartupUs",
    "SndLimTimeTSODeferUs",
    "SndLimTimePaceUs",
)
_NAMES: Final = (
    *LIMITS,
    "LimState",
    "HCDataOctetsOut",
    "HCThruOctetsReceived",
    "DataSegsOut",
    "DataSegsIn",
    "SegsRetrans",
    "DSACKDups",
    "CongSignals",
    "CongAvoid",
    "FastRetran",
    "SpuriousFrDetected",
    "Timeouts",
    "SubsequentTimeouts",
    "HCSumRTTUs",
    "CountRTT",
    "MinRTTUs",
    "SmoothedRTTUs",
    "RcvRTT",
    "CurRTOUs",
    "CurMSS",
    "Nagle",
    "CurRetxQueue",
    "MaxRetxQueue",
    "CurAppWQueue",
    "CurAppRQueue",
    "CurRwinRcvd",
    "CurRwinSent",
    "ZeroRwinRcvd",
    "ZeroRwinSent",
    "DupAcksOut",
)
#: All that a diagnosis looks at.
VARIABLES: Final[tuple[Variable, ...]] = tuple(BY_NAME[name.lower()] for name in _NAMES)

#: Of ends at which nobody looked (docs/schema.md).
_UNSEEN_ENDS: Final = ("gone", "close not seen")


@dataclass(frozen=True, slots=True)
class Spread:
    """The values of a gauge, each with the microseconds for which it stood."""

    values: Sequence[tuple[int, int]]

    @property
    def high(self) -> int:
        """The largest value."""
        return max(value for value, _ in self.values)

    @property
    def low(self) -> int:
        """The smallest value."""
        return min(value for value, _ in self.values)

    @property
    def last(self) -> int:
        """The newest value."""
        return self.values[-1][0]

    @property
    def median(self) -> int:
        """The value below which the gauge stood for half of the time."""
        half = sum(stood for _, stood in self.values) / 2
        for value, stood in sorted(self.values):
            half -= stood
            if half <= 0:
                return value
        return self.high

    def share(self, holds: Callable[[int], bool]) -> float:
        """The share of the time in which the value had this property; 0 of no time."""
        total = sum(stood for _, stood in self.values)
        held = sum(stood for value, stood in self.values if holds(value))
        return held / total if total else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One connection in a period; what is unknown is missing.

    ``length_us`` is how long it lived in the period, ``grown`` has the growth of counters, ``seen``
    the gauges, ``born`` says whether it was opened in the period.
    """

    length_us: int
    grown: Mapping[str, int] = field(default_factory=dict[str, int])
    seen: Mapping[str, Spread] = field(default_factory=dict[str, Spread])
    born: bool = False

    @classmethod
    def still(cls, length_us: int, values: Sequence[Value] = ()) -> "Observed":
        """One of which the period has no sample: nothing changed, it stands at ``values``.

        They are those of VARIABLES; without them nothing is known but that nothing passed.
        """
        length_us = max(length_us, 0)
        grown = {"HCDataOctetsOut": 0, "HCThruOctetsReceived": 0}
        known = [
            pair for pair in zip(VARIABLES, values, strict=bool(values)) if pair[1] is not None
        ]
        grown |= {variable.name: 0 for variable, _ in known if variable.kind is Kind.COUNTER}
        seen = {
            variable.name: Spread([(value, length_us)])
            for variable, value in known
            if variable.kind is not Kind.COUNTER and isinstance(value, int)
        }
        if values:
            _add_standing(grown, _limit(values), length_us)
        return cls(length_us=length_us, grown=grown, seen=seen)

    def stood(self, *gauges: str) -> list[bool]:
        """Of each whether it stood above 0 for most of the time; not if that is unknown."""
        return [name in self.seen and self.seen[name].median > 0 for name in gauges]

    def lacks(self, names: Iterable[str]) -> list[str]:
        """Those of these variables that are unknown."""
        return [name for name in names if name not in self.grown and name not in self.seen]

    @property
    def sent(self) -> int:
        """Octets of data sent, repeats included."""
        return self.grown.get("HCDataOctetsOut", 0)

    @property
    def received(self) -> int:
        """Octets of data received in order."""
        return self.grown.get("HCThruOctetsReceived", 0)


def observed(samples: Sequence[Sample], started_us: int, ended_us: int) -> Observed:
    """What a connection's samples in a period say, in their order; there is one at least.

    ``started_us`` is the beginning of the period, ``ended_us`` its end or that of the connection.
    """
    first, last = samples[0], samples[-1]
    opened_us = int(first.connection["opened_us"])
    begin_us = max(started_us, opened_us)
    base, base_us = first.base, first.base_us
    born = opened_us >= started_us
    if base is None or base_us is None or _is_unknown(base):  # found: what was before is unknown
        base, base_us, begin_us, born = first.values, first.as_of_us, first.as_of_us, False
        if last.connection.get("close_reason") in _UNSEEN_ENDS and last.values == base:
            ended_us = begin_us  # its last sample is its first one once more
    length_us = max(ended_us - begin_us, 0)
    grown = dict(_growths(base, last.values))
    seen = dict(_spreads(samples, ended_us))
    _add_standing(grown, _limit(base), min(base_us - begin_us, 0))
    _add_standing(grown, _limit(last.values), max(ended_us - last.as_of_us, 0))
    return Observed(length_us=length_us, grown=grown, seen=seen, born=born)


def _is_unknown(base: Sequence[Value]) -> bool:
    return all(value is None for value in base)


def _growths(base: Sequence[Value], now: Sequence[Value]) -> Iterable[tuple[str, int]]:
    for variable, start, end in zip(VARIABLES, base, now, strict=True):
        if variable.kind is not Kind.COUNTER:
            continue
        if isinstance(start, int) and isinstance(end, int):
            growth = variable.growth(end, start)
            if 2 * growth < variable.modulus:  # more is a counter that has begun again
                yield variable.name, growth


def _spreads(samples: Sequence[Sample], ended_us: int) -> Iterable[tuple[str, Spread]]:
    moments = [max(s.as_of_us, 0) for s in samples]
    stood = [max(b - a, 0) for a, b in zip(moments, [*moments[1:], ended_us], strict=True)]
    for place, variable in enumerate(VARIABLES):
        if variable.kind is Kind.COUNTER:
            continue
        values = (
            (value, time)
            for sample, time in zip(samples, stood, strict=True)
            if isinstance(value := sample.values[place], int)
        )
        if found := list(values):
            yield variable.name, Spread(found)


def _limit(values: Sequence[Value]) -> str | None:
    """The time that was running at a sample."""
    state = values[_NAMES.index("LimState")]
    return LIMITS[state] if isinstance(state, int) and 0 <= state < len(LIMITS) else None


def _add_standing(grown: dict[str, int], limit: str | None, length_us: int) -> None:
    """Nothing happened between a sample and the edge of the period: its limit was in force.

    What lay before the beginning is taken away (a negative length), never more than there is.
    """
    if limit is not None and limit in grown:
        grown[limit] = max(grown[limit] + length_us, 0)
