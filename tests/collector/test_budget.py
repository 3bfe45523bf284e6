"""The budget's rule, against models of a load: it comes down, stays there, and goes back."""

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.budget import SAMPLED_MAX, Budget, Setting, steps

BUDGET = 0.02
FLUSH_US, FLUSH_US_MAX = 250_000, 2_000_000
SAMPLING = SAMPLED_MAX.bit_length() - 1  # steps of it
CALM = 5  # looks from one step back to the next

#: What a load costs under a setting, at one look.
Plant = Callable[[Setting], float]


def budget() -> Budget:
    """As a run begins."""
    return Budget(BUDGET, FLUSH_US, FLUSH_US_MAX)


def proportional(flushes: float, connections: float, rest: float = 0.0) -> Plant:
    """A share that batches take, one that new connections take, and one that nothing changes."""
    return lambda s: flushes * FLUSH_US / s.flush_us + connections / s.sampled + rest


def look(made: Budget, share: float) -> Setting:
    """One look, as long as the budget asks for; the setting after it."""
    made.take(share, whole=made.is_doubtful)
    return made.setting


def run(made: Budget, plant: Plant, looks: int) -> list[Setting]:
    """The settings after each of so many looks."""
    return [look(made, plant(made.setting)) for _ in range(looks)]


def changes(settings: list[Setting]) -> int:
    """How often the setting became another one."""
    return sum(a != b for a, b in pairwise(settings))


def test_the_flush_interval_comes_before_sampling() -> None:
    """Doubled up to its longest; then of new connections a half, a quarter, and so on."""
    made = steps(FLUSH_US, FLUSH_US_MAX)
    assert [s.flush_us for s in made[:4]] == [250_000, 500_000, 1_000_000, 2_000_000]
    assert {s.flush_us for s in made[4:]} == {FLUSH_US_MAX}
    assert [s.sampled for s in made] == [1, 1, 1, 1, 2, 4, 8, 16, 32, 64]


@given(st.integers(1_000, 10**7), st.integers(1_000, 10**7))
def test_no_step_more_than_halves(flush_us: int, flush_us_max: int) -> None:
    """Whatever was asked for: so one back at most doubles the cost."""
    made = steps(flush_us, flush_us_max)
    assert made[0] == Setting(flush_us)
    assert made[-1] == Setting(max(flush_us, flush_us_max), SAMPLED_MAX)
    for a, b in pairwise(made):
        assert a != b
        assert b.flush_us <= 2 * a.flush_us and b.sampled <= 2 * a.sampled
        assert (b.flush_us, b.sampled) >= (a.flush_us, a.sampled)


def test_within_the_budget_nothing_changes() -> None:
    """Nor is a longer look asked for."""
    made = budget()
    assert changes(run(made, proportional(0, BUDGET), 100)) == 0
    assert made.setting == Setting(FLUSH_US)
    assert not made.is_doubtful


def test_a_short_look_takes_nothing_away() -> None:
    """It may have met a burst: a long one is asked for, and that one decides."""
    made = budget()
    for _ in range(10):
        made.take(10 * BUDGET, whole=False)
        assert made.is_doubtful
        assert made.setting == Setting(FLUSH_US)
        made.take(BUDGET / 2, whole=True)
        assert not made.is_doubtful
    made.take(10 * BUDGET, whole=False)
    made.take(10 * BUDGET, whole=True)
    assert made.setting == Setting(2 * FLUSH_US)


def test_batches_that_cost_too_much_lengthen_the_flush_interval_and_no_more() -> None:
    """As long as it needs to be."""
    made = budget()
    run(made, proportional(flushes=3 * BUDGET, connections=0), 50)
    assert made.setting == Setting(4 * FLUSH_US)


def test_connections_that_cost_too_much_are_sampled() -> None:
    """One step in three looks, until it is enough."""
    made = budget()
    settings = run(made, proportional(flushes=0, connections=5 * BUDGET), 60)
    assert made.setting == Setting(FLUSH_US_MAX, 8)
    assert [settings.count(Setting(FLUSH_US_MAX, n)) for n in (2, 4)] == [3, 3]


def test_what_cannot_be_kept_ends_at_the_last_step() -> None:
    """There is nothing more to be decided, so no long looks are asked for."""
    made = budget()
    run(made, proportional(0, 0, rest=2 * BUDGET), 100)
    assert made.setting == Setting(FLUSH_US_MAX, SAMPLED_MAX)
    assert not made.is_doubtful


@given(
    flushes=st.floats(0, 20 * BUDGET),
    connections=st.floats(0, 40 * BUDGET),
    rest=st.floats(0, BUDGET / 2),
    seed=st.integers(0, 1 << 32),
)
def test_a_steady_load_is_kept_within_the_budget_without_a_step_to_and_fro(
    flushes: float, connections: float, rest: float, seed: int
) -> None:
    """Whatever its parts, and though each look is wrong by up to a tenth."""
    noise = random.Random(seed)  # noqa: S311  (no secret)
    plant = proportional(flushes, connections, rest)
    made = budget()
    settings = run(made, lambda s: plant(s) * noise.uniform(0.9, 1.1), 200)
    last = steps(FLUSH_US, FLUSH_US_MAX)[-1]
    assert plant(made.setting) <= BUDGET / 0.9 or made.setting == last
    for a, b in pairwise(settings):
        assert (a.flush_us, a.sampled) <= (b.flush_us, b.sampled)


@pytest.mark.parametrize("lifetime", [2, 5, 20, 60])
def test_a_load_that_follows_late_is_no_pendulum(lifetime: int) -> None:
    """Sampling acts as tracked connections end: it may go too far, and comes back, once."""
    made = budget()
    cost = aim = 4 * BUDGET
    settings: list[Setting] = []
    for _ in range(40 * lifetime):
        settings.append(look(made, cost))
        cost += (aim / made.setting.sampled - cost) / lifetime
    end = settings[-10 * lifetime :]
    assert max(s.sampled for s in end) <= 4 * min(s.sampled for s in end)
    assert cost <= 2 * BUDGET


def test_what_was_taken_away_comes_back_in_the_opposite_order() -> None:
    """Step by step, each after a while of calm; sampling first, the flush interval last."""
    made = budget()
    up = [made.setting, *run(made, proportional(0, 100 * BUDGET), 100)]
    down = run(made, proportional(0, 0), CALM * (len(steps(FLUSH_US, FLUSH_US_MAX)) - 1))
    assert list(dict.fromkeys(down)) == list(dict.fromkeys(up))[::-1]
    assert {down.count(s) for s in set(down) - {down[0], down[-1]}} == {CALM}
    assert made.setting == Setting(FLUSH_US)


def test_between_low_and_the_budget_it_waits() -> None:
    """A step back would go over it; and calm that is interrupted begins anew."""
    made = budget()
    run(made, proportional(0, 4 * BUDGET), 50)
    before = made.setting
    run(made, lambda _: 0.41 * BUDGET, 50)
    assert made.setting == before
    for _ in range(10):
        run(made, lambda _: 0.3 * BUDGET, CALM - 1)
        run(made, lambda _: 0.5 * BUDGET, 1)
    assert made.setting == before
