"""From samples to differences over a period: edges, restarts, and what stood meanwhile."""

from dataclasses import replace

import pytest

from diagnosis.observed import Spread, observed
from tests.diagnosis.made import SECOND, START_US, sample


def at(second: float) -> int:
    """A second of the connection's life, as UTC microseconds."""
    return START_US + round(second * SECOND)


def test_a_counter_counts_from_the_sample_that_stood_when_the_period_began() -> None:
    """What was before is not in it, whatever the totals are."""
    first = sample(12, {"DataSegsOut": 900}, 9, DataSegsOut=950)
    last = sample(19, {"DataSegsOut": 950}, 12, DataSegsOut=1000)
    seen = observed([first, last], at(10), at(20))
    assert seen.grown["DataSegsOut"] == 100
    assert seen.length_us == 10 * SECOND
    assert not seen.born


def test_time_outside_the_period_belongs_to_no_share() -> None:
    """The limit that was in force is cut at the beginning, and goes on to the end."""
    before = {"SndLimTimeSndUs": 2 * SECOND, "LimState": 0}
    only = sample(15, before, 4, SndLimTimeSndUs=12 * SECOND, SndLimTimeCwndUs=SECOND, LimState=1)
    seen = observed([only], at(10), at(20))
    assert seen.grown["SndLimTimeSndUs"] == 4 * SECOND
    assert seen.grown["SndLimTimeCwndUs"] == 6 * SECOND


def test_a_connection_of_the_period_counts_from_nothing() -> None:
    """Its life begins with it, not with the period."""
    seen = observed([sample(3, {}, 0, HCDataOctetsOut=5000)], at(-100), at(4))
    assert (seen.sent, seen.length_us, seen.born) == (5000, 4 * SECOND, True)


def test_one_that_was_found_counts_from_its_first_sample() -> None:
    """Two samples are a difference, one is none."""
    first = sample(50, None, None, HCDataOctetsOut=10**9)
    second = sample(60, None, 50, HCDataOctetsOut=10**9 + 7)
    seen = observed([first, second], at(-100), at(60))
    assert (seen.sent, seen.length_us, seen.born) == (7, 10 * SECOND, False)
    alone = observed([first], at(-100), at(50))
    assert (alone.sent, alone.length_us) == (0, 0)


@pytest.mark.parametrize(("reason", "length_us"), [("gone", 0), ("closed", 2 * SECOND)])
def test_one_that_went_unseen_after_one_look_was_not_idle(reason: str, length_us: int) -> None:
    """Its last sample only repeats the first; one whose end was seen did nothing indeed."""
    looks = [
        replace(sample(t, None, None, HCDataOctetsOut=600), connection=gone(reason))
        for t in (50, 52)
    ]
    assert observed(looks, at(-1), at(52)).length_us == length_us


def gone(reason: str) -> dict[str, object]:
    """The row of a connection that ended like that."""
    return {"ConnectIndex": 1, "opened_us": START_US, "closed_us": at(52), "close_reason": reason}


def test_one_that_was_found_before_birth_was_told_has_unknown_values_for_a_base() -> None:
    """A reader gives unknown values where it has no sample before: the first stands for them."""
    unknown = dict.fromkeys(("HCDataOctetsOut", "LimState"), None)
    first = sample(50, None, None, HCDataOctetsOut=100)
    found = observed([first, sample(51, unknown, 50, HCDataOctetsOut=150)], at(-1), at(51))
    assert found.sent == 50


def test_an_unknown_counter_is_missing_and_one_that_began_again_too() -> None:
    """NULL is no zero, and a total that fell is no growth; a 32-bit one may wrap."""
    base = {"DupAcksOut": 2**32 - 3, "HCSumRTTUs": 10_000, "SegsRetrans": None}
    seen = observed([sample(5, base, 1, DupAcksOut=4, HCSumRTTUs=10, SegsRetrans=3)], at(2), at(5))
    assert seen.lacks(("DupAcksOut", "HCSumRTTUs", "SegsRetrans")) == ["HCSumRTTUs", "SegsRetrans"]
    assert seen.grown["DupAcksOut"] == 7


def test_a_gauge_stands_until_the_next_sample_or_the_end() -> None:
    """Looks at equal times are not supposed; unknown ones are no looks."""
    samples = [
        sample(0, {}, 0, CurRwinRcvd=100),
        sample(1, {}, 0, CurRwinRcvd=0),
        sample(7, {}, 1, CurRwinRcvd=None),
        sample(8, {}, 7, CurRwinRcvd=300),
    ]
    window = observed(samples, at(-1), at(10)).seen["CurRwinRcvd"]
    assert window.values == [(100, SECOND), (0, 6 * SECOND), (300, 2 * SECOND)]
    assert (window.low, window.median, window.high, window.last) == (0, 0, 300, 300)
    assert window.share(lambda value: value == 0) == pytest.approx(6 / 9)


def test_a_gauge_that_stood_for_no_time_has_no_share() -> None:
    """The only sample of a connection that ended with it."""
    assert Spread([(5, 0)]).share(bool) == 0
    assert Spread([(5, 0)]).median == 5
