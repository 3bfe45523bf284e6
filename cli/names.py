"""Variables and states: from what a person types to the catalogue, and back to words."""

import difflib
import re
from collections.abc import Iterable, Sequence
from fnmatch import translate
from typing import Final

from bpf.catalogue import BY_NAME, CATALOGUE
from bpf.errors import UsageError
from bpf.variable import SAMPLED, Table, Variable

#: Answered when no variable is named: is it healthy, how much, how fast, what holds it back.
USUAL: Final = tuple(
    BY_NAME[name.lower()]
    for name in (
        "State",
        "HCDataOctetsOut",
        "HCDataOctetsIn",
        "SegsOut",
        "SegsRetrans",
        "SmoothedRTTUs",
        "CurCwnd",
        "CurRwinRcvd",
    )
)

#: Of a listener: is it overrun, how much does it take in, and what becomes of it.
USUAL_OF_LISTENERS: Final = tuple(
    BY_NAME[name.lower()]
    for name in (
        "CurBacklog",
        "MaxBacklog",
        "HCSynRcvd",
        "HCEstablished",
        "HCAccepted",
        "CurConns",
        "HCExceedBacklog",
        "SocketDrops",
    )
)

#: RFC 4898's tcpEStatsStackState, by number from 1.
STATES: Final = (
    "closed",
    "listen",
    "synSent",
    "synReceived",
    "established",
    "finWait1",
    "finWait2",
    "closeWait",
    "lastAck",
    "closing",
    "timeWait",
    "deleteTcb",
)
#: What the kernel and ss call some of them.
_OTHER_NAMES = {"synrecv": "synreceived", "close": "closed", "estab": "established"}

ALTERNATIVES_MAX: Final = 500
_OF_CONNECTIONS = (Table.CONNECTION, *SAMPLED)
_TABLES = {table.value: table for table in SAMPLED}
_BY_RFC = {v.rfc.lower(): v for v in CATALOGUE if v.rfc}
_WORD_IN_UNIT = re.compile(r"(-?[0-9]+)=(\w+)")
_LIST_THEM = "`estats variables` lists them all."


def variables_of_connections(asked: Sequence[str]) -> tuple[Variable, ...]:
    """The variables that ``--var`` names: a connection's, each once, in the order asked for.

    Raises UsageError for a name that is none, and for variables of the host or of listeners.
    """
    return _variables_of("connections", _OF_CONNECTIONS, asked) if asked else USUAL


def all_or(asked: Sequence[str], tables: Sequence[str]) -> tuple[Variable, ...]:
    """The variables of a connection that are named, or those of whole tables; all if none is.

    Raises UsageError for what is no such variable or table.
    """
    chosen = set(map(str.lower, split(tables)))
    if unknown := chosen - _TABLES.keys():
        raise UsageError(
            f"there is no table {min(unknown)!r} of connections",
            f"The tables are {', '.join(_TABLES)}.",
        )
    if not asked and not chosen:
        return tuple(v for v in CATALOGUE if v.table in _OF_CONNECTIONS)
    whole = [v for v in CATALOGUE if v.table.value in chosen]
    named = variables_of_connections(asked) if asked else ()
    return tuple(dict.fromkeys([*whole, *named]))


def variables_of_listeners(asked: Sequence[str]) -> tuple[Variable, ...]:
    """The same of listeners, those that say most if none is named."""
    return _variables_of("listeners", (Table.LISTENER,), asked) if asked else USUAL_OF_LISTENERS


def _variables_of(what: str, tables: Sequence[Table], asked: Sequence[str]) -> tuple[Variable, ...]:
    found: dict[str, Variable] = {}
    for pattern in split(asked):
        matches = matching(pattern)
        mine = [v for v in matches if v.table in tables]
        if not mine:
            raise UsageError(
                f"{matches[0].name} is in the {matches[0].table.value} table,"
                f" which is not about {what}",
                _where_else(matches[0]),
            )
        found |= {v.name: v for v in mine}
    return tuple(found.values())


def _where_else(variable: Variable) -> str:
    if variable.table is Table.LISTENER:
        return f"Ask `estats listeners --var {variable.name}`."
    if variable.table in _OF_CONNECTIONS:
        return f"Ask `estats query --var {variable.name}`."
    return f"It is the column {variable.name} of the SQL table {variable.table.value}."


def matching(pattern: str) -> list[Variable]:
    """All variables of that name, in any case, with the wildcards * and ?.

    The RFC's object names (tcpEStatsPerfSegsRetrans) count as names. Raises UsageError, with what
    may have been meant, if there is none.
    """
    word = pattern.strip().lower()
    if exact := BY_NAME.get(word) or _BY_RFC.get(word):
        return [exact]
    if "*" in word or "?" in word:
        matches = re.compile(translate(word.replace("[", "[[]"))).match
        if found := [v for name, v in BY_NAME.items() if matches(name)]:
            return found
        raise UsageError(f"no variable matches {pattern!r}", _LIST_THEM)
    raise UsageError(f"there is no variable {pattern!r}", _did_you_mean(word))


def state_numbers(asked: Sequence[str]) -> frozenset[int]:
    """The RFC's numbers of states, spelled as the RFC, the kernel or ss do. Raises UsageError."""
    by_name = {name.lower(): number for number, name in enumerate(STATES, start=1)}
    numbers: set[int] = set()
    for text in split(asked):
        word = re.sub(r"[^a-z0-9]", "", text.lower().removeprefix("tcp_"))
        number = by_name.get(_OTHER_NAMES.get(word, word))
        if number is None:
            raise UsageError(f"{text!r} is not a TCP state", f"States are {', '.join(STATES)}.")
        numbers.add(number)
    return frozenset(numbers)


def value_words(variable: Variable) -> dict[int, str]:
    """What the values of an enumeration are called."""
    if variable.name == "State":
        return dict(enumerate(STATES, start=1))
    return {int(number): word for number, word in _WORD_IN_UNIT.findall(variable.unit)}


def word_for(variable: Variable, number: int) -> str | None:
    """What one value of an enumeration is called; None if it has no name."""
    return value_words(variable).get(number)


def split(texts: Iterable[str]) -> list[str]:
    """An option that may be repeated, and whose values may be joined by commas.

    Raises UsageError for more alternatives than SQLite takes in one condition.
    """
    words = [word.strip() for text in texts for word in text.split(",") if word.strip()]
    if len(words) > ALTERNATIVES_MAX:
        raise UsageError(
            f"an option has {len(words)} values",
            f"Give at most {ALTERNATIVES_MAX}, or a range, a network or a pattern instead.",
        )
    return words


def _did_you_mean(word: str) -> str:
    containing = [v.name for name, v in BY_NAME.items() if len(word) >= 3 and word in name]
    similar = [BY_NAME[name].name for name in difflib.get_close_matches(word, BY_NAME, n=3)]
    close = list(dict.fromkeys(similar + containing))[:5]
    return f"Did you mean {', '.join(close)}? {_LIST_THEM}" if close else _LIST_THEM
