"""The reader: values as of a snapshot, series, and how SQLite is made to find them."""

import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from bpf.catalogue import BY_NAME
from bpf.variable import SAMPLED
from storage.errors import DatabaseDamagedError, SchemaTooOldError
from storage.question import Filter, Order, Question, Sample
from storage.reader import open_reader
from storage.writer import Writer
from tests.cli.story import EPOCH_US, one_run, write_story

RETRANS, STATE = BY_NAME["segsretrans"], BY_NAME["state"]
VARIABLES = (RETRANS, STATE)

# One connection's life: for each snapshot the new values of both variables, None if unchanged.
change = st.none() | st.integers(0, 2**32 - 1)
lives = st.lists(st.tuples(change, change), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a run and nothing else."""
    path = tmp_path_factory.mktemp("reader") / "empty.db"
    Writer(path, one_run(0, [t.value for t in SAMPLED], {})).close("end")
    return path


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of ``write_story``."""
    path = tmp_path_factory.mktemp("reader") / "story.db"
    write_story(path)
    return path


def _live(path: Path, several: list[list[tuple[int | None, int | None]]]) -> None:
    """Write lives: snapshot n is taken n seconds after 1970, connection i is the i-th life."""
    with closing(sqlite3.connect(path)) as database, database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(snapshot)")]
        for number in range(1, max(map(len, several)) + 1):
            values = {"snapshot_id": number, "run_id": 1, "taken_us": number * 1_000_000}
            row = [values.get(name, 0) for name in columns]
            marks = ",".join("?" * len(row))
            database.execute(f"INSERT INTO snapshot VALUES ({marks})", row)  # noqa: S608
        for index, life in enumerate(several, start=1):
            database.execute(
                "INSERT INTO connection (ConnectIndex, run_id, AddressType, LocalAddress,"
                " LocalPort, RemAddress, RemPort, opened_us, origin, cookie, lost)"
                " VALUES (?, 1, 1, '10.0.0.1', 1, '10.0.0.2', 2, 0, 'active', 0, 0)",
                (index,),
            )
            for number, (retrans, state) in _expected(life):
                (key,) = database.execute("SELECT count(*) + 1 FROM event").fetchone()
                database.execute(
                    "INSERT INTO event (event_id, ConnectIndex, SegsRetrans, State)"
                    " VALUES (?, ?, ?, ?)",
                    (key, index, retrans, state),
                )
                database.execute(
                    "INSERT INTO sample (snapshot_id, ConnectIndex, event_id, setup_id)"
                    " VALUES (?, ?, ?, 0)",
                    (number, index, key),
                )


def _expected(life: list[tuple[int | None, int | None]]) -> list[tuple[int, tuple[Any, ...]]]:
    """The samples of a life, by hand: (snapshot, values with what stood before)."""
    now: tuple[int | None, int | None] = (None, None)
    samples = []
    for number, (retrans, state) in enumerate(life, start=1):
        if retrans is None and state is None:
            continue
        now = (now[0] if retrans is None else retrans, now[1] if state is None else state)
        samples.append((number, now))
    return samples


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(several=st.lists(lives, min_size=1, max_size=3), first=st.integers(1, 8), data=st.data())
def test_history_and_latest_are_what_a_plain_reading_of_the_rows_gives(
    empty: Path, tmp_path: Path, several: list[Any], first: int, data: st.DataObject
) -> None:
    """For any life of any connection, and any period: carried forward, cut, with its base."""
    last = data.draw(st.integers(first, 9))
    path = tmp_path / "lives.db"
    shutil.copy(empty, path)
    _live(path, several)
    with open_reader(path) as reader:
        question = Question(reader.period(first * 1_000_000, last * 1_000_000))
        history = list(reader.history(VARIABLES, question))
        latest = list(reader.latest(VARIABLES, question, growth=True))
        by_growth = Order(RETRANS, descending=True, grown=True)
        grown = list(reader.latest(VARIABLES, replace(question, order=by_growth), growth=True))
    path.unlink()
    if first > max(map(len, several)):
        assert (history, latest) == ([], [])
        return
    assert grown == sorted(latest, key=_by_growth)
    for index, life in enumerate(several, start=1):
        whole = _expected(life)
        mine = [s for s in history if s.connection["ConnectIndex"] == index]
        assert [(s.taken_us, s.values) for s in mine] == [
            (number * 1_000_000, values) for number, values in whole if first <= number <= last
        ]
        (newest,) = [s for s in latest if s.connection["ConnectIndex"] == index]
        stands = [values for number, values in whole if number <= last]
        assert newest.values == (stands[-1] if stands else (None, None))
        _check_bases(mine, newest, [values for number, values in whole if number < first])


def _by_growth(sample: Sample) -> tuple[bool, int, int]:
    """What grew most comes first, what is unknown last, and among equals the oldest first."""
    now, base = sample.values[0], sample.base[0] if sample.base else None
    index = sample.connection["ConnectIndex"]
    if isinstance(now, int) and isinstance(base, int):
        return False, -((now - base) % 2**32), index
    return True, 0, index


def _check_bases(history: list[Sample], latest: Sample, earlier: list[tuple[Any, ...]]) -> None:
    """A sample grows from the one before it, the first one from what stood before the period."""
    base = earlier[-1] if earlier else (0, 0)
    assert latest.base == base
    for sample in history:
        assert sample.base == base
        base = sample.values


@contextmanager
def _statements() -> Iterator[list[tuple[str, Any]]]:
    """Every SELECT that is executed meanwhile, with its parameters."""
    found: list[tuple[str, Any]] = []

    def note(*about: Any) -> None:
        _, _, statement, parameters, *_ = about
        if statement.startswith("SELECT"):
            found.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@pytest.mark.parametrize(
    "wanted",
    [
        Filter(),
        Filter(rem_ports=(range(5001, 5002),)),
        Filter(rem_ports=(range(1, 9), range(10, 11)), local_ports=(range(22, 23),)),
        Filter(nets=(IPv4Network("10.0.0.0/8"),), comms=("ip*",), pids=(42,)),
        Filter(states=frozenset({5}), is_open=True),
        Filter(is_open=False, local_addresses=("10.0.0.1",), rem_addresses=("10.0.0.2",)),
        Filter(texts=("5001", "estab"), state_words=((5, "established"),)),
    ],
)
@pytest.mark.parametrize("since_us", [None, EPOCH_US])
def test_no_question_scans_a_table_that_grows_with_time(
    story: Path, wanted: Filter, since_us: int | None
) -> None:
    """Whatever the filter, order and period, samples are entered by connection and time."""
    variables = tuple(v for v in BY_NAME.values() if v.table in SAMPLED)
    with open_reader(story) as reader, _statements() as statements:
        period = reader.period(since_us, None if since_us is None else since_us + 10**9)
        largest, fastest = Order(RETRANS, descending=True), Order(RETRANS, grown=True)
        for order in (Order(), Order("opened_us"), largest, fastest):
            question = Question(period, wanted, order, limit=10)
            reader.count(question)
            list(reader.latest(variables, question))
            list(reader.latest(variables, question, growth=True))
            list(reader.history(variables, question))
        reader.moment(EPOCH_US)
        reader.moment_after(EPOCH_US)
    assert len(statements) >= 12
    with closing(sqlite3.connect(story)) as database:
        database.create_function("in_nets", 1, lambda text: True)
        for statement, parameters in set(statements):
            plan = database.execute("EXPLAIN QUERY PLAN " + statement, parameters).fetchall()
            scans = [detail for *_, detail in plan if detail.startswith("SCAN")]
            assert all(re.match("SCAN (connection|snapshot)", scan) for scan in scans), statement
            assert all("AUTOMATIC" not in detail for *_, detail in plan), statement


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("5001",), [1, 2, 4]),
        (("10.0.0.1:40000",), [1]),
        (("[FD00::2]:40001",), [2]),
        (("IPERF",), [1]),
        (("[77]",), [3]),
        (("5001", "finwait"), []),
        (("5001", "estab"), [2, 4]),
        (("51000", "nobody"), []),
        (("%",), []),
        (("_",), []),
    ],
)
def test_a_text_is_found_in_what_one_sees_of_a_connection(
    story: Path, texts: tuple[str, ...], expected: list[int]
) -> None:
    """Its ends as they are written, its process, the word for its state; every text must be."""
    wanted = Filter(texts=texts, state_words=((1, "closed"), (5, "established"), (6, "finWait1")))
    with open_reader(story) as reader:
        question = Question(reader.period(), wanted, limit=1)
        found = reader.latest((), replace(question, limit=None))
        assert [s.connection["ConnectIndex"] for s in found] == expected
        assert reader.count(question) == len(expected)


def test_snapshots_are_found_by_their_time(story: Path) -> None:
    """The newest up to a time, the first after it; the last one written if no time is named."""
    second = 1_000_000
    with open_reader(story) as reader:
        assert reader.moment() == EPOCH_US + 103 * second
        assert reader.moment(EPOCH_US + 3 * second) == EPOCH_US + 3 * second
        assert reader.moment(EPOCH_US + 3 * second - 1) == EPOCH_US + 2 * second
        assert reader.moment(EPOCH_US) is None
        assert reader.moment_after(EPOCH_US) == EPOCH_US + second
        assert reader.moment_after(EPOCH_US + 4 * second) == EPOCH_US + 101 * second
        assert reader.moment_after(EPOCH_US + 103 * second) is None


def test_a_wrapped_counter_is_sorted_by_how_far_it_came(story: Path) -> None:
    """Of 32 bits and of 64, as it is told; of what is older than the collector from its base on."""
    with open_reader(story) as reader:
        period = reader.period(EPOCH_US + 102_000_000)
        for name in ("segsretrans", "hcdataoctetsout"):
            v = BY_NAME[name]
            question = Question(period, Filter(), Order(v, descending=True, grown=True))
            found = list(reader.latest((v,), question, growth=True))
            indexes = [s.connection["ConnectIndex"] for s in found]
            grown = [v.growth(s.values[0], s.base[0]) for s in found]  # type: ignore[arg-type, index]
            assert dict(zip(indexes, grown, strict=True)) == (
                {3: 10, 4: 7} if v.bits == 32 else {3: 500, 4: 10}
            )
            assert indexes == [3, 4]


def test_a_port_is_found_by_its_index(story: Path) -> None:
    """One port of a million connections takes no look at the others."""
    with open_reader(story) as reader, _statements() as statements:
        question = Question(reader.period(), Filter(rem_ports=(range(5001, 5002),)))
        found = [s.connection["ConnectIndex"] for s in reader.latest(VARIABLES, question)]
    assert found == [1, 4]
    with closing(sqlite3.connect(story)) as database:
        plan = database.execute("EXPLAIN QUERY PLAN " + statements[-1][0], statements[-1][1])
        assert any("ix_connection_rem_port" in detail for *_, detail in plan)


def test_the_order_of_opening_needs_no_sorting(story: Path) -> None:
    """The first answer comes at once, and a limit spares the work for the rest."""
    with open_reader(story) as reader, _statements() as statements:
        list(reader.latest(VARIABLES, Question(reader.period(), limit=1)))
    with closing(sqlite3.connect(story)) as database:
        plan = database.execute("EXPLAIN QUERY PLAN " + statements[-1][0], statements[-1][1])
        assert not [detail for *_, detail in plan if "TEMP B-TREE" in detail]


def test_a_reader_sees_one_moment(empty: Path, tmp_path: Path) -> None:
    """What is written after its first question is for the next reader."""
    path = tmp_path / "moving.db"
    shutil.copy(empty, path)
    with open_reader(path) as reader:
        before = reader.period()
        _live(path, [[(1, 1)]])
        assert list(reader.latest(VARIABLES, Question(reader.period()))) == []
        assert reader.period() == before
    with open_reader(path) as reader:
        (sample,) = reader.latest(VARIABLES, Question(reader.period()))
        assert sample.values == (1, 1)


def test_a_clock_that_was_set_back_hides_nothing(empty: Path, tmp_path: Path) -> None:
    """The newest snapshot is the last one written, whatever time it says."""
    path = tmp_path / "clock.db"
    shutil.copy(empty, path)
    _live(path, [[(1, 1), (2, 1)]])
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE snapshot SET taken_us = 5 WHERE snapshot_id = 2")
    with open_reader(path) as reader:
        (sample,) = reader.latest(VARIABLES, Question(reader.period()))
    assert sample.values == (2, 1)


def test_a_database_of_another_schema_is_not_read(empty: Path, tmp_path: Path) -> None:
    """The advice is how to upgrade it."""
    path = tmp_path / "old.db"
    shutil.copy(empty, path)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM alembic_version")
    with pytest.raises(SchemaTooOldError) as refused, open_reader(path):
        pass
    assert "estats db upgrade" in refused.value.advice


def test_damage_met_on_the_way_is_a_storage_error(story: Path, tmp_path: Path) -> None:
    """Not a traceback of the driver."""
    path = tmp_path / "damaged.db"
    shutil.copy(story, path)
    with closing(sqlite3.connect(path)) as database:
        page = database.execute("PRAGMA page_size").fetchone()[0]
        root = database.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'connection'"
        ).fetchone()[0]
    with path.open("r+b") as file:
        file.seek((root - 1) * page)
        file.write(b"\xff" * page)
    with pytest.raises(DatabaseDamagedError), open_reader(path) as reader:
        list(reader.latest(VARIABLES, Question(reader.period())))
