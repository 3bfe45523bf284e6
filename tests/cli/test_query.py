"""estats query, from the command line to what it prints; ``story`` tells what is to be found."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from bpf.variable import SAMPLED
from cli.names import variables_of_connections
from storage.writer import Writer
from tests.cli.conftest import Estats
from tests.cli.story import ACTIVE, HUGE, at, connection, one_run, snapshot
from tests.samples import Samples


class Asking:
    """``estats query`` on the story's database."""

    def __init__(self, estats: Estats, story: Path) -> None:
        """Remember whom to ask."""
        self._estats, self._story = estats, story

    def objects(self, *options: object) -> list[dict[str, Any]]:
        """The answer as JSON."""
        answer = self._estats("query", "--db", self._story, "--format", "json", *options)
        assert answer.code == 0, answer.err
        found: list[dict[str, Any]] = json.loads(answer.out)
        return found

    def indexes(self, *options: object) -> list[int]:
        """Which connections answer."""
        return [each["ConnectIndex"] for each in self.objects(*options)]

    def column(self, name: str, *options: object) -> list[Any]:
        """One key of all objects."""
        return [each[name] for each in self.objects("--var", name, *options)]


@pytest.fixture
def asking(estats: Estats, story: Path) -> Asking:
    """Ask the story."""
    return Asking(estats, story)


def test_an_object_has_the_rfcs_keys_and_ours(asking: Asking) -> None:
    """Who, what was asked for, and beside it what is known of the connection."""
    (found,) = asking.objects("--pid", 42, "--var", "segsretrans,STATE")
    assert found == {
        "ConnectIndex": 1,
        "LocalAddress": "10.0.0.1",
        "LocalPort": 40000,
        "RemAddress": "10.0.0.2",
        "RemPort": 5001,
        "SegsRetrans": 7,
        "State": 1,
        "taken": "2023-11-14T22:13:24.000000Z",
        "opened": "2023-11-14T22:13:20.500000Z",
        "closed": "2023-11-14T22:13:23.500000Z",
        "close_reason": "closed",
        "origin": "active",
        "pid": 42,
        "comm": "iperf",
        "uid": 1000,
        "cgroup_id": None,
        "netns": 4026531840,
        "lost": 0,
    }


@pytest.mark.parametrize(
    ("options", "indexes"),
    [
        ((), [1, 2, 3, 4]),
        (("--dport", 5001), [1, 4]),
        (("--sport", 5001), [2]),
        (("--sport", "20-30,40002"), [3, 4]),
        (("--sport", "ssh"), [3]),
        (("--dport", 5001, "--sport", 40000), [1]),
        (("--saddr", "FD00::0001"), [2]),
        (("--daddr", "::ffff:10.0.0.2"), [1, 4]),
        (("--net", "10.0.0.2/31"), [1, 4]),
        (("--net", "fd00::/64", "--net", "198.51.100.0/24"), [2, 3]),
        (("--pid", 42, "--pid", 77), [1, 3]),
        (("--comm", "s?hd"), [3]),
        (("--comm", "iperf,ssh*"), [1, 3]),
        (("--comm", "[i]perf"), []),
        (("--state", "ESTABLISHED"), [2, 3, 4]),
        (("--state", "closed"), [1]),
        (("--closed",), [1]),
        (("--open",), [3, 4]),
        (("--open", "--until", at(2) / 1e6), [1, 2]),
        (("--since", at(50) / 1e6), [3, 4]),
        (("--until", at(50) / 1e6), [1, 2]),
        (("--since", at(3.6) / 1e6, "--until", at(50) / 1e6), [2]),
        (("--since", at(5) / 1e6, "--until", at(50) / 1e6), []),
        (("--limit", 2), [1, 2]),
    ],
)
def test_options_choose_connections(
    asking: Asking, options: tuple[object, ...], indexes: list[int]
) -> None:
    """Values of one option are alternatives; different options must all hold."""
    assert asking.indexes(*options) == indexes


@pytest.mark.parametrize(
    ("sort", "indexes"),
    [
        ("SegsRetrans", [4, 1, 3, 2]),
        ("-segsretrans", [3, 1, 4, 2]),
        ("HCDataOctetsOut", [4, 1, 3, 2]),
        ("-opened", [4, 3, 2, 1]),
        ("pid", [1, 4, 3, 2]),
        ("-RemPort", [3, 2, 1, 4]),
    ],
)
def test_the_unknown_comes_last_in_any_order(asking: Asking, sort: str, indexes: list[int]) -> None:
    """By latest values of variables, or by keys; equal ones in the order of their opening."""
    assert asking.indexes("--sort", sort) == indexes


def test_counters_beyond_the_signed_range_are_exact_and_sort_as_unsigned(asking: Asking) -> None:
    """They are stored as negative numbers, and nobody notices."""
    then = ("--until", at(101) / 1e6, "--dport", 5001)
    assert asking.column("HCDataOctetsOut", *then) == [9000, HUGE]
    assert asking.indexes("--sort", "-HCDataOctetsOut", *then) == [4, 1]


def test_values_are_as_of_until(asking: Asking) -> None:
    """The newest row at or before it counts, and what happened afterwards is not told."""
    (found,) = asking.objects("--pid", 42, "--var", "SegsRetrans", "--until", "1700000003")
    assert found["SegsRetrans"] == 5
    assert found["taken"] == "2023-11-14T22:13:23.000000Z"
    assert (found["closed"], found["close_reason"]) == (None, None)


def test_a_value_stands_until_the_next_row_of_its_table(asking: Asking) -> None:
    """Also when the row is from before the period: nothing changed since."""
    assert asking.column("State", "--sport", 5001, "--since", at(2) / 1e6) == [5]


def test_a_sample_is_each_snapshot_in_which_the_connection_changed(asking: Asking) -> None:
    """Whatever of it changed: that a value stayed is told, too."""
    found = asking.objects("--pid", 42, "--history", "--var", "SegsRetrans,State")
    assert [(o["taken"][17:19], o["SegsRetrans"], o["State"]) for o in found] == [
        ("21", 2, 5),
        ("22", 5, 5),
        ("23", 5, 6),
        ("24", 7, 1),
    ]
    assert asking.column("SegsRetrans", "--pid", 42, "--history") == [2, 5, 5, 7]


def test_values_from_before_the_period_are_carried_into_it(asking: Asking) -> None:
    """The first sample of a period knows what stood before."""
    options = ("--pid", 42, "--history", "--var", "SegsRetrans,State", "--since", at(2.5) / 1e6)
    found = asking.objects(*options, "--until", at(3) / 1e6)
    assert [(o["SegsRetrans"], o["State"]) for o in found] == [(5, 6)]


def test_limit_counts_connections_in_a_history_too(asking: Asking) -> None:
    """Their samples follow one another, in the order of the connections."""
    found = asking.indexes("--history", "--sort", "-SegsRetrans", "--limit", 2)
    assert found == [3, 3, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("options", "growth"),
    [
        (("--pid", 42), [7]),
        (("--pid", 42, "--since", at(2) / 1e6), [5]),
        (("--pid", 42, "--since", at(2) / 1e6, "--until", at(2) / 1e6), [3]),
        (("--pid", 42, "--history"), [2, 3, 0, 2]),
        (("--pid", 42, "--history", "--since", at(2) / 1e6), [3, 0, 2]),
        (("--pid", 77), [10]),
        (("--pid", 77, "--history"), [None, 10]),
        (("--pid", 66, "--history"), [2**32 - 3, 7]),
        (("--pid", 66, "--since", at(102) / 1e6), [7]),
        (("--sport", 5001), [None]),
    ],
)
def test_deltas_begin_at_birth_and_wrap(
    asking: Asking, options: tuple[object, ...], growth: list[int | None]
) -> None:
    """Growth of a connection older than the collector is unknown up to its first sample."""
    assert asking.column("SegsRetrans", "--delta", *options) == growth


def test_the_deltas_of_a_history_add_up_to_that_of_the_period(asking: Asking) -> None:
    """A counter of 64 bits wraps at 2^64."""
    parts = asking.column("HCDataOctetsOut", "--pid", 66, "--history", "--delta")
    assert parts == [HUGE, 10]
    whole = asking.column("HCDataOctetsOut", "--pid", 66, "--delta")
    assert whole == [sum(parts) % 2**64]


def test_a_rate_is_the_delta_in_a_second(asking: Asking) -> None:
    """``seconds`` tells over how long: up to the close, for a connection that closed."""
    (found,) = asking.objects("--pid", 42, "--rate", "--var", "SegsRetrans,State")
    assert (found["SegsRetrans"], found["seconds"], found["State"]) == (round(7 / 3, 6), 3.0, 1)
    steps = asking.objects("--pid", 42, "--rate", "--history", "--var", "SegsRetrans")
    assert [(o["SegsRetrans"], o["seconds"]) for o in steps] == [
        (4.0, 0.5),
        (3.0, 1.0),
        (0.0, 1.0),
        (4.0, 0.5),
    ]


def test_a_run_that_ended_is_not_counted_as_time(asking: Asking) -> None:
    """Nobody looked at connection 2 after run 1."""
    (found,) = asking.objects("--sport", 5001, "--delta")
    assert found["seconds"] == 3.25


def test_growth_is_sorted_by_growth(asking: Asking) -> None:
    """Not by the totals, which are in another order."""
    options = ("--delta", "--var", "SegsRetrans", "--sort", "-SegsRetrans")
    assert asking.indexes(*options) == [3, 1, 4, 2]
    late = ("--since", at(102) / 1e6, "--limit", 1)
    assert asking.column("SegsRetrans", *options, *late) == [10]


def test_csv_and_ndjson_say_the_same_as_json(estats: Estats, story: Path, asking: Asking) -> None:
    """They have the same keys and values; what is NULL is empty in CSV."""
    options = ("query", "--db", story, "--history", "--rate", "--var", "*")
    expected = asking.objects(*options[3:])
    lines = estats(*options, "--format", "ndjson").out.splitlines()
    assert [json.loads(line) for line in lines] == expected
    rows = list(csv.DictReader(io.StringIO(estats(*options, "--format", "csv").out)))
    assert rows == [
        {key: "" if value is None else str(value) for key, value in each.items()}
        for each in expected
    ]


def test_a_table_has_words_for_enumerations_and_dashes_for_null(
    estats: Estats, story: Path
) -> None:
    """And end points as people write them."""
    answer = estats("query", "--db", story, "--var", "State,SegsRetrans", "--sport", 5001)
    assert answer.out.split() == [
        *("ConnectIndex", "Local", "Remote", "State", "SegsRetrans"),
        *("2", "[fd00::1]:5001", "[fd00::2]:40001", "established", "-"),
    ]


@pytest.mark.parametrize("form", ["table", "json", "ndjson", "csv"])
@pytest.mark.parametrize("command", ["query", "connections"])
def test_a_hostile_process_name_does_not_reach_the_terminal(
    estats: Estats, story: Path, form: str, command: str
) -> None:
    """No output has a control character but the ends of lines."""
    answer = estats(command, "--db", story, "--format", form, "--pid", 66)
    text = answer.out.replace("\n", "")
    assert answer.code == 0 and text.isprintable()
    assert (command, form) == ("query", "table") or "owned" in text


def test_stderr_says_which_file_which_period_and_what_was_lost(estats: Estats, story: Path) -> None:
    """So that nobody takes an answer for more than it is."""
    answer = estats("query", "--db", story, "--var", "SegsRetrans")
    assert answer.err.splitlines() == [
        f"estats: {story}: 2023-11-14 22:13:21Z to 2023-11-14 22:15:03Z, 6 snapshots of 2 runs,"
        " 2 batches lost, 1 final batch lost, 3 connections not tracked",
        "estats: run 1 has no end: it was killed after 2023-11-14 22:13:24Z",
    ]
    early = estats("query", "--db", story, "--until", at(50) / 1e6)
    assert "4 snapshots of 1 run, 0 lost" in early.err


def test_stderr_says_why_a_variable_has_no_value(estats: Estats, story: Path) -> None:
    """Not to be had anywhere, or not on this kernel; also through what it derives from."""
    names = "LimSsthresh,IpTtl,SegsRetrans"
    answer = estats("query", "--db", story, "--var", names)
    assert answer.err.splitlines()[2:] == [
        "estats: no value for LimSsthresh: the kernel has no limit on the slow-start threshold",
        "estats: no value for IpTtl: no hook for incoming headers (run 2)",
    ]


def test_an_empty_answer_is_an_answer(estats: Estats, story: Path) -> None:
    """Exit code 0, nothing but an empty list on stdout, and a line on stderr."""
    answer = estats("query", "--db", story, "--dport", 1, "--format", "json")
    assert (answer.code, answer.out) == (0, "[]\n")
    assert answer.err.splitlines()[-1] == "estats: no connection matches"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--var", "SegRetrans"), "there is no variable 'SegRetrans'"),
        (("--var", "x*y"), "no variable matches 'x*y'"),
        (("--net", "10.0.0.0/99"), "'10.0.0.0/99' is not a network"),
        (("--saddr", "x"), "--saddr 'x' is not an IP address"),
        (("--dport", "70000"), "--dport '70000' is not a port"),
        (("--state", "x"), "'x' is not a TCP state"),
        (("--since", "x"), "'x' is not a time"),
        (("--since", "1m", "--until", "2m"), "--since '1m' is after --until '2m'"),
        (("--delta", "--rate"), "--delta and --rate exclude one another"),
        (("--sort", "x"), "there is no variable 'x'"),
        (("--history", "--var", "AddressType"), "none of these variables has a history"),
        (("--delta", "--sort", "SegsIn"), "--sort SegsIn is about growth here"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_cure(
    estats: Estats, story: Path, options: tuple[str, ...], message: str
) -> None:
    """Two lines on stderr, exit code 2, nothing on stdout."""
    answer = estats("query", "--db", story, *options)
    sentence, advice = answer.err.splitlines()
    assert (answer.code, answer.out) == (2, "")
    assert sentence.startswith(f"estats: {message}")
    assert advice.startswith("  ")


def test_a_period_without_snapshots_is_told_with_what_there_is(estats: Estats, story: Path) -> None:
    """So that a wrong time zone or a wrong file shows."""
    answer = estats("query", "--db", story, "--since", "1m")
    assert (answer.code, answer.out) == (0, "")
    assert answer.err.splitlines() == [
        f"estats: {story}: no snapshot in this period;"
        " it has 2023-11-14 22:13:21Z to 2023-11-14 22:15:03Z",
        "estats: no connection matches",
    ]


def test_a_star_asks_for_every_variable_of_a_connection(asking: Asking) -> None:
    """Also those that nobody collects: they are NULL."""
    (found,) = asking.objects("--pid", 42, "--var", "*")
    every = variables_of_connections(["*"])
    assert found.keys() >= {v.name for v in every}
    assert found["Timeouts"] is None
    assert len([v for v in every if v.table in SAMPLED]) > 100


def test_a_database_that_is_being_written_can_be_read(estats: Estats, tmp_path: Path) -> None:
    """Each answer has all snapshots that were complete when it was asked for."""
    path = tmp_path / "live.db"
    writer = Writer(path, one_run(0, ["perf"], {}))
    ends = (("10.0.0.1", 1), ("10.0.0.2", 2))
    told = Samples()
    try:
        for number in (1, 2):
            row = connection(1, *ends, ACTIVE, opened=0)
            writer.write(snapshot(number, told.of({1: {"SegsOut": number}}), [row]))
            answer = estats("query", "--db", path, "--var", "SegsOut", "--format", "json")
            assert json.loads(answer.out)[0]["SegsOut"] == number
    finally:
        writer.close("end of test")
