"""How much history to keep, from the command line to the database and to the answers about it."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cli import collect
from cli.bounds import bounds
from storage.bounds import Bounds, Rollup
from storage.writer import Writer
from tests.cli.conftest import Answer, Estats
from tests.cli.story import ALL, PASSIVE, connection, one_run, snapshot
from tests.samples import Samples

DAY = 86_400_000_000


@pytest.mark.parametrize(
    ("options", "meant"),
    [
        ((None, None, None), None),
        (("7d", None, None), Bounds(keep_us=7 * DAY)),
        (
            (None, "1m:7d, 1h:90d", None),
            Bounds(rollups=(Rollup(60_000_000, 7 * DAY), Rollup(3_600_000_000, 90 * DAY))),
        ),
        ((None, None, "10GB"), Bounds(octets=10_000_000_000)),
        ((None, None, "512 MiB"), Bounds(octets=512 << 20)),
        ((None, None, "1.5t"), Bounds(octets=1_500_000_000_000)),
    ],
)
def test_options_become_bounds(options: tuple[str | None, ...], meant: Bounds | None) -> None:
    """Ages, steps, and sizes of powers of 1000 or 1024."""
    assert bounds(*options) == meant


@pytest.mark.parametrize(
    ("options", "trouble", "cure"),
    [
        (["--keep", "week"], "--keep: 'week' is not a length of time", "Write 500ms"),
        (["--keep", "1s"], "--keep is shorter than a minute", ""),
        (["--rollup", "1m"], "--rollup '1m' is no step and age", "Write 1m:7d"),
        (["--rollup", "1m:x"], "--rollup: 'x' is not a length", "Write 500ms"),
        (["--rollup", "1h:90d,1m:7d"], "--rollup: a later step", "finest first"),
        (["--rollup", "1m:7d", "--keep", "1d"], "--rollup thins what --keep forgets", "longer"),
        (["--max-db-size", "10"], "--max-db-size '10' is no size", "Write 10GB"),
        (["--max-db-size", "1MB"], "--max-db-size is smaller than 64 MiB", "ask for more"),
    ],
)
def test_nonsense_is_refused_with_a_cure(
    estats: Estats, tmp_path: Path, options: list[str], trouble: str, cure: str
) -> None:
    """Before any file is made."""
    answer = estats("collect", "--db", "x.db", *options)
    assert answer.code == 2
    assert trouble in answer.err and cure in answer.err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def thinned(tmp_path: Path) -> Path:
    """A server's connection of ten minutes, whole for the last one, a sample a minute from 5."""
    path = tmp_path / "thinned.db"
    kept = Bounds(keep_us=300_000_000, rollups=(Rollup(60_000_000, 60_000_000),))
    writer, told = Writer(path, one_run(0, ALL, {}), kept), Samples()
    born = connection(1, ("10.0.0.1", 80), ("10.0.0.2", 4000), PASSIVE, opened=0.5)
    for second in range(1, 601):
        values = told.of({1: {"SegsOut": second}})
        writer.write(snapshot(second, values, [born] if second == 1 else []))
        while writer.forget():
            pass
    writer.close("done")
    return path


def notes(answer: Answer) -> list[str]:
    """What stderr says of forgetting."""
    assert answer.code == 0
    return [line for line in answer.err.splitlines() if "forgotten" in line or "one sample" in line]


def test_an_answer_says_what_is_not_whole(estats: Estats, thinned: Path) -> None:
    """Where the period begins before what is kept, or in what was thinned."""
    forgotten = (
        "estats: before 2023-11-14 22:17:59Z all is forgotten but what the connections open"
        " then stood at"
    )
    rolled = "estats: up to 2023-11-14 22:22:20Z a connection has one sample in 1m00s"
    for since, told in (
        ([], [forgotten, rolled]),
        (["--since", "2023-11-14T22:18:00Z"], [rolled]),
        (["--since", "2023-11-14T22:22:21Z"], []),
    ):
        answer = estats("query", "--db", thinned, "--var", "SegsOut", *since)
        assert notes(answer) == told


def test_a_thinned_history_is_of_steps(estats: Estats, thinned: Path) -> None:
    """What stood, one a minute, then every second; growth is as it was."""
    ask = ["query", "--db", thinned, "--var", "SegsOut", "--format", "csv"]
    lines = estats(*ask, "--history").out.splitlines()[1:]
    values = [int(line.split(",")[5]) for line in lines]
    assert values == [279, 339, 399, 459, 519, 540, *range(541, 601)]
    growth = estats(*ask, "--delta", "--since", "2023-11-14T22:18:00Z").out.splitlines()[1]
    assert growth.split(",")[5] == "321"


def test_the_writer_is_told(
    estats: Estats, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What the options say reaches the writer."""
    made: list[Any] = []
    monkeypatch.setattr(
        "storage.writer.Writer", lambda path, run, kept: made.append((path, run, kept))
    )

    def prepared(settings: object, source: object, prepare: Any, *_: object) -> str:
        prepare()(None)
        return "duration"

    monkeypatch.setattr(collect, "run_collector", prepared)
    assert estats("collect", "--db", "x.db", "--keep", "7d").code == 0
    assert made == [(Path("x.db"), None, Bounds(keep_us=7 * DAY))]


@pytest.mark.slow
def test_a_collector_thins_while_it_runs(estats: Estats, tmp_path: Path) -> None:
    """Between its snapshots, in a process of its own; nothing is counted twice."""
    ask = ["--source", "diag", "--interval", "50ms", "--duration", "4s", "--rollup", "1s:1s"]
    path = tmp_path / "x.db"
    answer = estats("collect", "--db", path, *ask)
    assert answer.code == 0, answer.err
    with closing(sqlite3.connect(path)) as database:
        [(step_us, number)] = database.execute(
            "SELECT step_us, snapshot_id FROM thinned"
        ).fetchall()
        assert step_us == 1_000_000
        (newest,) = database.execute("SELECT max(snapshot_id) FROM snapshot").fetchone()
        assert 1 < number < newest
    assert estats("db", "check", "--db", path).out == "ok\n"
