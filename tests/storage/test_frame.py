"""Frames: no bit is lost, and what is unknown is not 0, whatever library reads on."""

import datetime
from pathlib import Path

import numpy as np
import pytest

from bpf.errors import UsageError
from storage.frame import Frame
from storage.question import Filter, Question
from storage.reader import open_reader
from tests.cli.story import EPOCH_US, HUGE, write_story

NAMES = ["SegsRetrans", "HCDataOctetsOut", "IpTtl", "LocalAddress"]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of ``write_story``."""
    path = tmp_path_factory.mktemp("frame") / "story.db"
    write_story(path)
    return path


@pytest.fixture(scope="module")
def latest(story: Path) -> Frame:
    """Of its four connections, of which the last wraps in its last snapshot."""
    with open_reader(story) as reader:
        return reader.frame(NAMES, Question(reader.period(None, EPOCH_US + 101_000_000)))


def test_a_row_is_a_connection(latest: Frame) -> None:
    """Whose it is, and what it stands at."""
    assert {len(column) for column in latest.values()} == {4}
    assert latest["ConnectIndex"].tolist() == [1, 2, 3, 4]
    assert latest["RemPort"].tolist() == [5001, 40001, 51000, 5001]
    assert latest["LocalAddress"][1] == "fd00::1"
    assert latest["SegsRetrans"].tolist() == [7, None, 100, 2**32 - 3]
    assert latest["opened"][0] == np.datetime64("2023-11-14T22:13:20.500000")


def test_dtypes_are_those_of_the_catalogue(latest: Frame) -> None:
    """And there is a mask also where all is known."""
    dtypes = {name: column.dtype.str for name, column in latest.items()}
    assert (dtypes["HCDataOctetsOut"], dtypes["SegsRetrans"]) == ("<u8", "<u4")
    assert dtypes["taken"] == dtypes["closed"] == "<M8[us]"
    assert latest["ConnectIndex"].mask.tolist() == [False] * 4
    assert latest["HCDataOctetsOut"][3] == HUGE
    assert latest["IpTtl"].mask.all()
    assert latest["closed"].mask.tolist() == [False, True, True, True]


def test_pandas_loses_nothing(latest: Frame) -> None:
    """Neither the lowest bit of 64 nor that something is unknown."""
    table = latest.to_pandas()
    assert str(table.dtypes["HCDataOctetsOut"]) == "UInt64"
    assert table["HCDataOctetsOut"].tolist()[3] == HUGE
    assert table["SegsRetrans"].isna().tolist() == [False, True, False, False]
    assert table["comm"].isna().tolist() == [False, True, False, False]
    assert table["closed"].isna().tolist() == [False, True, True, True]
    assert table["opened"][0].tzinfo is not None


def test_polars_loses_nothing(latest: Frame) -> None:
    """Likewise."""
    table = latest.to_polars()
    assert str(table.schema["HCDataOctetsOut"]) == "UInt64"
    assert table["HCDataOctetsOut"].to_list()[3] == HUGE
    assert table["SegsRetrans"].to_list() == [7, None, 100, 2**32 - 3]
    assert table["comm"].is_null().to_list() == [False, True, False, False]
    assert table["closed"].is_null().to_list() == [False, True, True, True]
    assert table["opened"][0] == datetime.datetime(
        2023, 11, 14, 22, 13, 20, 500_000, tzinfo=datetime.UTC
    )


def test_history_has_a_row_for_each_sample(story: Path) -> None:
    """In the order of connections and of time."""
    with open_reader(story) as reader:
        question = Question(reader.period(), Filter(indexes=(1,)))
        frame = reader.frame(["segsretrans"], question, history=True)
    assert frame["SegsRetrans"].tolist() == [2, 5, 5, 7]
    assert (np.diff(frame["taken"].data) == np.timedelta64(1, "s")).all()


def test_nothing_found_has_the_same_columns(story: Path, latest: Frame) -> None:
    """A notebook needs no case of its own for it."""
    with open_reader(story) as reader:
        question = Question(reader.period(), Filter(indexes=(99,)))
        frame = reader.frame(NAMES, question)
    assert {n: c.dtype for n, c in frame.items()} == {n: c.dtype for n, c in latest.items()}
    for table in (frame.to_pandas(), frame.to_polars()):
        assert (len(table), list(table.columns)) == (0, list(latest))


@pytest.mark.parametrize(
    ("name", "cure"), [("SegsRetran", "SegsRetrans"), ("CurBacklog", "listener"), ("zzz", "lists")]
)
def test_what_is_no_variable_of_a_connection_is_refused(story: Path, name: str, cure: str) -> None:
    """With what may have been meant."""
    with open_reader(story) as reader, pytest.raises(UsageError) as caught:
        reader.frame([name])
    assert name in caught.value.message and cure in caught.value.advice
