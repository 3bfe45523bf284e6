"""What the kernel tests compare with what, kept: each comparison asserts, and is counted.

``agree`` is how a test holds our values against those of a witness, somebody who did not use our
programs to know them. ``pytest tests/kernel --validation FILE`` writes the comparisons of a whole
session to a file, and ``make validate`` makes docs/validation.md of it.
"""

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

#: Who may be a witness, and how it knows.
WITNESSES: Final[Mapping[str, str]] = {
    "TCP_INFO": "what getsockopt(TCP_INFO) answers on the same socket",
    "socket options": "other options and ioctls of the same socket, like SO_PRIORITY or SIOCINQ",
    "namespace counters": "/proc/net/snmp and /proc/net/netstat of a namespace without any other"
    " connection, against the sum over ours",
    "capture": "tcpdump at the host, counted by a parser and by rules of the tests' own",
    "tshark": "Wireshark's analysis of such a capture",
    "tcptrace": "tcptrace's analysis of such a capture",
    "packet script": "segments written one by one to a TUN device: the answer is the RFC's",
    "peer's end": "the row of the connection's other end",
    "workload": "what the test itself did: octets, addresses, moments on its own clock",
    "iperf3": "the report of iperf3 at the sender",
    "ss": "what ss prints of the same socket",
    "agent settings": "the options that the collector was started with",
}

_EXAMPLES_MAX = 5  # disagreements told in full
_GROUPED_BY = ("variable", "compared_as", "witness", "workload", "tolerance", "reason")


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far ours may be from theirs: ``absolute`` plus ``relative`` times theirs, and why."""

    absolute: float = 0
    relative: float = 0
    reason: str

    def bounds(self, theirs: float) -> tuple[float, float]:
        """The least and the greatest value that agree."""
        allowed = self.absolute + self.relative * abs(theirs)
        return theirs - allowed, theirs + allowed

    def __str__(self) -> str:
        """As on the page: ``10000 + 4 %``."""
        parts = [f"{self.absolute:g}"] if self.absolute else []
        parts += [f"{self.relative * 100:g} %"] if self.relative else []
        return " + ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Between:
    """What a witness says that knows bounds only, both included, and why it knows no more."""

    low: float = -math.inf
    high: float = math.inf
    reason: str

    def __str__(self) -> str:
        """As on the page."""
        if math.isinf(self.low):
            return "at most theirs"
        return "at least theirs" if math.isinf(self.high) else "between theirs"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One variable of one connection's end, sum or listener, held against one witness.

    ``difference`` is how far ours is from theirs, or may be at most if they know two bounds; None
    where one of them is no number and they differ. ``moved`` says that a 0 or NULL of ours would
    not have agreed: only then something was proven.
    """

    variable: str
    compared_as: str  # another name than the variable's: a sum that it is a term of
    witness: str
    workload: str
    ours: object
    theirs: object
    tolerance: str  # empty: none
    reason: str
    difference: float | None
    agrees: bool
    moved: bool

    def __str__(self) -> str:
        """As in the message of a failing test."""
        within = f", within {self.tolerance}" if self.tolerance else ""
        said = f"{self.compared_as} is {self.ours!r}"
        return f"{said}, but {self.theirs!r} says {self.witness}{within}"


def _bounds(theirs: object, tolerance: Tolerance | None) -> tuple[float, float] | None:
    """The least and the greatest number that agree; None if theirs is no number."""
    if isinstance(theirs, Between):
        return theirs.low, theirs.high
    if not isinstance(theirs, int | float):
        return None
    return tolerance.bounds(theirs) if tolerance else (theirs, theirs)


def _compare(
    ours: object, theirs: object, tolerance: Tolerance | None
) -> tuple[bool, float | None]:
    """Whether they agree, and how far apart they are."""
    bounds = _bounds(theirs, tolerance)
    if bounds is None or not isinstance(ours, int | float):
        same = ours == theirs
        return same, 0 if same else None
    agrees = bounds[0] <= ours <= bounds[1]
    if isinstance(theirs, int | float):
        return agrees, abs(ours - theirs)
    ends = [abs(ours - bound) for bound in bounds if math.isfinite(bound)]
    return agrees, max(ends) if len(ends) == 2 else max(bounds[0] - ours, ours - bounds[1], 0)


@dataclass
class Record:
    """The comparisons of a session."""

    comparisons: list[Comparison] = field(default_factory=list)

    def agree(
        self,
        witness: str,
        ours: Mapping[str, Any],
        theirs: Mapping[str, Any],
        within: Mapping[str, Tolerance] | None = None,
    ) -> None:
        """Assert that each value of ``theirs`` is ours, and keep each comparison.

        One call is about one end of a connection, one sum or one listener. ``witness`` is a key
        of ``WITNESSES``. A name of ``theirs`` is a variable, or several joined by `` + ``, of
        which the witness knows the sum; ``ours`` may have more. Equal is equal unless ``within``
        has a tolerance for the name or their value is a ``Between``. NULL is None and agrees with
        nothing else.
        """
        assert witness in WITNESSES, f"{witness} is no witness that the page explains"
        assert theirs, "nothing is compared"
        found = [
            comparison
            for name, value in theirs.items()
            for comparison in _compared(witness, name, ours, value, (within or {}).get(name))
        ]
        self.comparisons += found
        wrong = dict.fromkeys(str(c) for c in found if not c.agrees)
        assert not wrong, "\n".join(wrong)


def _compared(
    witness: str, name: str, ours: Mapping[str, Any], theirs: object, tolerance: Tolerance | None
) -> list[Comparison]:
    """A comparison for each variable of a name."""
    terms = {term: ours[term] for term in name.split(" + ")}
    is_sum = len(terms) > 1
    total = sum(terms.values()) if is_sum else ours[name]
    agrees, difference = _compare(total, theirs, tolerance)
    rule = theirs if isinstance(theirs, Between) else tolerance

    def would_be_missed(value: Any) -> bool:
        without = total - value if is_sum else 0
        return value is not None and not _compare(without, theirs, tolerance)[0]

    return [
        Comparison(
            variable=term,
            compared_as=name,
            witness=witness,
            workload=running_test(),
            ours=total,
            theirs=theirs,
            tolerance=str(rule or ""),
            reason=rule.reason if rule else "",
            difference=difference,
            agrees=agrees,
            moved=agrees and would_be_missed(value),
        )
        for term, value in terms.items()
    ]


def running_test() -> str:
    """The test that pytest runs now, as ``test_events.py::test_name[IPv4]``."""
    name, _, _ = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")
    return name.rpartition("/")[2]


@dataclass(kw_only=True)
class Group:
    """All comparisons of one variable with one witness in one test, under one tolerance."""

    variable: str
    compared_as: str
    witness: str
    workload: str
    tolerance: str
    reason: str
    compared: int = 0
    agreed: int = 0
    moved: int = 0
    worst: float = 0  # the largest difference of numbers
    disagreements: list[str] = field(default_factory=list)

    def add(self, one: Comparison) -> None:
        """Count one comparison."""
        self.compared += 1
        self.agreed += one.agrees
        self.moved += one.moved
        self.worst = max(self.worst, one.difference or 0)
        if not one.agrees and len(self.disagreements) < _EXAMPLES_MAX:
            self.disagreements.append(str(one))


def grouped(comparisons: Iterable[Comparison]) -> list[Group]:
    """The comparisons, counted."""
    groups: dict[tuple[str, ...], Group] = {}
    for one in comparisons:
        names = {name: getattr(one, name) for name in _GROUPED_BY}
        groups.setdefault(tuple(names.values()), Group(**names)).add(one)
    return list(groups.values())


#: The comparisons of this session, and how every kernel test adds to them.
SESSION: Final = Record()
agree: Final = SESSION.agree
