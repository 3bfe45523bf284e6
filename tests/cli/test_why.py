"""estats why, from the command line to what it prints: two connections with a known past."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from bpf.record import Flag
from storage.writer import Writer
from tests.cli.conftest import Estats
from tests.cli.story import ALL, at, connection, one_run, snapshot
from tests.kernel.why import filled, rules_table
from tests.samples import Samples

ROOT = Path(__file__).resolve().parents[2]
SECOND = 1_000_000
#: What the first connection has after each second: its window waits, then its receiver does.
UPLOAD = {
    1: {"SndLimTimeCwndUs": SECOND, "SegsRetrans": 10, "SndLimTimeRwinUs": 0},
    2: {"SndLimTimeCwndUs": 2 * SECOND, "SegsRetrans": 20, "SndLimTimeRwinUs": 0},
    3: {"SndLimTimeCwndUs": 2 * SECOND, "SegsRetrans": 20, "SndLimTimeRwinUs": SECOND},
    4: {"SndLimTimeCwndUs": 2 * SECOND, "SegsRetrans": 20, "SndLimTimeRwinUs": 2 * SECOND},
}
OTHERS = dict.fromkeys(
    ("SndLimTimeSndUs", "SndLimTimeStartupUs", "SndLimTimeTSODeferUs", "SndLimTimePaceUs"), 0
)
QUIET = {
    "HCThruOctetsReceived": 0,
    "Timeouts": 0,
    "SubsequentTimeouts": 0,
    "DSACKDups": 0,
    "FastRetran": 0,
    "SpuriousFrDetected": 0,
    "CongSignals": 3,
    "CongAvoid": 3,
    "ZeroRwinRcvd": 0,
    "CurMSS": 1448,
    "MinRTTUs": 20_000,
    "CurRTOUs": 220_000,
    "CurRwinRcvd": 9000,
    "CurRetxQueue": 9000,
    "MaxRetxQueue": 9000,
    "CurAppWQueue": 9000,
}


def upload(second: int) -> dict[str, int]:
    """The first connection's values after so many seconds."""
    grown = {"HCDataOctetsOut": 1_448_000, "DataSegsOut": 1000, "CountRTT": 40}
    grown["HCSumRTTUs"] = 40 * 21_000
    return OTHERS | QUIET | UPLOAD[second] | {n: v * second for n, v in grown.items()}


@pytest.fixture
def past(tmp_path: Path) -> Path:
    """An upload to port 5001, a download through port 80 and one that is idle, for four seconds."""
    path = tmp_path / "past.db"
    writer = Writer(path, one_run(0, ALL, {}))
    told = Samples()
    ends = ("10.0.0.1", 40000), ("10.0.0.2", 5001)
    other = ("10.0.0.1", 40001), ("10.0.0.2", 80)
    idle = ("10.0.0.1", 40002), ("10.0.0.2", 22)
    born = [
        connection(1, *ends, Flag.ACTIVE, opened=0, owner=(42, b"iperf")),
        connection(2, *other, Flag.ACTIVE, opened=0),
        connection(3, *idle, Flag.ACTIVE, opened=0),
    ]
    got = {"HCThruOctetsReceived": 5000, "HCDataOctetsOut": 100, "CurAppRQueue": 0}
    nothing = {"HCThruOctetsReceived": 0, "HCDataOctetsOut": 0}
    for second in UPLOAD:
        values = {1: upload(second)}
        if second == 1:
            values |= {2: got | {"CurRwinSent": 64_512, "RcvRTT": 20_000}, 3: nothing}
        writer.write(snapshot(second, told.of(values), born if second == 1 else ()))
    writer.close("stopped")
    return path


def objects(estats: Estats, past: Path, *options: object) -> list[dict[str, Any]]:
    """The answer as JSON."""
    answer = estats("why", "--db", past, "--format", "json", *options)
    assert answer.code == 0, answer.err
    found: list[dict[str, Any]] = json.loads(answer.out)
    return found


def test_one_connection_is_told_in_sentences(estats: Estats, past: Path) -> None:
    """Who, the verdict, the shares and the source; the period and losses are on standard error."""
    answer = estats("why", "--db", past, "--dport", 5001, "--until", at(2) // SECOND)
    assert answer.out.splitlines() == [
        "10.0.0.1:40000 to 10.0.0.2:5001 of iperf[42]: 2.9 MB sent, 0 octets received in 2 s.",
        "loss: For 100 % of the time the path, by the congestion window, was what limited it. The"
        " path loses segments: 20 of 2000 were sent again, 1.0 % because they were lost, and the"
        " window was cut 3 times. The round trip hardly grew (21 ms on average, 20 ms at least):"
        " the path loses by itself, or the queue that overflows is short. Which of them, these"
        " numbers do not tell.",
        "Time: sender 0 %, path 100 %, receiver 0 %, pacing 0 %.",
        "Round trip: 21 ms on average, 20 ms at least.",
        "Told by: share of data segments sent again, needless repeats left out: 0.01, from 0.002"
        " on.",
        "Source: Mathis et al., The Macroscopic Behavior of TCP Congestion Avoidance (1997).",
    ]
    assert "0 lost" in answer.err


def test_a_period_is_judged_by_itself(estats: Estats, past: Path) -> None:
    """First the path, then the receiver; together they are too even to tell."""
    verdicts = [
        objects(estats, past, "--dport", 5001, *period)[0]["verdict"]
        for period in (
            ("--until", at(2) // SECOND),
            ("--since", at(2.5) / SECOND),
            (),
        )
    ]
    assert verdicts == ["loss", "receive buffer", "can't tell"]


def test_several_get_a_summary_and_a_table_that_a_limit_shortens(
    estats: Estats, past: Path
) -> None:
    """What moved most comes first; the summary is of all."""
    out = estats("why", "--db", past, "--limit", 1, "--until", at(2) // SECOND).out.splitlines()
    assert out[:4] == [
        "3 connections, 2.9 MB, 6 s in all:",
        "  loss: 1 of them, with 100 % of the data and 33 % of the time",
        "  can't tell: 1 of them, with 0.2 % of the data and 33 % of the time",
        "  idle: 1 of them, with 0 % of the data and 33 % of the time",
    ]
    assert out[4].split()[:3] == ["ConnectIndex", "Local", "Remote"]
    assert len(out) == 6


def test_a_table_is_as_long_as_a_person_reads(
    estats: Estats, past: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many are left out is said; what programs read is whole."""
    monkeypatch.setattr("cli.why._ROWS", 2)
    found = objects(estats, past)
    told = estats("why", "--db", past)
    assert len(told.out.splitlines()) == 1 + len({each["verdict"] for each in found}) + 1 + 2
    assert "1 more: --limit says how many are listed" in told.err
    assert "more:" not in estats("why", "--db", past, "--limit", 1).err


def test_a_connection_is_named_and_several_are_sorted_as_for_every_command(
    estats: Estats, past: Path
) -> None:
    """By its ends or its number; --sort takes the place of what moved most."""
    (named,) = objects(estats, past, "10.0.0.1:40000", "10.0.0.2:5001")
    (numbered,) = objects(estats, past, named["ConnectIndex"])
    assert numbered == named
    by_number = objects(estats, past, "--sort", "-ConnectIndex")
    numbers = [each["ConnectIndex"] for each in by_number]
    assert numbers == sorted(numbers, reverse=True)
    moved = [each["sent"] + each["received"] for each in by_number]
    assert moved != sorted(moved, reverse=True), "it is another order"
    assert estats("why", "--db", past, "--live").code == 2


def test_json_has_the_same_keys_whatever_the_verdict(estats: Estats, past: Path) -> None:
    """Unknown is null; numbers that a rule compared are there."""
    found = objects(estats, past, "--until", at(2) // SECOND)
    assert [each["verdict"] for each in found] == ["loss", "can't tell", "idle"]
    assert len({tuple(each) for each in found}) == 1
    loss, receives, _ = found
    assert (loss["side"], loss["share"], loss["share_path"]) == ("path", 1, 1)
    assert (loss["measure"], loss["threshold"]) == (0.01, 0.002)
    assert (loss["rtt_ms"], loss["rtt_min_ms"], loss["seconds"]) == (21, 20, 2)
    assert loss["grown"]["SegsRetrans"] == 20
    assert receives["share_path"] is None
    assert "this end receives" in receives["sentence"]


def test_csv_is_flat(estats: Estats, past: Path) -> None:
    """A line for each connection, its other findings as names."""
    answer = estats("why", "--db", past, "--format", "csv", "--dport", 5001)
    (row,) = csv.DictReader(io.StringIO(answer.out))
    assert (row["verdict"], row["also"], row["share"]) == ("can't tell", "loss", "")


def test_nothing_that_matches_is_said(estats: Estats, past: Path) -> None:
    """As other commands do: no answer, a word on standard error, exit code 0."""
    answer = estats("why", "--db", past, "--dport", 9)
    assert (answer.code, answer.out) == (0, "")
    assert "no connection matches" in answer.err
    assert estats("why", "--db", past, "--dport", 9, "--format", "json").out == "[]\n"


def test_a_story_told_by_a_poll_says_what_it_lacks(estats: Estats, story: Path) -> None:
    """Without the sender's times there is no triage."""
    found = objects(estats, story, "--dport", 5001)
    assert {each["verdict"] for each in found} == {"can't tell"}
    assert all("needs" in each["sentence"] or "sample" in each["sentence"] for each in found)


def test_the_page_has_the_rules_as_they_are() -> None:
    """Made from the table, when the rules change `make why` writes it anew."""
    page = (ROOT / "docs" / "why.md").read_text(encoding="utf-8")
    assert filled(page, {"rules": rules_table()}) == page
