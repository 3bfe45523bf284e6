"""What is drawn: panels by name, each with the variables that it has, and the chart of them.

A chart is plain: lines, marks and shares over one time axis, whoever draws it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bpf.catalogue import BY_NAME
from bpf.variable import Kind, Variable
from plotting.series import Looks, Mark, Stretch, Track, drawn, marks, shares
from plotting.units import BITS_A_SECOND, MICROSECONDS, OCTETS, SHARE, Quantity, quantity

#: More connections than there are colours that everybody can tell apart are not compared.
CONNECTIONS_MAX: Final = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A panel before there is anything to draw: of what, and as what.

    ``names`` are what each of the variables is called in the legend. Variables of a ``counted`` one
    are marks, for each snapshot in which they grew; those of an ``is_shared`` one share out time.
    """

    name: str
    title: str
    variables: tuple[Variable, ...]
    names: tuple[str, ...]
    unit: Quantity
    counted: bool = False
    is_shared: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A variable of a connection over time. ``place`` is the connection's in the chart.

    ``style`` is the variable's place in its panel, ``name`` what it is called.
    """

    place: int
    style: int
    name: str
    stretches: Sequence[Stretch]


@dataclass(frozen=True, slots=True)
class Marks:
    """When something was counted of a connection; otherwise as a line."""

    place: int
    style: int
    name: str
    marks: Sequence[Mark]


@dataclass(frozen=True, slots=True)
class Shares:
    """How a connection's time was shared out: from, to, and a share for each of the names."""

    place: int
    parts: Sequence[tuple[int, int, tuple[float, ...]]]

    @property
    def mean(self) -> tuple[float, ...]:
        """The shares of all its time; none if nothing is known."""
        total = sum(end - begin for begin, end, _ in self.parts)
        if not total:
            return ()
        columns = zip(*(part for _, _, part in self.parts), strict=True)
        lengths = [end - begin for begin, end, _ in self.parts]
        return tuple(
            sum(share * length for share, length in zip(column, lengths, strict=True)) / total
            for column in columns
        )


@dataclass(frozen=True, slots=True)
class Panel:
    """One of the pictures that stand above one another."""

    recipe: Recipe
    lines: Sequence[Line] = ()
    marks: Sequence[Marks] = ()
    shares: Sequence[Shares] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known to draw in it."""
        return not (any(x.stretches for x in self.lines) or any(s.parts for s in self.shares)) and (
            not self.recipe.counted
        )


@dataclass(frozen=True, slots=True)
class Chart:
    """All that is drawn of some connections: ``labels`` say whose each place is.

    ``losses`` are when segments of each were sent again, for the panels in which that shows.
    """

    labels: Sequence[str]
    looks: Looks
    panels: Sequence[Panel]
    losses: Sequence[Marks] = ()


def _named(*names: str) -> tuple[Variable, ...]:
    return tuple(BY_NAME[name.lower()] for name in names)


#: What segments that are sent again count in, as marks in the panels of ``MARKED``.
RETRANSMITTED: Final = BY_NAME["segsretrans"]
MARKED: Final = frozenset({"throughput", "rtt", "cwnd"})
#: RFC 4898's three and what Linux sets apart from them.
LIMIT_NAMES: Final = ("sender", "cwnd", "receiver", "startup", "TSO deferral", "pacing")
RECIPES: Final[Mapping[str, Recipe]] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="throughput",
            title="Throughput",
            variables=_named("HCDataOctetsOut", "HCDataOctetsIn"),
            names=("sent", "received"),
            unit=BITS_A_SECOND,
        ),
        Recipe(
            name="rtt",
            title="Round trip",
            variables=_named("SmoothedRTTUs", "MinRTTUs"),
            names=("smoothed", "least so far"),
            unit=MICROSECONDS,
        ),
        Recipe(
            name="cwnd",
            title="Congestion window",
            variables=_named("CurCwnd", "CurSsthresh"),
            names=("cwnd", "ssthresh"),
            unit=OCTETS,
        ),
        Recipe(
            name="losses",
            title="Losses",
            variables=_named("SegsRetrans", "CongSignals", "Timeouts"),
            names=("segments sent again", "window reductions", "timeouts"),
            unit=Quantity(((1.0, "in a snapshot"),)),
            counted=True,
        ),
        Recipe(
            name="windows",
            title="Windows",
            variables=_named("CurRwinRcvd", "CurRwinSent", "CurRetxQueue"),
            names=("offered by the other end", "offered here", "on the way"),
            unit=OCTETS,
        ),
        Recipe(
            name="limits",
            title="Limited by",
            variables=_named(
                "SndLimTimeSndUs",
                "SndLimTimeCwndUs",
                "SndLimTimeRwinUs",
                "SndLimTimeStartupUs",
                "SndLimTimeTSODeferUs",
                "SndLimTimePaceUs",
            ),
            names=LIMIT_NAMES,
            unit=SHARE,
            is_shared=True,
        ),
    )
}
#: What has no axis: a name or an address, a place in the sequence, a time.
_NOT_DRAWN: Final = (Kind.CONSTANT, Kind.SEQUENCE, Kind.TIMESTAMP)


def can_be_drawn(variable: Variable) -> bool:
    """Whether a variable has a size that means something over time."""
    return variable.kind not in _NOT_DRAWN


def recipe_of(variable: Variable, words: Iterable[tuple[int, str]] = ()) -> Recipe:
    """A panel of one variable; ``words`` are the names of an enumeration's values."""
    return Recipe(
        name=variable.name,
        title=variable.name,
        variables=(variable,),
        names=(variable.name,),
        unit=quantity(variable, words),
    )


def variables_of(recipes: Iterable[Recipe]) -> tuple[Variable, ...]:
    """What is to be asked for to draw these panels, each variable once."""
    found = [variable for recipe in recipes for variable in recipe.variables]
    return tuple(dict.fromkeys([*found, RETRANSMITTED]))


def chart(
    recipes: Sequence[Recipe], labels: Sequence[str], tracks: Sequence[Track], looks: Looks
) -> Chart:
    """What is known of these connections; the samples have the variables of ``variables_of``."""
    places = {variable: n for n, variable in enumerate(variables_of(recipes))}
    panels = [_panel(recipe, places, tracks, looks) for recipe in recipes]
    losses = [
        Marks(n, 0, "sent again", marks(RETRANSMITTED, places[RETRANSMITTED], track, looks))
        for n, track in enumerate(tracks)
    ]
    return Chart(labels, looks, panels, [each for each in losses if each.marks])


def _panel(
    recipe: Recipe, places: Mapping[Variable, int], tracks: Sequence[Track], looks: Looks
) -> Panel:
    own = [places[variable] for variable in recipe.variables]
    if recipe.is_shared:
        parts = [shares(recipe.variables, own, track, looks) for track in tracks]
        return Panel(recipe, shares=[Shares(n, part) for n, part in enumerate(parts) if part])
    each = [
        (n, style, recipe.names[style], variable, track)
        for n, track in enumerate(tracks)
        for style, variable in enumerate(recipe.variables)
    ]
    if recipe.counted:
        counted = [
            Marks(n, s, name, marks(v, places[v], track, looks)) for n, s, name, v, track in each
        ]
        return Panel(recipe, marks=[one for one in counted if one.marks])
    lines = [Line(n, s, name, drawn(v, places[v], track, looks)) for n, s, name, v, track in each]
    return Panel(recipe, lines=[line for line in lines if line.stretches])


def main_lines(panel: Panel) -> list[Line]:
    """One line of each connection, to be compared: the first variable, or where more passed.

    Of what is sent and received that is the larger one; of all else the first that is known.
    """
    by_place: dict[int, list[Line]] = {}
    for line in panel.lines:
        by_place.setdefault(line.place, []).append(line)
    if panel.recipe.name != "throughput":
        return [lines[0] for lines in by_place.values()]
    return [max(lines, key=_passed) for lines in by_place.values()]


def _passed(line: Line) -> float:
    return sum(each.value * (each.to_us - each.from_us) for each in line.stretches)
