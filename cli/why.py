"""estats why: what limited connections in a period, in sentences and numbers."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from cli import options
from cli.answers import WHOSE, ends, owner
from cli.asking import Asked, asking
from cli.coming import coming
from cli.picking import picking
from cli.render import Cell, Format, Look, printable, say, write
from cli.times import iso
from diagnosis.measures import rtt_min_us, rtt_us
from diagnosis.observed import VARIABLES, Observed, observed
from diagnosis.triage import Side
from diagnosis.verdict import CANNOT_TELL, Finding, Verdict, judge
from diagnosis.words import how_long, octets, percent
from storage.question import Order, Question

if TYPE_CHECKING:
    from storage.reader import Reader

HELP: Final = """What limited connections in a period: the sender, the path, the receiver, and why.

One connection gets sentences, several a summary and a table, what moved most first unless --sort
says otherwise; --limit shortens the table [to 20] and not the summary. Nothing of before the period
counts.
Where the numbers do not tell, the answer is "can't tell" and what is missing. docs/why.md has the
rules and who they are from.

The limits of a sender show at the sender. Of an end that receives this says whether it keeps up.

--for TIME waits for so long while a collector writes, and is about that; with --live, or where
there is no database yet, it starts a collector [for 10 seconds].
"""
EXAMPLES: Final = """\b
Examples:
  estats why --live
  estats why --dport 5001 --since 1m
  estats why 7 --for 5s
  estats why --daddr 192.0.2.7 --since 2026-01-31T12:00 --until 2026-01-31T12:05
  estats why --comm 'nginx*' --since 10m --limit 20
  estats why --sport 443 --since 10m --format json
"""

_LIVE_DEFAULT: Final = "10s"
_ROWS: Final = 20  # of a table, which a person reads
_SIDES: Final = (Side.SENDER, Side.PATH, Side.RECEIVER, Side.PACING)
_KEYS: Final = (
    *WHOSE,
    "pid",
    "comm",
    "netns",
    "opened",
    "lost",
    "seconds",
    "sent",
    "received",
    "verdict",
    "side",
    "share",
    *(f"share_{side.value}" for side in _SIDES),
    "measure",
    "threshold",
    "rtt_ms",
    "rtt_min_ms",
    "sentence",
    "source",
    "also",
)
_HEADER: Final = (
    "ConnectIndex",
    "Local",
    "Remote",
    "Seconds",
    "Sent",
    "Received",
    "Verdict",
    "Share",
    "Why",
)


@dataclass(frozen=True, slots=True)
class Diagnosed:
    """A connection's row, what is known of it in the period, and the verdict."""

    connection: Mapping[str, Any]
    seen: Observed
    verdict: Verdict

    @property
    def moved(self) -> int:
        """Octets in both directions."""
        return self.seen.sent + self.seen.received


@picking
def why(asked: Asked, *, length: options.For = None, form: options.As = Format.TABLE) -> None:
    """Print what limited connections; HELP says all of it."""
    whole = replace(asked, limit=None)
    with coming(whole, length, _LIVE_DEFAULT) as there, asking(there, VARIABLES) as answer:
        reader, question = answer
        found = list(diagnosed(reader, question))
        if asked.order == Order():
            found.sort(key=lambda each: -each.moved)
        if not found:
            say("no connection matches")
        if form is Format.TABLE and found:
            lines = told(found[0]) if len(found) == 1 else _summary(found)
            print("\n".join(map(printable, lines)))
        if form is not Format.TABLE or len(found) > 1:
            limit = asked.limit or (_ROWS if form is Format.TABLE else None)
            write(found[:limit], form, _look(form), sys.stdout)
            if len(found) > (limit or len(found)) and not asked.limit:
                say(f"{len(found) - _ROWS} more: --limit says how many are listed")


def diagnosed(reader: "Reader", question: Question) -> Iterator[Diagnosed]:
    """Each connection that matches, with a verdict, in the order that was asked for."""
    lives = {life.index: life for life in reader.latest(VARIABLES, question)}
    seen: dict[int, Observed] = {}
    for index, samples in groupby(reader.history(VARIABLES, question), attrgetter("index")):
        if index in lives:
            started_us, ended_us = question.period.started_us, lives[index].as_of_us
            seen[index] = observed(list(samples), started_us, ended_us)
    for index, life in lives.items():
        started_us = max(question.period.started_us, life.connection["opened_us"])
        known = seen.get(index) or Observed.still(life.as_of_us - started_us, life.values)
        yield Diagnosed(life.connection, known, judge(known))


def _look(form: Format) -> Look[Diagnosed]:
    as_object = _flat if form is Format.CSV else _object
    return Look(keys=_KEYS, as_object=as_object, header=_HEADER, as_row=_row, front=1)


def _object(found: Diagnosed) -> dict[str, Any]:
    """All that is known; of keys that a rule does not give, None."""
    row, seen, verdict = found.connection, found.seen, found.verdict
    finding, shares = verdict.finding, verdict.shares or {}
    trips = rtt_us(seen), rtt_min_us(seen)
    return {
        **{name: row[name] for name in (*WHOSE, "pid", "comm", "netns")},
        "opened": iso(row["opened_us"]),
        "lost": row["lost"],
        "seconds": seen.length_us / 1e6,
        "sent": seen.sent,
        "received": seen.received,
        "verdict": verdict.name,
        "side": verdict.side and verdict.side.value,
        "share": _rounded(verdict.share),
        **{f"share_{side.value}": _rounded(shares.get(side)) for side in _SIDES},
        "measure": _rounded(None if finding is None else finding.measure),
        "threshold": finding and finding.rule.threshold,
        **{
            name: None if us is None else round(us / 1000, 3)
            for name, us in zip(("rtt_ms", "rtt_min_ms"), trips, strict=True)
        },
        "sentence": verdict.sentence,
        "source": finding and finding.rule.source,
        "also": [_aside(each) for each in verdict.also],
        "grown": dict(seen.grown),
    }


def _aside(finding: Finding) -> dict[str, Any]:
    rule = finding.rule
    return {
        "name": rule.name,
        "measure": _rounded(finding.measure),
        "measured": rule.measured,
        "sentence": finding.sentence,
        "source": rule.source,
    }


def _flat(found: Diagnosed) -> dict[str, Any]:
    """The same without lists and objects."""
    return _object(found) | {"also": ", ".join(f.rule.name for f in found.verdict.also)}


def _row(found: Diagnosed) -> list[Cell]:
    """The columns of _HEADER."""
    row, verdict = found.connection, found.verdict
    return [
        row["ConnectIndex"],
        *ends(row),
        round(found.seen.length_us / 1e6, 1),
        octets(found.seen.sent),
        octets(found.seen.received),
        verdict.name,
        None if verdict.share is None else percent(verdict.share),
        verdict.sentence,
    ]


def told(found: Diagnosed) -> list[str]:
    """One connection, in sentences."""
    row, seen, verdict = found.connection, found.seen, found.verdict
    (local, remote), whose = ends(row), owner(row)
    of_whom = f" of {whose}" if whose else ""
    lines = [
        f"{local} to {remote}{of_whom}: {octets(seen.sent)} sent, {octets(seen.received)} received"
        f" in {how_long(seen.length_us)}.",
        verdict.sentence if verdict.name == CANNOT_TELL else f"{verdict.name}: {verdict.sentence}",
    ]
    lines += [f"also {each.rule.name}: {each.sentence}" for each in verdict.also]
    if verdict.shares:
        parts = (f"{side.value} {percent(share)}" for side, share in verdict.shares.items())
        lines.append(f"Time: {', '.join(parts)}.")
    mean, shortest = rtt_us(seen), rtt_min_us(seen)
    if mean is not None and verdict.side is not Side.HERE:
        least = "" if shortest is None else f", {how_long(shortest)} at least"
        lines.append(f"Round trip: {how_long(mean)} on average{least}.")
    if verdict.finding:
        rule, measure = verdict.finding.rule, verdict.finding.measure
        lines.append(f"Told by: {rule.measured}: {measure:.3g}, from {rule.threshold:g} on.")
        lines.append(f"Source: {rule.source}.")
    if row["lost"]:
        lines.append(f"{row['lost']} batches of it were lost; later ones healed the counters.")
    return lines


def _summary(found: Sequence[Diagnosed]) -> list[str]:
    """All connections together: which verdict has how much of the data and of the time."""
    moved = sum(each.moved for each in found)
    length_us = sum(each.seen.length_us for each in found)
    lines = [f"{len(found)} connections, {octets(moved)}, {how_long(length_us)} in all:"]
    names = dict.fromkeys(each.verdict.name for each in found)
    for name in names:
        own = [each for each in found if each.verdict.name == name]
        of_data = sum(each.moved for each in own) / moved if moved else 0.0
        of_time = sum(each.seen.length_us for each in own) / length_us if length_us else 0.0
        lines.append(
            f"  {name}: {len(own)} of them, with {percent(of_data)} of the data and"
            f" {percent(of_time)} of the time"
        )
    return lines


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
