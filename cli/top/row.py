"""One connection of the list: what it is at a moment, and what became of it in the window."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bpf.catalogue import BY_NAME
from bpf.variable import Kind, Variable
from cli.answers import closed_by
from cli.growth import delta
from diagnosis.observed import LIMITS, Observed
from diagnosis.triage import Side, shares
from storage.question import Period, Sample, Value

#: Which connection it is: a number may come to another one, once it is forgotten.
Key = tuple[int, int]

#: What every row needs beside its columns: who limits a sender, and whether it sends at all.
NEEDED: Final = tuple(
    BY_NAME[name.lower()]
    for name in ("State", "LimState", *LIMITS, "HCDataOctetsOut", "HCDataOctetsIn")
)
_WORDS: Final = {
    Side.SENDER: "snd",
    Side.PATH: "cwnd",
    Side.RECEIVER: "rwin",
    Side.PACING: "pace",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """``values`` and ``grown`` are by the name of the variable, ``seconds`` the window's length.

    Without growth, of a connection whose beginning is unknown, ``seconds`` is 0. ``ended`` says
    how it ended, if it had by then.
    """

    connection: Mapping[str, Any]
    values: Mapping[str, Value]
    grown: Mapping[str, int]
    seconds: float
    as_of_us: int
    ended: str | None = None

    @property
    def key(self) -> Key:
        """Which connection it is."""
        return self.connection["ConnectIndex"], self.connection["opened_us"]

    def value(self, name: str) -> int | None:
        """A variable's value if it is known."""
        found = self.values.get(name)
        return found if isinstance(found, int) else None

    def rate(self, name: str) -> float | None:
        """A counter's growth for each second of the window; None if that is unknown."""
        grown = self.grown.get(name)
        return None if grown is None or self.seconds <= 0 else grown / self.seconds


_NUMBERS: Final = ("ConnectIndex", "opened_us", "LocalPort", "RemPort")
_TEXTS: Final = ("LocalAddress", "RemAddress")


def row_of(sample: Sample, variables: Sequence[Variable], ended: str | None) -> Row:
    """What a sample with a base says.

    Raises TypeError for what estats does not write: drawing it would be too late to find out.
    """
    for names, kind in ((_NUMBERS, int), (_TEXTS, str)):
        for name in names:
            if not isinstance(sample.connection[name], kind):
                raise TypeError(f"{name} is {sample.connection[name]!r}")
    if not isinstance(sample.connection["comm"], str | None):
        raise TypeError(f"comm is {sample.connection['comm']!r}")
    base = sample.base or (None,) * len(variables)
    grown: dict[str, int] = {}
    for v, value, start in zip(variables, sample.values, base, strict=True):
        if v.kind is Kind.COUNTER and isinstance(came := delta(v, value, start), int):
            grown[v.name] = came
    length_us = 0 if sample.base_us is None else sample.as_of_us - sample.base_us
    return Row(
        connection=sample.connection,
        values={v.name: value for v, value in zip(variables, sample.values, strict=True)},
        grown=grown,
        seconds=max(length_us, 0) / 1e6,
        as_of_us=sample.as_of_us,
        ended=ended,
    )


def ended(sample: Sample, period: Period) -> str | None:
    """How a connection ended, if it had when the period was over."""
    row = sample.connection
    return str(row["close_reason"]) if closed_by(period, row["closed_us"]) else None


def limit(row: Row) -> tuple[str, float | None] | None:
    """Who limited it in the window, with the share of the time: snd, cwnd, rwin or pace.

    Or, without a share, that it was idle, or received and is not the sender. None if unknown.
    """
    sent, received = row.grown.get("HCDataOctetsOut"), row.grown.get("HCDataOctetsIn")
    if sent is None or received is None or any(name not in row.grown for name in LIMITS):
        return None
    if not sent:
        return ("recv", None) if received else ("idle", None)
    grown = _standing({name: row.grown[name] for name in LIMITS}, row)
    found = shares(Observed(length_us=round(row.seconds * 1e6), grown=grown))
    side = max(found, key=found.__getitem__)
    return _WORDS[side], found[side]


def _standing(grown: dict[str, int], row: Row) -> dict[str, int]:
    """The sender's times of the window alone.

    A limit that stood before the window's first new sample has that time in its growth, one that
    stands since the last sample lacks it; either way it is mostly the one that is in force.
    """
    state = row.value("LimState")
    if state is not None and 0 <= state < len(LIMITS):
        name = LIMITS[state]
        missing = round(row.seconds * 1e6) - sum(grown.values())
        grown[name] = max(grown[name] + missing, 0)
    return grown
