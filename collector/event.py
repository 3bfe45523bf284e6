"""What a run says of itself beside its numbers: a sentence, how bad it is, and its facts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

Fact = str | int | float | None


class Level(Enum):
    """How bad it is."""

    INFO = "info"
    WARNING = "warning"  # it goes on, with less than was asked for
    ERROR = "error"  # it ends


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened: ``message`` for a person, ``facts`` for a program, by name.

    The message says all that the facts say, as far as a person wants to know it.
    """

    message: str
    level: Level = Level.INFO
    facts: Mapping[str, Fact] = field(default_factory=dict[str, Fact])
