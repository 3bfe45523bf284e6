"""docs/kernels.md: what a kernel offers, as one table for all that were examined."""

import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bpf.catalogue import CATALOGUE
from bpf.probes import PROBES
from bpf.variable import Status, Table, Variable
from cli.notice import why_unknown
from tests.machines.examination import COMPARISONS, DATABASE, HOOKS

#: Variables that can have values at all.
FILLED: Final = tuple(v for v in CATALOGUE if v.status in (Status.COLLECTED, Status.DERIVED))

_WORDS: Final = """\
# On other kernels

<!-- Made by `make kernels` from tests/machines/page.py and what the kernels said. -->

`make kernels`, as root on Debian 12, downloads Debian's newest kernels of two series and boots each
in an emulated machine on this one's file system, which it can read only. In there, and on this
machine, the collector runs over real traffic with loss and over packet scripts; what it writes
must be what `TCP_INFO`, the sums of the network namespaces and the scripts say. The command fails
if the collector does not start there, if a comparison disagrees, or if a variable has no value that
no missing hook excuses. Continuous integration does not run it: the processor does not help to
emulate, and on two cores, which had other work too, all of it took {minutes} minutes. The same as
data is in [kernels.json](kernels.json).
"""


@dataclass(frozen=True, kw_only=True)
class Report:
    """One kernel: what was proven on it, and what it does not give.

    ``lacks`` has the programs whose hooks are missing; ``without`` maps a variable that has no
    value to the reason, which is empty for one that should have values; ``coarser`` lists the
    variables that are seen at fewer moments.
    """

    kernel: str
    machine: str
    day: str
    seconds: int
    tests: Mapping[str, int]
    failures: Sequence[str] = ()
    lacks: Sequence[str] = ()
    without: Mapping[str, str] = field(default_factory=dict)
    coarser: Sequence[str] = ()

    @property
    def faults(self) -> list[str]:
        """Everything that should not be."""
        forgotten = [name for name, reason in self.without.items() if not reason]
        faults = [f"{test} failed" for test in self.failures]
        faults += [f"{name} has no value and no missing hook excuses it" for name in forgotten]
        if not self.tests.get("passed"):
            faults.append("no test passed")
        return [f"{self.kernel}: {fault}" for fault in faults]


def values(database: Path) -> tuple[dict[str, Any], set[str]]:
    """The run of a database, and the names of the variables that have a value in it."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as base:
        base.row_factory = sqlite3.Row
        run = dict(base.execute("SELECT * FROM run").fetchone())
        known = {
            v.name
            for v in FILLED
            if base.execute(f"SELECT count({v.name}) FROM {v.table.value}").fetchone()[0]  # noqa: S608
        }
    return run, known


def report(folder: Path, machine: str, day: str, seconds: int) -> Report:
    """What an examination left in ``folder``; FileNotFoundError if it did not come so far."""
    said = json.loads((folder / COMPARISONS).read_text())
    lacks = json.loads((folder / HOOKS).read_text())
    run, known = values(folder / DATABASE)
    return Report(
        kernel=said["kernel"],
        machine=machine,
        day=day,
        seconds=seconds,
        tests=said["tests"],
        failures=said["failed"],
        lacks=lacks,
        without={v.name: why_unknown(v, [run]) or "" for v in FILLED if v.name not in known},
        coarser=coarser(lacks),
    )


def coarser(lacks: Sequence[str]) -> list[str]:
    """The variables that missing programs would refine, and what is derived from them."""
    refined = {name for probe in PROBES if probe.function in lacks for name in probe.refines}
    return [v.name for v in FILLED if refined & {v.name, *re.findall(r"\w+", v.derived or "")}]


def page(reports: Sequence[Report]) -> str:
    """The whole page."""
    minutes = round(sum(r.seconds for r in reports) / 60)
    return "\n".join([_WORDS.format(minutes=minutes), *_kernels(reports), *_hooks(reports),
                      *_variables(reports)]) + "\n"  # fmt: skip


def _kernels(reports: Sequence[Report]) -> list[str]:
    lines = [
        "| kernel | machine | day | tests | time | variables with values |",
        "|---|---|---|---|---|---|",
    ]
    for r in reports:
        tests = ", ".join(f"{count} {outcome}" for outcome, count in r.tests.items())
        took = f"{r.seconds // 60} min {r.seconds % 60} s"
        have = f"{len(FILLED) - len(r.without)} of {len(FILLED)}"
        lines.append(f"| {r.kernel} | {r.machine} | {r.day} | {tests} | {took} | {have} |")
    return lines


def _hooks(reports: Sequence[Report]) -> list[str]:
    lines = ["\n## Hooks\n"]
    for probe in PROBES:
        if not (places := [r.kernel for r in reports if probe.function in r.lacks]):
            continue
        costs = [f"no {names(probe.feeds)}"] if probe.feeds else []
        costs += [f"fewer looks at {names(probe.refines)}"] if probe.refines else []
        lines.append(f"- {probe.hook.name.lower()} `{probe.target}`, as of Linux {probe.since}, is"
                     f" missing on {' and '.join(places)}: {'; '.join(costs)}.")  # fmt: skip
    return lines if len(lines) > 1 else [*lines, "Each of these kernels has all."]


def _variables(reports: Sequence[Report]) -> list[str]:
    """A row for each variable; reasons are told once, below."""
    reasons = list(dict.fromkeys(reason for r in reports for reason in r.without.values()))
    lines = [
        "\n## Variables\n",
        "*yes*: it has values, as [variables.md](variables.md) says; *coarser*: so it has, but one",
        "hook that would look at it is missing; *no*: it is NULL, for the reason of that number.\n",
        f"| table | variable | {' | '.join(r.kernel for r in reports)} |",
        f"|---|---|{'---|' * len(reports)}",
    ]
    for v in sorted(FILLED, key=lambda v: list(Table).index(v.table)):
        cells = " | ".join(_cell(r, v, reasons) for r in reports)
        lines.append(f"| {v.table.value} | `{v.name}` | {cells} |")
    return [*lines, "", *(f"{i}. {reason or 'unknown'}" for i, reason in enumerate(reasons, 1))]


def _cell(r: Report, variable: Variable, reasons: Sequence[str]) -> str:
    if variable.name in r.without:
        return f"no ({reasons.index(r.without[variable.name]) + 1})"
    return "coarser" if variable.name in r.coarser else "yes"


def names(variables: Sequence[str]) -> str:
    """Variables in a sentence."""
    return ", ".join(f"`{name}`" for name in variables)
