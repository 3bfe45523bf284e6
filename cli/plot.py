"""estats plot: variables of connections over time, in the terminal or as a picture."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bpf.catalogue import BY_NAME
from bpf.errors import UsageError
from bpf.variable import Variable
from cli import options, spread
from cli.answers import ends, owner
from cli.asking import Asked
from cli.live import answering
from cli.names import split, value_words, variables_of_connections
from cli.notice import counted
from cli.picking import picking
from cli.render import printable, say
from cli.sheet import keep, paper, refuse_picture
from plotting.panels import (
    CONNECTIONS_MAX,
    RECIPES,
    Recipe,
    can_be_drawn,
    chart,
    recipe_of,
    variables_of,
)
from plotting.picture import picture_of
from plotting.series import Looks, Track
from plotting.terminal import text_of
from storage.question import Order, Question, Sample

if TYPE_CHECKING:
    from storage.reader import Reader

HELP: Final = f"""Variables of connections over time, in the terminal or as a picture.

Panels are {", ".join(RECIPES)}; all of them unless --panel or --var names some. A counter is drawn
as its rate. Of several connections those that moved most are compared, unless --sort says
otherwise: --limit says how many [{CONNECTIONS_MAX} at most].

A line is as long as a value is known to have stood. It breaks where no snapshot was taken; losses
are marked below it. Times are UTC.

--distribution tells of any number of connections how a variable is distributed over them, as of the
end of the period: the share that has no more than a value. A counter counts by how far it grew in
the period. With --history it is over all their time, and a counter counts by its rates.

--out FILE.svg or FILE.png draws with matplotlib, which is an extra of estats. The numbers
themselves: estats query --history.
"""
EXAMPLES: Final = """\b
Examples:
  estats plot --dport 5001
  estats plot 7 --panel rtt,cwnd --since 10m
  estats plot --comm iperf --var CurRetxQueue,SegsOut
  estats plot --dport 5001 --out upload.svg
  estats plot --sport 443 --distribution --var SmoothedRTTUs,HCDataOctetsOut
"""

Panels = Annotated[
    list[str] | None,
    typer.Option("--panel", metavar="NAME", help=f"{', '.join(RECIPES)}.", show_default=False),
]
Distributed = Annotated[
    bool, typer.Option("--distribution", help="Of a variable, over all connections.")
]
History = Annotated[
    bool, typer.Option("--history", help="With --distribution: over all their time.")
]
Out = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A picture: .svg or .png.", show_default=False),
]
#: By which those are found that moved most.
_MOVED: Final = (BY_NAME["hcdataoctetsout"], BY_NAME["hcthruoctetsreceived"])


@picking
def plot(
    asked: Asked,
    *,
    panel: Panels = None,
    var: options.Var = None,
    distribution: Distributed = False,
    history: History = False,
    out: Out = None,
) -> None:
    """Draw them; HELP says all of it."""
    refuse_picture(out)
    if distribution:
        _refuse_panels(panel)
        spread.draw(asked, _variables(var or ()), out, history=history)
        return
    if history:
        raise UsageError(
            "--history is about --distribution", "Without that, all that is drawn is history."
        )
    recipes = _recipes(panel or (), var or ())
    with answering(replace(asked, limit=None), variables_of(recipes)) as (reader, question):
        tracks = _tracks(reader, question, variables_of(recipes), asked.limit)
        looks = _looks(reader, question, tracks)
    if not tracks:
        say("no connection matches, so nothing is drawn")
        return
    labels = [label(track) for track in tracks]
    drawn = chart(recipes, labels, tracks, looks)
    if out is None:
        print("\n".join(text_of(drawn, paper())))
    else:
        keep(out, picture_of(drawn, out.suffix.lower()))
        print(f"{printable(str(out))}: {counted(len(tracks), 'connection')}")


def _recipes(panels: Sequence[str], names: Sequence[str]) -> list[Recipe]:
    """The panels that are named, then one of each variable; all panels if nothing is.

    Raises UsageError.
    """
    asked = [name.lower() for name in split(panels)]
    if unknown := [name for name in asked if name not in RECIPES]:
        raise UsageError(
            f"there is no panel {unknown[0]!r}",
            f"Panels are {', '.join(RECIPES)}; --var draws any variable.",
        )
    own = [recipe_of(v, sorted(value_words(v).items())) for v in _variables(names)]
    found = [RECIPES[name] for name in dict.fromkeys(asked)] + own
    return found or list(RECIPES.values())


def _variables(names: Sequence[str]) -> tuple[Variable, ...]:
    """Those that --var names; a pattern means those of them that can be drawn.

    Raises UsageError.
    """
    named = variables_of_connections(names) if names else ()
    found = tuple(v for v in named if can_be_drawn(v))
    if named and not found:
        raise UsageError(
            f"{named[0].name} is a {named[0].kind.value}, which has no size to be drawn",
            "See it with `estats query --history`.",
        )
    return found


def _refuse_panels(panel: list[str] | None) -> None:
    if panel:
        raise UsageError(
            "a panel has no distribution", "Name a variable with --var instead of --panel."
        )


def _tracks(
    reader: "Reader", question: Question, variables: Sequence[Variable], limit: int | None
) -> list[Track]:
    """The connections to draw, in the order asked for, with their samples."""
    wanted = limit or CONNECTIONS_MAX
    if wanted > CONNECTIONS_MAX:
        raise UsageError(
            f"{wanted} connections cannot be told apart in one picture",
            f"--limit {CONNECTIONS_MAX} is the most; --distribution draws a variable of any"
            " number.",
        )
    found = list(reader.latest(_MOVED, question, growth=True))
    if question.order == Order():
        found.sort(key=lambda each: -_moved(each))
    chosen = [each.index for each in found[:wanted]]
    if len(found) > wanted:
        say(f"{len(found) - wanted} more: --limit and the options that choose say which are drawn")
    whole = replace(question, wanted=replace(question.wanted, indexes=(), ends=()), limit=None)
    only = replace(whole, wanted=replace(whole.wanted, indexes=tuple(chosen)))
    standing = {s.index: s for s in reader.latest(variables, only)}
    tracks = {i: Track(s.connection, (), s.as_of_us, s.values, s.taken_us)
              for i, s in standing.items()}  # fmt: skip
    for index, samples in groupby(reader.history(variables, only), attrgetter("index")):
        own = list(samples)
        tracks[index] = replace(
            tracks[index], samples=own, before=own[0].base, before_us=own[0].base_us
        )
    return [tracks[index] for index in chosen if index in tracks]


def _moved(sample: Sample) -> int:
    """Octets of both directions in the period."""
    base = sample.base or (None,) * len(_MOVED)
    pairs = zip(_MOVED, sample.values, base, strict=True)
    return sum(
        v.growth(now, start)
        for v, now, start in pairs
        if isinstance(now, int) and isinstance(start, int)
    )


def _looks(reader: "Reader", question: Question, tracks: Sequence[Track]) -> Looks:
    """The period to draw: what was asked for, or the life of what is drawn."""
    period = question.period
    cuts = reader.cuts(period)
    if not cuts or not tracks:
        return Looks(0, 0)
    first_us = min(cut.taken_us - cut.interval_us for cut in cuts)
    opened_us = min(track.connection["opened_us"] for track in tracks)
    from_us = max(first_us, opened_us) if period.since_us is None else period.since_us
    ended_us = max(track.ended_us for track in tracks)
    to_us = ended_us if period.until_us is None else min(period.until_us, period.newest_us)
    return Looks.of(cuts, from_us, max(to_us, from_us), reader.thinned(period))


def label(track: Track) -> str:
    """Whose a line is: its number, its ends and its process."""
    row = track.connection
    (local, remote), whose = ends(row), owner(row)
    return printable(f"{row['ConnectIndex']}  {local} to {remote}{f'  {whose}' if whose else ''}")
