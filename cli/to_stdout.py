"""``estats collect --to -``: what is collected also goes to standard output, as it comes.

A process of its own reads the database and writes: whoever reads that slowly holds nothing up.
"""

import errno
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from bpf.children import die_with
from bpf.errors import EstatsError, UsageError
from bpf.variable import HISTORIES, SAMPLED, Variable
from cli.answers import as_object, keys
from cli.asking import reading
from cli.collect import chosen_tables
from cli.growth import Growth
from cli.live import has_snapshot, private_folder
from cli.names import all_or
from cli.render import Format, Look, say, write
from cli.times import iso
from storage.question import Question

To = Annotated[
    str | None,
    typer.Option(
        metavar="-",
        help="Also write to stdout what changes; without --db, nowhere else.",
        show_default=False,
    ),
]
As = Annotated[Format, typer.Option("--format", help="How to write it there.")]

_POLL_MS: Final = 50
#: Of a database that nobody named: so long may whoever reads along take a breath.
_KEEP: Final = "1m"


def with_stdout(collect: Callable[..., None]) -> Callable[..., None]:
    """``estats collect`` with the options --to and --format."""

    @wraps(collect)
    def streamed(to: str | None, form: Format, **given: Any) -> None:
        if to is None:
            collect(**given)
            return
        if to != "-":
            raise UsageError(f"--to {to!r} is no place to write to", "Write --to -, or --db FILE.")
        if form is Format.TABLE:
            raise UsageError("a stream is no table", "Use --format ndjson, json or csv.")
        variables = _variables(given["tables"])
        with ExitStack() as undo:
            if given["db"] is None:
                given["db"] = undo.enter_context(private_folder()) / "flows.db"
                given["keep"] = given["keep"] or _KEEP
            undo.enter_context(_writing(Stream(given["db"], form, variables)))
            collect(**given)

    own = signature(collect)
    more = [
        Parameter("to", Parameter.KEYWORD_ONLY, default=None, annotation=To),
        Parameter("form", Parameter.KEYWORD_ONLY, default=Format.NDJSON, annotation=As),
    ]
    of_both = own.replace(parameters=[*own.parameters.values(), *more])
    streamed.__signature__ = of_both  # type: ignore[attr-defined]
    streamed.__annotations__ = {p.name: p.annotation for p in of_both.parameters.values()}
    return streamed


def _variables(tables: str) -> tuple[Variable, ...]:
    """Those of connections in the tables of ``collect --tables``. Raises UsageError."""
    chosen = chosen_tables(tables)
    whole = chosen == HISTORIES
    return all_or((), () if whole else [table.value for table in chosen if table in SAMPLED])


@dataclass(frozen=True, slots=True)
class Stream:
    """What goes to stdout: the database it is read from, the form, and of what."""

    path: Path
    form: Format
    variables: tuple[Variable, ...]

    def write(self, goes_on: Callable[[], bool]) -> None:
        """An object for each row of history from now on, until the collector has ended."""
        look: Look[dict[str, Any]] = Look(
            keys=["time", *keys(self.variables, Growth.TOTAL)],
            as_object=lambda answer: answer,
        )
        write(self._objects(goes_on), self.form, look, sys.stdout)
        sys.stdout.flush()

    def _objects(self, goes_on: Callable[[], bool]) -> Iterator[dict[str, Any]]:
        begun_us = time.time_ns() // 1000
        while not has_snapshot(self.path):
            if not goes_on():
                return
            _pause()
        told_us = self._newest_before(begun_us)
        while True:
            is_written = goes_on()
            with reading(self.path) as reader:
                period = reader.period(told_us + 1)
                newest_us = period.newest_us
                question = Question(period)
                # A row for each of several snapshots, if whoever reads was slow.
                is_one = sum(part.snapshots for part in reader.parts(period)) <= 1
                ask = reader.latest if is_one else reader.history
                found = list(ask(self.variables, question)) if newest_us else []
            for sample in sorted(found, key=lambda each: each.taken_us or 0):
                if sample.taken_us is not None and sample.taken_us > told_us:
                    answer = as_object(sample, self.variables, Growth.TOTAL, period)
                    yield {"time": iso(sample.taken_us), **answer}
            told_us = max(told_us, newest_us)
            sys.stdout.flush()
            if not newest_us and not is_written:
                return
            _pause()

    def _newest_before(self, moment_us: int) -> int:
        """When the last snapshot of an earlier run was taken, if the database has any."""
        with reading(self.path) as reader:
            period = reader.period(None, moment_us)
            return max(period.runs.values(), default=0)


def _pause() -> None:
    """Until there may be news. Raises BrokenPipeError as soon as nobody reads stdout any more."""
    reader = select.poll()
    # What is told unasked: POLLERR of a pipe, POLLHUP of a socket or a terminal.
    reader.register(sys.stdout, 0)
    if reader.poll(_POLL_MS):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


@contextmanager
def _writing(stream: Stream) -> Generator[None]:
    """Let a child write the stream until the block and what came in it are over.

    Raises typer.Exit with the child's exit code if it fails: 1, if nobody reads any more; it then
    ends the block as Ctrl-C would.
    """
    parent = os.getpid()
    theirs, ours = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(ours)
        os._exit(_child(stream, theirs, parent))
    os.close(theirs)
    try:
        yield
    finally:
        os.close(ours)
        _, status = os.waitpid(child, 0)
    if code := os.waitstatus_to_exitcode(status):
        raise typer.Exit(code if code > 0 else EstatsError.exit_code)


def _child(stream: Stream, ending: int, parent: int) -> int:
    """Write until ``ending`` is closed at its other end; returns the exit code."""
    die_with(parent)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        stream.write(lambda: not select.select([ending], [], [], 0)[0])
    except BrokenPipeError:
        code = 1
    except EstatsError as error:
        say(error.message)
        code = error.exit_code
    else:
        return 0
    os.kill(parent, signal.SIGTERM)
    return code
