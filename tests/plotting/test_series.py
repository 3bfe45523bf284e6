"""From samples to lines: where they break, and what a rate is taken over."""

from collections.abc import Sequence
from typing import Any, Final

import pytest

from bpf.catalogue import BY_NAME
from bpf.variable import Variable
from plotting.series import Looks, Stretch, Track, drawn, joined, known, marks, shares
from storage.question import Cut, Sample, Thinned, Value

SECOND: Final = 1_000_000
OCTETS, SEGMENTS = BY_NAME["hcdataoctetsout"], BY_NAME["segsretrans"]
CWND, SSTHRESH = BY_NAME["curcwnd"], BY_NAME["curssthresh"]


def looks(*seconds: int, to: int, thinned: Sequence[Thinned] = ()) -> Looks:
    """Of a collector with a snapshot at each of these seconds, and an interval of one."""
    return Looks.of([Cut(s * SECOND, SECOND) for s in seconds], 0, to * SECOND, thinned)


def track(
    *values: tuple[float, Value], ended: float, opened: float = 0, born: bool = True
) -> Track:
    """A connection that had a variable's values at these seconds."""
    row: dict[str, Any] = {"opened_us": round(opened * SECOND)}
    samples: list[Sample] = []
    base: tuple[Value, ...] = (0 if born else None,)
    base_us = row["opened_us"] if born else None
    for second, value in values:
        at = round(second * SECOND)
        samples.append(Sample(row, at, min(at, round(ended * SECOND)), (value,), base, base_us))
        base, base_us = (value,), at
    before = samples[0].base if samples else None
    return Track(
        row, samples, round(ended * SECOND), before, samples[0].base_us if samples else None
    )


def told(stretches: Sequence[Stretch]) -> list[tuple[float, float, float]]:
    """From and to in seconds, and the value."""
    return [(s.from_us / SECOND, s.to_us / SECOND, s.value) for s in stretches]


def test_a_gauge_stands_until_its_next_sample_and_to_the_end() -> None:
    """Its value at birth is not known, though a counter's is."""
    one = track((1, 10), (4, 20), ended=5)
    assert told(drawn(CWND, 0, one, looks(1, 2, 3, 4, 5, to=5))) == [(1, 4, 10), (4, 5, 20)]


def test_what_stood_before_the_period_is_drawn_from_its_beginning() -> None:
    """The sample before the period is the base of the first one in it."""
    row = {"opened_us": -9 * SECOND}
    sample = Sample(row, 2 * SECOND, 2 * SECOND, (20,), (10,), -5 * SECOND)
    one = Track(row, [sample], 3 * SECOND, (10,), -5 * SECOND)
    assert told(drawn(CWND, 0, one, looks(1, 2, 3, to=3))) == [(0, 2, 10), (2, 3, 20)]


def test_a_connection_without_samples_in_the_period_stands_still() -> None:
    """A gauge where it was, a counter at nothing a second."""
    still = Track({"opened_us": -9 * SECOND}, (), 3 * SECOND, (7,), -5 * SECOND)
    assert told(drawn(CWND, 0, still, looks(1, 2, 3, to=3))) == [(0, 3, 7)]
    assert told(drawn(OCTETS, 0, still, looks(1, 2, 3, to=3))) == [(0, 3, 0)]


def test_a_counter_grew_in_the_interval_of_its_snapshot() -> None:
    """Silent snapshots have no sample: in them nothing came, and the rate after is no mean."""
    one = track((1, 100), (5, 500), ended=7)
    assert told(drawn(OCTETS, 0, one, looks(1, 2, 3, 4, 5, 6, 7, to=7))) == [
        (0, 1, 100),
        (1, 4, 0),
        (4, 5, 400),
        (5, 7, 0),
    ]


def test_lines_break_where_no_snapshot_was_taken() -> None:
    """A gauge is not held through it, a rate across it is not told, and it is a hole."""
    seen = looks(1, 2, 5, 6, to=6)
    assert seen.holes == [(2 * SECOND, 4 * SECOND)]
    gauge = drawn(CWND, 0, track((1, 10), (6, 20), ended=6), seen)
    assert told(gauge) == [(1, 2, 10), (4, 6, 10), (6, 6, 20)]
    assert len(list(joined(gauge))) == 2
    rates = drawn(OCTETS, 0, track((1, 100), (5, 500), (6, 700), ended=6), seen)
    assert told(rates) == [(0, 1, 100), (1, 2, 0), (5, 6, 200)]


def test_what_stood_before_a_hole_is_not_said_to_have_stood_after_it() -> None:
    """The next snapshot has another value, and when it came to be that, nobody saw."""
    one = track((1, 10), (5, 20), ended=6)
    assert told(drawn(CWND, 0, one, looks(1, 2, 5, 6, to=6))) == [(1, 2, 10), (5, 6, 20)]


def test_what_was_lost_in_a_hole_is_marked_all_the_same() -> None:
    """The counter says so afterwards."""
    one = track((1, 2), (5, 9), ended=6)
    assert [(m.at_us, m.count) for m in marks(SEGMENTS, 0, one, looks(1, 5, 6, to=6))] == [
        (SECOND, 2),
        (5 * SECOND, 7),
    ]


def test_two_runs_have_a_hole_between_them() -> None:
    """Nobody looked before the first, between the two, and after the second."""
    seen = looks(2, 3, 10, 11, to=13)
    assert [(a / SECOND, b / SECOND) for a, b in seen.holes] == [(0, 1), (3, 9), (11, 13)]


def test_a_clock_that_wavers_makes_no_hole() -> None:
    """Cuts are timed by one clock and dated by another."""
    cuts = [Cut(s * SECOND + s % 2 * 20_000, SECOND) for s in range(1, 6)]
    assert Looks.of(cuts, 0, 5 * SECOND).holes == []


@pytest.mark.parametrize(
    ("variable", "start", "end"),
    [(SEGMENTS, 2**32 - 3, 4), (OCTETS, 2**64 - 3, 4)],
    ids=lambda each: each.name if isinstance(each, Variable) else "",
)
def test_a_counter_wraps_at_its_own_width(variable: Variable, start: int, end: int) -> None:
    """Seven more, and no fall."""
    one = track((1, start), (2, end), ended=2, born=False)
    assert told(drawn(variable, 0, one, looks(1, 2, to=2))) == [(1, 2, 7)]


def test_a_counter_that_began_again_has_no_rate() -> None:
    """Less than before is not nearly 2**64 more."""
    one = track((1, 500), (2, 4), ended=2, born=False)
    assert drawn(OCTETS, 0, one, looks(1, 2, to=2)) == []


def test_unknown_values_are_not_drawn() -> None:
    """Neither they nor what would be counted from them."""
    one = track((1, None), (2, 10), (3, None), (4, 30), ended=4)
    seen = looks(1, 2, 3, 4, to=4)
    assert told(drawn(CWND, 0, one, seen)) == [(2, 3, 10), (4, 4, 30)]
    assert drawn(OCTETS, 0, one, seen) == []


def test_an_infinite_threshold_is_not_drawn() -> None:
    """It is what the kernel says before the first loss."""
    one = track((1, 2**32 - 1), (2, 9000), ended=3)
    assert told(drawn(SSTHRESH, 0, one, looks(1, 2, 3, to=3))) == [(2, 3, 9000)]


def test_a_round_trip_that_was_not_measured_is_not_drawn() -> None:
    """0 is no time in which anything came back."""
    assert known(BY_NAME["smoothedrttus"], 0) is None
    assert known(CWND, 0) == 0


def test_one_sample_is_enough_and_none_is_nothing() -> None:
    """A connection that closed at its first sample has a point."""
    seen = looks(1, 2, to=2)
    assert told(drawn(CWND, 0, track((1, 10), ended=1), seen)) == [(1, 1, 10)]
    nothing = Track({"opened_us": 0}, (), 2 * SECOND)
    assert drawn(CWND, 0, nothing, seen) == drawn(OCTETS, 0, nothing, seen) == []


def test_the_rest_before_an_end_is_told_with_the_interval_before() -> None:
    """A millisecond of life has no rate of its own."""
    one = track((1, 1000), (2, 1010), ended=1.01)
    ((begin, end, rate),) = told(drawn(OCTETS, 0, one, looks(1, 2, to=2)))
    assert (begin, end) == (0, 1.01)
    assert rate == pytest.approx(1000)


def test_thinned_history_grows_from_the_beginning_of_its_step() -> None:
    """Another connection's sample, for which a snapshot was kept, makes no interval of ours."""
    thinned = [Thinned(60 * SECOND, 120 * SECOND)]
    cuts = [Cut(57 * SECOND, 57 * SECOND), Cut(59 * SECOND, 2 * SECOND), Cut(60 * SECOND, SECOND)]
    cuts += [Cut(118 * SECOND, 58 * SECOND), Cut(120 * SECOND, 2 * SECOND)]
    seen = Looks.of(cuts, 0, 120 * SECOND, thinned)
    one = track((59, 590), (118, 590 + 580), ended=120)
    assert told(drawn(OCTETS, 0, one, seen)) == [
        (0, 59, 10),
        (59, 60, 0),
        (60, 118, 10),
        (118, 120, 0),
    ]


def test_times_that_share_out_a_life_tell_of_all_since_the_sample_before() -> None:
    """They are written late; a share that spans a hole is not told."""
    row = {"opened_us": 0}
    pair = BY_NAME["sndlimtimesndus"], BY_NAME["sndlimtimecwndus"]
    samples = [
        Sample(row, 3 * SECOND, 3 * SECOND, (1 * SECOND, 2 * SECOND), (0, 0), 0),
        Sample(row, 6 * SECOND, 6 * SECOND, (9 * SECOND, 9 * SECOND), (SECOND, SECOND), 3 * SECOND),
    ]
    found = shares(pair, (0, 1), Track(row, samples, 6 * SECOND), looks(1, 2, 3, 6, to=6))
    ((begin, end, parts),) = found
    assert (begin, end) == (0, 3 * SECOND)
    assert parts == pytest.approx((1 / 3, 2 / 3))
