"""A database that a collector writes to, as far as its readers can tell."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from storage.file import lock
from storage.writer import Writer
from tests.cli.story import ACTIVE, ALL, connection, one_run, snapshot
from tests.samples import Samples


class Written:
    """One connection; ``values`` tells what each snapshot has of it, from the first one on."""

    def __init__(self, path: Path, values: Callable[[int], Mapping[str, int]]) -> None:
        """One snapshot."""
        self.path, self._values, self._snapshots, self._told = path, values, 0, Samples()
        self._lock, self._is_over = lock(path), False
        self._writer = Writer(path, one_run(0, ALL, {}))
        self.grow()

    def grow(self) -> None:
        """Another snapshot, a second later."""
        self._snapshots += 1
        ends = ("10.0.0.1", 40000), ("10.0.0.2", 5001)
        who = connection(1, *ends, ACTIVE, opened=0, owner=(42, b"iperf"))
        samples = self._told.of({1: dict(self._values(self._snapshots))})
        new = [who] if self._snapshots == 1 else []
        self._writer.write(snapshot(self._snapshots, samples, new))

    def end(self) -> None:
        """The collector stops, if it has not."""
        if not self._is_over:
            self._is_over = True
            self._writer.close("stopped")
            os.close(self._lock)
