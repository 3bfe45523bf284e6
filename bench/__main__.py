"""Measures, and writes docs/benchmarks.md and docs/benchmarks.json.

    python -m bench [--list] [--pairs N] [--minutes N] [--quick] [PART …]

Without a PART all of them run. What was found is printed; docs/benchmarks.json keeps the newest
result of each part, and docs/benchmarks.md is made from those. Exit code 1 if a part could not be
measured to its end: it keeps the result that it had.
"""

import argparse
import os
import resource
import signal
import sys
import time
from typing import Final

from bench import machine, report, stored
from bench.effort import Effort
from bench.parts import PARTS, Part
from cli.live import ended_by

PAGE: Final = stored.DATA.with_suffix(".md")


def measured(part: Part, effort: Effort) -> report.Result | None:
    """One part's result; an error ends the part and not the run, which may be an hour old."""
    print(f"measuring {part.name}: {part.says} …", file=sys.stderr, flush=True)
    began_utc, commit, busy = time.gmtime(), machine.commit(), machine.busy()
    began = time.monotonic()
    try:
        sections = [*part.run(effort)]
    except Exception as e:  # (whatever it was is said, and by the exit code, too)
        print(f"{part.name} ended early: {type(e).__name__}: {e}", file=sys.stderr, flush=True)
        return None
    return report.Result(
        part=part.name,
        began=time.strftime("%Y-%m-%d %H:%M", began_utc),
        seconds=round(time.monotonic() - began, 1),
        commit=commit,
        busy=busy,
        machine=machine.facts(),
        sections=sections,
    )


def write_page() -> None:
    """From what is kept of all parts."""
    results, lacking = stored.kept([part.name for part in PARTS])
    PAGE.write_text(report.page(results, lacking))


def asked_for() -> tuple[list[Part], Effort]:
    """What the command line wants measured; ends the program where it wants none."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("parts", metavar="PART", nargs="*", help="only these")
    parser.add_argument("--list", action="store_true", help="name the parts")
    parser.add_argument("--pairs", type=int, default=Effort().pairs, help="for each comparison")
    parser.add_argument("--minutes", type=float, default=Effort().minutes, help="of churn")
    parser.add_argument("--quick", action="store_true", help="to see that it runs, not to quote")
    asked = parser.parse_args()
    if asked.list:
        print(*(f"{part.name:<10}{part.says}" for part in PARTS), sep="\n")
        parser.exit()
    if unknown := set(asked.parts) - {part.name for part in PARTS}:
        parser.error(f"there is no part {', '.join(sorted(unknown))}; --list names them")
    if os.geteuid() != 0:
        parser.error("the kernel programs and the network namespaces want root")
    effort = Effort(pairs=asked.pairs, minutes=asked.minutes)
    if asked.quick:
        effort = Effort(pairs=asked.pairs, seconds=1, minutes=0.1, quick=True)
    return [part for part in PARTS if not asked.parts or part.name in asked.parts], effort


def main() -> int:
    """Measure what was asked for."""
    parts, effort = asked_for()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a connection is a descriptor
    failed = False
    for part in parts:
        with ended_by(signal.SIGTERM):  # as Ctrl-C does: what it started ends with it
            result = measured(part, effort)
        failed |= result is None
        if result:
            print(report.part_page(result), flush=True)
            if not effort.quick:
                stored.keep(result)
    if not effort.quick:
        write_page()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
