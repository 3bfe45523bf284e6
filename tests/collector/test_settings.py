"""Settings are what a run can be, or a sentence that says why not."""

import math
from pathlib import Path
from typing import Any

import pytest

from bpf.errors import UsageError
from bpf.filters import Filters
from bpf.variable import HISTORIES
from collector.settings import (
    CONNECTIONS_MAX_MIN,
    FLUSH_US_MIN,
    INTERVAL_US_MIN,
    SHARDS_MAX,
    Settings,
    table_names,
)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"tables": ()}, "table"),
        ({"shards": 0}, "--shards 0"),
        ({"shards": SHARDS_MAX + 1}, f"--shards {SHARDS_MAX + 1}"),
        ({"interval_us": INTERVAL_US_MIN - 1}, "--interval"),
        ({"flush_us": FLUSH_US_MIN - 1}, "--flush-interval"),
        ({"duration_us": 0}, "--duration"),
        ({"duration_us": -1}, "--duration"),
        ({"connections_max": CONNECTIONS_MAX_MIN - 1}, "--max-connections 99"),
        ({"max_overhead": 0.0}, "--max-overhead 0.0"),
        ({"max_overhead": -0.02}, "--max-overhead -0.02"),
        ({"max_overhead": math.inf}, "--max-overhead inf"),
        ({"max_overhead": math.nan}, "--max-overhead nan"),
        ({"max_overhead": 0.02, "replay": Path("r")}, "replay"),
    ],
)
def test_what_no_run_can_be_is_refused(wrong: dict[str, Any], named: str) -> None:
    """The sentence names the option."""
    with pytest.raises(UsageError) as refusal:
        Settings(**wrong)

    assert named in refusal.value.message


def test_the_limits_themselves_are_allowed() -> None:
    """The smallest and the largest of everything."""
    Settings(shards=1, interval_us=INTERVAL_US_MIN, flush_us=FLUSH_US_MIN, duration_us=1)
    Settings(shards=SHARDS_MAX, duration_us=None, connections_max=CONNECTIONS_MAX_MIN)


def test_what_was_asked_is_the_filters_and_the_budget() -> None:
    """Of a run without one nothing is said; how many connections it may track, always."""
    filters = Filters(dports=(443,))
    most = {"max_connections": ["250000"]}
    assert Settings(bounds={"keep": "7d"}).asked() == {"keep": ["7d"], **most}
    assert Settings(filters=filters).asked() == {"dport": ["443"], **most}
    assert Settings(filters=filters, max_overhead=0.02, connections_max=300).asked() == {
        "dport": ["443"],
        "max_overhead": ["0.02"],
        "max_connections": ["300"],
    }


def test_all_tables_are_collected_unless_told_otherwise() -> None:
    """And each can be named."""
    assert Settings().tables == HISTORIES
    assert table_names() == [table.value for table in HISTORIES]
