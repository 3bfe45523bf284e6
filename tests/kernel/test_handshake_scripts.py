"""What only the handshake tells, where a script is the other end of it."""

from collections.abc import Iterator

import pytest

from tests.kernel.collecting import Collector, collecting
from tests.kernel.play import MSS, PLAIN, Play
from tests.kernel.script import Wire, scale

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory, link: Wire) -> Iterator[Collector]:
    """One collector for all handshakes."""
    with collecting(tmp_path_factory.mktemp("handshakes"), "--interval", "200ms") as running:
        yield running


@pytest.mark.parametrize("shift", [None, 7], ids=["unscaled", "scaled"])
@pytest.mark.parametrize("buffer", [131072, 1 << 20])
def test_the_window_of_the_answer_to_a_syn_is_the_first_one_sent(
    play: Play, shift: int | None, buffer: int
) -> None:
    """It is never scaled, and stays the largest one if no later segment offers more."""
    sysctl = play.script.link.host.sysctl
    sysctl("net.ipv4.tcp_rmem", f"4096 {buffer} 6291456")
    first = play.listen().call(PLAIN if shift is None else PLAIN + scale(shift)).window
    sysctl("net.ipv4.tcp_rmem", "4096 131072 6291456")
    play.script.send()
    play.opened()
    play.check(CurRwinSent=first, MaxRwinSent=first)
    play.host("send", size=MSS)
    (data,) = play.script.hear_data(MSS)
    second = data.window << (0 if shift is None else play.row()["WinScaleSent"])
    play.check(CurRwinSent=second, MaxRwinSent=max(first, second))
