"""What one TCP statistic is: its RFC name, its table, its width, and how it may change."""

import re
from dataclasses import dataclass
from enum import Enum, IntEnum

_WORD_BREAK = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class Table(Enum):
    """The tables of RFC 4898 and Web10G. The order is the order of the blocks in a batch."""

    CONNECTION = "connection"
    GLOBAL = "global"
    PERF = "perf"
    PATH = "path"
    STACK = "stack"
    APP = "app"
    TUNE = "tune"
    EXTRAS = "extras"
    LISTENER = "listener"
    SCALAR = "scalar"
    CONTROL = "control"


#: Tables of what is known of a connection from moment to moment: the blocks of a batch.
SAMPLED = (
    Table.GLOBAL,
    Table.PERF,
    Table.PATH,
    Table.STACK,
    Table.APP,
    Table.TUNE,
    Table.EXTRAS,
)
#: Those and the listeners', which is about sockets of another kind; the unit of ``--tables``.
HISTORIES = (*SAMPLED, Table.LISTENER)


class Group(Enum):
    """What changes at the same pace, whatever its table: a group is stored in rows of its own.

    In a busy connection the first one changes from snapshot to snapshot, the second one now and
    then, the last one hardly ever. An assignment costs or saves room; it never changes an answer.
    """

    SAMPLE = "sample"  # with traffic
    EVENT = "event"  # with losses, timeouts, marks, new extremes
    SETUP = "setup"  # what the handshake agreed, or somebody set


#: Those whose rows a row of ``Group.SAMPLE`` refers to, for they stand for longer.
REFERRED = (Group.EVENT, Group.SETUP)


class Op(IntEnum):
    """How an operand changes a variable (``inc`` and ``dec`` are ADD and SUB of 1)."""

    SET = 0
    ADD = 1
    SUB = 2
    MAX = 3
    MIN = 4


class Kind(Enum):
    """What the value is, which decides how two samples of it may be compared."""

    COUNTER = "counter"  # only grows (and wraps at its width): a difference is a rate
    GAUGE = "gauge"  # moves both ways
    MAXIMUM = "maximum"  # the largest value so far
    MINIMUM = "minimum"  # the smallest value so far
    CONSTANT = "constant"  # fixed once the connection is set up
    SEQUENCE = "sequence"  # a TCP sequence number, modulo 2^32
    TIMESTAMP = "timestamp"
    ENUM = "enum"


class Status(Enum):
    """Whether the collector fills the variable."""

    COLLECTED = "collected"  # read in the kernel, or known from the settings, and stored
    DERIVED = "derived"  # computed in SQL from a stored one
    UNAVAILABLE = "unavailable"  # a stock kernel cannot give it: NULL, ``exactness`` says why


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One row of the catalogue; every other spelling is derived from it.

    ``exactness`` begins with one of the words exact, equivalent, approximation or impossible;
    the reason and the bound follow. ``derived`` is an SQL expression over columns of the same
    table. ``group`` matters where the table is one of ``SAMPLED``.
    """

    id: int
    table: Table
    name: str
    rfc: str | None = None
    web10g: bool = False
    syntax: str
    bits: int
    unit: str
    kind: Kind
    op: Op
    status: Status
    group: Group = Group.EVENT
    exactness: str
    source: str
    summary: str
    tcp_info: str | None = None
    derived: str | None = None

    @property
    def column(self) -> str:
        """C field and numpy field: ``CurRTO`` becomes ``cur_rto``. In SQL it keeps its name."""
        return _WORD_BREAK.sub("_", self.name).lower()

    @property
    def enum_name(self) -> str:
        """C enumerator: ``ESTATS_PERF_CUR_RTO``."""
        return f"ESTATS_{self.table.name}_{self.column.upper()}"

    @property
    def modulus(self) -> int:
        """Where a counter wraps: at its own width, which is 32 bits or 64."""
        return 1 << max(self.bits, 32)

    def growth(self, now: int, base: int) -> int:
        """How far a counter came from ``base`` to ``now``."""
        return (now - base) % self.modulus

    @property
    def dtype(self) -> str:
        """Width on the ring and in memory, numpy's and C's alike: ``u4`` is ``u32``."""
        if self.bits > 32:
            return "u8"
        return "i4" if self.syntax == "integer32" else "u4"
