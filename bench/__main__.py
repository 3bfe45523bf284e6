"""Measures, and writes docs/benchmarks.md and docs/benchmarks.json.

    python -m bench [--list] [--pairs N] [--quick] [PART …]

Without a PART all of them run, and only then the pages are written. Everything is printed, too.
Exit code 1 if a part could not be measured to its end.
"""

import argparse
import os
import resource
import sys
import time
from pathlib import Path
from typing import Final

from bench import machine, report
from bench.effort import Effort
from bench.parts import PARTS, Part

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"


def measured(part: Part, effort: Effort) -> report.Result:
    """One part's result; an error ends the part and not the run, which may be an hour old."""
    print(f"measuring {part.name}: {part.says} …", file=sys.stderr, flush=True)
    began = time.monotonic()
    failure = None
    sections = []
    try:
        sections = [*part.run(effort)]
    except Exception as e:  # (whatever it was is said on the page, and by the exit code)
        failure = f"{type(e).__name__}: {e}"
    seconds = round(time.monotonic() - began, 1)
    return report.Result(part=part.name, seconds=seconds, sections=sections, failure=failure)


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("parts", metavar="PART", nargs="*", help="only these")
    parser.add_argument("--list", action="store_true", help="name the parts")
    parser.add_argument("--pairs", type=int, default=Effort().pairs, help="for each comparison")
    parser.add_argument("--quick", action="store_true", help="to see that it runs, not to quote")
    asked = parser.parse_args()
    if asked.list:
        print(*(f"{part.name:<10}{part.says}" for part in PARTS), sep="\n")
        return 0
    if unknown := set(asked.parts) - {part.name for part in PARTS}:
        parser.error(f"there is no part {', '.join(sorted(unknown))}; --list names them")
    if os.geteuid() != 0:
        parser.error("the kernel programs and the network namespaces want root")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a connection is a descriptor
    effort = Effort(pairs=asked.pairs, seconds=1 if asked.quick else 2, quick=asked.quick)
    facts = machine.facts()
    results = []
    for part in PARTS:
        if not asked.parts or part.name in asked.parts:
            results.append(measured(part, effort))
            print(report.part_page(results[-1]), flush=True)
    if not asked.parts and not asked.quick:
        (DOCS / "benchmarks.md").write_text(report.page(facts, results))
        (DOCS / "benchmarks.json").write_text(report.data(facts, results))
    return int(any(result.failure for result in results))


if __name__ == "__main__":
    sys.exit(main())
