"""estats variables: the catalogue to look up."""

import csv
import io
import json

import pytest

from bpf.catalogue import CATALOGUE
from bpf.variable import Variable
from tests.cli.conftest import Estats


def test_the_list_has_every_variable_with_its_status(estats: Estats) -> None:
    """A line each, in a file as wide as it needs to be."""
    header, *lines = estats("variables").out.splitlines()
    assert header.split() == ["Name", "Table", "Status", "Meaning", "[unit]"]
    assert [line.split()[:3] for line in lines] == [
        [v.name, v.table.value, v.status.value] for v in CATALOGUE
    ]


def test_the_list_fits_eighty_columns(estats: Estats, monkeypatch: pytest.MonkeyPatch) -> None:
    """The meaning is broken into lines."""
    monkeypatch.setenv("COLUMNS", "80")
    out = estats("variables").out
    assert max(map(len, out.splitlines())) <= 80
    assert out.count("SegsRetrans ") == 1


@pytest.mark.parametrize("variable", CATALOGUE, ids=lambda v: v.name)
def test_a_name_tells_all_that_is_known(estats: Estats, variable: Variable) -> None:
    """Everything the catalogue says of it, in any case of its name."""
    words = " ".join(estats("variables", variable.name.upper()).out.split())
    said = [variable.summary, variable.source, variable.rfc, variable.tcp_info, variable.derived]
    for text in filter(None, [variable.name, variable.unit, variable.syntax, *said]):
        assert " ".join(text.split()) in words


def test_several_may_be_named_with_wildcards(estats: Estats) -> None:
    """Each is told once."""
    out = estats("variables", "segs*", "SegsOut").out
    assert [line for line in out.splitlines() if line and line[0] != " "] == [
        *("SegsOut", "SegsRetrans", "SegsIn")
    ]


def test_table_and_status_narrow_the_list(estats: Estats) -> None:
    """Both must hold."""
    answer = estats("variables", "--table", "tune", "--status", "unavailable")
    assert [line.split()[0] for line in answer.out.splitlines()[1:]] == ["LimSsthresh"]
    none = estats("variables", "--table", "tune", "--status", "derived")
    assert (none.code, none.out, none.err) == (0, "", "estats: no variable matches\n")


def test_json_and_csv_list_everything(estats: Estats) -> None:
    """For programs, with the same keys."""
    objects = json.loads(estats("variables", "--format", "json").out)
    assert [each["name"] for each in objects] == [v.name for v in CATALOGUE]
    rows = list(csv.DictReader(io.StringIO(estats("variables", "--format", "csv").out)))
    assert list(rows[0]) == list(objects[0])
    state = next(each for each in objects if each["name"] == "State")
    assert (state["rfc_object"], state["sql"]) == (
        "tcpEStatsStackState",
        "stack.State, latest.State",
    )
    assert "5=established" in state["values"]


def test_an_unknown_name_is_refused_with_similar_ones(estats: Estats) -> None:
    """As in a query."""
    answer = estats("variables", "SegRetrans")
    assert answer.code == 2
    assert "Did you mean SegsRetrans" in answer.err
