"""The options that several commands share, and what they stand for."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from bpf.errors import UsageError
from cli import complete
from cli.choice import addresses, nets, ports, process_names
from cli.names import state_numbers
from cli.render import Format
from cli.times import now_us, parse_time
from storage.question import Ends, Filter

SYSTEM_DATABASE: Final = Path("/var/lib/estats/flows.db")
HERE_DATABASE: Final = Path("flows.db")
_PID_MAX: Final = (1 << 31) - 1
_ROWS_MAX: Final = (1 << 63) - 1  # more than SQLite can count


Db = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        readable=False,  # the storage says better what is in the way
        help=f"The database [$ESTATS_DB, else ./flows.db if it exists, else {SYSTEM_DATABASE}].",
        show_default=False,
    ),
]
Sport = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PORT",
        help="LocalPort, likewise.",
        autocompletion=complete.local_ports,
        show_default=False,
    ),
]
Dport = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PORT",
        help="RemPort: 443, 5000-5010 or https.",
        autocompletion=complete.remote_ports,
        show_default=False,
    ),
]
Saddr = Annotated[
    list[str] | None,
    typer.Option(metavar="ADDRESS", help="LocalAddress.", show_default=False),
]
Daddr = Annotated[
    list[str] | None,
    typer.Option(metavar="ADDRESS", help="RemAddress, IPv4 or IPv6.", show_default=False),
]
Net = Annotated[
    list[str] | None,
    typer.Option(metavar="CIDR", help="A network that either end is in.", show_default=False),
]
Pid = Annotated[
    list[int] | None,
    typer.Option(
        metavar="PID",
        max=_PID_MAX,
        help="Process that owns the socket.",
        autocompletion=complete.process_ids,
        show_default=False,
    ),
]
Comm = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Its name; * and ? stand for others.",
        autocompletion=complete.process_names,
        show_default=False,
    ),
]
State = Annotated[
    list[str] | None,
    typer.Option(metavar="STATE", help="established, SYN_SENT, timeWait ...", show_default=False),
]
Open = Annotated[
    bool | None,
    typer.Option(
        "--open/--closed", help="Open, or closed, when the period ends.", show_default=False
    ),
]
Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="Beginning: 10m, 2026-01-31T12:00, 1769860800.", show_default=False
    ),
]
Until = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="End; values are as of then.", show_default=False),
]
For = Annotated[
    str | None,
    typer.Option("--for", metavar="TIME", help="From now on, for so long.", show_default=False),
]
Limit = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, max=_ROWS_MAX, help="At most so many connections.", show_default=False
    ),
]
Sort = Annotated[
    str | None,
    typer.Option(
        metavar="[-]NAME", help="A variable or column; - for largest first.", show_default=False
    ),
]
Var = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="A variable; any case, * and ?.",
        autocompletion=complete.variables,
        show_default=False,
    ),
]
Tables = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="All variables of a table: perf.",
        autocompletion=complete.tables,
        show_default=False,
    ),
]
As = Annotated[Format, typer.Option("--format", help="How to write it.")]


def database(db: Path | None) -> Path:
    """The database a command reads, if it is not told: the one of the environment or the place."""
    if db is not None:
        return db
    if named := os.environ.get("ESTATS_DB"):
        return Path(named)
    return HERE_DATABASE if HERE_DATABASE.exists() else SYSTEM_DATABASE


def has_database(db: Path | None) -> bool:
    """Whether one is named, or there is one in a usual place, be it one that may not be read."""
    if db is not None or os.environ.get("ESTATS_DB"):
        return True
    try:
        database(None).stat()
    except FileNotFoundError:
        return False
    except OSError:  # (it is another user's)
        return True
    return True


def refuse_taken(path: Path) -> None:
    """Raises UsageError if there is something where a new file is to be."""
    if path.exists() or path.is_symlink():
        raise taken(path)


def taken(path: Path) -> UsageError:
    """The sentence for that."""
    return UsageError(f"{path} is there already", "Name a file that is not, or remove it.")


def period_limits(since: str | None, until: str | None) -> tuple[int | None, int | None]:
    """``--since`` and ``--until`` as UTC microseconds, None where not given. Raises UsageError."""
    now = now_us()
    since_us = None if since is None else parse_time(since, now)
    until_us = None if until is None else parse_time(until, now)
    if since_us is not None and until_us is not None and since_us > until_us:
        raise UsageError(
            f"--since {since!r} is after --until {until!r}", "Exchange them, or leave one out."
        )
    return since_us, until_us


def wanted(  # noqa: PLR0913  (one for each option)
    *,
    sport: Sequence[str] | None,
    dport: Sequence[str] | None,
    saddr: Sequence[str] | None,
    daddr: Sequence[str] | None,
    net: Sequence[str] | None,
    pid: Sequence[int] | None,
    comm: Sequence[str] | None,
    state: Sequence[str] | None,
    is_open: bool | None,
    which: tuple[tuple[int, ...], tuple[Ends, ...]] = ((), ()),
) -> Filter:
    """The options that choose connections, checked. Raises UsageError."""
    return Filter(
        local_ports=ports(sport or (), "--sport"),
        rem_ports=ports(dport or (), "--dport"),
        local_addresses=addresses(saddr or (), "--saddr"),
        rem_addresses=addresses(daddr or (), "--daddr"),
        nets=nets(net or ()),
        pids=tuple(pid or ()),
        comms=process_names(comm or ()),
        states=state_numbers(state or ()),
        is_open=is_open,
        indexes=which[0],
        ends=which[1],
    )
