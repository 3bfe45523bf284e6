"""Writes docs/validation.md and docs/validation.json of what the kernel tests compared.

``python -m tests.kernel.report build/validation.json docs`` ends with 1 if a comparison disagreed,
a test failed or a variable is not proven: the pages say which.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from bpf.catalogue import CATALOGUE
from bpf.variable import Kind, Status, Table, Variable
from tests.kernel.validation import WITNESSES

#: Variables that no comparison can move, and why.
STILL: Final[Mapping[str, str]] = {}

_FAULTS: Final = ("no witness", "disagreed", "never moved", "never without tolerance")
_FILLED = (Status.COLLECTED, Status.DERIVED)
_INTRO = """\
# Validation

Written by `make validate`, which runs the kernel tests on real traffic and keeps what they compare:
each value of ours against a witness, somebody who did not use our programs to know it. Without a
tolerance, equal means equal. A comparison *moved* if a 0 or NULL of ours would have failed it: one
that cannot fail proves nothing. Where a witness knows two bounds, the worst difference is how far
ours may be from the truth at most. One comparison is one end of a connection, or one sum over all
of them. [validation.json](validation.json) has the same and names the tests.

A variable is *proven* if all its comparisons agreed and one at least moved; what is counted and is
called exact in [variables.md](variables.md) needs one that moved and had no tolerance.
"""

Group = dict[str, Any]  # of tests/kernel/validation.py, as JSON


def variables(groups: Iterable[Group]) -> list[dict[str, Any]]:
    """Each variable of the catalogue with its comparisons, joined by witness and tolerance."""
    found: dict[str, dict[tuple[str, str, str], Group]] = {}
    for group in groups:
        kind = (group["witness"], group["compared_as"], group["reason"])
        joined = found.setdefault(group["variable"], {}).setdefault(kind, _blank(group))
        for count in ("compared", "agreed", "moved"):
            joined[count] += group[count]
        joined["worst"] = max(joined["worst"], group["worst"])
        joined["tests"] |= {group["workload"]: None}
        joined["within"] |= {group["tolerance"]: None}
        joined["disagreements"] += group["disagreements"]
    return [_row(v, found.get(v.name, {}).values()) for v in CATALOGUE]


def _blank(group: Group) -> Group:
    names = {name: group[name] for name in ("witness", "compared_as", "reason")}
    counts = dict.fromkeys(("compared", "agreed", "moved", "worst"), 0)
    return {**names, **counts, "within": {}, "tests": {}, "disagreements": []}


def _row(variable: Variable, comparisons: Iterable[Group]) -> dict[str, Any]:
    witnesses = [{**c, "within": list(c["within"]), "tests": list(c["tests"])} for c in comparisons]
    return {
        "table": variable.table.value,
        "name": variable.name,
        "status": variable.status.value,
        "exactness": variable.exactness,
        "verdict": _verdict(variable, witnesses),
        "witnesses": witnesses,
    }


def _verdict(variable: Variable, witnesses: list[Group]) -> str:
    """``proven``, or what is wrong; a variable that is not filled needs no proof."""
    if variable.status not in _FILLED:
        return variable.status.value
    if not witnesses:
        return "no witness"
    if any(w["agreed"] < w["compared"] for w in witnesses):
        return "disagreed"
    if not any(w["moved"] for w in witnesses) and variable.name not in STILL:
        return "never moved"
    if _is_count(variable) and not any(w["moved"] and w["within"] == [""] for w in witnesses):
        return "never without tolerance"
    return "proven"


def _is_count(variable: Variable) -> bool:
    """Whether a witness that counts must count the same; a clock is read, not counted."""
    is_exact = variable.exactness.startswith("exact")
    return is_exact and variable.kind is Kind.COUNTER and "seconds" not in variable.unit


def report(said: Mapping[str, Any]) -> dict[str, Any]:
    """What docs/validation.json has."""
    rows = variables(said["groups"])
    return {
        **{key: said[key] for key in ("kernel", "ended", "tests", "failed")},
        "status": Counter(v.status.value for v in CATALOGUE),
        "verdicts": Counter(row["verdict"] for row in rows),
        "witnesses": WITNESSES,
        "variables": rows,
    }


def is_proven(made: Mapping[str, Any]) -> bool:
    """Whether no test failed and no variable lacks its proof."""
    filled = sum(made["status"].get(status.value, 0) for status in _FILLED)
    return not made["failed"] and made["verdicts"].get("proven", 0) == filled


def _table(header: str, rows: Iterable[Iterable[object]]) -> list[str]:
    columns = header.split(", ")
    lines = [columns, ["---"] * len(columns), *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]


def _summary(made: Mapping[str, Any]) -> list[str]:
    tests = ", ".join(f"{count} {outcome}" for outcome, count in made["tests"].items())
    counts = [(w, _compared(made, w), sentence) for w, sentence in made["witnesses"].items()]
    return [
        f"Kernel {made['kernel']}, {made['ended']}; tests: {tests}.",
        "",
        *_table("status, variables", made["status"].items()),
        "",
        *_table("verdict, variables", made["verdicts"].items()),
        "",
        *_table("witness, comparisons, how it knows", (c for c in counts if c[1])),
    ]


def _compared(made: Mapping[str, Any], witness: str) -> int:
    found = (w for row in made["variables"] for w in row["witnesses"] if w["witness"] == witness)
    return sum(w["compared"] for w in found)


def _faults(made: Mapping[str, Any]) -> list[str]:
    """What is wrong, first of all; nothing if nothing is."""
    lines = [f"- failed: `{name}`" for name in made["failed"]]
    for row in made["variables"]:
        if row["verdict"] in _FAULTS:
            lines.append(f"- {row['name']}: {row['verdict']}")
            lines += [f"  - {told}" for w in row["witnesses"] for told in w["disagreements"]]
    return ["## What is wrong", "", *lines, ""] if lines else []


def _proofs(rows: list[dict[str, Any]]) -> list[str]:
    """The table of one of the RFC's tables."""
    cells = [
        (
            row["name"],
            w["witness"] + (f" (as {w['compared_as']})" if w["compared_as"] != row["name"] else ""),
            w["compared"],
            w["agreed"],
            w["moved"],
            " / ".join(w["within"][:3]) or "0",
            f"{w['worst']:g}",
        )
        for row in rows
        for w in row["witnesses"]
    ]
    return _table("variable, witness, compared, agreed, moved, tolerance, worst difference", cells)


def _reasons(made: Mapping[str, Any]) -> list[str]:
    """Why a tolerance is not 0, and why a variable does not move or is not there."""
    why: dict[str, list[str]] = {}
    for row in made["variables"]:
        for witness in row["witnesses"]:
            if witness["reason"]:
                why.setdefault(f"{witness['witness']}: {witness['reason']}", []).append(row["name"])
        if row["status"] == Status.UNAVAILABLE.value:
            why.setdefault(row["exactness"], []).append(row["name"])
        if row["name"] in STILL:
            why.setdefault(STILL[row["name"]], []).append(row["name"])
    return [f"- {', '.join(dict.fromkeys(names))}: {reason}" for reason, names in why.items()]


def page(made: Mapping[str, Any]) -> str:
    """What docs/validation.md has."""
    lines = [_INTRO, *_summary(made), "", *_faults(made)]
    for table in Table:
        rows = [row for row in made["variables"] if row["table"] == table.value]
        if any(row["witnesses"] for row in rows):
            lines += [f"## {table.value}", "", *_proofs(rows), ""]
    return "\n".join([*lines, "## Reasons", "", *_reasons(made), ""])


def main(said: Path, docs: Path) -> int:
    """Write both pages; the answer is the exit code."""
    made = report(json.loads(said.read_text()))
    (docs / "validation.json").write_text(json.dumps(made, indent=1) + "\n")
    (docs / "validation.md").write_text(page(made))
    print("\n".join(_faults(made)) or "every variable is proven")
    return 0 if is_proven(made) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
