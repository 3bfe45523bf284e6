"""The options with which a command chooses connections, the same for every command that has them.

A command that is decorated with ``picking`` gets what they said as an ``Asked``, before its own.
"""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Annotated, Any

import typer

from bpf.errors import UsageError
from cli import complete, options
from cli.asking import Asked
from cli.choice import named, sort_order
from storage.question import Filter

Which = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CONNECTION]...",
        help="By number, or both ends, as `estats connections` prints them.",
        autocompletion=complete.connections,
        show_default=False,
    ),
]
Live = Annotated[
    bool,
    typer.Option("--live", help="Start a collector for the moment."),
]
Replay = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Ask a recording of `estats record`.", show_default=False),
]


def picking(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of ``_asked``; it takes their answer, then its own by name."""
    shared = signature(_asked).parameters
    own = list(signature(command).parameters.values())[1:]

    @wraps(command)
    def with_options(**given: Any) -> None:
        mine = {each.name: given.pop(each.name) for each in own}
        command(_asked(**given), **mine)

    # Typer reads the signature and the annotations, each by itself.
    of_both = signature(command).replace(parameters=[*own, *shared.values()])
    with_options.__signature__ = of_both  # type: ignore[attr-defined]
    with_options.__annotations__ = {p.name: p.annotation for p in of_both.parameters.values()}
    return with_options


def chooses_nothing(asked: Asked) -> bool:
    """Whether no option says which connections are meant."""
    return asked.wanted == Filter()


def require_choice(asked: Asked) -> None:
    """Raises UsageError if no option says which connections are meant."""
    if chooses_nothing(asked):
        raise UsageError(
            "which connection is meant?",
            "Name it by its number or its ends, which `estats connections` shows, or choose it"
            " with options such as --dport.",
        )


def _asked(  # noqa: PLR0913  (one for each option)
    *,
    which: Which = None,
    dport: options.Dport = None,
    sport: options.Sport = None,
    daddr: options.Daddr = None,
    saddr: options.Saddr = None,
    net: options.Net = None,
    pid: options.Pid = None,
    comm: options.Comm = None,
    state: options.State = None,
    is_open: options.Open = None,
    since: options.Since = None,
    until: options.Until = None,
    sort: options.Sort = None,
    limit: options.Limit = None,
    db: options.Db = None,
    live: Live = False,
    replay: Replay = None,
) -> Asked:
    """What they say, checked. Raises UsageError."""
    wanted = options.wanted(
        which=named(which or ()),
        sport=sport,
        dport=dport,
        saddr=saddr,
        daddr=daddr,
        net=net,
        pid=pid,
        comm=comm,
        state=state,
        is_open=is_open,
    )
    return Asked(
        db=db,
        since=since,
        until=until,
        wanted=wanted,
        order=sort_order(sort),
        limit=limit,
        live=live,
        replay=replay,
    )
