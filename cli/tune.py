"""estats tune: change what live connections of any process may do, and take it back."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from bpf.errors import EnvironmentLacksError, UsageError
from bpf.tuner import Option, Tuner
from cli import options
from cli.asking import Asked, asking
from cli.live import Place, at_hand, found_at, where
from cli.logbook import Effects, Logbook, Plans
from cli.notice import counted
from cli.picking import chooses_nothing, picking, require_choice
from cli.render import Format, say, write
from cli.targets import Targets, chosen, tuned_before
from cli.tuned import Line, done, look, planned
from tuning.apply import Effect, apply
from tuning.plan import plan
from tuning.settings import SETTINGS, Setting, Value, parse, require_available

HELP: Final = f"""Change what live connections may do, whosever they are; --revert takes it back.

The connections are chosen as with `estats query`, and found among the sockets of the kernel: one
is changed only if its cookie and both its ends are still the same. As root.

\b
What can be set:
{chr(10).join(f"  {s.name:19}{s.unit:10}{s.summary}" for s in SETTINGS)}

Numbers may end in k, M, G or Ki, Mi, Gi. What is to be done is shown, and asked about unless --yes
is given; --dry-run leaves it at that. Then it says what the kernel made of it, which may be
something else. All of it is kept in the database, where --revert finds what there was before;
without options that choose, of all connections. --no-log keeps nothing.
"""
EXAMPLES: Final = """\b
Examples:
  estats tune --dport 5001 --set LimRwin=64Ki --dry-run
  estats tune --comm iperf --set congestion=bbr --set pacing=80Mbit
  estats tune 192.0.2.1:40000 192.0.2.7:5001 --set LimCwnd=100000 --yes
  estats tune --dport 5001 --revert
"""

Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="What to set; repeat it.", show_default=False),
]
Revert = Annotated[bool, typer.Option("--revert", help="Set back to what there was before.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
NoLog = Annotated[bool, typer.Option("--no-log", help="Keep nothing of it in the database.")]


#: What each setting is to be; None: what it was before the log's first change of it.
_Wanted = Mapping[Setting, Value] | None


@picking
def tune(  # noqa: PLR0913  (one for each option)
    asked: Asked,
    *,
    sets: Set = None,
    revert: Revert = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    no_log: NoLog = False,
    form: options.As = Format.TABLE,
) -> None:
    """Change them; HELP says all of it."""
    wanted = _wanted(sets or (), revert=revert)
    _refuse_nonsense(asked, revert=revert, no_log=no_log)
    place = where(asked, may_start=not revert)
    targets = _targets(asked, place, wanted)
    if not targets:
        return
    with Tuner() as tuner:
        found = tuner.look(targets)
        _tell_missing(len(targets) - len(found))
        plans = {s: plan(answer.before, targets[s].wanted) for s, answer in found.items()}
        lines = [line for s in plans for line in planned(targets[s], plans[s])]
        if found and not lines:
            say("nothing is to be changed: it is so already")
        if dry_run:
            write(lines, form, look(), sys.stdout)
            return
        logbook = Logbook(place if isinstance(place, Path) and not no_log else None)
        if lines and not yes and not _is_agreed(lines, plans):
            say("nothing was changed")
            return
        effects = _carried_out(tuner, targets, plans, logbook, form)
        if revert:
            logbook.reverted(targets, found, effects)
    _raise_refusal([effect for every in effects.values() for effect in every])


def _wanted(sets: Sequence[str], *, revert: bool) -> _Wanted:
    """What --set says. Raises UsageError for what makes no sense, and for both or none."""
    if bool(sets) == revert:
        raise UsageError(
            "either something is to be set, or what was set to be reverted",
            "Give --set NAME=VALUE or --revert; `estats tune --help` lists what can be set.",
        )
    wanted: dict[Setting, Value] = {}
    for setting, value in map(parse, sets):
        if setting in wanted:
            raise UsageError(f"{setting.name} is to be set twice", "Give it one value.")
        wanted[setting] = value
        if setting.option is Option.CONGESTION:
            require_available(str(value))
    return None if revert else wanted


def _refuse_nonsense(asked: Asked, *, revert: bool, no_log: bool) -> None:
    """Refuse what cannot be, before a database is opened."""
    if not revert:
        require_choice(asked)
    if asked.replay is not None:
        raise UsageError(
            "a recording is of the past", "Name a database that a collector writes, or --live."
        )
    if asked.wanted.is_open is False:
        raise UsageError("a closed connection cannot be changed", "Leave --closed out.")
    if revert and (asked.live or no_log):
        raise UsageError(
            "what was set is in the log of a database, and nowhere else",
            "Name that with --db; or set the values by hand, with --set.",
        )


def _targets(asked: Asked, place: Place, wanted: _Wanted) -> Targets:
    """Whom to change, and to what, as the database has it."""
    is_open = replace(asked.wanted, is_open=True)
    with (
        at_hand(place) as path,
        asking(found_at(replace(asked, wanted=is_open), place, path), ()) as (reader, question),
    ):
        if wanted is not None:
            return chosen(reader, question, wanted)
        targets = tuned_before(reader, None if chooses_nothing(asked) else question)
        if not targets:
            say("the log has nothing of them that was not reverted")
        return targets


def _tell_missing(count: int) -> None:
    if count:
        say(f"{count} of the connections {'has' if count == 1 else 'have'} ended, or moved on")


def _is_agreed(lines: Sequence[Line], plans: Plans) -> bool:
    """Show what is to be done, and ask. Raises UsageError if there is nobody to answer."""
    write(lines, Format.TABLE, look(), sys.stderr)
    connections = sum(map(bool, plans.values()))
    what, whose = counted(len(lines), "value"), counted(connections, "connection")
    sys.stderr.write(f"Set {what} of {whose}? [y/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer:
        sys.stderr.write("\n")
        raise UsageError("nobody answers", "Agree beforehand with --yes, or look with --dry-run.")
    return answer.strip().lower() in ("y", "yes")


def _carried_out(
    tuner: Tuner, targets: Targets, plans: Plans, logbook: Logbook, form: Format
) -> Effects:
    """Change them, and print what became of it, also if that cannot be logged any more."""
    if not any(plans.values()):
        return {}
    is_revert = any(target.logged for target in targets.values())
    if not is_revert:
        logbook.intend(targets, plans)
    effects = apply(tuner, plans)
    _tell_missing(len(plans) - len(effects))
    try:
        if not is_revert:
            logbook.settle(targets, effects)
    finally:
        lines = [line for s, every in effects.items() for line in done(targets[s], every)]
        write(lines, form, look(), sys.stdout)
    return effects


def _raise_refusal(effects: Sequence[Effect]) -> None:
    refused = [effect for effect in effects if effect.refused]
    if refused:
        raise EnvironmentLacksError(
            f"{len(refused)} of {len(effects)} values could not be set:"
            f" {', '.join(sorted({f'{e.name} ({e.refused})' for e in refused}))}",
            "The others were. docs/tuning.md says what each of them takes.",
        )
