"""What a running collector shows: one line that is rewritten on a terminal, log lines elsewhere.

A log line is text or a JSON object; the sentence is the same in both, and rendered here.
"""

import json
import sys
import time
from enum import Enum
from pathlib import Path
from typing import Final

from bpf.errors import EstatsError
from cli.render import printable
from cli.times import iso, now_us
from collector.event import Event, Fact, Level
from collector.supervisor import Progress, Spent

_COLUMNS: Final = 80
_LOG_SECONDS: Final = 10.0  # between two log lines about progress
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


class LogFormat(Enum):
    """How log lines are written."""

    TEXT = "text"
    JSON = "json"


class StatusLine:
    """Progress of one run, on stderr: stdout stays free for answers."""

    def __init__(self, path: Path, form: LogFormat = LogFormat.TEXT) -> None:
        """``path`` is the database that is written."""
        self._path = str(path)
        self._form = form
        self._terminal = form is LogFormat.TEXT and sys.stderr.isatty()
        self._logged = 0.0
        self._width = 0
        self._last: Progress | None = None
        self._losses_told = 0
        self._oversize = False

    def say(self, event: Event) -> None:
        """One event."""
        self._clear()
        stamp = iso(now_us())
        if self._form is LogFormat.JSON:
            line = _as_json(stamp, event)
        else:
            line = f"{'' if self._terminal else f'{stamp} '}estats: {printable(event.message)}"
        print(line, file=sys.stderr, flush=True)

    def show(self, progress: Progress) -> None:
        """After each snapshot."""
        self._last = progress
        if progress.oversize and not self._oversize:
            self._oversize = True
            sentence = (
                "THE DATABASE IS LARGER THAN --max-db-size, though all but the newest was"
                " forgotten; it goes on growing"
            )
            self.say(Event(sentence, Level.WARNING, {"database_bytes": progress.database_bytes}))
        text = describe(progress)
        if self._terminal:
            self._clear()
            self._width = len(text)
            sys.stderr.write(text)
            sys.stderr.flush()
        elif time.monotonic() - self._logged >= _LOG_SECONDS:
            self._logged = time.monotonic()
            self.say(Event(text, self._level(progress), _facts(progress)))

    def end(self, reason: str) -> None:
        """The last words."""
        self._clear()
        last = self._last
        if last is not None:
            sentence = (
                f"stopped ({reason}): {last.snapshots} snapshots, {last.rows} rows,"
                f" {last.lost - last.meters.get('untracked', 0)} batches lost, {_beyond(last)}"
                f"{_left_out(last.overhead)}{_forgotten(last)}"
                f"{size(last.database_bytes)} in {self._path}"
            )
            facts = {"reason": reason, "database": self._path, **_facts(last)}
            self.say(Event(sentence, self._level(last), facts))

    def fail(self, error: EstatsError) -> None:
        """The last words where it cannot go on."""
        facts: dict[str, Fact] = {"cure": error.advice or None, "exit_code": error.exit_code}
        self.say(Event(error.message, Level.ERROR, facts))

    def _level(self, progress: Progress) -> Level:
        """A loss is a warning once: in the first line after it."""
        losses = sum(progress.meters.values()) + progress.merged
        is_new = losses > self._losses_told
        self._losses_told = losses
        return Level.WARNING if is_new else Level.INFO

    def _clear(self) -> None:
        if self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            self._width = 0


def _as_json(stamp: str, event: Event) -> str:
    """One object; what could steer a terminal is escaped in the values, too."""
    line = {"time": stamp, "level": event.level.value, "message": event.message, **event.facts}
    return json.dumps({k: printable(v) if isinstance(v, str) else v for k, v in line.items()})


def _facts(progress: Progress) -> dict[str, Fact]:
    """The numbers of a status line, all of them, called what they are in ``snapshot``."""
    facts: dict[str, Fact] = {
        "snapshots": progress.snapshots,
        "rows": progress.rows,
        "connections": progress.connections,
        "ops": progress.interval_ops,
        "interval_us": progress.interval_us,
        "lag_us": progress.lag_us,
        "merged": progress.merged,
        **progress.meters,
        "forgotten_samples": progress.forgotten_samples,
        "forgotten_connections": progress.forgotten_connections,
        "database_bytes": progress.database_bytes,
    }
    if spent := progress.overhead:
        facts["bpf_share"] = spent.share
        facts["flush_interval_us"] = spent.flush_us
        facts["sampled"] = spent.sampled
        facts["sampled_out"] = spent.sampled_out
    return facts


def describe(progress: Progress) -> str:
    """Connections, rate, losses, overhead, lag and size in one line.

    What does not fit into 80 columns is left out, from the end.
    """
    seconds = max(progress.interval_us, 1) / 1e6
    merged = f" merged {progress.merged}" if progress.merged else ""
    evicted = progress.meters.get("evicted", 0)
    made_room = f" evicted {evicted}" if evicted else ""
    parts = [
        f"{progress.connections} connections",
        f"{progress.interval_ops / seconds:.0f} ops/s",
        f"lost {progress.lost}{made_room}{merged}",
        *_overhead(progress.overhead),
        f"lag {progress.lag_us / 1000:.0f} ms",
        f"db {size(progress.database_bytes)}",
    ]
    while len(line := "  ".join(parts)) > _COLUMNS:
        parts.pop()
    return line


def _overhead(spent: Spent | None) -> list[str]:
    """The share of one CPU, and what is done to keep it small: flush interval, sampling."""
    if spent is None:
        return []
    share = "?" if spent.share is None else f"{spent.share:.1%}"
    sampling = f" 1/{spent.sampled}" if spent.sampled > 1 else ""
    return [f"bpf {share} flush {spent.flush_us / 1000:.0f} ms{sampling}"]


def _left_out(spent: Spent | None) -> str:
    if spent is None or not spent.sampled_out:
        return ""
    return f"{spent.sampled_out} new connections left out to keep to --max-overhead, "


def _beyond(last: Progress) -> str:
    """What the bound on connections cost."""
    untracked, evicted = (last.meters.get(name, 0) for name in ("untracked", "evicted"))
    parts = [f"{untracked} connections not tracked, "] * bool(untracked)
    parts += [f"{evicted} evicted to keep to --max-connections, "] * bool(evicted)
    return "".join(parts)


def _forgotten(last: Progress) -> str:
    if not (last.forgotten_samples or last.forgotten_connections):
        return ""
    return (
        f"{last.forgotten_samples} samples and {last.forgotten_connections} connections forgotten, "
    )


def size(octets: int) -> str:
    """Bytes in the largest unit that leaves a whole number of them."""
    value, unit = float(octets), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"
