"""What stderr says beside an answer: from which file and time it is, and what is missing in it."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bpf.variable import HISTORIES, Status, Variable
from cli.render import say
from cli.times import age, now_us, short
from storage.question import RunPart, Thinned

_WORD = re.compile(r"\w+")
_NAMES_SHOWN = 6
#: A run is taken for dead when it has been silent for so many of its own intervals.
_SILENT_INTERVALS = 10


def say_source(name: str, parts: Sequence[RunPart]) -> None:
    """Say which file was read, over which period, and how much was lost in it."""
    snapshots = counted(sum(part.snapshots for part in parts), "snapshot")
    runs = counted(len(parts), "run")
    say(f"{name}: {_period(parts)}, {snapshots} of {runs}, {losses(parts)}")
    for part in parts:
        if sentence := _end_of(part, is_newest=part is parts[-1]):
            say(sentence)


def say_nothing(name: str, all_parts: Sequence[RunPart]) -> None:
    """Say that a database has nothing about the period, but what it has."""
    has = f"it has {_period(all_parts)}" if all_parts else "nor in any other"
    say(f"{name}: no snapshot in this period; {has}")


def say_thinned(found: Sequence[Thinned]) -> None:
    """Say from when on the history is whole, and what it was thinned to before."""
    for part in found:
        say(thinned_to(part))


def thinned_to(part: Thinned) -> str:
    """What one step of the thinning left."""
    until = short(part.until_us)
    if part.step_us is None:
        return f"before {until} all is forgotten but what the connections open then stood at"
    return f"up to {until} a connection has one sample in {age(part.step_us)}"


def losses(parts: Sequence[RunPart]) -> str:
    """How much was lost, in words; "0 lost" if nothing was."""
    lost = {
        name: sum(part.meters[name] for part in parts)
        for name in ("lost", "lost_finals", "untracked")
    }
    found = [
        f"{lost['lost']} lost" if not lost["lost"] else counted(lost["lost"], "batch") + " lost"
    ]
    if lost["lost_finals"]:
        found.append(f"{counted(lost['lost_finals'], 'final batch')} lost")
    if lost["untracked"]:
        found.append(f"{counted(lost['untracked'], 'connection')} not tracked")
    if evicted := sum(part.meters["evicted"] for part in parts):
        found.append(f"{counted(evicted, 'idle connection')} evicted to keep to --max-connections")
    if left_out := sum(part.meters["sampled_out"] for part in parts):
        left = f"{counted(left_out, 'new connection')} left out to keep to --max-overhead"
        found.append(left)
    if missed := sum(part.meters["missed"] for part in parts):
        found.append(f"{counted(missed, 'run')} of hooks skipped")
    if replaced := sum(part.meters["replaced"] for part in parts):
        found.append(f"{counted(replaced, 'process')} died and replaced")
    return ", ".join(found)


def say_unknown(variables: Sequence[Variable], parts: Sequence[RunPart]) -> None:
    """Say which of the variables asked for have no values, and why: a line for each reason."""
    for sentence in unknown(variables, parts):
        say(sentence)


def unknown(variables: Sequence[Variable], parts: Sequence[RunPart]) -> Iterator[str]:
    """Which of these variables have no values, and why: a sentence for each reason."""
    by_reason: dict[str, list[str]] = {}
    for variable in variables:
        if reason := why_unknown(variable, [part.run for part in parts]):
            by_reason.setdefault(reason, []).append(variable.name)
    for reason, names in by_reason.items():
        more = len(names) - _NAMES_SHOWN
        rest = f" and {more} more" if more > 0 else ""
        yield f"no value for {', '.join(names[:_NAMES_SHOWN])}{rest}: {reason}"


def why_unknown(variable: Variable, runs: Sequence[Mapping[str, Any]]) -> str | None:
    """Why a variable is NULL, or in which of these runs it is; None if it should have values."""
    if variable.status is Status.UNAVAILABLE:
        return variable.exactness.partition(": ")[2]
    reasons = {run["run_id"]: reason for run in runs if (reason := _why_in(run, variable))}
    if not reasons:
        return None
    newest = next(reversed(reasons))
    return reasons[newest] + ("" if len(reasons) == len(runs) else f" (run {newest})")


def _why_in(run: Mapping[str, Any], variable: Variable) -> str | None:
    """Why one run has no value of a variable that estats collects, or derives from others."""
    if variable.table in HISTORIES and variable.table.value not in run["tables"].split(","):
        return f"the {variable.table.value} table was not collected"
    unavailable: dict[str, str] = json.loads(run["unavailable"])
    names = [variable.name, *_WORD.findall(variable.derived or "")]
    return next((unavailable[name] for name in names if name in unavailable), None)


def _period(parts: Sequence[RunPart]) -> str:
    return f"{short(min(p.from_us for p in parts))} to {short(max(p.to_us for p in parts))}"


def _end_of(part: RunPart, *, is_newest: bool) -> str | None:
    """What to know of a run without an end; one that goes on needs no words."""
    run = part.run
    if run["ended_us"] is not None:
        return None
    silent_us = now_us() - part.to_us
    if is_newest and silent_us < _SILENT_INTERVALS * run["interval_us"] + 1_000_000:
        return None
    how = "nothing new since" if is_newest else "it was killed after"
    return f"run {run['run_id']} has no end: {how} {short(part.to_us)}"


def counted(count: int, what: str) -> str:
    """``1 connection``, ``2 connections``."""
    plural = f"{what}es" if what.endswith(("ch", "s")) else f"{what}s"
    return f"{count} {what if count == 1 else plural}"
