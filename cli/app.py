"""The command line: its commands, and the one place where an error becomes words and a code."""

import os
import sys
from collections.abc import Collection, Sequence
from importlib import import_module
from typing import Annotated, Final, NamedTuple

import typer
from typer.core import TyperCommand

from bpf.errors import EstatsError
from cli.configuration import Configured, configured
from cli.exit_codes import exit_codes_help
from cli.grouped import ASK, CHANGE, COLLECT, KEEP, KNOW, Grouped
from cli.render import printable
from cli.to_stdout import with_stdout
from cli.version import program_version


class _Command(NamedTuple):
    """A command, the heading below which it is listed, what the list says, and where it is.

    The module has a function of its name, its help as HELP or as NAME_HELP, and EXAMPLES likewise.
    The options of one that ``is_configured`` may stand in a file or the environment, too.
    """

    name: str
    group: str
    short: str
    module: str
    is_configured: bool = False


_COMMANDS: Final = (
    _Command("collect", COLLECT, "Collect into a database.", "cli.collect", is_configured=True),
    _Command("status", COLLECT, "Is a collector well?", "cli.health"),
    _Command("doctor", COLLECT, "Can it run here?", "cli.doctor"),
    _Command("query", ASK, "Values of variables.", "cli.query"),
    _Command("connections", ASK, "Who talks to whom.", "cli.connections"),
    _Command("listeners", ASK, "Who listens, and how well it keeps up.", "cli.listeners"),
    _Command("read", ASK, "All variables of a connection.", "cli.read"),
    _Command("watch", ASK, "Values as they change.", "cli.watch"),
    _Command("top", ASK, "A full screen, live or in the past.", "cli.top.command"),
    _Command("deltas", ASK, "What changed in a time.", "cli.deltas"),
    _Command("why", ASK, "Why is it slow? What limited connections.", "cli.why"),
    _Command("plot", ASK, "Variables over time, drawn.", "cli.plot"),
    _Command("sql", ASK, "What a SELECT finds.", "cli.sql"),
    _Command("tune", CHANGE, "Limits of live connections.", "cli.tune"),
    _Command("record", KEEP, "Keep a moment in a file.", "cli.record"),
    _Command("replay", KEEP, "What a recording says.", "cli.record"),
    _Command("variables", KNOW, "What the variables mean.", "cli.variables"),
)
_DB: Final = "db"  # has commands of its own
_NAMES: Final = (*(each.name for each in _COMMANDS), _DB)


def application(wanted: Collection[str] = _NAMES) -> typer.Typer:
    """The command line with all its commands, or with these: only their modules are imported."""
    app = typer.Typer(
        name="estats",
        cls=Grouped,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(epilog=exit_codes_help())(estats)
    for command in _COMMANDS:
        if command.name in wanted:
            _add(app, command)
    if _DB in wanted:
        app.add_typer(import_module("cli.db").app, name=_DB, rich_help_panel=KNOW)
    return app


def _add(app: typer.Typer, command: _Command) -> None:
    """Register a command below its heading, with its help and the examples at its end."""
    module = import_module(command.module)
    words, function, kind = vars(module), getattr(module, command.name), TyperCommand
    if command.is_configured:
        function, kind = configured(with_stdout(function)), Configured
    own = f"{command.name.upper()}_"
    app.command(
        name=command.name,
        cls=kind,
        help=words.get(f"{own}HELP", words["HELP"]),
        short_help=command.short,
        epilog=words.get(f"{own}EXAMPLES", words["EXAMPLES"]),
        rich_help_panel=command.group,
    )(function)


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


def estats(*, version: Version = False) -> None:
    """RFC 4898 statistics of every TCP connection of this host, as history in SQL.

    `estats why --live` looks for ten seconds and tells what held each connection back. `estats
    collect` writes a database, and the other commands ask it, also while it is being written.
    Each command has examples: estats query --help.
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (None: the process's own) and return its exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        application(_wanted(given))(given, prog_name="estats")
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else 1
    except EstatsError as error:
        advice = f"\n  {printable(error.advice)}" if error.advice else ""
        print(f"estats: {printable(error.message)}{advice}", file=sys.stderr)
        code = error.exit_code
    else:
        code = 0
    return _flushed(code)


def _wanted(arguments: Sequence[str]) -> Collection[str]:
    """The commands that can be meant: to import all of them takes a quarter of a second."""
    first = arguments[0] if arguments else ""
    if first == "--version":
        return ()
    return (first,) if first in _NAMES else _NAMES


def _flushed(code: int) -> int:
    """Send off what is buffered now, where it can still be told that nobody reads it any more."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes again at its end; it must find nothing to complain about.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code
