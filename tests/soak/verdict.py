"""What a soak says in the end: pure figures, no process and no database."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

_WARM_HOURS_MAX: Final = 1 / 6
_FILLING_HOURS: Final = 0.05  # the writer's page cache takes two to three minutes
GROWTH_MAX: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The collector ``hours`` after its first snapshot; octets, but for counts.

    ``resident``, ``share`` and ``own`` are of each kind of process: see bench.footprint.Memory.
    ``sums`` are what its snapshots have said until then, ``lag_us`` what the newest one says.
    """

    hours: float
    resident: dict[str, int]
    share: dict[str, int]
    own: dict[str, int]
    descriptors: int
    objects: dict[str, int]
    database: int
    connections: int
    lag_us: int
    sums: dict[str, int]


@dataclass(slots=True, kw_only=True)
class Account:
    """What was made, and where it went.

    ``made`` are ends of connections, by the load that made them; ``rows`` those that had a row
    with final values in the database, ``counted`` those that it counted without.
    """

    made: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    counted: int = 0
    compared: int = 0
    wrong: list[str] = field(default_factory=list)
    uncompared: int = 0  # their end was not seen, which was counted
    replaced: int = 0  # processes of the collector that died
    asked: int = 0
    refused: list[str] = field(default_factory=list)

    @property
    def unaccounted(self) -> int:
        """Ends in neither count; below 0 there are rows of nothing that we made."""
        return sum(self.made.values()) - self.rows - self.counted


@dataclass(frozen=True, slots=True)
class Verdict:
    """One question, the answer in words, and whether it is the one that was wanted."""

    question: str
    answer: str
    is_good: bool


def warm(samples: Sequence[Sample]) -> float:
    """The hours after which nothing may grow: ten minutes, or of a short run a sixth or more."""
    whole = samples[-1].hours
    return min(_WARM_HOURS_MAX, max(whole / 6, min(_FILLING_HOURS, whole / 2)))


def growth(samples: Sequence[Sample], values: Sequence[float]) -> float:
    """How much more there is in the last quarter of the time than just after the start.

    The medians of both parts; each is a quarter of the time after ``warm``.
    """
    start, whole = warm(samples), samples[-1].hours
    quarter = (whole - start) / 4
    hours = [sample.hours for sample in samples]
    pairs = list(zip(hours, values, strict=True))
    early = [v for at, v in pairs if start <= at <= start + quarter]
    late = [v for at, v in pairs if at >= whole - quarter]
    return median(late) / median(early or values[-1:]) - 1


def verdicts(
    samples: Sequence[Sample], account: Account, left: Sequence[str], faults: Sequence[str]
) -> list[Verdict]:
    """All of them. ``left`` is what is still there after the end, ``faults`` the database's."""
    minutes = warm(samples) * 60
    found = [
        _flat(f"{what}, after {minutes:.0f} minutes", samples, [float(v) for v in values])
        for what, values in (
            ("resident memory of all processes", [sum(s.resident.values()) for s in samples]),
            ("what lies in no file", [sum(s.own.values()) for s in samples]),
            ("descriptors", [s.descriptors for s in samples]),
            ("BPF objects", [sum(s.objects.values()) for s in samples]),
        )
    ]
    found.append(
        Verdict(
            "ends of connections unaccounted for",
            f"{account.unaccounted:,} of {sum(account.made.values()):,}:"
            f" {account.rows:,} rows with final values, {account.counted:,} counted",
            account.unaccounted == 0,
        )
    )
    late = f", {account.uncompared} whose end was not seen" if account.uncompared else ""
    found.append(
        Verdict(
            "final values that differ from the socket's own",
            f"{len(account.wrong)} of {account.compared:,} compared{late}",
            bool(account.compared) and not account.wrong,
        )
    )
    found.append(
        Verdict(
            "questions of another process that failed",
            f"{len(account.refused)} of {account.asked:,}",
            bool(account.asked) and not account.refused,
        )
    )
    died = account.replaced
    found.append(Verdict("processes of the collector that died", f"{died}", not died))
    found.append(Verdict("faults in the database", "; ".join(faults) or "none", not faults))
    found.append(Verdict("left behind", "; ".join(left) or "nothing", not left))
    return found


def _flat(question: str, samples: Sequence[Sample], values: Sequence[float]) -> Verdict:
    grown = growth(samples, values)
    return Verdict(f"growth of {question}", f"{grown:+.1%}", grown <= GROWTH_MAX)
