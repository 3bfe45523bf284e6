"""Plays the faults and writes docs/faults.md and docs/faults.json.

    python -m tests.faults [--rounds N] [FAULT …]

The pages have the newest play of each fault. Exit code 1 if a fault loses what is not counted,
spoils the database, or leaves something behind.
"""

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.faults import machine, processes, storage
from tests.faults.page import lines, page, row
from tests.faults.stage import Act, Outcome, played

DOCS: Final = Path(__file__).parents[2] / "docs"
#: Played as often as the command line says; the others take their time, and are played once.
MANY: Final = processes.MANY
ONCE: Final[Mapping[str, Act]] = {
    "kill all": processes.kill_all,
    **storage.FAULTS,
    **machine.FAULTS,
}
ALL: Final[Mapping[str, Act]] = {**MANY, **ONCE}


def main() -> int:
    """Play, tell, write."""
    asked = _asked()
    if os.geteuid() != 0:
        print("make faults wants root", file=sys.stderr)
        return 3
    found: list[Outcome] = []
    wanted = asked.faults or list(ALL)
    for fault in wanted:
        try:
            outcome = played(fault, ALL[fault], asked.rounds if fault in MANY else 1)
        except Exception:  # the others are worth a look all the same
            print(f"{fault}: not played to its end", file=sys.stderr)
            traceback.print_exc()
            continue
        print(lines([row(outcome)])[-1], flush=True)
        if not outcome.is_good:
            print(outcome, file=sys.stderr, flush=True)
        found.append(outcome)
    _write(found)
    return 0 if sum(outcome.is_good for outcome in found) == len(wanted) else 1


def _write(found: Sequence[Outcome]) -> None:
    """The pages, with these faults in the place of what was known of them."""
    data = DOCS / "faults.json"
    rows = {said["fault"]: said for said in json.loads(data.read_text())} if data.exists() else {}
    day = time.strftime("%Y-%m-%d")
    rows |= {of.fault: {**row(of), "day": day, "kernel": os.uname().release} for of in found}
    known = [rows[fault] for fault in ALL if fault in rows]
    data.write_text(json.dumps(known, indent=1) + "\n")
    (DOCS / "faults.md").write_text(page(known))


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument(
        "faults", nargs="*", metavar="FAULT", help=", ".join(ALL).replace("%", "%%")
    )
    parser.add_argument("--rounds", type=int, default=100, help="of kills and stops [100]")
    asked = parser.parse_args()
    if unknown := [fault for fault in asked.faults if fault not in ALL]:
        parser.error(f"there is no fault {unknown[0]!r}; there are {', '.join(ALL)}")
    return asked


if __name__ == "__main__":
    sys.exit(main())
