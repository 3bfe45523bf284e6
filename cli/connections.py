"""estats connections: who talks to whom, for how long, how much, and how well."""

import sys
from typing import Final

from bpf.catalogue import BY_NAME
from cli import options
from cli.answers import as_object, closed_by, ends, keys, owner
from cli.asking import Asked
from cli.growth import Growth
from cli.live import answering
from cli.names import word_for
from cli.owners import Owners
from cli.picking import picking
from cli.render import Cell, Format, Look, say, write
from cli.times import age
from storage.question import Period, Sample, Value

HELP: Final = """Who talks to whom: owner, state, age, octets both ways, retransmissions.

User and cgroup are names where the connection is of this host, and the cgroup of this boot; else
the numbers that the database has. A container is known by its cgroup.

The options choose connections as those of `estats query` do, which gives every other variable. Of
a closed connection the state is why it closed; "unknown" is one that was open when an earlier run
of the collector ended.
"""
EXAMPLES: Final = """\b
Examples:
  estats connections --open
  estats connections --comm 'nginx*' --sort -SegsRetrans --limit 20
  estats connections --closed --since 10m --format json
"""

_STATE = BY_NAME["state"]
_VARIABLES: Final = (
    _STATE,
    BY_NAME["hcdataoctetsout"],
    BY_NAME["hcdataoctetsin"],
    BY_NAME["segsretrans"],
)
_HEADER: Final = (
    "ConnectIndex",
    "Local",
    "Remote",
    "Owner",
    "State",
    "Age",
    "Origin",
    "Out",
    "In",
    "Retrans",
    "User",
    "Netns",
    "Cgroup",
)


@picking
def connections(asked: Asked, *, form: options.As = Format.TABLE) -> None:
    """Print connections; HELP says all of it."""
    with answering(asked, _VARIABLES) as (reader, question):
        samples = reader.latest(_VARIABLES, question)
        look = _look(question.period, Owners(reader.runs()))
        if not write(samples, form, look, sys.stdout):
            say("no connection matches")


def _look(period: Period, owners: Owners) -> Look[Sample]:
    return Look(
        keys=keys(_VARIABLES, Growth.TOTAL),
        as_object=lambda sample: as_object(sample, _VARIABLES, Growth.TOTAL, period),
        header=_HEADER,
        as_row=lambda sample: _row(sample, period, owners),
    )


def _row(sample: Sample, period: Period, owners: Owners) -> list[Cell]:
    """The columns of _HEADER."""
    row = sample.connection
    state, out, received, retransmitted = sample.values
    return [
        row["ConnectIndex"],
        *ends(row),
        owner(row),
        _state(sample, state, period),
        age(sample.as_of_us - row["opened_us"]),
        row["origin"],
        out,
        received,
        retransmitted,
        owners.user(row),
        row["netns"],
        owners.cgroup(row),
    ]


def _state(sample: Sample, state: Value, period: Period) -> Cell:
    """The state, or how it ended; what became of it after an earlier run nobody knows."""
    row = sample.connection
    if closed_by(period, row["closed_us"]):
        return str(row["close_reason"])
    if row["run_id"] != period.last_run:
        return "unknown"
    return word_for(_STATE, state) if isinstance(state, int) else None
