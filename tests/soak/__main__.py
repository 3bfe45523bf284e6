"""python -m tests.soak [HOURS]: a collector beside everything that comes and goes, as root.

Writes docs/soak.json and docs/soak.md. Exit code 1 if it grew, if an end is unaccounted for, if a
value is wrong or if something stayed behind.
"""

import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Final

from bench import machine
from bench.beside import collecting, snapshots, wait_for_snapshots
from bench.footprint import objects
from bench.overhead import loads
from bench.processes import HOME, Running, until
from bench.report import Result, part_page
from tests.kernel.leftovers import left_for_good, owned
from tests.soak.audit import Audit
from tests.soak.page import page, sections
from tests.soak.traffic import PORTS, Traffic, traffic
from tests.soak.verdict import Sample, verdicts
from tests.soak.watch import Asker, sample

DATA: Final = HOME / "docs" / "soak.json"
PAGE: Final = DATA.with_suffix(".md")
_SAMPLES: Final = 60  # over the whole time: one a minute in an hour
_SAMPLE_SECONDS_MIN: Final = 5.0
_AUDIT_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 1.0  # between two generations: others use this machine, too
_KEEP_SECONDS_MIN: Final = 60
_LAST_SNAPSHOTS: Final = 13  # a census, which finds ends that went unseen, is due within ten


def _options(seconds: int) -> list[str]:
    ports = [word for port in PORTS for word in ("--port", str(port))]
    keep = max(_KEEP_SECONDS_MIN, seconds // 6)
    return [
        *ports,
        "--keep",
        f"{keep}s",
        "--rollup",
        f"10s:{keep // 2}s",
        "--max-db-size",
        "128MiB",
    ]


def _watched(flow: Traffic, process: Running, audit: Audit, seconds: int) -> list[Sample]:
    """Generation after generation, while the storm lasts."""
    pause = max(_SAMPLE_SECONDS_MIN, seconds / _SAMPLES)
    began = time.monotonic()
    next_sample, next_audit = began + pause, began + _AUDIT_SECONDS
    samples: list[Sample] = []
    while flow.is_on():
        audit.expect(flow.generation())
        time.sleep(_PAUSE_SECONDS)
        now = time.monotonic()
        if now >= min(next_audit, next_sample):
            audit.read()
            next_audit = now + _AUDIT_SECONDS
        if now >= next_sample:
            samples.append(sample(process, audit, (now - began) / 3600))
            owned(objects(process.pids()))
            next_sample = now + pause
            print("soak:", json.dumps(asdict(samples[-1])), file=sys.stderr, flush=True)
    return samples


def _settle(flow: Traffic, database: Path, process: Running, audit: Audit) -> None:
    """Let all connections end, and their rows be written."""
    audit.expect(flow.end())
    wait_for_snapshots(database, process, _LAST_SNAPSHOTS)
    audit.read()
    audit.account.made = flow.made


def _left(process: Running, code: int) -> list[str]:
    """What should not be there any more, or not have been said."""
    found = [f"{what}: {things}" for what, things in left_for_good().items()]
    found += [f"process {pid}" for pid in process.pids()]
    return found + ([f"exit code {code}"] if code else [])


def soak(seconds: int) -> tuple[list[Sample], Result, bool]:
    """All of it: what was seen, what is to be told, and whether all is good."""
    began, commit, busy = time.gmtime(), machine.commit(), machine.busy()
    options = _options(seconds)
    with tempfile.TemporaryDirectory(prefix="estats-soak-") as folder, loads() as programs:
        database = Path(folder, "flows.db")
        process = Running([*collecting(database), *options], is_quiet=True)
        code = -1
        try:
            until("the first snapshot", lambda: snapshots(database, process) > 0)
            audit = Audit(database)
            asker = Asker(database, audit.account)
            try:
                with traffic(programs, seconds) as flow:
                    samples = _watched(flow, process, audit, seconds)
                    _settle(flow, database, process, audit)
            finally:
                asker.stop()
        finally:
            code = process.stop()
        found = verdicts(samples, audit.account, _left(process, code), audit.faults())
        for line in (*audit.account.wrong, *audit.account.refused):
            print(line, file=sys.stderr)
    result = Result(
        part="soak",
        began=time.strftime("%Y-%m-%d %H:%M", began),
        seconds=seconds,
        commit=commit,
        busy=busy,
        machine=machine.facts(),
        sections=sections(samples, audit.account, found, options),
    )
    return samples, result, all(v.is_good for v in found)


def main() -> int:
    """For so many hours; 1 unless said otherwise."""
    if os.geteuid() != 0:
        sys.exit("the kernel programs and the network namespaces want root")
    samples, result, is_good = soak(round(float(sys.argv[1] if len(sys.argv) > 1 else 1) * 3600))
    print(part_page(result))
    kept = {**asdict(result), "samples": [asdict(each) for each in samples]}
    DATA.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(page(result))
    return int(not is_good)


if __name__ == "__main__":
    sys.exit(main())
