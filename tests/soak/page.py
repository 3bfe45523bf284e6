"""The page about the newest soak, of what is kept of it as data."""

from collections.abc import Callable, Sequence
from typing import Final

from bench.report import Cell, Section, part_page
from bench.report import Result as Measured
from tests.soak.verdict import Account, Sample, Verdict

_HEAD: Final = """\
# A soak

<!-- Made by `make soak`. -->

`make soak HOURS=1`, as root, lets a collector run beside connections, network namespaces and
processes that come and go all the time, and asks at the end whether it grew, whether each end of a
connection has its row or its count, and whether what it says of them is what the kernel says. The
same as data, with every sample, is in [soak.json](soak.json).
"""
_ROWS_MAX: Final = 30
_COLUMNS: Final[dict[str, Callable[[Sample], Cell]]] = {
    "minutes": lambda s: round(s.hours * 60, 1),
    "resident, MB": lambda s: sum(s.resident.values()) / 1e6,
    "no file's, MB": lambda s: sum(s.own.values()) / 1e6,
    "supervisor": lambda s: s.own["supervisor"] / 1e6,
    "writer": lambda s: s.own["writer"] / 1e6,
    "workers": lambda s: s.own["workers"] / 1e6,
    "share, MB": lambda s: sum(s.share.values()) / 1e6,
    "descriptors": lambda s: s.descriptors,
    "programs, maps, links": lambda s: "/".join(
        str(s.objects.get(kind, 0)) for kind in ("prog", "map", "link")
    ),
    "database, MB": lambda s: s.database / 1e6,
    "open": lambda s: s.connections,
    "lag, ms": lambda s: s.lag_us / 1e3,
    "lost": lambda s: s.sums["lost"],
    "lost finals": lambda s: s.sums["lost_finals"],
    "skipped": lambda s: s.sums["missed"],
}


def sections(
    samples: Sequence[Sample], account: Account, found: Sequence[Verdict], options: Sequence[str]
) -> list[Section]:
    """What was found, what was made, and the collector as time went by."""
    hours = samples[-1].hours
    return [
        Section(
            title="What was found",
            means=f"After {hours * 60:.0f} minutes of `estats collect {' '.join(options)}`. Growth"
            " is that of the median of the last quarter of the time over that of the first, the"
            " start left out, in which buffers and caches take their size; up to 5 % is taken for"
            " none.",
            columns=("", "", ""),
            rows=[(v.question, v.answer, "good" if v.is_good else "**BAD**") for v in found],
        ),
        Section(
            title="What was made",
            means="Ends of connections, each of which is to have one row; where this host has only"
            " one of them, one. Beside those that last there are two new network namespaces with"
            " their link, a client and a server every few seconds, gone again after their"
            " connections, which lose segments, end in order, by RST, or with their process.",
            columns=("", "ends"),
            rows=[*account.made.items()],
        ),
        Section(
            title="As time went by",
            means="Resident memory counts what processes share once for each; what is no file's is"
            " their own, shared once, and what growth would be seen in. The proportional share also"
            " moves when others that use the same libraries come and go. Lag is that of the newest"
            " snapshot; the last three are sums. The database forgets, so its size is bounded.",
            columns=tuple(_COLUMNS),
            rows=[
                tuple(figure(s) for figure in _COLUMNS.values())
                for s in samples[:: -(-len(samples) // _ROWS_MAX)]
            ],
        ),
    ]


def page(measured: Measured) -> str:
    """All of it in Markdown."""
    facts = [
        f"Measured {measured.began} UTC, commit {measured.commit}, on"
        f" {measured.machine['processors']}, kernel {measured.machine['kernel']}; others used"
        f" {measured.busy} of the machine just before.",
    ]
    return "\n".join([_HEAD, *facts, "", part_page(measured)])
