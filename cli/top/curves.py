"""Curves in one line of text: how a variable went in a stretch of time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bpf.variable import Kind, Variable
from storage.question import Sample

#: From nothing to the most, each level a character. What is unknown is a blank.
BLOCKS: Final = "▁▂▃▄▅▆▇█"
ASCII: Final = "_.:-=+*#"


@dataclass(frozen=True, slots=True)
class Stretch:
    """A value that stood, or a rate that was, from one time to another (UTC microseconds)."""

    from_us: int
    to_us: int
    value: float


def stretches(
    samples: Sequence[Sample], place: int, variable: Variable, ended_us: int
) -> list[Stretch]:
    """One variable in a connection's samples, in their order: a counter's rates, a gauge's values.

    ``place`` is where the samples have it. A gauge stands until the next sample, and the last one
    until ``ended_us``; a counter did not move in that time.
    """
    found: list[Stretch] = []
    for number, sample in enumerate(samples):
        value, here_us = sample.values[place], sample.as_of_us
        is_last = number + 1 == len(samples)
        next_us = ended_us if is_last else samples[number + 1].as_of_us
        if not isinstance(value, int):
            continue
        if variable.kind is not Kind.COUNTER:
            found.append(Stretch(here_us, next_us, value))
            continue
        base = None if sample.base is None else sample.base[place]
        if isinstance(base, int) and sample.base_us is not None and sample.base_us < here_us:
            rate = variable.growth(value, base) * 1e6 / (here_us - sample.base_us)
            found.append(Stretch(sample.base_us, here_us, rate))
        if is_last and next_us > here_us:
            found.append(Stretch(here_us, next_us, 0.0))
    return found


def buckets(found: Sequence[Stretch], from_us: int, to_us: int, count: int) -> list[float | None]:
    """So many points of a curve, each the mean over its part of the time; None where unknown."""
    length = (to_us - from_us) / count
    sums, times = [0.0] * count, [0.0] * count
    for each in found:
        first = max(int((each.from_us - from_us) / length), 0)
        last = min(int((each.to_us - from_us) / length), count - 1)
        for place in range(first, last + 1):
            begin, end = from_us + place * length, from_us + (place + 1) * length
            held = min(each.to_us, end) - max(each.from_us, begin)
            if held > 0:
                sums[place] += each.value * held
                times[place] += held
    return [total / time if time else None for total, time in zip(sums, times, strict=True)]


def sparkline(points: Sequence[float | None], levels: str = BLOCKS) -> str:
    """A character for each point: the lowest level is 0, the highest the largest of them."""
    most = max((p for p in points if p is not None), default=0.0)
    top = len(levels) - 1

    def level(point: float | None) -> str:
        if point is None:
            return " "
        if point <= 0 or most <= 0:
            return levels[0]
        return levels[max(1, round(point / most * top))]

    return "".join(map(level, points))
