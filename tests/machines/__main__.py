"""Examines this kernel and Debian's others, and writes docs/kernels.md and docs/kernels.json.

    python -m tests.machines [SERIES …]

A SERIES is one of Debian's kernels, like 6.12; this one alone with ``here``. Only the examination
of all of them writes the pages. Exit code 1 if anything is not as it should be.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Final

from tests.machines import debian, emulated
from tests.machines.examination import WORDS
from tests.machines.page import Report, page, report

DOCS: Final = emulated.HOME / "docs"
SERIES: Final = ("6.1", "6.12")
_TOLD: Final = 40  # lines of what went wrong


def _here(folder: Path) -> str:
    examine = [sys.executable, "-m", "tests.machines.examination", str(folder)]
    subprocess.run(examine, cwd=emulated.HOME, check=False)
    return "this one"


def _booted(series: str) -> Callable[[Path], str]:
    def examine(folder: Path) -> str:
        with tempfile.TemporaryDirectory(prefix="estats-kernel-") as unpacked:
            kernel = debian.unpacked(series, Path(unpacked))
            emulated.examine(kernel, folder)
        return f"emulated, {kernel.package}"

    return examine


def examined(series: str) -> Report | None:
    """One kernel's report, or None if it did not come so far; its last words if it went wrong."""
    print(f"examining {series} …", file=sys.stderr)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="estats-findings-") as name:
        folder = Path(name)
        machine = (_here if series == "here" else _booted(series))(folder)
        seconds = round(time.monotonic() - began)
        try:
            found = report(folder, machine, time.strftime("%Y-%m-%d"), seconds)
        except FileNotFoundError:
            found = None
        if found is None or found.faults:
            for text in (folder / "console.txt", folder / WORDS):
                if text.exists():
                    print(*text.read_text(errors="replace").splitlines()[-_TOLD:], sep="\n")
        return found


def main(asked: list[str]) -> int:
    """Examine, write, and say what is wrong."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        print("make kernels wants root, and Debian's packages", file=sys.stderr)
        return 3
    subprocess.run(["apt-get", "-qq", "update"], check=True)
    try:
        reports = [examined(series) for series in asked or (*SERIES, "here")]
    except LookupError as e:
        print(e, file=sys.stderr)
        return 3
    told = [r for r in reports if r]
    faults = [fault for r in told for fault in r.faults]
    faults += ["a kernel was not examined to the end"] * (len(told) < len(reports))
    for line in (*(f"{r.kernel}: examined in {r.seconds} s" for r in told), *faults):
        print(line)
    if not asked and len(told) == len(reports):
        (DOCS / "kernels.md").write_text(page(told))
        (DOCS / "kernels.json").write_text(json.dumps([asdict(r) for r in told], indent=1) + "\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
