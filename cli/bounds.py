"""How much history to keep, as ``estats collect`` is told: ages, steps and a size."""

import re
from typing import Annotated, Final

import typer

from bpf.errors import UsageError
from cli.times import duration_us
from storage.bounds import Bounds, Rollup

_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kmgt])(i?)b?", re.ASCII | re.IGNORECASE)
_POWERS: Final = {"k": 1, "m": 2, "g": 3, "t": 4}

Keep = Annotated[
    str | None,
    typer.Option(
        metavar="AGE",
        help="Forget what is older: 7d. Connections that lived on keep what they stood at"
        " [everything is kept].",
        show_default=False,
    ),
]
Rollups = Annotated[
    str | None,
    typer.Option(
        "--rollup",
        metavar="STEP:AGE,...",
        help="Thin what is older than AGE to one sample of a connection in each STEP. 1m:7d,1h:90d"
        " keeps every sample for 7 days, then one a minute, after 90 days one an hour.",
        show_default=False,
    ),
]
Size = Annotated[
    str | None,
    typer.Option(
        "--max-db-size",
        metavar="SIZE",
        help="Forget the oldest while the database is larger: 10GB, 512MiB [no limit].",
        show_default=False,
    ),
]


def bounds(keep: str | None, rollup: str | None, size: str | None) -> Bounds | None:
    """What these options say; None if all is kept. Raises UsageError."""
    if keep is rollup is size is None:
        return None
    return Bounds(
        keep_us=None if keep is None else _length(keep, "--keep"),
        rollups=() if rollup is None else tuple(map(_rollup, rollup.split(","))),
        octets=None if size is None else _octets(size),
    )


def _rollup(text: str) -> Rollup:
    step, colon, age = text.strip().partition(":")
    if not colon:
        raise UsageError(
            f"--rollup {text!r} is no step and age", "Write 1m:7d: older than 7d, one a minute."
        )
    return Rollup(_length(step, "--rollup"), _length(age, "--rollup"))


def _length(text: str, option: str) -> int:
    try:
        return duration_us(text)
    except UsageError as e:
        raise UsageError(f"{option}: {e.message}", e.advice) from None


def _octets(text: str) -> int:
    """``10GB`` is of powers of 1000, ``10GiB`` of 1024."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise UsageError(f"--max-db-size {text!r} is no size", "Write 10GB, 512MiB or 1.5T.")
    number, unit, binary = found.groups()
    scale: int = (1024 if binary else 1000) ** _POWERS[unit.lower()]
    return round(float(number) * scale)
