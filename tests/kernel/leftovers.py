"""What a test run must not leave behind: processes, BPF objects, network namespaces."""

import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.kernel.net import SLOWNESS, namespaces, run

SETTLE_SECONDS = 15 * SLOWNESS  # the kernel frees BPF objects after their last user is gone

#: What a descriptor is of, in /proc/PID/fdinfo.
_OF_BPF = re.compile(r"^(prog|map|link)_id:\s*([0-9]+)$", re.MULTILINE)

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
    """All programs, maps and links in the kernel, but those that somebody else's process holds."""
    shown = {
        (kind, item["id"]): item
        for kind in ("prog", "map", "link")
        for item in json.loads(run("bpftool", "-j", kind, "show") or "[]")
    }
    foreign = _held_by_others()
    foreign |= {("prog", shown[o]["prog_id"]) for o in foreign & shown.keys() if o[0] == "link"}
    for held in [o for o in foreign & shown.keys() if o[0] == "prog"]:
        foreign |= {("map", number) for number in shown[held].get("map_ids", ())}
    return shown.keys() - foreign


def _held_by_others() -> set[tuple[str, int]]:
    """BPF objects of which a process that is not of these tests has a descriptor."""
    ours, theirs = {os.getpid(), *processes()}, set[tuple[str, int]]()
    for info in Path("/proc").glob("[0-9]*/fdinfo/*"):
        if int(info.parts[2]) in ours:
            continue
        try:
            text = info.read_text()
        except OSError:
            continue  # it has just ended, or closed it
        theirs |= {(kind, int(number)) for kind, number in _OF_BPF.findall(text)}
    return theirs


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
