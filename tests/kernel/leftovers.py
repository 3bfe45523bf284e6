"""What a test run must not leave behind: processes, BPF objects, network namespaces."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.kernel.net import SLOWNESS, namespaces, run

SETTLE_SECONDS = 15 * SLOWNESS  # the kernel frees BPF objects after their last user is gone

#: Sessions of the processes that these tests started: a child stays in its parent's session even
#: when the parent is killed, so a survivor is found by it.
_SESSIONS: set[int] = set()

#: BPF objects that were seen to come with a collector of ours, as (kind, number).
_OBJECTS: set[tuple[str, int]] = set()


def start(argv: list[str], **options: Any) -> "subprocess.Popen[str]":
    """Start a process in a session of its own, by which it and its children are found again."""
    process: subprocess.Popen[str]
    process = subprocess.Popen(argv, text=True, start_new_session=True, **options)
    _SESSIONS.add(process.pid)
    return process


def processes(session: int | None = None) -> set[int]:
    """The pids, zombies aside, of one session of ours; of all of them without an argument."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        state, of = words[0], int(words[3])
        if state != "Z" and (of == session if session else of in _SESSIONS):
            found.add(int(stat.parent.name))
    return found


def bpf_objects() -> set[tuple[str, int]]:
    """All programs, maps and links in the kernel, whoever's they are."""
    return {
        (kind, item["id"])
        for kind in ("prog", "map", "link")
        for item in json.loads(run("bpftool", "-j", kind, "show") or "[]")
    }


def owned(objects: set[tuple[str, int]]) -> None:
    """Remember BPF objects that came with a collector of ours and must go with it."""
    _OBJECTS.update(objects)


def left() -> dict[str, object]:
    """All that should not be there any more: empty when the run was clean."""
    found = {
        "bpf": _OBJECTS & bpf_objects() if _OBJECTS else set(),
        "processes": processes(),
        "namespaces": namespaces(),
    }
    return {what: things for what, things in found.items() if things}


def left_for_good() -> dict[str, object]:
    """What is still there after the kernel had time to clean up."""
    end = time.monotonic() + SETTLE_SECONDS
    while (found := left()) and time.monotonic() < end:
        time.sleep(0.1)
    return found
