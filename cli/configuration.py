"""The defaults of ``estats collect``: from the environment, and from a configuration file in TOML.

An option that is not on the command line is looked for in the environment, then in the file, and
is at last what the command says by itself: Click's own order of ``envvar`` and ``default_map``.
"""

import difflib
import os
import stat
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, Final, cast

import typer
from typer.core import TyperCommand

from bpf.errors import UsageError
from cli.status import LogFormat, StatusLine
from collector.event import Event

#: Nothing in the working folder is looked for: whoever may write there would steer root.
SYSTEM_FILE: Final = Path("/etc/estats/estats.toml")
NO_FILE: Final = "none"
FILE_VARIABLE: Final = "ESTATS_CONFIG"
PREFIX: Final = "ESTATS_COLLECT_"
SECTION: Final = "collect"
_DATABASE_VARIABLE: Final = "ESTATS_DB"  # of every command
_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
_KINDS: Final = {"bool": "true or false", "dict": "a table", "list": "a list"}


class Configured(TyperCommand):
    """A command whose options have variables of the environment, called as the options are."""

    def __init__(self, *given: Any, **named: Any) -> None:
        """The help tells the rule once, and not the name with each option."""
        super().__init__(*given, **named)
        for key, option in options(self).items():
            variable = _variable(key)
            option.envvar = [variable, _DATABASE_VARIABLE] if key == "db" else variable
            option.show_envvar = False
            if key == "config":
                option.envvar = FILE_VARIABLE


def options(command: Any) -> dict[str, Any]:
    """The options of a command by their names, without the dashes in front."""
    return {p.opts[0].removeprefix("--"): p for p in command.params}


def _configurable(known: Iterable[str]) -> list[str]:
    """Those that a file and the environment may give."""
    return [key for key in known if key not in ("config", "help")]


def _variable(key: str) -> str:
    return PREFIX + key.upper().replace("-", "_")


def without_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment that says nothing to ``estats collect``."""
    return {
        name: value
        for name, value in environment.items()
        if name != FILE_VARIABLE and not name.startswith(PREFIX)
    }


def configured(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option --config, which also tells what it was not told on its line."""

    @wraps(command)
    def told(ctx: typer.Context, *, config: str | None, **given: Any) -> None:
        del config  # _take has done all with it
        elsewhere = _from_elsewhere(ctx)
        if elsewhere is not None:
            form: LogFormat = given["log_format"]
            StatusLine(Path(), form).say(elsewhere)
        try:
            command(**given)
        except UsageError as error:
            if elsewhere is not None:
                error.advice = f"{error.advice.rstrip('.')}; {elsewhere.message}"
            raise

    own = signature(command)
    context = Parameter("ctx", Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    first = Parameter("config", Parameter.KEYWORD_ONLY, default=None, annotation=Config)
    of_both = own.replace(parameters=[context, first, *own.parameters.values()])
    told.__signature__ = of_both  # type: ignore[attr-defined]
    told.__annotations__ = {p.name: p.annotation for p in of_both.parameters.values()}
    return told


def _take(ctx: typer.Context, value: str | None) -> str | None:
    """What Click calls for --config, before all other options: their defaults are then known."""
    if ctx.resilient_parsing:  # the shell completes a word
        return value
    known = options(ctx.command)
    _refuse_unknown_variables(known)
    if value == NO_FILE:
        return value
    if value is not None or SYSTEM_FILE.exists():
        path = Path(value) if value is not None else SYSTEM_FILE
        ctx.default_map = defaults(path, ctx, known)
        ctx.obj = path
    return value


Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE",
        is_eager=True,
        callback=_take,
        help=f"Read options from this file [$ESTATS_CONFIG, else {SYSTEM_FILE} if it exists;"
        f" {NO_FILE}: from no file].",
        show_default=False,
    ),
]


def defaults(path: Path, ctx: typer.Context, known: Mapping[str, Any]) -> dict[str, Any]:
    """Values for options, by the names of their parameters. Raises UsageError for what is none."""
    document = _document(path)
    _refuse_unknown(path, "table", document, [SECTION])
    section = document.get(SECTION, {})
    if not isinstance(section, dict):
        raise UsageError(f"{path}: {SECTION} is no table", f"Write [{SECTION}] above the options.")
    values = cast(dict[str, Any], section)
    keys = _configurable(known)
    _refuse_unknown(path, f"key below [{SECTION}]", values, keys)
    return {known[key].name: _value(path, key, known[key], values[key], ctx) for key in values}


def _value(path: Path, key: str, option: Any, value: object, ctx: typer.Context) -> Any:
    """A value as the command line would have it, and as the option takes it."""
    where = f"{path}: {key}"
    members = [value]
    if option.multiple and isinstance(value, list):
        members = cast(list[object], value)
    for each in members:
        if isinstance(each, bool) or not isinstance(each, str | int):
            kind = _KINDS.get(type(each).__name__, "a time")
            more = ", or a list of them" if option.multiple else ""
            raise UsageError(f"{where} cannot be {kind}", f"Write a text or a number{more}.")
    words = [str(each) for each in members]
    given = words if option.multiple else words[0]
    try:
        option.process_value(ctx, given)
    except typer.BadParameter as error:
        sentence = error.message.removeprefix("Value error, ").rstrip(".")
        raise UsageError(f"{where}: {sentence}", "See `estats collect --help`.") from None
    return given


def _document(path: Path) -> dict[str, Any]:
    """What the file says; numbers with a point stay as they are written."""
    try:
        # It must not wait where the file is a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            _refuse_unsafe(path, os.fstat(descriptor))
            return tomllib.loads(file.read().decode(), parse_float=str)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}",
            f"Name another file with --config, or none: --config {NO_FILE}.",
        ) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} is no TOML: {error}", f'Write [{SECTION}], and below it keep = "7d".'
        ) from None


def _refuse_unsafe(path: Path, found: os.stat_result) -> None:
    """Root obeys a file only if nobody but root can have written it."""
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{path} is no file", f"For no file at all write --config {NO_FILE}.")
    if os.geteuid() != 0:
        return
    if found.st_uid != 0:
        raise UsageError(
            f"{path} belongs to user {found.st_uid}, who would steer root with it",
            f"If you trust what it says: chown root {path}",
        )
    others = stat.S_IWOTH if found.st_gid == 0 else _WRITABLE_BY_OTHERS
    if found.st_mode & others:
        raise UsageError(
            f"{path} may be written by others, who would steer root with it",
            f"Read what it says, then: chmod go-w {path}",
        )


def _refuse_unknown(path: Path, what: str, found: Iterable[str], known: Sequence[str]) -> None:
    for key in found:
        if key not in known:
            raise UsageError(f"{path}: there is no {what} {key!r}", _instead(key, known))


def _refuse_unknown_variables(known: Mapping[str, Any]) -> None:
    """A variable that is misspelled would otherwise say nothing."""
    names = [_variable(key) for key in _configurable(known)]
    for name in os.environ:
        if name.startswith(PREFIX) and name not in names:
            raise UsageError(f"${name} names no option of `estats collect`", _instead(name, names))


def _instead(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {close[0]}?" if close else f"There is {', '.join(known)}."


def _from_elsewhere(ctx: typer.Context) -> Event | None:
    """Which options the file and the environment gave; None if none."""
    found: dict[str, list[str]] = {"DEFAULT_MAP": [], "ENVIRONMENT": []}
    for key, option in options(ctx.command).items():
        source = ctx.get_parameter_source(option.name)
        if source is not None and source.name in found and key != "config":
            found[source.name].append(key)
    of_file, of_environment = (", ".join(keys) for keys in found.values())
    said = [f"from {ctx.obj}: {of_file}"] if of_file else []
    said += [f"from the environment: {of_environment}"] if of_environment else []
    if not said:
        return None
    facts = {
        "config": str(ctx.obj) if of_file else None,
        "options": of_file or None,
        "environment": of_environment or None,
    }
    return Event("options " + " and ".join(said), facts=facts)
