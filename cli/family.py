"""A process and its children, as /proc shows them: what they took of processors and memory."""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One of them, begun ``age_seconds`` ago; ``cpu_share`` is of one processor, ever since.

    ``memory`` says what ``memory_bytes`` are: the proportional set size (``pss``), in which what
    several share is divided among them, or where that may not be seen, the resident one (``rss``).
    """

    pid: int
    name: str
    age_seconds: float
    cpu_seconds: float
    cpu_share: float
    memory_bytes: int
    memory: str


def family(pid: int) -> list[Process]:
    """It and its children, as far as they are there and may be looked at."""
    found = [_process(one) for one in [pid, *_children(pid)]]
    return [process for process in found if process is not None]


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(child) for child in _read(pid, f"task/{pid}/children").split()]
    return []


def _process(pid: int) -> Process | None:
    try:
        # The name, in brackets, may hold anything: fields are counted from behind it.
        head, _, tail = _read(pid, "stat").rpartition(")")
        user, system, began = (int(tail.split()[i]) / _TICKS for i in (11, 12, 19))
        memory, kilobytes = _memory(pid)
    except (OSError, KeyError):  # it has ended meanwhile
        return None
    age = max(time.clock_gettime(time.CLOCK_BOOTTIME) - began, 1 / _TICKS)
    return Process(
        pid=pid,
        name=head.partition("(")[2],
        age_seconds=round(age, 2),
        cpu_seconds=round(user + system, 2),
        cpu_share=round((user + system) / age, 4),
        memory_bytes=kilobytes << 10,
        memory=memory,
    )


def _memory(pid: int) -> tuple[str, int]:
    with suppress(OSError):
        return "pss", _kilobytes(_read(pid, "smaps_rollup"), "Pss")
    return "rss", _kilobytes(_read(pid, "status"), "VmRSS")


def _kilobytes(text: str, name: str) -> int:
    lines = (line.partition(":") for line in text.splitlines())
    values = {key: value for key, _, value in lines}
    return int(values[name].split()[0])


def _read(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8", errors="backslashreplace")
