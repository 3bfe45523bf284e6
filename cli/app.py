"""The command line: its commands, and the one place where an error becomes words and a code."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer
from typer.core import TyperCommand

from bpf.errors import EstatsError
from cli import (
    collect,
    connections,
    db,
    deltas,
    doctor,
    health,
    listeners,
    plot,
    query,
    read,
    record,
    sql,
    tune,
    variables,
    watch,
    why,
)
from cli.configuration import Configured, configured
from cli.exit_codes import exit_codes_help
from cli.grouped import ASK, CHANGE, COLLECT, KEEP, KNOW, Grouped
from cli.render import printable
from cli.to_stdout import with_stdout
from cli.top import command as top
from cli.version import program_version

app = typer.Typer(
    name="estats",
    cls=Grouped,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _add(
    group: str,
    command: Callable[..., None],
    short: str,
    text: str,
    examples: str,
    kind: type[TyperCommand] = TyperCommand,
) -> None:
    """Register a command below a heading, with its help and the examples at its end."""
    app.command(cls=kind, help=text, short_help=short, epilog=examples, rich_help_panel=group)(
        command
    )


_add(
    COLLECT,
    configured(with_stdout(collect.collect)),
    "Collect into a database.",
    collect.HELP,
    collect.EXAMPLES,
    Configured,
)
_add(COLLECT, health.status, "Is a collector well?", health.HELP, health.EXAMPLES)
_add(COLLECT, doctor.doctor, "Can it run here?", doctor.HELP, doctor.EXAMPLES)
_add(ASK, query.query, "Values of variables.", query.HELP, query.EXAMPLES)
_add(ASK, connections.connections, "Who talks to whom.", connections.HELP, connections.EXAMPLES)
_add(
    ASK,
    listeners.listeners,
    "Who listens, and how well it keeps up.",
    listeners.HELP,
    listeners.EXAMPLES,
)
_add(ASK, read.read, "All variables of a connection.", read.HELP, read.EXAMPLES)
_add(ASK, watch.watch, "Values as they change.", watch.HELP, watch.EXAMPLES)
_add(ASK, top.top, "A full screen, live or in the past.", top.HELP, top.EXAMPLES)
_add(ASK, deltas.deltas, "What changed in a time.", deltas.HELP, deltas.EXAMPLES)
_add(ASK, why.why, "Why is it slow? What limited connections.", why.HELP, why.EXAMPLES)
_add(ASK, plot.plot, "Variables over time, drawn.", plot.HELP, plot.EXAMPLES)
_add(ASK, sql.sql, "What a SELECT finds.", sql.HELP, sql.EXAMPLES)
_add(CHANGE, tune.tune, "Limits of live connections.", tune.HELP, tune.EXAMPLES)
_add(KEEP, record.record, "Keep a moment in a file.", record.HELP, record.EXAMPLES)
_add(KEEP, record.replay, "What a recording says.", record.REPLAY_HELP, record.REPLAY_EXAMPLES)
_add(KNOW, variables.variables, "What the variables mean.", variables.HELP, variables.EXAMPLES)
app.add_typer(db.app, name="db", rich_help_panel=KNOW)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"estats {program_version()}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
    ),
]


@app.callback(epilog=exit_codes_help())
def estats(*, version: Version = False) -> None:
    """RFC 4898 statistics of every TCP connection of this host, as history in SQL.

    `estats why --live` looks for ten seconds and tells what held each connection back. `estats
    collect` writes a database, and the other commands ask it, also while it is being written.
    Each command has examples: estats query --help.
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (None: the process's own) and return its exit code."""
    try:
        app(arguments, prog_name="estats")
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else 1
    except EstatsError as error:
        advice = f"\n  {printable(error.advice)}" if error.advice else ""
        print(f"estats: {printable(error.message)}{advice}", file=sys.stderr)
        code = error.exit_code
    else:
        code = 0
    return _flushed(code)


def _flushed(code: int) -> int:
    """Send off what is buffered now, where it can still be told that nobody reads it any more."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes again at its end; it must find nothing to complain about.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code
