"""The columns of the list: which there are, what they show, and which of them fit a width."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from bpf.catalogue import BY_NAME
from bpf.variable import Kind, Status, Variable
from cli.answers import end_point, ends, owner, worded
from cli.names import word_for
from cli.render import shown
from cli.times import age
from cli.top.numbers import UNKNOWN, amount, milliseconds
from cli.top.row import Row, limit
from storage.question import Order

GAP: Final = 1
#: Octets in both directions, by which the list is sorted unless somebody says otherwise.
MOVED: Final = replace(
    BY_NAME["hcdataoctetsout"],
    id=0,  # no variable has it
    name="Moved",
    rfc=None,
    status=Status.DERIVED,
    derived="HCDataOctetsOut + HCDataOctetsIn",
)
_RETRANSMITTED: Final = BY_NAME["segsretrans"]
_STATE: Final = BY_NAME["state"]
#: The states of RFC 4898 in five places.
_SHORT: Final = {
    "closed": "closd",
    "listen": "lstn",
    "synSent": "synS",
    "synReceived": "synR",
    "established": "estab",
    "finWait1": "finW1",
    "finWait2": "finW2",
    "closeWait": "clsW",
    "lastAck": "lastA",
    "closing": "clsng",
    "timeWait": "timeW",
    "deleteTcb": "delet",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """``cell`` gives a row's text for so many places; ``order`` is how to sort by it, if one can.

    It takes ``width`` places at least and ``wide`` where there is room. ``more`` says that it is
    left out rather than others stay narrow. ``needs`` are the variables that it is made of, and
    ``is_notable`` says of a row whether it stands out.
    """

    title: str
    width: int
    cell: Callable[[Row, int], str]
    wide: int = 0
    order: Order | None = None
    needs: tuple[Variable, ...] = ()
    is_number: bool = True
    more: bool = False
    is_notable: Callable[[Row], bool] = lambda _: False


@dataclass(frozen=True, slots=True)
class Placed:
    """A column and the places it got."""

    column: Column
    width: int


def columns_of(chosen: Sequence[Variable], *, totals: bool) -> tuple[Column, ...]:
    """All columns, the most important first; ``chosen`` variables come before the usual ones.

    Counters are rates, or ``totals``.
    """
    named = [_of(v, totals=totals) for v in chosen]
    usual, more = (
        [_of(v, t, more=is_more, totals=totals) for t, v in columns if v not in chosen]
        for columns, is_more in ((_USUAL, False), (_MORE, True))
    )
    front = (_CONNECTION, _PROCESS, _STATE_COLUMN)
    return (*front, *named, *usual, _LIMIT, *more, _AGE, _NUMBER)


def fitting(columns: Sequence[Column], width: int) -> list[Placed]:
    """Those of the columns that a width has room for, as wide as they can be, in their order."""
    chosen: dict[Column, int] = {}
    room = width + GAP

    def take(candidates: Sequence[Column]) -> None:
        nonlocal room
        for column in candidates:
            if chosen and room < column.width + GAP:
                return
            chosen[column] = column.width
            room -= column.width + GAP

    take([c for c in columns if not c.more])
    for column in list(chosen):
        wider = min(room, max(column.wide - column.width, 0))
        chosen[column] += max(wider, 0)
        room -= max(wider, 0)
    take([c for c in columns if c.more])
    return [Placed(column, chosen[column]) for column in columns if column in chosen]


def elided(text: str, width: int, mark: str = "~") -> str:
    """A text without its middle, if it is too long: both its beginning and its end tell."""
    if len(text) <= width:
        return text
    front = (width - 1) // 2
    back = width - 1 - front
    return text[:front] + mark + text[len(text) - back :]


def state_word(row: Row) -> str:
    """The state, or how the connection ended."""
    if row.ended is not None:
        return row.ended
    state = row.value("State")
    return UNKNOWN if state is None else word_for(_STATE, state) or str(state)


def _connection(row: Row, width: int) -> str:
    """Both ends; where they do not fit, of the local one the port alone."""
    local, remote = ends(row.connection)
    if len(local) + 1 + len(remote) <= width:
        return f"{local} {remote}"
    port = str(row.connection["LocalPort"])
    rest = width - len(port) - 1
    return f"{port} {_shorter(row, rest)}"


def _shorter(row: Row, width: int) -> str:
    """The remote end, with its port whatever becomes of the address."""
    address, port = row.connection["RemAddress"], row.connection["RemPort"]
    whole = end_point(address, port)
    if len(whole) <= width:
        return whole
    room = max(width - len(str(port)) - 1, 1)
    if ":" in address:
        return f"[{elided(address, room - 2)}]:{port}"
    return f"{elided(address, room)}:{port}"


def _process(row: Row, width: int) -> str:
    """Its name and, where there is room, its number."""
    whose = owner(row.connection)
    if whose is None:
        return UNKNOWN
    whose = shown(whose)
    return whose if len(whose) <= width else shown(row.connection["comm"])


def _state(row: Row, width: int) -> str:
    word = state_word(row)
    return word if len(word) <= width else _SHORT.get(word, word)


def _limit(row: Row, _width: int) -> str:
    found = limit(row)
    if found is None:
        return UNKNOWN
    word, share = found
    return word if share is None else f"{word} {share:.0%}"


def _is_held_back(row: Row) -> bool:
    """By something beside the sender itself, for most of the time."""
    found = limit(row)
    return found is not None and found[0] != "snd" and (found[1] or 0) >= 0.5


def _was_sent_again(row: Row) -> bool:
    return bool(row.grown.get(_RETRANSMITTED.name))


def _of(v: Variable, title: str = "", *, totals: bool, more: bool = False) -> Column:
    """The column of one variable: of a counter its rate, unless it is to be its total."""
    is_rate = v.kind is Kind.COUNTER and not totals
    name = title or v.name
    cell = _rate(v) if is_rate else _trip(v) if name in _TRIPS else _value(v)
    heading = f"{name}/s" if is_rate else name
    return Column(
        title=heading,
        width=max(len(heading), 5),
        cell=cell,
        order=Order(v, descending=True, grown=is_rate),
        needs=(v,),
        more=more,
        is_notable=_was_sent_again if v is _RETRANSMITTED else lambda _: False,
    )


def _rate(v: Variable) -> Callable[[Row, int], str]:
    return lambda row, _: amount(row.rate(v.name))


def _trip(v: Variable) -> Callable[[Row, int], str]:
    return lambda row, _: milliseconds(row.value(v.name))


def _value(v: Variable) -> Callable[[Row, int], str]:
    def cell(row: Row, width: int) -> str:
        value: Any = row.values.get(v.name)
        text = shown(worded(v, value))
        is_long = len(text) > width and isinstance(value, int)
        return amount(value) if is_long else text

    return cell


_CONNECTION: Final = Column(
    title="Connection",
    width=24,
    wide=43,
    cell=_connection,
    order=Order("RemAddress"),
    is_number=False,
)
_PROCESS: Final = Column(
    title="Process", width=8, wide=22, cell=_process, order=Order("comm"), is_number=False
)
_STATE_COLUMN: Final = Column(
    title="State",
    width=5,
    wide=11,
    cell=_state,
    order=Order(_STATE),
    needs=(_STATE,),
    is_number=False,
)
_LIMIT: Final = Column(
    title="Limit", width=9, cell=_limit, is_number=False, is_notable=_is_held_back
)
_TRIPS: Final = ("RTTms", "MinRTTms")
_USUAL: Final = (
    ("Out", BY_NAME["hcdataoctetsout"]),
    ("In", BY_NAME["hcdataoctetsin"]),
    ("Rtx", _RETRANSMITTED),
    ("RTTms", BY_NAME["smoothedrttus"]),
    ("Cwnd", BY_NAME["curcwnd"]),
)
_MORE: Final = (
    ("Moved", MOVED),
    ("Rwin", BY_NAME["currwinrcvd"]),
    ("MinRTTms", BY_NAME["minrttus"]),
)
_AGE: Final = Column(
    title="Age",
    width=6,
    cell=lambda row, _: age(row.as_of_us - row.connection["opened_us"]),
    order=Order("opened_us"),
    more=True,
)
_NUMBER: Final = Column(
    title="#",
    width=7,
    cell=lambda row, _: str(row.connection["ConnectIndex"]),
    order=Order("ConnectIndex"),
    more=True,
)
