"""What a running collector shows: one line that is rewritten on a terminal, log lines elsewhere."""

import sys
import time
from pathlib import Path
from typing import Final

from cli.render import printable
from cli.times import iso, now_us
from collector.supervisor import Progress, Spent

_COLUMNS: Final = 80
_LOG_SECONDS: Final = 10.0  # between two log lines about progress
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


class StatusLine:
    """Progress of one run, on stderr: stdout stays free for answers."""

    def __init__(self, path: Path) -> None:
        """``path`` is the database that is written."""
        self._path = printable(str(path))
        self._terminal = sys.stderr.isatty()
        self._logged = 0.0
        self._width = 0
        self._last: Progress | None = None
        self._oversize = False

    def say(self, text: str) -> None:
        """One event."""
        self._clear()
        self._log(printable(text))

    def show(self, progress: Progress) -> None:
        """After each snapshot."""
        self._last = progress
        if progress.oversize and not self._oversize:
            self._oversize = True
            self.say(
                "THE DATABASE IS LARGER THAN --max-db-size, though all but the newest was"
                " forgotten; it goes on growing"
            )
        text = describe(progress)
        if self._terminal:
            self._clear()
            self._width = len(text)
            sys.stderr.write(text)
            sys.stderr.flush()
        elif time.monotonic() - self._logged >= _LOG_SECONDS:
            self._logged = time.monotonic()
            self._log(text)

    def end(self, reason: str) -> None:
        """The last words."""
        self._clear()
        last = self._last
        if last is not None:
            self._log(
                f"stopped ({reason}): {last.snapshots} snapshots, {last.rows} rows,"
                f" {last.lost} batches lost, {_left_out(last.overhead)}{_forgotten(last)}"
                f"{size(last.database_bytes)} in {self._path}"
            )

    def _clear(self) -> None:
        if self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            self._width = 0

    def _log(self, text: str) -> None:
        stamp = "" if self._terminal else f"{iso(now_us())} "
        print(f"{stamp}estats: {text}", file=sys.stderr, flush=True)


def describe(progress: Progress) -> str:
    """Connections, rate, losses, overhead, lag and size in one line.

    What does not fit into 80 columns is left out, from the end.
    """
    seconds = max(progress.interval_us, 1) / 1e6
    merged = f" merged {progress.merged}" if progress.merged else ""
    parts = [
        f"{progress.connections} connections",
        f"{progress.interval_ops / seconds:.0f} ops/s",
        f"lost {progress.lost}{merged}",
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
