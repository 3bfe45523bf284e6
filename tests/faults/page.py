"""docs/faults.md: what happens when things fail, and a table of every fault that was played."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tests.faults.stage import Outcome

_WORDS: Final = """\
# What happens when something fails

<!-- Made by `make faults` from tests/faults/page.py and what came of the faults. -->

Whatever fails, a database is left that is whole up to its last snapshot, nothing is left in the
kernel, and what is lost is counted. `make faults`, as root, plays each of the faults below under a
running load and holds the database against what the load knows itself.

## A process dies

**A worker.** Another takes its place, with the rings as they were, the connections that the
database has, under their numbers, and the ends that the dead one had read and not stored: these lie
in memory that is no process's own. The next sweep sends every connection of the shard anew. Nothing
is lost; `snapshot.replaced` counts it, and a warning and the notice of every answer say so.

**The writer.** Another one goes on in the same run. The workers are replaced, too, for they had
handed over what it had not written; those snapshots are written once more.

**The supervisor**, or all at once. The others die with it, and the kernel lets go of the programs.
The run has no end in the database, and every answer says so; what ended after its last snapshot is
not there.

**The loader of the kernel programs.** With `--source bpf` the start ends with exit code 3,
else inet_diag is polled.

A process that dies four times without a snapshot in between ends the run with exit code 6. So does
the first death of one that polls inet_diag, replays or records: what it knew is nowhere else. Of
ends that a worker has read and no snapshot has yet, 32,768 are kept; if it dies with more, they are
in `lost_finals`.

## A process stands still

Snapshots come late (SIGSTOP, no processor time), and `merged` counts the ticks. While a worker
stands still its rings fill: what they refuse is in `lost` and healed by the next batch; ends that
find no room go to a map in the kernel, and what that refuses is in `lost_finals`.

## The database cannot be written

**The disk is full, or fails, or another process has the write lock.** The collector warns and goes
on. It holds what it cannot write, of each connection the newest, and that comes with the next
snapshot that can be written: `merged` counts the ticks, amounts are added up, and nothing is lost
but points of the history. The run ends with exit code 4 if what waits is more than 256 MiB, or
cannot be written at its end either; the error says how many snapshots are lost.

After a sync that failed, SQLite does not take the pages for stored: the next checkpoint writes them
again, from the log, before it forgets the log.

**The file is deleted, or another is in its place.** Seen at the next snapshot, by the file's
number; the run ends with exit code 4. SQLite would go on in a file that has no name any more.

## The machine

**The wall clock is set.** `taken_us`, `opened_us` and `closed_us` are what it said. The order of
snapshots is that of `snapshot_id`, and intervals are measured by a clock that nobody sets.

**No memory.** Whoever the kernel kills is replaced, or ends the run, as above.

**No file descriptor.** The run ends with exit code 3 and names the limit.

## The faults

Connections are counted by their ends, of which each has two on this host. *offered*: closed by the
load, in order. *applied*: they have one row that is closed, whose `HCThruOctetsReceived` is what
`TCP_INFO` said of that very socket before it was closed, and the FIN. *unwatched*: closed while no
collector ran, from the last snapshot of one to the first of the next, as the rows of `run` and
`snapshot` tell. *lost*: all others. *counted*: `lost_finals`, `untracked` and `sampled_out`,
summed up over all snapshots. *accounted for*: applied, unwatched and counted, of those offered;
more than all would be as wrong as less. A fault passes if lost is counted, no row is wrong or there
twice, `PRAGMA integrity_check` finds nothing, and neither a BPF object nor a process is left.
"""

_HEADER: Final = (
    "fault",
    "rounds",
    "seconds",
    "offered",
    "applied",
    "unwatched",
    "lost",
    "counted",
    "accounted for",
    "database",
    "left",
)


def row(outcome: Outcome) -> dict[str, Any]:
    """One fault as data."""
    settled = outcome.account
    return {
        "fault": outcome.fault,
        "rounds": outcome.rounds,
        "seconds": round(outcome.seconds),
        "offered": settled.offered,
        "applied": settled.applied,
        "unwatched": settled.unwatched,
        "lost": settled.lost,
        "counted": settled.counted,
        "accounted for": "100%" if settled.accounted == 1 else f"{settled.accounted:.3%}",
        "database": "ok" if settled.intact and not settled.wrong else "WRONG",
        "left": outcome.left or "nothing",
    }


def lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The table."""
    numbers = "|".join(["---", *["---:"] * 8, "---", "---"])
    told = [" | ".join(_cell(found[name]) for name in _HEADER) for found in rows]
    return [f"| {' | '.join(_HEADER)} |", f"|{numbers}|", *(f"| {line} |" for line in told)]


def page(rows: Sequence[Mapping[str, Any]]) -> str:
    """The whole page."""
    kernels = ", ".join(dict.fromkeys(found["kernel"] for found in rows))
    days = sorted({found["day"] for found in rows})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    where = f"\nLinux {kernels}, {when}; the same as data is in [faults.json](faults.json).\n"
    return "\n".join([_WORDS + where, *lines(rows)]) + "\n"


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
