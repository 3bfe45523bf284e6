"""``estats status``: whether a collector writes to this database, and is well."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from bpf.meters import LOSSES, METERS
from cli.asking import reading
from cli.family import Process, family
from cli.options import As, Db, database
from cli.render import Cell, Format, Look, printable, say, table_width, write, write_table
from cli.service import patience_us
from cli.status import size
from cli.times import age, iso, now_us

if TYPE_CHECKING:
    from storage.question import RunPart, Standing

HELP: Final = """Does a collector write to this database, and is it well?

Whose it is, since when and how it was asked; its processes, what they take; how old the last
snapshot is; what was lost, late, missed or left out in the last minute and since it began; how
fast the database grows. It asks the collector nothing, and reads the database as any reader does.

Exit code 0: one collects, and its last snapshot is no older than five intervals and five seconds.
7: none does, or it has not begun, or it lags. 4: there is no such database."""

EXAMPLES: Final = """\b
Examples:
  estats status --db /var/lib/estats/flows.db --format json
  estats status >/dev/null 2>&1 || echo "look after the collector"
"""

NOT_WELL: Final = 7
_RECENT_US: Final = 60_000_000
_COUNTS: Final = (*LOSSES, "merged", "replaced", "sampled_out")
#: With fewer rows of ``sample`` what they take on disk says nothing: most of it is empty pages.
_SAMPLES_MIN: Final = 10_000

_SENTENCES: Final = {
    "collecting": "a collector writes to {path}, and is well",
    "starting": "a collector has {path}, but no run goes on: it begins, or has just ended",
    "late": "the collector of {path} lags: its last snapshot is {old} old",
    "stopped": "no collector writes to {path}",
}


@dataclass(frozen=True, slots=True)
class Health:
    """What was found: who holds the database, their processes, where the newest run stands."""

    path: Path
    octets: int
    now_us: int
    holder: int | None
    processes: list[Process]
    standing: "Standing | None"

    @property
    def age_us(self) -> int | None:
        """How old the last snapshot of the newest run is."""
        last = self.standing.last if self.standing else None
        return None if last is None else max(0, self.now_us - last["taken_us"])

    @property
    def state(self) -> str:
        """A word of _SENTENCES."""
        if self.holder is None:
            return "stopped"
        if self.standing is None or self.standing.run["ended_us"] is not None:
            return "starting"
        run = self.standing.run
        since_us = run["started_us"] if self.age_us is None else self.now_us - self.age_us
        if self.processes and self.now_us - self.processes[0].age_seconds * 1e6 > since_us:
            return "starting"  # the run is that of one that was killed
        # The clock of a replay is the one of its recording.
        is_late = self.now_us - since_us > patience_us(run["interval_us"])
        return "late" if is_late and run["source"] != "replay" else "collecting"


def status(*, db: Db = None, form: As = Format.TABLE) -> None:
    """Look (HELP above is what a user reads)."""
    health = _look(database(db))
    if form is Format.TABLE:
        _describe(health)
    else:
        write([_as_object(health, is_flat=form is Format.CSV)], form, _LOOK, sys.stdout)
    old = "of unknown age" if health.age_us is None else age(health.age_us)
    say(_SENTENCES[health.state].format(path=health.path, old=old))
    if health.state != "collecting":
        raise typer.Exit(NOT_WELL)


def _look(path: Path) -> Health:
    """Raises StorageError, unless a collector is about to make the database."""
    from storage.errors import DatabaseMissingError  # noqa: PLC0415  (as in cli.asking)
    from storage.file import file_bytes, holder  # noqa: PLC0415

    pid = holder(path) if path.exists() else None
    standing = None
    try:
        with reading(path) as reader:
            standing = reader.standing(now_us() - _RECENT_US)
    except DatabaseMissingError:
        if pid is None:
            raise
    processes = family(pid) if pid else []
    return Health(path.absolute(), file_bytes(path), now_us(), pid, processes, standing)


def _as_object(health: Health, *, is_flat: bool = False) -> dict[str, Any]:
    """All of it; what is unknown is None. A list is one JSON text where it is to be flat."""
    standing = health.standing
    run: Mapping[str, Any] = standing.run if standing else {}
    last: Mapping[str, Any] = (standing.last if standing else None) or {}
    processes = [asdict(process) for process in health.processes]
    return {
        "database": str(health.path),
        "state": health.state,
        "pid": health.holder or None,
        "run_id": run.get("run_id"),
        "started": iso(run["started_us"]) if run else None,
        **{name: run.get(name) for name in _ASKED},
        "last_snapshot": iso(last["taken_us"]) if last else None,
        "age_us": health.age_us,
        "snapshots": standing.whole.snapshots if standing and standing.whole else 0,
        "connections": last.get("connections"),
        "lag_us": last.get("lag_us"),
        "samples_per_second": _pace(standing),
        "database_bytes": health.octets,
        "bytes_per_hour": _growth(health),
        "bpf_share": _share(last),
        "flush_interval_us": last.get("flush_interval_us"),
        "sampled": last.get("sampled"),
        **_counts(standing.recent if standing else None, "_last_minute"),
        **_counts(standing.whole if standing else None, ""),
        "cpu_seconds": round(sum(p.cpu_seconds for p in health.processes), 2),
        "memory_bytes": sum(p.memory_bytes for p in health.processes),
        "processes": json.dumps(processes) if is_flat else processes,
    }


_ASKED: Final = (
    "version",
    "host",
    "kernel",
    "source",
    "interval_us",
    "flush_us",
    "shards",
    "tables",
    "filters",
)


def _counts(part: "RunPart | None", suffix: str) -> dict[str, int]:
    return {f"{name}{suffix}": part.meters[name] if part else 0 for name in _COUNTS}


def _pace(standing: "Standing | None") -> float | None:
    """Rows of ``sample`` a second, lately."""
    if standing is None or standing.recent is None:
        return None
    recent = standing.recent
    length_us: int = recent.to_us - recent.from_us + standing.run["interval_us"]
    return round(standing.recent_samples * 1e6 / length_us, 2)


def _growth(health: Health) -> int | None:
    """Octets an hour, at the pace of late and by what a row of ``sample`` takes with all others."""
    standing, pace = health.standing, _pace(health.standing)
    if standing is None or pace is None or standing.samples < _SAMPLES_MIN:
        return None
    return round(health.octets / standing.samples * pace * 3600)


def _share(last: Mapping[str, Any]) -> float | None:
    """What the programs took of one CPU, where there is a budget."""
    if last.get("bpf_ns") is None or not last["interval_us"]:
        return None
    share: float = last["bpf_ns"] / (last["interval_us"] * 1000)
    return round(share, 4)


#: What ``run.filters`` says beside filters.
_BOUNDS: Final = ("max_connections", "max_overhead", "keep", "rollup", "max_db_size")


def _kept(bounds: Mapping[str, str]) -> str:
    """How much history is kept, where that is bounded."""
    says = {
        "keep": "for {}",
        "rollup": "thinned to a sample in each step:age {}",
        "max_db_size": "up to {} in all",
    }
    return ", ".join(text.format(bounds[name]) for name, text in says.items() if bounds[name])


_NOTHING: Final = Health(Path(), 0, 0, None, [], None)
_LOOK: Final[Look[dict[str, Any]]] = Look(
    keys=tuple(_as_object(_NOTHING)),
    as_object=lambda found: found,
    header=(),
    as_row=lambda _: (),
)


def _describe(health: Health) -> None:
    """For a person: a line for each thing, then what was lost, then the processes."""
    found = _as_object(health)
    for name, text in _lines(health, found).items():
        print(f"{name:10}{printable(text)}")
    if health.standing:
        print()
        rows: list[list[Cell]] = [
            [name, found[f"{name}_last_minute"], found[name], METERS[name]] for name in _COUNTS
        ]
        header = ("count", "last minute", "since it began", "meaning")
        write_table(header, rows, sys.stdout, width=table_width(sys.stdout))
    if health.processes:
        print()
        columns = ("pid", "process", "CPU s", "CPU %", "memory", "which is")
        lines: list[list[Cell]] = [
            [
                p.pid,
                p.name,
                p.cpu_seconds,
                round(p.cpu_share * 100, 1),
                size(p.memory_bytes),
                p.memory,
            ]
            for p in health.processes
        ]
        write_table(columns, lines, sys.stdout)


def _lines(health: Health, found: Mapping[str, Any]) -> dict[str, str]:
    """What there is to say, by its name."""
    grows = found["bytes_per_hour"]
    pace = "" if grows is None else f", growing by about {size(grows)} an hour"
    holder = f", process {health.holder}" if health.holder else ""
    lines = {
        "state": f"{health.state}{holder}",
        "database": f"{health.path}, {size(health.octets)}{pace}",
    }
    if not health.standing:
        return lines
    run = health.standing.run
    ran = age((run["ended_us"] or health.now_us) - run["started_us"])
    end = f", ended ({run['end_reason']})" if run["ended_us"] else ""
    asked: dict[str, list[str]] = json.loads(run["filters"])
    bounds = {name: ", ".join(asked.pop(name, [])) for name in _BOUNDS}
    lines |= {
        "run": f"{run['run_id']}, since {found['started']}, {ran}{end}",
        "host": f"{run['host']}, Linux {run['kernel']}, estats {run['version']}",
        "source": f"{run['source']}, {run['shards']} worker(s), a snapshot every"
        f" {age(run['interval_us'])}, flush interval {age(run['flush_us'])}",
        "tables": run["tables"],
        "filters": json.dumps(asked) if asked else "none: all connections",
    }
    if health.age_us is not None:
        rows = (
            ""
            if found["samples_per_second"] is None
            else f", {found['samples_per_second']} samples/s"
        )
        lines["snapshots"] = (
            f"{found['snapshots']}, the last one {age(health.age_us)} ago with"
            f" {found['connections']} connections{rows}, lag {age(found['lag_us'])}"
        )
    if most := bounds["max_connections"]:
        lines["bound"] = f"{most} connections at a time"
    if kept := _kept(bounds):
        lines["kept"] = kept
    if budget := bounds["max_overhead"]:
        share = "?" if found["bpf_share"] is None else f"{found['bpf_share']:.1%}"
        lines["budget"] = (
            f"{float(budget):.1%} of a CPU; taken {share}, flush interval"
            f" {age(found['flush_interval_us'] or 0)}, 1 of {found['sampled']} new connections"
        )
    return lines
