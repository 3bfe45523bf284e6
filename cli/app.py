"""The command line: its commands, and the one place where an error becomes words and a code."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from bpf.errors import EstatsError
from cli import (
    collect,
    connections,
    db,
    deltas,
    doctor,
    health,
    listeners,
    query,
    read,
    record,
    sql,
    variables,
    watch,
)
from cli.render import printable
from cli.version import program_version

_EXIT_CODES: Final = """\b
Exit codes:
  0    done, also if nothing matched
  1    nobody reads the output any more
  2    the command line makes no sense
  3    this host cannot do it (root, BTF, bcc, cgroup v2)
  4    the database cannot be used
  5    a recording is damaged
  6    a process of the collector died
  7    no collector is well (estats status)
  130  interrupted
"""

app = typer.Typer(
    name="estats",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(
    help=collect.HELP,
    short_help="Collect into a database.",
    epilog=collect.EXAMPLES,
)(collect.collect)
app.command(help=health.HELP, short_help="Is a collector well?", epilog=health.EXAMPLES)(
    health.status
)
app.command(
    help=query.HELP,
    short_help="Values of variables.",
    epilog=query.EXAMPLES,
)(query.query)
app.command(help=read.HELP, short_help="All variables of a connection.", epilog=read.EXAMPLES)(
    read.read
)
app.command(help=deltas.HELP, short_help="What changed in a time.", epilog=deltas.EXAMPLES)(
    deltas.deltas
)
app.command(help=watch.HELP, short_help="Values as they change.", epilog=watch.EXAMPLES)(
    watch.watch
)
app.command(help=record.HELP, short_help="Keep a moment in a file.", epilog=record.EXAMPLES)(
    record.record
)
app.command(
    help=record.REPLAY_HELP,
    short_help="What a recording says.",
    epilog=record.REPLAY_EXAMPLES,
)(record.replay)
app.command(
    help=connections.HELP,
    short_help="Who talks to whom.",
    epilog=connections.EXAMPLES,
)(connections.connections)
app.command(
    help=listeners.HELP,
    short_help="Who listens, and how well it keeps up.",
    epilog=listeners.EXAMPLES,
)(listeners.listeners)
app.command(
    help=sql.HELP,
    short_help="What a SELECT finds.",
    epilog=sql.EXAMPLES,
)(sql.sql)
app.command(help=variables.HELP, short_help="What the variables mean.", epilog=variables.EXAMPLES)(
    variables.variables
)
app.command(help=doctor.HELP, short_help="Can it run here?", epilog=doctor.EXAMPLES)(doctor.doctor)
app.add_typer(db.app, name="db")


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


@app.callback(epilog=_EXIT_CODES)
def estats(*, version: Version = False) -> None:
    """RFC 4898 statistics of every TCP connection of this host, as history in SQL.

    `estats collect` writes a database, `estats query` asks it, also while it is being written.
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
