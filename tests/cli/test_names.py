"""From what a person types to variables and states."""

import re
from contextlib import suppress
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpf.catalogue import BY_NAME, CATALOGUE
from bpf.errors import UsageError
from bpf.variable import SAMPLED, Table, Variable
from cli.names import STATES, USUAL, matching, state_numbers, variables_of_connections, word_for

some_variable = st.sampled_from(CATALOGUE)


@given(some_variable, st.data())
def test_case_does_not_matter(variable: Variable, data: st.DataObject) -> None:
    """Any mixture of upper and lower case names the variable."""
    mixed = "".join(data.draw(st.sampled_from([c.lower(), c.upper()])) for c in variable.name)
    assert matching(mixed) == [variable]


@given(some_variable, st.data())
def test_a_wildcard_finds_what_fnmatch_finds(variable: Variable, data: st.DataObject) -> None:
    """* stands for any characters, ? for one, and everything that fits is found, once."""
    cut = data.draw(st.integers(0, len(variable.name)))
    pattern = data.draw(st.sampled_from([variable.name[:cut] + "*", "*" + variable.name[cut:]]))
    expected = [v for v in CATALOGUE if fnmatchcase(v.name.lower(), pattern.lower())]
    assert matching(pattern) == expected
    assert variable in expected


@given(st.text(max_size=20))
def test_any_text_is_a_name_or_a_usage_error(text: str) -> None:
    """Nothing that is typed makes another exception."""
    with suppress(UsageError):
        assert matching(text)


def test_the_object_names_of_the_rfc_are_names() -> None:
    """What stands in the MIB can be pasted."""
    assert matching("tcpEStatsPerfSegsRetrans") == [BY_NAME["segsretrans"]]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("SegRetrans", "SegsRetrans"), ("cwnd", "CurCwnd"), ("smothedrtt", "SmoothedRTT")],
)
def test_an_unknown_name_is_answered_with_similar_ones(typed: str, meant: str) -> None:
    """A slip of the finger, or a part of a name, leads to the variable."""
    with pytest.raises(UsageError, match=typed) as refused:
        matching(typed)
    assert re.search(rf"Did you mean .*\b{meant}\b", refused.value.advice)


def test_variables_are_asked_for_in_lists_and_repeatedly() -> None:
    """Each comes once, in the order in which it was named first."""
    asked = variables_of_connections(["segsout,SegsRetrans", "SEGSOUT", "segs*"])
    assert [v.name for v in asked] == ["SegsOut", "SegsRetrans", "SegsIn"]


def test_a_wildcard_takes_only_variables_of_connections() -> None:
    """The host's and the listeners' are in other tables of the database."""
    every = variables_of_connections(["*"])
    assert {v.table for v in every} == {Table.CONNECTION, *SAMPLED}
    with pytest.raises(UsageError, match="CurBacklog is in the listener table"):
        variables_of_connections(["CurBacklog"])


def test_the_usual_variables_are_collected_ones() -> None:
    """Who names none gets something to look at."""
    assert variables_of_connections([]) == USUAL
    assert len(USUAL) == 8


@pytest.mark.parametrize(
    ("spelling", "number"),
    [
        ("established", 5),
        ("ESTAB", 5),
        ("TCP_ESTABLISHED", 5),
        ("SYN_RECV", 4),
        ("syn-sent", 3),
        ("timeWait", 11),
        ("TIME_WAIT", 11),
        ("fin-wait-1", 6),
        ("CLOSE", 1),
        ("close_wait", 8),
    ],
)
def test_states_may_be_spelled_as_the_rfc_the_kernel_or_ss_do(spelling: str, number: int) -> None:
    """All of them mean the RFC's number."""
    assert state_numbers([spelling]) == {number}


def test_a_state_that_is_none_is_refused_with_the_list() -> None:
    """The list is the cure."""
    with pytest.raises(UsageError, match="'open' is not a TCP state") as refused:
        state_numbers(["established,open"])
    assert all(name in refused.value.advice for name in STATES)


def test_values_of_enumerations_have_words() -> None:
    """The words are those of the catalogue; a number without one stays a number."""
    assert word_for(BY_NAME["state"], 5) == "established"
    assert word_for(BY_NAME["state"], 13) is None
    assert word_for(BY_NAME["ecn"], 3) == "peerDisabled"
