"""What has to be done to a socket follows from what it is and what it is to be."""

from tests.tuning.states import FRESH, state
from tuning.plan import plan
from tuning.settings import BY_WORD, Value


def planned(socket: object = FRESH, **wanted: Value) -> list[tuple[str, Value, Value]]:
    """What is done, with the settings named as Python can."""
    assert isinstance(socket, type(FRESH))
    settings = {BY_WORD[name.replace("_", "-").lower()]: value for name, value in wanted.items()}
    return [(c.setting.name, c.before, c.wanted) for c in plan(socket, settings)]


def test_what_is_so_already_is_left() -> None:
    """Setting it again would have its side effects again."""
    assert planned(LimCwnd="unlimited", congestion="cubic", pacing="unlimited") == []
    assert planned(congestion="reno", LimCwnd="unlimited") == [("congestion", "cubic", "reno")]


def test_a_window_takes_its_buffer_from_the_kernel() -> None:
    """Unless that was done, or is decided by whoever asks."""
    window = ("LimRwin", 65536, 20000)
    assert planned(LimRwin=20000) == [window, ("rcvbuf-autotuning", "on", "off")]
    assert planned(state(locks=2), LimRwin=20000) == [window]
    assert planned(LimRwin=20000, rcvbuf_autotuning="on") == [window]
    assert planned(LimRwin=20000, rcvbuf=40000) == [window, ("rcvbuf", 131072, 40000)]
    (_, implied) = plan(FRESH, {BY_WORD["limrwin"]: 20000})
    assert "the kernel raises LimRwin again" in implied.because


def test_a_buffer_of_that_size_is_still_to_be_locked() -> None:
    """Who sets a size wants it to stay."""
    assert planned(rcvbuf=131072) == [("rcvbuf", 131072, 131072)]
    assert planned(state(locks=2), rcvbuf=131072) == []
    assert planned(state(locks=2), sndbuf=87040) == [("sndbuf", 87040, 87040)]


def test_what_was_is_planned_like_anything_else() -> None:
    """A revert puts sizes back, and lets the kernel have the buffers again."""
    tuned = state(locks=3, rcvbuf=40000, rwin=20000)
    assert planned(tuned, LimRwin=65536, rcvbuf=131072, rcvbuf_autotuning="on") == [
        ("LimRwin", 20000, 65536),
        ("rcvbuf", 40000, 131072),
        ("rcvbuf-autotuning", "off", "on"),
    ]
