"""Traffic that is measured while it flows, each kind with the figures that it gives."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.machine import busy_seconds
from bench.pairs import Figures
from bench.paths import BULK_PORT, CLOSE_PORT, ECHO_PORT, FIRST_CPU, LAST_CPU, Way

_SMALL_OCTETS: Final = 100


@dataclass(frozen=True, slots=True)
class Workload:
    """A name for the tables, what runs it for so many seconds, and the figures to compare."""

    name: str
    run: Callable[[Way, int], Figures]
    figures: tuple[str, ...]


def _iperf3(way: Way, seconds: int, *options: str) -> tuple[float, float]:
    """Octets that arrived in a second, and processor seconds of the machine for each of them."""
    argv = ("iperf3", "-J", "-c", way.address, "-p", str(BULK_PORT), "-t", str(seconds), *options)
    before = busy_seconds()
    told = json.loads(way.run(*argv, seconds=seconds))
    busy = busy_seconds() - before
    arrived = told["end"]["sum_received"]
    return arrived["bits_per_second"] / 8, busy / arrived["bytes"]


def _bulk(streams: int) -> Callable[[Way, int], Figures]:
    def run(way: Way, seconds: int) -> Figures:
        rate, cost = _iperf3(way, seconds, "-P", str(streams))
        return {"Gbit/s": rate * 8 / 1e9, "CPU s/GB": cost * 1e9}

    return run


def _small(way: Way, seconds: int) -> Figures:
    rate, _ = _iperf3(way, seconds, "-l", str(_SMALL_OCTETS), "-N")
    return {"messages/s": rate / _SMALL_OCTETS}


def _ping(way: Way, seconds: int) -> Figures:
    """Both ends on one processor, and then on two: left to the scheduler, it might be either."""
    each = max(1, seconds // 2)
    figures: dict[str, float] = {}
    for cpu, where in ((FIRST_CPU, "one CPU"), (LAST_CPU, "two CPUs")):
        said = way.load("ping", ECHO_PORT, each, seconds=each, cpu=cpu)
        _, median_ns, slow_ns = map(int, said.split())
        figures |= {f"p50 µs, {where}": median_ns / 1e3, f"p99 µs, {where}": slow_ns / 1e3}
    return figures


def storm(way: Way, seconds: int, rate: int = 0) -> Figures:
    """Connect and close, ``rate`` a second or as many as can be."""
    said = way.load("storm", CLOSE_PORT, seconds, rate, seconds=seconds)
    ended, failed, took_ns = map(int, said.split())
    return {"connections/s": ended / took_ns * 1e9, "connections": ended, "failed": failed}


BULK: Final = Workload("bulk, 1 stream", _bulk(1), ("Gbit/s", "CPU s/GB"))
BULK_8: Final = Workload("bulk, 8 streams", _bulk(8), ("Gbit/s", "CPU s/GB"))
SMALL: Final = Workload("messages of 100 octets", _small, ("messages/s",))
PING: Final = Workload(
    "request and response",
    _ping,
    ("p50 µs, one CPU", "p99 µs, one CPU", "p50 µs, two CPUs", "p99 µs, two CPUs"),
)
STORM: Final = Workload("connect and close", storm, ("connections/s",))

WORKLOADS: Final = (BULK, BULK_8, SMALL, PING, STORM)
