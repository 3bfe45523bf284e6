"""estats read: one connection, all of its variables, once."""

import json
from pathlib import Path

import pytest

from bpf.catalogue import CATALOGUE
from bpf.variable import SAMPLED, Table
from tests.cli.conftest import Estats

ENDS = {
    1: ("10.0.0.1:40000", "10.0.0.2:5001"),
    2: ("[fd00::1]:5001", "[fd00::2]:40001"),
    3: ("192.0.2.9:22", "198.51.100.7:51000"),
}


def test_a_block_says_who_it_is_and_has_a_line_for_each_value(estats: Estats, story: Path) -> None:
    """Never the number alone; words for enumerations; nothing without a value."""
    title, header, *lines = estats("read", "--db", story, 3).out.splitlines()
    assert title.split("  ")[:4] == ["ConnectIndex 3", *ENDS[3], "sshd[77]"]
    assert header.split() == ["Variable", "Value", "Unit"]
    assert [line.split() for line in lines] == [
        ["AddressType", "ipv4"],
        ["DataOctetsOut", "50500", "octets"],
        ["HCDataOctetsOut", "50500", "octets"],
        ["SegsRetrans", "110", "segments"],
        ["State", "established"],
    ]


def test_what_is_asked_for_by_name_is_told_also_if_unknown(estats: Estats, story: Path) -> None:
    """As a dash: it is not zero."""
    answer = estats("read", "--db", story, 1, "--var", "SegsOut,SegsRetrans")
    assert [line.split()[:2] for line in answer.out.splitlines()[2:]] == [
        ["SegsOut", "-"],
        ["SegsRetrans", "7"],
    ]


@pytest.mark.parametrize("index", ENDS)
def test_both_ends_name_a_connection_as_its_number_does(
    estats: Estats, story: Path, index: int
) -> None:
    """Words as ``estats connections`` prints them."""
    options = ("read", "--db", story, "--format", "json")
    by_number, by_ends = (estats(*options, *words) for words in ((index,), ENDS[index]))
    (found,) = json.loads(by_ends.out)
    assert found["ConnectIndex"] == index
    assert by_ends.out == by_number.out


def test_names_are_alternatives_and_other_options_must_hold(estats: Estats, story: Path) -> None:
    """As those of query."""

    def found(*words: object) -> list[int]:
        answer = estats("read", "--db", story, "--format", "json", *words)
        return [each["ConnectIndex"] for each in json.loads(answer.out)]

    assert found(4, *ENDS[2]) == [2, 4]
    assert found(4, *ENDS[2], "--dport", 5001) == [4]
    assert found("--comm", "ssh*") == [3]
    assert found(99) == []


def test_all_variables_of_a_connection_are_there(estats: Estats, story: Path) -> None:
    """To a program: every key, known or not. --tables takes those of some tables."""

    def names(*words: str) -> set[str]:
        (found,) = json.loads(estats("read", "--db", story, 1, "--format", "json", *words).out)
        return set(found)

    every = {v.name for v in CATALOGUE if v.table in (Table.CONNECTION, *SAMPLED)}
    perf = {v.name for v in CATALOGUE if v.table is Table.PERF}
    assert every <= names()
    assert names("--tables", "perf") & every - perf == names("--var", "LocalPort") & every - perf


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "which connection is meant?"),
        (("10.0.0.1:40000",), "'10.0.0.1:40000' is one end of a connection"),
        (("10.0.0.1:40000", "7"), "'7' is neither a ConnectIndex nor an end"),
        (("fd00::1:22", "fd00::2:22"), "'fd00::1:22' is neither"),
        (("10.0.0.1:x", "10.0.0.2:1"), "'10.0.0.1:x' is neither"),
        (("10.0.0.1:99999", "10.0.0.2:1"), "'99999' is not a port"),
        (("9" * 30,), f"{'9' * 30} is no ConnectIndex"),
        (("1", "--tables", "perv"), "there is no table 'perv' of connections"),
        (("1",) * 501, "501 words name connections"),
        (("1", "--live", "--db", "x"), "--db, --live and --replay exclude one another"),
    ],
)
def test_what_makes_no_sense_is_refused(
    estats: Estats, words: tuple[str, ...], complaint: str
) -> None:
    """Before anything is opened or started."""
    answer = estats("read", *words)
    assert (answer.code, answer.out) == (2, "")
    assert complaint in answer.err
