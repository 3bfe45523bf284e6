"""What is asked of a database, and what comes back: plain values, free of SQL."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bpf.filters import Network
from bpf.variable import Variable

Value = int | str | None
#: Local address and port, remote address and port.
Ends = tuple[str, int, str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What the connections must have in common; an empty field asks for nothing.

    Several values in one field are alternatives. Ports are half-open ranges; addresses are
    spelled as the database spells them; ``comms`` may hold the wildcards * and ?; ``states`` are
    RFC numbers; ``is_open`` asks for connections open, or closed, at the end of the period.
    ``indexes`` and ``ends`` name connections, and are alternatives to each other too; each of
    ``texts`` must be found, in any case, in the connection's ends, its process, or the words that
    ``state_words`` has for its state. Listeners have none of these.
    """

    local_ports: tuple[range, ...] = ()
    rem_ports: tuple[range, ...] = ()
    local_addresses: tuple[str, ...] = ()
    rem_addresses: tuple[str, ...] = ()
    nets: tuple[Network, ...] = ()
    pids: tuple[int, ...] = ()
    comms: tuple[str, ...] = ()
    states: frozenset[int] = frozenset()
    is_open: bool | None = None
    indexes: tuple[int, ...] = ()
    ends: tuple[Ends, ...] = ()
    texts: tuple[str, ...] = ()
    state_words: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A stretch of history: what was asked for, and the snapshots that lie in it.

    Times are UTC microseconds. ``since_us`` and ``until_us`` are None where no limit was asked
    for. ``first`` and ``last`` are snapshot ids; values are given as of ``last``, which is the
    newest snapshot before the end of the period and may lie before its beginning. ``started_us``
    is the time of the last snapshot before the period. ``runs`` are the runs that looked at some
    time of it, each with the time of its last snapshot in it; ``last_run`` is the last of them.
    """

    since_us: int | None = None
    until_us: int | None = None
    first: int = 0
    last: int = 0
    started_us: int = 0
    last_run: int = 0
    runs: Mapping[int, int] = field(default_factory=dict[int, int])

    @property
    def newest_us(self) -> int:
        """When its last snapshot was taken; 0 if it has none."""
        return self.runs.get(self.last_run, 0)


@dataclass(frozen=True, slots=True)
class Order:
    """Sort by a column of ``connection`` or a variable's latest value; unknown ones come last.

    With ``grown`` a counter counts by how far it came in the period.
    """

    by: str | Variable = "ConnectIndex"
    descending: bool = False
    grown: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """Which connections, as of when, in what order, and how many of them at most."""

    period: Period
    wanted: Filter = field(default_factory=Filter)
    order: Order = field(default_factory=Order)
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """The variables asked for, of one connection, at one time.

    ``connection`` is its row of the ``connection`` table; ``taken_us`` the time of the newest
    snapshot that one of the values is from, None if there is none; ``as_of_us`` the time until
    which they are known to stand: the connection's end, or its run's in the period. ``base`` are
    the values that growth is counted from and ``base_us`` their time; None if that is unknown or
    was not asked.
    """

    connection: Mapping[str, Any]
    taken_us: int | None
    as_of_us: int
    values: tuple[Value, ...]
    base: tuple[Value, ...] | None = None
    base_us: int | None = None

    @property
    def index(self) -> int:
        """The connection's ConnectIndex, by which its samples are kept together."""
        return int(self.connection["ConnectIndex"])


@dataclass(frozen=True, slots=True)
class RunPart:
    """What one run gave to a period: its row, its snapshots, and their meters summed up."""

    run: Mapping[str, Any]
    snapshots: int
    from_us: int
    to_us: int
    meters: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where the newest run stands: its row, its last row of ``snapshot``, and what it gave.

    ``whole`` is all of it and ``recent`` the end of it; None without a snapshot. ``recent_samples``
    are the rows of ``sample`` in ``recent``, ``samples`` about all of the database.
    """

    run: Mapping[str, Any]
    last: Mapping[str, Any] | None
    whole: RunPart | None
    recent: RunPart | None
    recent_samples: int
    samples: int


@dataclass(frozen=True, slots=True)
class Thinned:
    """Up to a time each connection keeps one sample in each step, or only what it stood at then."""

    step_us: int | None
    until_us: int


@dataclass(frozen=True, slots=True)
class Cut:
    """A snapshot: when it was taken, and how long before it the one before was (microseconds)."""

    taken_us: int
    interval_us: int
