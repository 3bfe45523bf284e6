"""From a connection's samples to what its values were, and when nobody looked.

A sample stands until the connection's next one: in a snapshot in which it has none, nothing of it
changed. So a gauge keeps its value from one sample to the next, and a counter grew in the interval
of the snapshot that a sample is from, and not in those before. Where no snapshot was taken there is
nothing: neither a value nor a rate reaches into such a hole, and none is told that spans one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bpf.variable import Kind, Variable
from storage.question import Cut, Sample, Thinned, Value

#: From here on a value is the kernel's word for "none".
_INFINITE: Final = {
    "CurSsthresh": (1 << 32) - 1,
    "MinSsthresh": (1 << 32) - 1,
    "CurSsthreshSegs": (1 << 31) - 1,
    "LimCwnd": (1 << 32) - 1,
}
#: Of these 0 is what stands before anything was measured.
_UNMEASURED: Final = frozenset({"SmoothedRTT", "SmoothedRTTUs", "MinRTT", "MinRTTUs", "RcvRTT"})
_SLACK: Final = 0.05  # of an interval: cuts are timed by one clock, and dated by another
_SLACK_US: Final = 20_000


@dataclass(frozen=True, slots=True)
class Stretch:
    """What a variable was from one time to another (UTC microseconds)."""

    from_us: int
    to_us: int
    value: float


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that was counted in the snapshot taken at a time, and how often."""

    at_us: int
    count: int


@dataclass(frozen=True, slots=True)
class Track:
    """A connection in a period: its row, its samples, what stood before them, and its end."""

    connection: Mapping[str, Any]
    samples: Sequence[Sample]
    ended_us: int
    before: Sequence[Value] | None = None
    before_us: int | None = None


@dataclass(frozen=True, slots=True)
class Looks:
    """When somebody looked, between two times: the snapshots, and what history was thinned to."""

    from_us: int
    to_us: int
    intervals: Mapping[int, int] = field(default_factory=dict[int, int])
    holes: Sequence[tuple[int, int]] = ()
    thinned: Sequence[Thinned] = ()

    @classmethod
    def of(
        cls, cuts: Sequence[Cut], from_us: int, to_us: int, thinned: Sequence[Thinned] = ()
    ) -> "Looks":
        """Those that the snapshots were; each tells of the interval before it."""
        intervals = {cut.taken_us: cut.interval_us for cut in cuts}
        return cls(from_us, to_us, intervals, list(_holes(cuts, from_us, to_us)), thinned)

    def without_holes(self, from_us: int, to_us: int) -> Iterator[tuple[int, int]]:
        """The parts of a time in which somebody looked, within the two times."""
        begin, end = max(from_us, self.from_us), min(to_us, self.to_us)
        for hole_from, hole_to in self.holes:
            if hole_to <= begin or hole_from >= end:
                continue
            if hole_from > begin:
                yield begin, hole_from
            begin = hole_to
        if begin < end or begin == from_us == to_us:
            yield begin, end

    def spans_a_hole(self, from_us: int, to_us: int) -> bool:
        """Whether nobody looked for a part of a time."""
        return any(begin < to_us and end > from_us for begin, end in self.holes)

    def next_cut(self, after_us: int) -> int:
        """When the first snapshot after a time was taken; the end, if there is none."""
        return min((taken for taken in self.intervals if taken > after_us), default=self.to_us)

    def began(self, taken_us: int, base_us: int) -> int:
        """When that began which a sample of the snapshot of that time tells of.

        ``base_us`` is the time of the sample before it.
        """
        for part in self.thinned:
            if part.step_us is not None and taken_us <= part.until_us:
                return max(taken_us // part.step_us * part.step_us, base_us)
        interval_us = self.intervals.get(taken_us, 0)
        begin = taken_us - interval_us
        return begin if begin - base_us > _slack_us(interval_us) else base_us


def _slack_us(interval_us: int) -> float:
    return max(_SLACK * interval_us, _SLACK_US)


def _holes(cuts: Sequence[Cut], from_us: int, to_us: int) -> Iterator[tuple[int, int]]:
    """Times that no snapshot tells of, within the two times."""
    seen = sorted((cut.taken_us - cut.interval_us, cut.taken_us, cut.interval_us) for cut in cuts)
    until_us = from_us
    for begin_us, taken_us, interval_us in seen:
        if begin_us - until_us > _slack_us(interval_us):
            yield until_us, min(begin_us, to_us)
        until_us = max(until_us, taken_us)
        if until_us >= to_us:
            return
    if to_us > until_us:
        yield until_us, to_us


def drawn(variable: Variable, place: int, track: Track, looks: Looks) -> list[Stretch]:
    """A variable of a connection over time: rates of a counter, values of anything else.

    ``place`` is where its samples have it. A rate is per second.
    """
    if variable.kind is not Kind.COUNTER:
        return list(_standing(variable, place, track, looks))
    found = list(_growing(variable, place, track, looks))
    return [Stretch(s.from_us, s.to_us, s.value * 1e6 / (s.to_us - s.from_us)) for s in found]


def marks(variable: Variable, place: int, track: Track, looks: Looks) -> list[Mark]:
    """When a counter grew, and by how much; also across a hole, for what was lost was lost."""
    found: list[Mark] = []
    for sample in track.samples:
        grown = _growth(variable, place, sample)
        if grown and looks.from_us <= sample.as_of_us <= looks.to_us:
            found.append(Mark(sample.as_of_us, grown))
    return found


def shares(
    variables: Sequence[Variable], places: Sequence[int], track: Track, looks: Looks
) -> list[tuple[int, int, tuple[float, ...]]]:
    """Of counters that share out the time: from when to when, and each one's share of their sum.

    They tell of all the time since the sample before, in which none of them may have been written.
    """
    found: list[tuple[int, int, tuple[float, ...]]] = []
    for sample in track.samples:
        if sample.base_us is None or looks.spans_a_hole(sample.base_us, sample.as_of_us):
            continue
        grown = [_growth(v, p, sample) for v, p in zip(variables, places, strict=True)]
        known = [value or 0 for value in grown]
        if all(value is None for value in grown) or not sum(known):
            continue
        begin, end = max(sample.base_us, looks.from_us), min(sample.as_of_us, looks.to_us)
        if begin < end:
            found.append((begin, end, tuple(value / sum(known) for value in known)))
    return found


def _standing(variable: Variable, place: int, track: Track, looks: Looks) -> Iterator[Stretch]:
    """Each value for as long as it stood and somebody looked."""
    for begin, end, values in _stood(track):
        value = known(variable, values[place])
        if value is not None:
            for from_us, to_us in looks.without_holes(begin, end):
                # After a hole it stands only if the next snapshot had nothing new to tell.
                if from_us <= max(begin, looks.from_us) or looks.next_cut(from_us) < end:
                    yield Stretch(from_us, to_us, value)


def _stood(track: Track) -> Iterator[tuple[int, int, Sequence[Value]]]:
    """What the connection stood at, from when to when."""
    moments = [sample.as_of_us for sample in track.samples]
    opened_us = track.connection["opened_us"]
    # What stood at birth is nothing, which is right for a counter and no value of a gauge.
    if track.before is not None and track.before_us is not None and track.before_us > opened_us:
        yield track.before_us, (moments or [track.ended_us])[0], track.before
    ends = [*moments, track.ended_us][1:]
    for sample, end in zip(track.samples, ends, strict=True):
        yield sample.as_of_us, max(end, sample.as_of_us), sample.values


def known(variable: Variable, value: Value) -> float | None:
    """A value to be drawn; None if it is unknown, infinite, or not measured yet."""
    if not isinstance(value, int) or value >= _INFINITE.get(variable.name, value + 1):
        return None
    return None if value == 0 and variable.name in _UNMEASURED else float(value)


def _growing(variable: Variable, place: int, track: Track, looks: Looks) -> Iterator[Stretch]:
    """How far a counter came, and in which time; where it did not move, that it did not."""
    last: Stretch | None = None
    for sample in track.samples:
        grown, taken_us = _growth(variable, place, sample), sample.taken_us
        if grown is None or sample.base_us is None or taken_us is None:
            continue
        begin = looks.began(taken_us, sample.base_us)
        for quiet in _quiet(sample.base_us, begin, looks):
            if last is not None:
                yield last
            last = quiet
        if begin >= sample.as_of_us or looks.spans_a_hole(sample.base_us, sample.as_of_us):
            continue
        before, here = _apart(last, Stretch(begin, sample.as_of_us, grown), looks, taken_us)
        if before is not None:
            yield before
        last = here
    if last is not None:
        yield last
    yield from _after(place, track, looks)


def _apart(
    last: Stretch | None, here: Stretch, looks: Looks, taken_us: int
) -> tuple[Stretch | None, Stretch]:
    """A stretch and the one before it; together, if it is but a rest just before an end.

    What was sent before the cut may be told after it, and a rate over next to no time says nothing:
    such a rest is told with the interval before, or with so much of a silence.
    """
    interval_us = looks.intervals.get(taken_us, 0)
    if last is None or last.to_us != here.from_us or 2 * (here.to_us - here.from_us) >= interval_us:
        return last, here
    if last.value:
        return None, Stretch(last.from_us, here.to_us, last.value + here.value)
    begin = max(last.from_us, here.to_us - interval_us)
    quiet = Stretch(last.from_us, begin, 0.0) if begin > last.from_us else None
    return quiet, Stretch(begin, here.to_us, here.value)


def _after(place: int, track: Track, looks: Looks) -> Iterator[Stretch]:
    """That nothing came after the last sample, if what it was is known."""
    if track.samples:
        last = track.samples[-1]
        if isinstance(last.values[place], int):
            yield from _quiet(last.as_of_us, track.ended_us, looks)
    elif track.before is not None and isinstance(track.before[place], int):
        yield from _quiet(max(track.before_us or 0, looks.from_us), track.ended_us, looks)


def _quiet(from_us: int, to_us: int, looks: Looks) -> Iterator[Stretch]:
    if from_us < to_us:
        for begin, end in looks.without_holes(from_us, to_us):
            if begin < end:
                yield Stretch(begin, end, 0.0)


def _growth(variable: Variable, place: int, sample: Sample) -> int | None:
    """How far a counter came since the sample before; None if that is unknown."""
    value, base = sample.values[place], sample.base[place] if sample.base else None
    if not isinstance(value, int) or not isinstance(base, int):
        return None
    grown = variable.growth(value, base)
    return grown if 2 * grown < variable.modulus else None  # more is one that has begun again


def joined(stretches: Sequence[Stretch]) -> Iterator[list[Stretch]]:
    """The runs of stretches that follow on one another: a line is broken between two of them."""
    run: list[Stretch] = []
    for each in stretches:
        if run and each.from_us > run[-1].to_us:
            yield run
            run = []
        run.append(each)
    if run:
        yield run


def extremes(stretches: Iterable[Stretch]) -> tuple[float, float] | None:
    """The least and the most; None of nothing."""
    values = [each.value for each in stretches]
    return (min(values), max(values)) if values else None
