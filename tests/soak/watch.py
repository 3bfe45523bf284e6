"""What a running collector takes, and who asks it meanwhile."""

import subprocess
import sys
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Final

from bench.footprint import Memory, footprint, kind_of, memory, objects
from bench.processes import HOME, Running
from tests.soak.audit import Audit
from tests.soak.traffic import STAYING_PORT
from tests.soak.verdict import Account, Sample

_PAUSE_SECONDS: Final = 2.0
_QUESTIONS: Final = (
    ("query", "--open", "--dport", str(STAYING_PORT), "--history", "--since", "1m"),
    ("query", "--since", "30s", "--limit", "20", "--rate", "--var", "HCDataOctetsOut"),
    ("connections", "--limit", "20", "--format", "json"),
    ("listeners", "--format", "csv"),
    ("sql", "SELECT close_reason, count(*) FROM connection GROUP BY close_reason"),
    ("status", "--format", "json"),
)


def sample(process: Running, audit: Audit, hours: float) -> Sample:
    """The collector as of now, the database as of the last look."""
    kinds: dict[str, list[Memory]] = {}
    for pid in process.pids():
        with suppress(FileNotFoundError, ProcessLookupError):
            kinds.setdefault(kind_of(pid), []).append(memory(pid))
    return Sample(
        hours=hours,
        resident={kind: sum(m.resident for m in found) for kind, found in kinds.items()},
        share={kind: sum(m.share for m in found) for kind, found in kinds.items()},
        own={kind: sum(m.own for m in found) for kind, found in kinds.items()},
        descriptors=footprint(process).descriptors,
        objects=dict(Counter(kind for kind, _ in objects(process.pids()))),
        database=audit.octets(),
        connections=audit.levels["connections"],
        lag_us=audit.levels["lag_us"],
        sums=dict(audit.sums),
    )


class Asker:
    """Asks the database all the time, one command after the other, as a person might."""

    def __init__(self, database: Path, account: Account) -> None:
        """It begins at once."""
        self._database, self._account = database, account
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._ask_on, name="asker")
        self._thread.start()

    def stop(self) -> None:
        """After the question that is being asked."""
        self._is_over.set()
        self._thread.join()

    def _ask_on(self) -> None:
        while not self._is_over.is_set():
            for words in _QUESTIONS:
                self._ask(words)
                if self._is_over.wait(_PAUSE_SECONDS):
                    return

    def _ask(self, words: tuple[str, ...]) -> None:
        argv = [sys.executable, "-m", "estats", *words, "--db", str(self._database)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=HOME)
        self._account.asked += 1
        if done.returncode:
            self._account.refused.append(f"{words[0]} {done.returncode}: {done.stderr.strip()}")
