"""estats deltas: counters as differences, everything else as it stands."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Estats
from tests.cli.story import HUGE, at

SECOND = 1_000_000


def test_counters_are_differences_and_the_rest_is_as_it_stands(estats: Estats, story: Path) -> None:
    """Each with what it came to."""
    options = ("--var", "SegsRetrans,HCDataOctetsOut,State")
    title, header, *lines = estats("deltas", "--db", story, 1, *options).out.splitlines()
    assert title.endswith("10.0.0.1:40000  10.0.0.2:5001  iperf[42]  over 3.000 s")
    assert header.split() == ["Variable", "Change", "Value", "Unit"]
    assert [line.split() for line in lines] == [
        ["SegsRetrans", "+7", "7", "segments"],
        ["HCDataOctetsOut", "+9000", "9000", "octets"],
        ["State", "closed"],
    ]


def test_a_counter_that_wrapped_is_told_right(estats: Estats, story: Path) -> None:
    """At the width of the variable; the two moments are --since and --until."""
    options = ("--var", "SegsRetrans,HCDataOctetsOut", "--since", at(102) / 1e6, "--format", "json")
    (found,) = json.loads(estats("deltas", "--db", story, 4, *options).out)
    assert found["SegsRetrans"] == 4 - (2**32 - 3) + 2**32
    assert found["HCDataOctetsOut"] == 5 - HUGE + 2**64
    assert found["seconds"] == 2.0


def test_programs_get_what_query_gives(estats: Estats, story: Path) -> None:
    """The same keys, in the same forms."""
    options = ("--db", story, "--dport", 5001, "--var", "SegsRetrans", "--format", "csv")
    assert estats("deltas", *options).out == estats("query", *options, "--delta").out


def test_nothing_is_waited_for_where_nobody_collects(estats: Estats, story: Path) -> None:
    """It would take for ever."""
    answer = estats("deltas", "--db", story, 1, "--for", "1s")
    assert (answer.code, answer.out) == (2, "")
    assert "no collector writes to" in answer.err


@pytest.mark.parametrize("option", [("--since", "1h"), ("--until", "1h"), ("--replay", "x")])
def test_a_time_from_now_on_has_no_other_ends(estats: Estats, option: tuple[str, str]) -> None:
    """One or the other."""
    answer = estats("deltas", "--for", "1s", *option)
    assert answer.code == 2 and "--for is from now on" in answer.err
