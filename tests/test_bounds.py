"""Everything that could grow has a bound, and docs/collecting.md tells it.

What happens beyond each is tested where it lives; here, that the page has the numbers of the code
and that no map of the kernel programs is forgotten.
"""

import re
from pathlib import Path

import pytest

from bpf import cache, loader, tuner
from collector import channel, finals, ring, settings, tables
from storage import retention, writer

HOME = Path(__file__).parents[1]
PAGE = (HOME / "docs" / "collecting.md").read_text()
SOURCE = "\n".join(path.read_text() for path in sorted((HOME / "bpf").glob("*.bpf.c")))

#: What a map holds, and where its bound is told: by a number, or in words.
MAPS = {
    "sockets": "tracked connections",
    "listening": "listeners",
    "ring_template": "the rings",
    "rings": "the rings",
    "finals": "endings that found no room",
    "retransmitted": "segments sent again",
    "requests": "half-open handshakes",
    "listened": "listeners",
    "closed_listeners": "listeners; those closed",
    "tasks": "sockets of one step",
}
#: Of one element for each processor and shard, or of one.
FIXED = {
    "counters",
    "bound",
    "blank",
    "settings",
    "listener_blank",
    "listener_last",
    "newest_sweep",
}


def row(what: str) -> str:
    """The row of the table of bounds about this."""
    _, _, rest = PAGE.partition("\n## Bounds\n")
    section, _, _ = rest.partition("\n## ")
    (found,) = [
        line for line in section.splitlines() if line[:2] == "| " and what in line.split("|")[1]
    ]
    return found


@pytest.mark.parametrize(
    ("what", "numbers"),
    [
        ("endings that found no room", [loader._FINALS_MAX]),
        ("endings kept in case", [finals._BATCHES_MAX]),
        ("listeners; those closed", [loader._LISTENERS_MAX]),
        ("half-open handshakes", [loader._REQUESTS_MAX]),
        ("segments sent again", [loader._RETRANSMITTED_MAX]),
        ("the rings, all together", [loader._RINGS_BYTES >> 20, loader._RING_BYTES_MIN >> 10]),
        ("sockets of one step", [tuner._TASKS_MAX]),
        ("batches read at once", [ring.BATCHES_MAX, tables._CHUNK]),
        ("bound values", [writer._PARAMETERS, retention._SAMPLES, retention._PAGES]),
        ("a message between", [channel._MESSAGE_BYTES_MAX >> 10]),
        ("write-ahead log", [retention._LOG_MAX >> 20]),
        ("compiled programs", [cache._FILES_MAX]),
    ],
)
def test_the_page_has_the_numbers_of_the_code(what: str, numbers: list[int]) -> None:
    """Each where it says what is bounded by it."""
    for number in numbers:
        assert re.search(rf"\b{number:,}\b", row(what)), row(what)


def test_the_page_has_the_default_of_the_bound_on_connections() -> None:
    """And the smallest that is taken."""
    most, least = f"{loader.CONNECTIONS_MAX:,}", settings.CONNECTIONS_MAX_MIN
    assert f"**`--max-connections N`**, {most} unless said otherwise and at least {least}" in PAGE


def test_no_map_of_the_programs_is_without_a_bound() -> None:
    """A new one is to be told, or has an element for each processor and shard, or one."""
    used = set(re.findall(r"(\w+)\.(?:lookup|update|sk_storage_get)\(", SOURCE))
    assert used | {"ring_template"} == set(MAPS) | FIXED
    for what in MAPS.values():
        assert row(what)
