"""estats record and replay: a moment of a connection, or a stretch, in a file of its own."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from bpf.errors import UsageError
from cli import options
from cli.asking import Asked
from cli.live import answering, collecting
from cli.names import all_or
from cli.notice import counted
from cli.picking import chooses_nothing, picking, require_choice
from cli.read import print_values
from cli.render import Format, printable, say
from cli.times import duration_us

HELP: Final = """What connections stand at, in a small file that can be kept and handed on.

It has the chosen connections with all that is known of them, as of now or of --until; with --since
also their history from then on. The file is an estats database: `estats replay FILE` prints it, and
every other command takes it with --db or --replay.

--rings TIME records something else: all that the kernel sends in that time, batch by batch, as
`estats collect --record` does, to be replayed elsewhere and without root.
"""
EXAMPLES: Final = """\b
Examples:
  estats record moment.db 7
  estats record upload.db 192.0.2.1:40000 192.0.2.7:5001 --since 10m
  estats record now.db --comm iperf --live
  estats record rings.estats --rings 10s
"""
REPLAY_HELP: Final = """What a recording says: as `estats read` does of a database.

FILE is one of `estats record`, of either kind, or of `estats collect --record`; all of its
connections are printed, or those that are named or chosen.
"""
REPLAY_EXAMPLES: Final = """\b
Examples:
  estats replay moment.db
  estats replay rings.estats --dport 5001 --tables perf --format json
"""

File = Annotated[Path, typer.Argument(metavar="FILE", help="The recording; not there yet.")]
Recorded = Annotated[Path, typer.Argument(metavar="FILE", help="The recording.")]
Rings = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="What the rings hold from now on.", show_default=False),
]


@picking
def record(asked: Asked, *, file: File, rings: Rings = None) -> None:
    """Write it; HELP says all of it."""
    options.refuse_taken(file)
    if rings is not None:
        _record_rings(asked, file, rings)
        return
    require_choice(asked)
    with answering(asked, (), may_start=True) as (reader, question):
        is_stretch = asked.since is not None
        found, samples = reader.excerpt(question, file, is_stretch=is_stretch)
    if not found:
        say("no connection matches, so nothing is written")
        return
    print(f"{printable(str(file))}: {counted(found, 'connection')}, {counted(samples, 'sample')}")


def _record_rings(asked: Asked, file: Path, length: str) -> None:
    if not chooses_nothing(asked) or asked.db or asked.replay or asked.since or asked.until:
        raise UsageError(
            "--rings records all that comes from now on", "Choose when it is replayed."
        )
    duration_us(length)  # refused before anything is started
    with collecting("--record", str(file), "--duration", length) as collector:
        collector.finish()
    print(f"{printable(str(file))}: {file.stat().st_size} octets of the rings of {length}")


@picking
def replay(
    asked: Asked,
    *,
    file: Recorded,
    var: options.Var = None,
    tables: options.Tables = None,
    form: options.As = Format.TABLE,
) -> None:
    """Print it; REPLAY_HELP says all of it."""
    variables = all_or(var or (), tables or ())
    print_values(replace(asked, replay=file), variables, form, all_of_them=not var)
