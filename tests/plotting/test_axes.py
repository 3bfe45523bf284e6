"""Axes: units that are read easily, whole steps, and distributions."""

import pytest

from bpf.catalogue import BY_NAME, CATALOGUE
from bpf.variable import SAMPLED
from plotting.distribution import Distribution
from plotting.panels import can_be_drawn
from plotting.scale import scale_of, step_of
from plotting.times import day, ticks
from plotting.units import BITS_A_SECOND, MICROSECONDS, OCTETS, quantity

START = 1_700_000_000_000_000  # 2023-11-14T22:13:20Z
MICRO = "\N{MICRO SIGN}s"


@pytest.mark.parametrize(
    ("unit", "most", "name", "top"),
    [
        (BITS_A_SECOND, 1_250_000, "Mbit/s", 10),
        (BITS_A_SECOND, 10, "bit/s", 80),
        (MICROSECONDS, 42_000, "ms", 60),
        (MICROSECONDS, 900, MICRO, 1000),
        (OCTETS, 140_000, "kB", 150),
    ],
)  # fmt: skip
def test_a_scale_has_the_unit_that_is_read_most_easily(
    unit: object, most: float, name: str, top: float
) -> None:
    """And ends at a whole step."""
    scale = scale_of(unit, [0, most])  # type: ignore[arg-type]
    assert scale.unit == name
    assert scale.top == pytest.approx(top)
    assert most * scale.factor <= scale.top


def test_nothing_and_zero_have_an_axis() -> None:
    """From 0 to 1."""
    assert scale_of(OCTETS, []).top == scale_of(OCTETS, [0]).top == 1
    assert step_of(0, 4) == 1


def test_counters_are_rates_and_times_of_them_shares() -> None:
    """Octets a second are told as bits, microseconds a second in percent."""
    assert quantity(BY_NAME["hcdataoctetsout"]) == BITS_A_SECOND
    waited = quantity(BY_NAME["sndlimtimecwndus"])
    assert waited.scales[0][1] == "%"
    assert 500_000 * waited.factor == pytest.approx(50)
    assert quantity(BY_NAME["segsout"]).scale([5])[1] == "segments/s"


def test_every_variable_that_can_be_drawn_has_a_unit() -> None:
    """Whatever the catalogue says of it."""
    for variable in CATALOGUE:
        if variable.table in SAMPLED and can_be_drawn(variable):
            assert scale_of(quantity(variable), [1, 1000]).top > 0


def test_ticks_of_time_are_at_whole_steps_in_utc() -> None:
    """As many as there is room for."""
    found = ticks(START, START + 60_000_000, 5)
    assert [text for _, text in found] == ["22:13:30", "22:13:45", "22:14:00", "22:14:15"]
    assert all(at % 15_000_000 == 0 for at, _ in found)
    assert ticks(START, START + 400_000, 4)[0][1] == "22:13:20.0"
    assert day((START, START + 86_400_000_000)) == "2023-11-14 to 2023-11-15"


def _over(*values: float) -> Distribution:
    return Distribution.over("X", "some", OCTETS, ((value, 1.0) for value in values))


def test_quantiles_weigh() -> None:
    """A value that stood for longer counts for more; what stood for no time does not."""
    found = Distribution.over("X", "some", OCTETS, [(30, 1.0), (10, 8.0), (20, 1.0), (99, 0.0)])
    assert [found.quantile(q) for q in (0, 0.5, 0.8, 0.9, 1)] == [10, 10, 10, 20, 30]


def test_a_wide_range_has_a_logarithmic_axis() -> None:
    """Of which 0, and what is less than its beginning, is at the left edge."""
    wide, narrow = _over(0, 200, 90_000), _over(0, 40, 90)
    assert (wide.axis.is_log, narrow.axis.is_log) == (True, False)
    assert wide.axis.place(0) == 0
    assert 0 < wide.axis.place(200) < wide.axis.place(90_000) <= 1
    assert _over().weighed == []
