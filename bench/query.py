"""Questions to a large database: from the reader, and from the shell."""

import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from statistics import mean, median
from typing import Any, Final

from bench.effort import Effort
from bench.flows import Flows, run_row
from bench.processes import output
from bench.report import Cell, Section
from bench.snapshot import Written, written
from bpf.catalogue import CATALOGUE, in_group
from bpf.variable import Group, Kind
from storage.question import Filter, Order, Question
from storage.reader import Reader, open_reader
from storage.writer import Writer

_BETWEEN_EVENTS: Final = 10  # snapshots: a loss of each connection in so many seconds
_CONNECTIONS: Final = 2_800
_SNAPSHOTS: Final = 3_600  # an hour of them: 10 million flow-samples
_LATER_SNAPSHOTS: Final = 24
_TIMES: Final = 5
_PORT: Final = 5_001
_NAMES: Final = ("SegsRetrans", "SmoothedRTTUs", "HCDataOctetsOut")

Ask = Callable[[Reader], int]


def run(effort: Effort) -> Sequence[Section]:
    """Fill a database, then ask."""
    snapshots = _SNAPSHOTS // 60 if effort.quick else _SNAPSHOTS
    with tempfile.TemporaryDirectory(prefix="estats-bench-") as folder:
        path = Path(folder, "flows.db")
        began = time.monotonic()
        _fill(path, snapshots)
        filled = time.monotonic() - began
        rows = [_asked(path, *question) for question in _questions()]
        octets = path.stat().st_size
        later = written(path, _CONNECTIONS, _CONNECTIONS, _LATER_SNAPSHOTS, known=True)
    return [
        Section(
            title="Query",
            means=f"A database of {_CONNECTIONS:,} connections with {snapshots:,} snapshots each:"
            f" {_CONNECTIONS * snapshots:,} flow-samples, and an event in each tenth of them,"
            f" {octets / 2**30:.1f} GiB, most of it in the kernel's cache, filled in {filled:.0f}"
            " s. The reader's time is that of the library, from opening the database to the last"
            " row; the command's has the start of Python and the printing in it. Medians of"
            f" {_TIMES}.",
            columns=("question", "rows", "reader, ms", "command, ms"),
            rows=rows,
        ),
        _later(later, snapshots),
    ]


def _later(snapshots: Sequence[Written], before: int) -> Section:
    cpu = mean(s.cpu_seconds for s in snapshots) / _CONNECTIONS * 1e6
    return Section(
        title="Snapshot: on top of a long history",
        means=f"The same database goes on: all of its {_CONNECTIONS:,} connections move from one"
        f" snapshot to the next, on top of {before:,} that it has. By now each connection has a"
        " leaf of its own in the index by connection, which makes a page to write for each"
        " flow-sample. Means, for one snapshot in some copies the log into the file.",
        columns=("snapshots", "ms", "slowest, ms", "µs CPU / flow-sample", "octets / flow-sample"),
        rows=[
            (
                len(snapshots),
                mean(s.seconds for s in snapshots) * 1e3,
                max(s.seconds for s in snapshots) * 1e3,
                cpu,
                mean(s.octets for s in snapshots) / _CONNECTIONS,
            )
        ],
    )


def _fill(path: Path, snapshots: int) -> None:
    """The first snapshot by the writer, the others made of it by SQLite itself."""
    writer = Writer(path, run_row())
    writer.write(Flows(_CONNECTIONS).snapshot(_CONNECTIONS))
    writer.close("filled")
    with closing(sqlite3.connect(path, isolation_level=None)) as base:
        base.execute("PRAGMA journal_mode = OFF")
        base.execute("PRAGMA synchronous = OFF")
        base.execute("BEGIN")
        columns = [row[1] for row in base.execute("PRAGMA table_info(snapshot)")]
        later = ", ".join(
            {"snapshot_id": "snapshot_id + ?1", "taken_us": "taken_us + 1000000 * ?1"}.get(c, c)
            for c in columns
        )
        into = f"INSERT INTO snapshot ({', '.join(columns)})"
        for step in range(1, snapshots):
            base.execute(f"{into} SELECT {later} FROM snapshot WHERE snapshot_id = 1", (step,))  # noqa: S608  (our names)
            for group in _moving(step):
                base.execute(_later_rows(group), (step,))
        base.execute("COMMIT")
        base.execute("PRAGMA journal_mode = WAL")


def _moving(step: int) -> tuple[Group, ...]:
    return (Group.SAMPLE,) if step % _BETWEEN_EVENTS else (Group.EVENT, Group.SAMPLE)


def _later_rows(group: Group) -> str:
    """The rows of the first snapshot, ``?1`` snapshots later: counters on, gauges elsewhere."""
    event = f"event_id + ?1 / {_BETWEEN_EVENTS} * {_CONNECTIONS}"
    if group is Group.SAMPLE:
        values = {"snapshot_id": "?1 + 1", "event_id": event, "setup_id": "setup_id"}
        first = "snapshot_id = 1"
    else:
        values = {"event_id": event}
        first = f"event_id <= {_CONNECTIONS}"
    values["ConnectIndex"] = "ConnectIndex"
    for v in in_group(group):
        if v.kind is Kind.COUNTER:
            values[v.name] = f"{v.name} * (?1 + 1) + ?1 * (ConnectIndex % 97)"
        elif v.kind is Kind.GAUGE:
            values[v.name] = f"{v.name} + (?1 * 7919 + ConnectIndex) % 1009"
        else:
            values[v.name] = v.name
    return (
        f"INSERT INTO {group.value} ({', '.join(values)})"  # noqa: S608  (our names)
        f" SELECT {', '.join(values.values())} FROM {group.value} WHERE {first}"
    )


def _questions() -> list[tuple[str, Ask, list[str]]]:
    variables = [v for v in CATALOGUE if v.name in _NAMES]
    names = ",".join(_NAMES)
    (retransmitted,) = (v for v in CATALOGUE if v.name == "SegsRetrans")

    def latest(reader: Reader) -> int:
        ports = Filter(rem_ports=(range(_PORT, _PORT + 1),))
        return _count(reader.latest(variables, Question(reader.period(), ports)))

    def series(reader: Reader) -> int:
        one = Filter(local_ports=(range(32_778, 32_779),))
        return _count(reader.history(variables, Question(reader.period(), one)))

    def top(reader: Reader) -> int:
        question = Question(reader.period(), order=Order(retransmitted, descending=True))
        return min(10, _count(reader.latest(variables, question, growth=True)))

    by_growth = ["--delta", "--sort", "-SegsRetrans", "--limit", "10"]
    return [
        ("latest values of one port", latest, ["--dport", str(_PORT), "--var", names]),
        ("one connection's series", series, ["--sport", "32778", "--history", "--var", names]),
        ("the ten that grew most in an hour", top, [*by_growth, "--var", names]),
    ]


def _count(samples: Any) -> int:
    return sum(1 for _ in samples)


def _asked(path: Path, name: str, ask: Ask, options: list[str]) -> tuple[Cell, ...]:
    reader_ms, command_ms, rows = [], [], 0
    argv = [sys.executable, "-m", "estats", "query", "--db", str(path), "--format", "csv"]
    for _ in range(_TIMES):
        began = time.perf_counter()
        with open_reader(path) as reader:
            rows = ask(reader)
        reader_ms.append((time.perf_counter() - began) * 1e3)
        began = time.perf_counter()
        output([*argv, *options])
        command_ms.append((time.perf_counter() - began) * 1e3)
    return name, rows, median(reader_ms), median(command_ms)
