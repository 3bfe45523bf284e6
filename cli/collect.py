"""``estats collect``: run until told to stop."""

import grp
import os
import re
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from bpf.errors import EstatsError, UsageError
from bpf.filters import Filters, parse_net
from bpf.loader import CONNECTIONS_MAX
from bpf.meters import Run
from bpf.variable import HISTORIES, Table
from cli.bounds import Keep, Rollups, Size, bounds
from cli.names import split
from cli.options import Db, database
from cli.rights import make_ready, rights, share
from cli.service import Service
from cli.status import LogFormat, StatusLine, describe
from cli.times import duration_us
from cli.version import program_version
from collector.event import Event, Level
from collector.fleet import Source, Watch
from collector.fleet import collect as run_collector
from collector.privileges import Rights, acting_as
from collector.settings import SHARDS_MAX, Settings, table_names
from collector.supervisor import Progress
from collector.writing import Sink
from storage.bounds import Bounds
from storage.file import can_shrink
from storage.ownership import refuse_unsafe

_SHARDS_DEFAULT_MAX: Final = 8
_SHARE: Final = re.compile(r"(?P<number>[0-9]+(\.[0-9]*)?|\.[0-9]+) ?(?P<percent>%)?", re.ASCII)
_BARE_SECONDS: Final = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII)

_AT_LARGE: Final = (
    "the writer stays root, and without Landlock in this kernel nothing keeps it to the folder of"
    " the database. Cure: --user, or a folder that is not root's"
)

HELP: Final = """Collect the statistics of all TCP connections into a database, until told to stop.

Ctrl-C or SIGTERM ends it in order: what the kernel still holds is fetched, written, and the kernel
programs are gone. Filters are decided in the kernel; what they leave out costs next to nothing.

What an option is comes from this line, else from the environment ($ESTATS_COLLECT_KEEP is --keep),
else from the [collect] of a file (--config), else it is what is said in brackets below."""

EXAMPLES: Final = """\b
Examples:
  estats collect --db flows.db
  estats collect --dport 443 --net 10.0.0.0/8 --duration 10m
  estats collect --tables perf,path --interval 5s
  estats collect --max-overhead 2%
  estats collect --max-connections 50000
  estats collect --keep 30d --rollup 1m:2d --max-db-size 10GB
  estats collect --to - --format csv        to stdout, and nowhere else
  estats collect --source diag              without root: fewer variables
  estats collect --record rings.estats      and later, also elsewhere:
  estats collect --replay rings.estats --db again.db
"""

Interval = Annotated[
    str, typer.Option(metavar="TIME", help="Between two snapshots: 500ms, 1s, 1m.")
]
Flush = Annotated[
    str,
    typer.Option(
        "--flush-interval",
        metavar="TIME",
        help="At least so long between two batches of one connection.",
    ),
]
Shards = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=SHARDS_MAX,
        metavar="N",
        help=f"Worker processes [one for each CPU, at most {_SHARDS_DEFAULT_MAX}].",
        show_default=False,
    ),
]
Tables = Annotated[
    str,
    typer.Option(
        metavar="NAMES", help="Which tables: " + ",".join(t.value for t in HISTORIES) + "."
    ),
]
Duration = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Stop by itself: 20 (seconds), 10m, 2h.", show_default=False),
]
From = Annotated[
    Source,
    typer.Option(help="auto is bpf, or inet_diag (diag) where the kernel programs cannot run."),
]
Threshold = Annotated[
    str,
    typer.Option(
        "--rtt-threshold",
        metavar="TIME",
        help="RTT samples above it count in HighRTTm, others in NormalRTTm.",
    ),
]
Overhead = Annotated[
    str | None,
    typer.Option(
        "--max-overhead",
        metavar="SHARE",
        help="Of one CPU, for the kernel programs: 2% or 0.02. Above it busy connections send less"
        " often; then some new connections are left out, and counted [no limit].",
        show_default=False,
    ),
]
Most = Annotated[
    int,
    typer.Option(
        "--max-connections",
        metavar="N",
        help="Track so many at a time. Before there are more, those that were idle longest make"
        " room: their rows end, and they are counted as evicted.",
    ),
]
Port = Annotated[
    list[int] | None,
    typer.Option(metavar="PORT", help="Only this port, at either end.", show_default=False),
]
Sport = Annotated[
    list[int] | None,
    typer.Option(metavar="PORT", help="Only this local port.", show_default=False),
]
Dport = Annotated[
    list[int] | None,
    typer.Option(metavar="PORT", help="Only this remote port.", show_default=False),
]
Net = Annotated[
    list[str] | None,
    typer.Option(metavar="CIDR", help="Only with an address in it.", show_default=False),
]
Pid = Annotated[
    list[int] | None,
    typer.Option(metavar="PID", help="Only sockets of this process.", show_default=False),
]
Comm = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Only of processes so called.", show_default=False),
]
Record = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Also keep what the rings held, to replay it.", show_default=False
    ),
]
Replay = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Read a recording instead of the kernel.", show_default=False
    ),
]
User = Annotated[
    str | None,
    typer.Option(
        metavar="USER",
        help="Whom the database belongs to, and as whom all but the supervisor run once the kernel"
        " programs are loaded [the owner of the folder; workers: users of their own].",
        show_default=False,
    ),
]
Group = Annotated[
    str | None,
    typer.Option(
        metavar="GROUP",
        help="Let this group read the database and the recording (mode 0640).",
        show_default=False,
    ),
]
Log = Annotated[
    LogFormat,
    typer.Option("--log-format", help="What it says on stderr: lines, or a JSON object a line."),
]


def collect(  # noqa: PLR0913  (one for each option)
    *,
    db: Db = None,
    interval: Interval = "1s",
    flush_interval: Flush = "250ms",
    duration: Duration = None,
    tables: Tables = "all",
    source: From = Source.AUTO,
    port: Port = None,
    sport: Sport = None,
    dport: Dport = None,
    net: Net = None,
    pid: Pid = None,
    comm: Comm = None,
    shards: Shards = None,
    user: User = None,
    group: Group = None,
    rtt_threshold: Threshold = "100ms",
    max_overhead: Overhead = None,
    max_connections: Most = CONNECTIONS_MAX,
    keep: Keep = None,
    rollup: Rollups = None,
    max_db_size: Size = None,
    record: Record = None,
    replay: Replay = None,
    log_format: Log = LogFormat.TEXT,
) -> None:
    """Collect (HELP above is what a user reads)."""
    path = database(db)
    status = StatusLine(path, log_format)
    service = Service()
    with _errors_told(status, service, log_format):
        kept = bounds(keep, rollup, max_db_size)
        settings = Settings(
            tables=chosen_tables(tables),
            shards=shards or min(len(os.sched_getaffinity(0)), _SHARDS_DEFAULT_MAX),
            interval_us=_length(interval, "--interval"),
            flush_us=_length(flush_interval, "--flush-interval"),
            duration_us=None if duration is None else _length(duration, "--duration"),
            rtt_threshold_us=_length(rtt_threshold, "--rtt-threshold"),
            max_overhead=None if max_overhead is None else _share_of_cpu(max_overhead),
            connections_max=max_connections,
            filters=_filters((port, sport, dport), net, pid, comm),
            record=record,
            replay=replay,
            keep_us=kept.keep_us if kept else None,
            bounds=_told(keep=keep, rollup=rollup, max_db_size=max_db_size),
        )
        source = _source(source, replay)
        may = rights(path, user, _group_id(group))
        if may.leaves_root_at_large():
            status.say(Event(_AT_LARGE, Level.WARNING))
        prepare = _storage(path, may, kept)
        if kept and not _can_shrink(path, may):
            advice = "`estats db compact` lets it"
            status.say(Event(f"{path} was made before it could shrink: {advice}", Level.WARNING))
        watch = _watch(status, service, settings)
        reason = run_collector(settings, source, prepare, program_version(), watch, may)
        status.end(reason)


def _watch(status: StatusLine, service: Service, settings: Settings) -> Watch:
    """Whoever hears of the run: a person or a log, and the service manager."""

    def progress(now: Progress) -> None:
        status.show(now)
        service.alive(describe(now), settings.interval_us)

    return Watch(progress=progress, say=status.say, stopping=service.stopping)


@contextmanager
def _errors_told(
    status: StatusLine, service: Service, form: LogFormat
) -> Generator[None, None, None]:
    """What ends the run is told to the service manager and, as all lines are to be JSON, so."""
    try:
        yield
    except EstatsError as error:
        service.stopping(error.message)
        if form is LogFormat.TEXT:
            raise  # cli.app has the words
        status.fail(error)
        raise typer.Exit(error.exit_code) from error


def _told(**options: str | None) -> dict[str, str]:
    """Those that were given, as they were."""
    return {name: text for name, text in options.items() if text is not None}


def _source(source: Source, replay: Path | None) -> Source:
    if source is Source.REPLAY and replay is None:
        raise UsageError("--source replay needs a recording", "name it with --replay FILE")
    return source if replay is None else Source.REPLAY


def _filters(
    ports: tuple[Sequence[int] | None, ...],
    net: Sequence[str] | None,
    pid: Sequence[int] | None,
    comm: Sequence[str] | None,
) -> Filters:
    """Of the options; ``ports`` are those of either end, of the local and of the remote one."""
    either, local, remote = (tuple(numbers or ()) for numbers in ports)
    return Filters(
        ports=either,
        sports=local,
        dports=remote,
        nets=tuple(parse_net(text) for text in split(net or ())),
        pids=tuple(pid or ()),
        comms=tuple(comm or ()),
    )


def chosen_tables(text: str) -> tuple[Table, ...]:
    """Those that --tables names, in their order. Raises UsageError for what is none."""
    names = split([text.lower()])
    if names == ["all"]:
        return HISTORIES
    for name in names:
        if name not in table_names():
            raise UsageError(
                f"there is no table {name!r}", "the tables are " + ", ".join(table_names())
            )
    return tuple(table for table in HISTORIES if table.value in names)


def _length(text: str, option: str) -> int:
    """A length of time in microseconds; a bare number is seconds."""
    try:
        return duration_us(f"{text}s" if _BARE_SECONDS.fullmatch(text) else text)
    except UsageError as e:
        raise UsageError(f"{option}: {e.message}", e.advice) from None


def _share_of_cpu(text: str) -> float:
    """``2%`` or ``0.02``; a bare number of 1 and more may be meant either way."""
    found = _SHARE.fullmatch(text)
    if not found:
        raise UsageError(f"--max-overhead {text!r} is no share of a CPU", "write 2% or 0.02")
    number = float(found["number"])
    if found["percent"]:
        return number / 100
    if number >= 1:
        raise UsageError(
            f"--max-overhead {text}: are these per cent, or processors?",
            f"write {text}% or, if so many whole CPUs may be taken, {number * 100:.0f}%",
        )
    return number


def _group_id(name: str | None) -> int | None:
    if name is None:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise UsageError(f"there is no group {name!r}", "name one of /etc/group") from None


def _can_shrink(path: Path, rights: Rights) -> bool:
    with acting_as(rights.writer):
        return can_shrink(path)


def _storage(
    path: Path, rights: Rights, kept: Bounds | None
) -> Callable[[], Callable[[Run], Sink]]:
    """Lock the database now; open it in the writer process, where SQLite then lives alone."""
    from storage.file import lock  # noqa: PLC0415  (after the options are known to be good)

    make_ready(path, rights)
    with acting_as(rights.writer):
        descriptor = lock(path)
        if rights.group is not None:
            share(path, descriptor, rights.group)

    def ready() -> Callable[[Run], Sink]:
        from storage.engine import open_writable  # noqa: PLC0415  (SQLAlchemy: writer only)
        from storage.prepare import prepare  # noqa: PLC0415
        from storage.writer import Writer  # noqa: PLC0415

        prepare(open_writable(path))

        def begin(run: Run) -> Sink:
            writer = Writer(path, run, kept)
            refuse_unsafe(path, rights.writer.uid if rights.writer else None)
            return writer

        return begin

    return ready
