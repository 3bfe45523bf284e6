"""Where it was measured: figures without their machine are none."""

import os
import platform
import re
import sqlite3
import subprocess
import time
from pathlib import Path

import numpy as np

from bench.processes import BenchError, output
from cli.version import program_version


def facts() -> dict[str, str]:
    """The machine, its kernel, and the versions of what takes part."""
    return {
        "processors": f"{os.cpu_count()} of {_processor()}",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release()["PRETTY_NAME"],
        "estats": program_version(),
        "Python": platform.python_version(),
        "numpy": np.__version__,
        "SQLite": sqlite3.sqlite_version,
        "iperf3": _first_line("iperf3", "--version"),
    }


def commit() -> str:
    """What is checked out here, and whether it was changed since: our own pages do not count."""
    try:
        head = output(["git", "rev-parse", "--short=10", "HEAD"]).strip()
        status = ["git", "status", "--porcelain", "--untracked-files=no", "--", "."]
        pages = [
            f":!docs/{name}.{kind}" for name in ("benchmarks", "soak") for kind in ("md", "json")
        ]
        changed = output([*status, *pages])
    except (BenchError, FileNotFoundError):
        return "no checkout"
    return f"{head} with changes" if changed else head


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _first_line(*argv: str) -> str:
    try:
        said = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False).stdout
    except FileNotFoundError:
        return "not installed"
    return said.partition("\n")[0].removeprefix(f"{argv[0]} ")


def busy_seconds() -> float:
    """Processor time that the whole machine has spent on anything since it started."""
    words = Path("/proc/stat").read_text().split(maxsplit=11)[1:9]
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, words)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def busy(seconds: float = 1.0) -> str:
    """How much of the machine others use while nothing is measured."""
    before = busy_seconds()
    time.sleep(seconds)
    return f"{(busy_seconds() - before) / seconds / (os.cpu_count() or 1):.0%}"
