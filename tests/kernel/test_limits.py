"""Who holds the sender back, how its window grows, what its round trips are: known traffic."""

import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.kernel.capture import SYN, Segment, capturing, segments
from tests.kernel.collecting import Collector, Database, Row, collecting, until
from tests.kernel.edges import bulk
from tests.kernel.net import Net
from tests.kernel.relay import Relay, Weather, relayed
from tests.kernel.tcp_info import Witness
from tests.kernel.traffic import Pair, pair
from tests.kernel.validation import Between, Tolerance, agree

pytestmark = pytest.mark.kernel

QUIET_SECONDS = 0.5  # longer than the last delayed acknowledgement takes, and than an RTO here
STATES = ("Rwin", "Cwnd", "Snd", "Startup", "TSODefer", "Pace")
JIFFY_US = 10_000  # at most: the clock of the kernel's own account of what limits the sender
BUSY, RWND_LIMITED = 168, 176  # offsets in struct tcp_info of u64, in microseconds
INITIAL_WINDOW = 10  # segments
PORTS = count(7601)


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """One collector for all tests here; a round trip above 30 ms is a high one."""
    folder = tmp_path_factory.mktemp("limits")
    with collecting(folder, "--rtt-threshold", "30ms") as running:
        yield running


@pytest.fixture(scope="module")
def detour(collector: Collector) -> Iterator[tuple[Net, Relay]]:
    """Two hosts with a relay between them."""
    with relayed() as (net, relay):
        yield net, relay


@pytest.fixture
def far(detour: tuple[Net, Relay]) -> Iterator[Pair]:
    """One connection over the relay, whose weather is fine."""
    net, relay = detour
    relay.weather(Weather())
    with pair(net.client, net.server) as both:
        both.open(net.server, 4, next(PORTS), 1)
        yield both


def witness(peers: Pair) -> Witness:
    """What the kernel says about the client's end."""
    (found,) = peers.client.witnesses()
    return found


def settled(database: Database, peers: Pair) -> Row:
    """The client's row once all is acknowledged and nothing moves."""
    until("the last acknowledgement", lambda: not witness(peers)["tcpi_unacked"])
    time.sleep(QUIET_SECONDS)
    database.catch_up()
    return database.latest(witness(peers).cookie)


def kernels(said: Witness, offset: int) -> int:
    """One of the kernel's own accounts of time, in microseconds."""
    return int.from_bytes(said.raw[offset : offset + 8], "little")


def times(row: Row) -> dict[str, int]:
    """The microseconds in each state."""
    return {state: row[f"SndLimTime{state}Us"] for state in STATES}


def agree_on_rwin(row: Row, said: Witness) -> None:
    """The receiver limited as long as TCP_INFO says, to a jiffy for each period and a tenth."""
    periods: int = row["SndLimTransRwin"]
    within = Tolerance(
        absolute=JIFFY_US * (periods + 1),
        relative=0.1,
        reason="the kernel's clock is its tick, for each period; ours was up to 4 % more",
    )
    limited = kernels(said, RWND_LIMITED)
    agree("TCP_INFO", row, {"SndLimTimeRwinUs": limited}, {"SndLimTimeRwinUs": within})


def check_transitions(row: Row) -> None:
    """A state with time in it was entered; a connection begins in one and leaves it once."""
    for state, spent in times(row).items():
        assert (row[f"SndLimTrans{state}"] > 0) >= (spent > 0), state
    agree("workload", row, {"SndLimTransStartup": 1})


def test_the_states_of_the_sender_share_out_all_time_of_a_connection(
    collector: Collector, detour: tuple[Net, Relay], far: Pair
) -> None:
    """At close the six times add up to the connection's life, and sending was the least of it."""
    detour[1].weather(Weather(delay_ms=20))
    bulk(far.client, far.server, 300_000)
    far.half_close()
    collector.database.catch_up()
    row = collector.database.latest(witness(far).cookie)
    life = row["closed_us"] - row["opened_us"]
    assert abs(sum(times(row).values()) - life) <= len(STATES), "each is rounded down"
    check_transitions(row)


def test_a_sender_with_little_to_say_is_limited_by_itself(collector: Collector, far: Pair) -> None:
    """Lone small writes: from the handshake on all time is the sender's own."""
    for _ in range(10):
        far.client("send", size=3000)
        time.sleep(0.03)
    row = settled(collector.database, far)
    spent = times(row)
    agree("workload", row, {"SndLimTransSnd": 1})
    assert {s for s, us in spent.items() if us} <= {"Snd", "Startup"}
    assert spent["Snd"] > 10 * 30_000


def test_a_full_receiver_is_what_limits_as_long_as_the_kernel_says(
    collector: Collector, detour: tuple[Net, Relay]
) -> None:
    """A reader that pauses: the receiver's window limits as long as in TCP_INFO."""
    net = detour[0]
    net.server.sysctl("net.ipv4.tcp_rmem", "4096 65536 131072")  # soon full
    with pair(net.client, net.server) as peers:
        peers.open(net.server, 4, next(PORTS), 1)
        peers.client.tell("send", size=800_000)
        for _ in range(4):
            time.sleep(QUIET_SECONDS)
            peers.server("receive", size=200_000)
        peers.client.hear()
        row, said = settled(collector.database, peers), witness(peers)
    net.server.sysctl("net.ipv4.tcp_rmem", "4096 131072 6291456")
    assert kernels(said, RWND_LIMITED) > QUIET_SECONDS * 1e6
    agree_on_rwin(row, said)
    check_transitions(row)


def test_a_long_path_is_limited_by_the_congestion_window(
    collector: Collector, detour: tuple[Net, Relay], far: Pair
) -> None:
    """Slow start over 80 ms: what the receiver does not hold up waits most for that window."""
    detour[1].weather(Weather(delay_ms=40))
    bulk(far.client, far.server, 1_500_000)
    row = settled(collector.database, far)
    busy = kernels(witness(far), BUSY) - kernels(witness(far), RWND_LIMITED)
    bounds = Between(low=busy // 2, high=busy + JIFFY_US, reason="busy for most of its life")
    agree("TCP_INFO", row, {"SndLimTimeCwndUs": bounds})
    agree_on_rwin(row, witness(far))
    check_transitions(row)


def test_the_window_grows_by_slow_start_until_a_loss_and_slowly_after_it(
    collector: Collector, detour: tuple[Net, Relay], far: Pair
) -> None:
    """Each growth before the first threshold is slow start; after a loss it is not that alone.

    An ACK counts once and adds at least a segment, so growths are no more than segments added.
    """
    detour[1].weather(Weather(delay_ms=20))
    bulk(far.client, far.server, INITIAL_WINDOW * 1448)  # no more, or HyStart may set a threshold
    first, before = settled(collector.database, far), witness(far)
    assert first["CurSsthreshSegs"] is None or first["CurSsthreshSegs"] > 1 << 30
    assert first["CongAvoid"] == first["OtherReductions"] == first["CongSignals"] == 0
    grown = before["tcpi_snd_cwnd"] - INITIAL_WINDOW
    bounds = Between(low=1, high=grown, reason="an ACK adds one segment or more")
    agree("TCP_INFO", first, {"SlowStart": bounds})
    detour[1].weather(Weather(delay_ms=5, lose=20))
    bulk(far.client, far.server, 1_000_000)
    detour[1].weather(Weather(delay_ms=5))
    bulk(far.client, far.server, 1_000_000)
    second = settled(collector.database, far)
    assert second["CongSignals"] > 0
    assert second["CongAvoid"] > 0


@pytest.mark.parametrize("restarts", [0, 1], ids=["window kept", "window restarted"])
def test_an_idle_sender_restarts_with_a_smaller_window(
    collector: Collector, detour: tuple[Net, Relay], far: Pair, restarts: int
) -> None:
    """After more than an RTO of silence: one other reduction a time, if the host does that at all.

    It is congestion window validation, and no congestion signal.
    """
    detour[0].client.sysctl("net.ipv4.tcp_slow_start_after_idle", restarts)
    detour[1].weather(Weather(delay_ms=20))
    bulk(far.client, far.server, 300_000)
    before = settled(collector.database, far)
    bulk(far.client, far.server, 1000)
    after = settled(collector.database, far)
    detour[0].client.sysctl("net.ipv4.tcp_slow_start_after_idle", 1)
    fell = {n: after[n] - before[n] for n in ("OtherReductions", "OtherReductionsCV")}
    agree("workload", fell, dict.fromkeys(fell, restarts))
    assert after["CongSignals"] == 0


def test_round_trips_are_those_of_the_capture_and_high_above_the_threshold(
    collector: Collector, detour: tuple[Net, Relay], far: Pair, tmp_path: Path
) -> None:
    """One sample for each advancing ACK, as long as the wire says, on either side of 30 ms.

    A sample equal to the smoothed value is not seen, and ACKs that had to wait for the lock are
    merged into one: one in seven may be missing. The kernel's clock starts a little before and
    stops a little after the wire's: a tenth of the sum may be added.
    """
    (net, relay), port = detour, next(PORTS)
    with pair(net.client, net.server) as peers:
        with capturing(net.client, tmp_path / "client.pcap", port):
            peers.open(net.server, 4, port, 1)
            for delay in (5, 25):
                relay.weather(Weather(delay_ms=delay))
                bulk(peers.client, peers.server, 200_000)
                row = settled(collector.database, peers)
        samples = round_trips(list(segments(tmp_path / "client.pcap")), net.client.v4)
    assert row["NormalRTTm"] + row["HighRTTm"] == row["CountRTT"]
    high = sum(s > 0.03 for s in samples)
    assert 0 < high < len(samples)
    missed = "a sample that equals the smoothed value is not seen, ACKs that wait are merged"
    clock = Tolerance(relative=0.1, reason="the kernel's clock starts before the wire's")
    counted = Between(low=0.85 * len(samples), high=len(samples), reason=missed)
    seen_high = Between(low=0.9 * high, high=1.1 * high + 1, reason=missed)
    low = len(samples) - high
    seen_low = Between(low=0.9 * low - 0.2 * high - 1, high=low + 0.1 * high, reason=missed)
    agree(
        "capture",
        row,
        {
            "CountRTT": counted,
            "HighRTTm": seen_high,
            "NormalRTTm": seen_low,
            "HCSumRTTUs": sum(samples) * 1e6,
            "MinRTTUs": Between(high=min(samples[1:]) * 1.1e6, reason=clock.reason),
        },
        {"HCSumRTTUs": clock},
    )


def round_trips(passed: list[Segment], address: str) -> list[float]:
    """For each ACK that advances, seconds since the oldest segment it acknowledges was sent."""
    sent: list[Segment] = []
    found = []
    for segment in passed:
        if segment.source == address:
            if segment.octets or segment.flags & SYN:
                sent.append(segment)
            continue
        acked = [s for s in sent if (segment.ack - s.end) & 0xFFFFFFFF < 1 << 31]
        if acked:
            found.append(segment.seconds - acked[0].seconds)
            sent = sent[len(acked) :]
    return found
