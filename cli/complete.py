"""What the shell offers for a word that is begun: variables by name, and what a database has.

Nothing is said and nothing fails here: where there is no answer, nothing is offered.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import typer

from bpf.catalogue import CATALOGUE
from bpf.errors import EstatsError
from bpf.variable import SAMPLED, Table
from cli.answers import end_point

Offer = tuple[str, str]

#: Shells evaluate what is offered, and a process may be called anything.
_HARMLESS: Final = re.compile(r"[\w.:@/+-]+", re.ASCII)
#: Of the newest connections, so that a large database answers as fast.
_RECENT: Final = "(SELECT * FROM connection ORDER BY ConnectIndex DESC LIMIT 10000)"
_OFFERS_MAX: Final = 100


def variables(incomplete: str) -> list[Offer]:
    """Variables of connections, in any case; behind a comma, the next of a list."""
    found = (v for v in CATALOGUE if v.table in (Table.CONNECTION, *SAMPLED))
    return _of_names(incomplete, ((v.name, v.summary) for v in found))


def all_variables(incomplete: str) -> list[Offer]:
    """Variables of whatever table."""
    return _of_names(incomplete, ((v.name, v.summary) for v in CATALOGUE))


def variables_of_listeners(incomplete: str) -> list[Offer]:
    """Variables of listeners."""
    found = (v for v in CATALOGUE if v.table is Table.LISTENER)
    return _of_names(incomplete, ((v.name, v.summary) for v in found))


def tables(incomplete: str) -> list[Offer]:
    """Tables of the history of connections."""
    return _of_names(incomplete, ((table.value, "") for table in SAMPLED))


def remote_ports(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Those of recent connections, the most frequent first."""
    return _of_list(incomplete, _counted(ctx, "RemPort"))


def local_ports(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Those of recent connections, the most frequent first."""
    return _of_list(incomplete, _counted(ctx, "LocalPort"))


def process_names(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Those of recent connections, the most frequent first."""
    return _of_list(incomplete, _counted(ctx, "comm"))


def process_ids(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Those of recent connections, with their names."""
    rows = _ask(ctx, f"SELECT pid, max(comm) FROM {_RECENT} GROUP BY pid ORDER BY pid")  # noqa: S608
    return _begun(incomplete, ((str(pid), str(comm)) for pid, comm in rows if pid is not None))


def connections(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Numbers of the newest connections, with both their ends."""
    rows = _ask(
        ctx,
        "SELECT ConnectIndex, LocalAddress, LocalPort, RemAddress, RemPort FROM connection"  # noqa: S608
        f" ORDER BY closed_us IS NOT NULL, ConnectIndex DESC LIMIT {_OFFERS_MAX}",
    )
    ends = (
        (str(index), f"{end_point(local, port)} {end_point(remote, rem_port)}")
        for index, local, port, remote, rem_port in rows
    )
    return _begun(incomplete, ends)


def _counted(ctx: typer.Context, column: str) -> Iterable[Offer]:
    statement = (
        f"SELECT {column}, count(*) FROM {_RECENT} WHERE {column} IS NOT NULL"  # noqa: S608
        f" GROUP BY {column} ORDER BY count(*) DESC, {column} LIMIT {_OFFERS_MAX}"
    )
    return ((str(value), f"{count} connections") for value, count in _ask(ctx, statement))


def _ask(ctx: typer.Context, statement: str) -> list[tuple[Any, ...]]:
    """The rows of a statement, of the database that the rest of the line means."""
    from cli.options import database  # noqa: PLC0415  (whose options are completed from here)
    from storage.statement import rows_of  # noqa: PLC0415  (SQLAlchemy, as in cli.asking)

    named = ctx.params.get("db")
    try:
        with rows_of(database(Path(named) if named else None), statement) as found:
            return list(found.rows)
    except (EstatsError, OSError):
        return []


def _of_names(incomplete: str, offers: Iterable[Offer]) -> list[Offer]:
    """Names whose case does not matter: what was typed stays as it is, or it would not match."""
    begun = incomplete.rpartition(",")[2]
    spelled = (
        (begun + name[len(begun) :], text)
        for name, text in offers
        if name.lower().startswith(begun.lower())
    )
    return _of_list(incomplete, spelled)


def _of_list(incomplete: str, offers: Iterable[Offer]) -> list[Offer]:
    """Offers for the last word of a list that is joined by commas."""
    before, comma, begun = incomplete.rpartition(",")
    return [(before + comma + value, text) for value, text in _begun(begun, offers)]


def _begun(begun: str, offers: Iterable[Offer]) -> list[Offer]:
    found = (each for each in offers if each[0].startswith(begun))
    return [(value, text) for value, text in found if _HARMLESS.fullmatch(value)]
