"""python -m tests.fuzz MINUTES [FILE …]: each fuzzer for its share, with ever new examples.

The one that sends segments to live connections loads the kernel programs, and wants root.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
NEEDS_ROOT = "test_segments.py"
EXAMPLES = 200


def main() -> int:
    """Run rounds of all fuzzers; a line for each with what it tried. 1 if one found something."""
    seconds = float(sys.argv[1] if len(sys.argv) > 1 else "10") * 60
    files = sys.argv[2:] or sorted(file.name for file in HERE.glob("test_*.py"))
    if os.geteuid() != 0 and NEEDS_ROOT in files:
        print(f"{NEEDS_ROOT}: left out, for it wants root", flush=True)
        files.remove(NEEDS_ROOT)
    failed = False
    for file in files:
        until = time.monotonic() + seconds / len(files)
        tried = rounds = 0
        while time.monotonic() < until:
            rounds += 1
            found, examples = _round(HERE / file)
            tried += examples
            if found:
                failed = True
                break
        print(f"{file}: {tried} examples in {rounds} rounds", flush=True)
    return int(failed)


def _round(file: Path) -> tuple[bool, int]:
    """One run of a file's fuzzers: whether they found something, and how much they tried."""
    command = [sys.executable, "-m", "pytest", "-m", "", "-q", "-x", "--hypothesis-show-statistics"]
    ran = subprocess.run(
        [*command, str(file)],
        env={**os.environ, "ESTATS_FUZZ_EXAMPLES": str(EXAMPLES)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    counts = re.findall(r"([0-9]+) passing[\w ]*?, ([0-9]+) failing", ran.stdout)
    if ran.returncode:
        print(ran.stdout)
    return ran.returncode != 0, sum(int(a) + int(b) for a, b in counts)


if __name__ == "__main__":
    sys.exit(main())
