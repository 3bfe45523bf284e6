"""How far counters came."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpf.catalogue import BY_NAME
from bpf.variable import Variable
from cli.growth import delta, rate

NARROW, WIDE = BY_NAME["segsretrans"], BY_NAME["hcdataoctetsout"]
GAUGE = BY_NAME["curcwnd"]


@pytest.mark.parametrize("counter", [NARROW, WIDE], ids=lambda v: f"{v.bits} bits")
@given(data=st.data())
def test_a_counter_wraps_at_its_own_width(counter: Variable, data: st.DataObject) -> None:
    """Whatever it stood at, growing by n shows as n, for all n below its modulus."""
    values = st.integers(0, 2**counter.bits - 1)
    base, grown = data.draw(values), data.draw(values)
    assert delta(counter, (base + grown) % 2**counter.bits, base) == grown


@given(st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=10))
def test_the_deltas_of_a_series_add_up(values: list[int]) -> None:
    """Growth from first to last is the sum of the growth between, modulo 2^32."""
    steps = [delta(NARROW, b, a) for a, b in pairwise(values)]
    total = sum(step for step in steps if isinstance(step, int))
    assert total % 2**32 == delta(NARROW, values[-1], values[0])


def test_what_is_unknown_has_no_growth() -> None:
    """NULL is not 0, neither before nor after."""
    assert delta(NARROW, None, 3) is None
    assert delta(NARROW, 3, None) is None
    assert rate(NARROW, 3, None, 1_000_000) is None


def test_a_rate_is_for_a_second() -> None:
    """It needs a length of time to be spread over."""
    assert rate(NARROW, 7, 2, 2_000_000) == 2.5
    assert rate(NARROW, 7, 2, 0) is None
    assert rate(NARROW, 7, 2, None) is None


def test_a_gauge_stays_as_it_is() -> None:
    """The difference of two windows is no sum of anything."""
    assert delta(GAUGE, 10, 4) == 10
    assert rate(GAUGE, 10, 4, 1_000_000) == 10
