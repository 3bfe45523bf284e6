"""The page says in a sentence where somebody else is cheaper."""

from bench.beside import ESTATS
from bench.peers import ahead

COLUMNS = ("beside it", "workload", "figure", "ratio")


def test_who_costs_less_is_named_for_each_figure() -> None:
    """A rate is better the higher it is, a round trip the lower."""
    rows = [
        (ESTATS.name, "storm", "connections/s", 0.7),
        (ESTATS.name, "ping", "p50 µs", 1.08),
        ("ss", "storm", "connections/s", 0.998),
        ("ss", "ping", "p50 µs", 1.2),
        ("tcplife", "storm", "connections/s", 0.6),
        ("tcplife", "ping", "p50 µs", 1.0),
    ]

    assert ahead(COLUMNS, rows) == (
        "Cheaper than estats: storm, connections/s: ss (0.998), where estats has 0.700;"
        " ping, p50 µs: tcplife (1.000), where estats has 1.080."
    )


def test_nobody_is_cheaper() -> None:
    """That is said, too."""
    rows = [(ESTATS.name, "storm", "connections/s", 0.7), ("ss", "storm", "connections/s", 0.5)]

    assert ahead(COLUMNS, rows) == "None is cheaper than estats."
