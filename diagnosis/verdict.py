"""From what was observed of a connection to what limited it, or why that cannot be told."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from diagnosis.observed import LIMITS, Observed
from diagnosis.rules import RULES_OF_RECEIVER, RULES_OF_SENDER, Rule
from diagnosis.triage import ACCOUNTED, LEAD_AHEAD, LEAD_MIN, Side, accounted, shares
from diagnosis.words import percent

CANNOT_TELL: Final = "can't tell"
IDLE: Final = "idle"

#: Whoever sent fewer segments tells little about a path.
SEGMENTS_MIN: Final = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that holds, with the number it was told by and what it says."""

    rule: Rule
    measure: float
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What limited a connection: ``name`` is a rule's, IDLE or CANNOT_TELL.

    ``shares`` are of the period, by side, where the sender's times are known and this end sends;
    ``share`` is that of the verdict's side. ``finding`` is None where no rule is the verdict.
    """

    name: str
    sentence: str
    side: Side | None = None
    share: float | None = None
    shares: Mapping[Side, float] | None = None
    finding: Finding | None = None
    also: tuple[Finding, ...] = ()


def judge(seen: Observed) -> Verdict:
    """What limited a connection in a period."""
    if not seen.length_us:
        return _unclear("there is one sample only, and it takes two to see anything grow")
    if missing := seen.lacks(("HCDataOctetsOut", "HCThruOctetsReceived")):
        return _unclear(f"that needs {_listed(missing)}, which is unknown here")
    if not seen.sent and not seen.received:
        return _of_standstill(seen)
    return _of_receiver(seen) if seen.received > seen.sent else _of_sender(seen)


def _of_standstill(seen: Observed) -> Verdict:
    """Nothing passed. If something waits to, what held it back is what a person asks for."""
    is_opening = seen.born and seen.grown.get("Timeouts", 0) > 0
    if is_opening or any(seen.stood("CurAppWQueue", "CurRetxQueue")):
        return _of_sender(seen)
    if any(_holds(seen, rule) for rule in RULES_OF_RECEIVER if rule.standstill):
        return _of_receiver(seen)
    return Verdict(name=IDLE, sentence="No data passed in either direction.")


def _of_sender(seen: Observed) -> Verdict:
    also = _also(seen, RULES_OF_SENDER)
    if missing := seen.lacks((*LIMITS, "DataSegsOut")):
        return _unclear(f"whose the time was needs {_listed(missing)}, which is unknown here", also)
    known = accounted(seen)
    if abs(known - 1) > 1 - ACCOUNTED:
        return _unclear(f"the sender's times account for {percent(known)} of the period", also)
    found = shares(seen)
    (lead, most), (second, next_most) = sorted(found.items(), key=lambda item: -item[1])[:2]
    if most < LEAD_MIN or most - next_most < LEAD_AHEAD:
        reason = (
            f"{percent(most)} of the time was the {lead.value}'s and {percent(next_most)} the"
            f" {second.value}'s, and that is too even; a shorter period may tell more"
        )
        return _unclear(reason, also, found)
    if lead is not Side.SENDER and seen.grown["DataSegsOut"] < SEGMENTS_MIN:
        standing = (r for r in RULES_OF_SENDER if r.standstill and lead in r.sides)
        if not any(_holds(seen, rule) for rule in standing):
            few = f"{seen.grown['DataSegsOut']} data segments in all are too few"
            return _unclear(few, also, found)
    return _by_rules(seen, lead, found)


def _by_rules(seen: Observed, side: Side, found: Mapping[Side, float]) -> Verdict:
    """The first rule of the side that holds; if one before it cannot be known, it says so."""
    unknown: list[str] = []
    for rule in RULES_OF_SENDER:
        if side not in rule.sides:
            continue
        unknown += seen.lacks(rule.needs)
        if finding := _holds(seen, rule):
            sentence = f"{_of_time(side, found[side])} {finding.sentence}"
            if unknown:
                sentence += f" Other causes could not be looked at: {_listed(unknown)} is unknown."
            return Verdict(
                name=rule.name,
                sentence=sentence,
                side=side,
                share=found[side],
                shares=found,
                finding=finding,
                also=tuple(f for f in _also(seen, RULES_OF_SENDER) if f.rule is not rule),
            )
    raise AssertionError(f"the last rule of {side} always holds")


def _of_receiver(seen: Observed) -> Verdict:
    """This end receives: only what it does itself can be seen from here."""
    also = _also(seen, RULES_OF_RECEIVER)
    unknown: list[str] = []
    for rule in RULES_OF_RECEIVER:
        if Side.HERE not in rule.sides:
            continue
        unknown += seen.lacks(rule.needs)
        if finding := _holds(seen, rule):
            return Verdict(
                name=rule.name,
                sentence=f"This end receives. {finding.sentence}",
                side=Side.HERE,
                finding=finding,
                also=also,
            )
    if unknown:
        return _unclear(f"this end receives, and {_listed(unknown)} is unknown", also)
    return _unclear(
        "this end receives, read what came and had room for more, so it is not what limits; what"
        " the other end and the path do shows at the other end",
        also,
    )


def _also(seen: Observed, rules: Iterable[Rule]) -> tuple[Finding, ...]:
    """What is worth telling beside the verdict."""
    found = (_holds(seen, r, r.worth) for r in rules if r.worth is not None)
    return tuple(finding for finding in found if finding)


def _holds(seen: Observed, rule: Rule, threshold: float | None = None) -> Finding | None:
    if seen.lacks(rule.needs):
        return None
    measure = rule.measure(seen)
    if measure is None or measure < (rule.threshold if threshold is None else threshold):
        return None
    return Finding(rule, measure, rule.sentence(seen))


def _unclear(
    reason: str, also: tuple[Finding, ...] = (), found: Mapping[Side, float] | None = None
) -> Verdict:
    return Verdict(name=CANNOT_TELL, sentence=f"Can't tell: {reason}.", also=also, shares=found)


def _of_time(side: Side, share: float) -> str:
    words = {
        Side.SENDER: "the sender itself was what limited it",
        Side.PATH: "the path, by the congestion window, was what limited it",
        Side.RECEIVER: "the receiver's window was what limited it",
        Side.PACING: "pacing was what limited it",
    }
    return f"For {percent(share)} of the time {words[side]}."


def _listed(names: list[str]) -> str:
    unique = list(dict.fromkeys(names))
    rest = f" and {len(unique) - 3} more" if len(unique) > 3 else ""
    return ", ".join(unique[:3]) + rest
