"""Two ways are compared pair by pair, so that what disturbs both halves disturbs nothing."""

import pytest

from bench.pairs import alternate, compare


def test_the_two_ways_take_turns() -> None:
    """The halves of a pair are neighbours in time, or their ratio would mean nothing."""
    order: list[str] = []

    def way(name: str) -> dict[str, float]:
        order.append(name)
        return {"order": len(order)}

    pairs = alternate(lambda: way("a"), lambda: way("b"), pairs=3)

    assert order == ["a", "b"] * 3
    assert pairs[1] == ({"order": 3}, {"order": 4})


def test_the_ratio_is_the_median_of_the_pairs_own_ratios() -> None:
    """Not the ratio of the medians: here the machine is twice as slow in the second pair."""
    pairs = [({"x": 100.0}, {"x": 90.0}), ({"x": 50.0}, {"x": 45.0}), ({"x": 100.0}, {"x": 20.0})]

    found = compare(pairs, "x")

    assert (found.without, found.having, found.pairs) == (100, 45, 3)
    assert found.ratio == pytest.approx(0.9)
    assert found.spread == "0.200 to 0.900"


def test_a_pair_that_lacks_the_figure_is_an_error() -> None:
    """A pair that is left out silently would be a pair chosen."""
    with pytest.raises(KeyError):
        compare([({"x": 1.0}, {"y": 1.0})], "x")
