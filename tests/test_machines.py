"""What `make kernels` makes of findings, and which package it takes; no machine is booted here."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from bpf.probes import PROBES
from bpf.variable import SAMPLED
from storage import schema
from tests.machines.debian import newest
from tests.machines.examination import COMPARISONS, DATABASE, HOOKS
from tests.machines.page import FILLED, Report, page, report

PLAIN = Report(
    kernel="6.99.1",
    machine="this one",
    day="2026-01-02",
    seconds=125,
    tests={"passed": 7, "skipped": 1},
)
REASON = "this kernel has no tracepoint kfree_skb as of 6.11"
SAMPLED_NAMES = [table.value for table in SAMPLED]
SOFT = {"SoftErrors", "SoftErrorReason"}


def fill(database: sqlite3.Connection, table: str, **values: object) -> None:
    """Add a row with a 1 in every column that can be written and is not said."""
    writable = [row[1] for row in database.execute(f"PRAGMA table_xinfo({table})") if not row[6]]
    row = dict.fromkeys(writable, 1) | values
    places = ", ".join(f":{name}" for name in row)
    database.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", row)  # noqa: S608


@pytest.fixture
def findings(tmp_path: Path) -> Path:
    """Of a kernel without kfree_skb's fourth argument; all else is there."""
    said = {"kernel": "6.1.0", "tests": {"passed": 3}, "failed": []}
    (tmp_path / COMPARISONS).write_text(json.dumps(said))
    (tmp_path / HOOKS).write_text(json.dumps(["on_kfree_skb", "on_tcp_sendmsg_locked"]))
    schema.METADATA.create_all(create_engine(f"sqlite:///{tmp_path / DATABASE}"))
    with closing(sqlite3.connect(tmp_path / DATABASE)) as database, database:
        tables = ",".join(SAMPLED_NAMES)
        fill(database, "run", tables=tables, unavailable=json.dumps(dict.fromkeys(SOFT, REASON)))
        for name in ("sample", "setup", *{v.table.value for v in FILLED} - set(SAMPLED_NAMES)):
            fill(database, name)
        fill(database, "event", **dict.fromkeys(SOFT))
        for statement in schema.views().values():
            database.execute(statement)
    return tmp_path


def test_a_variable_without_values_has_the_reason_of_the_run(findings: Path) -> None:
    """And those that the missing hooks would only refine have values, but coarser ones."""
    found = report(findings, "emulated", "2026-01-02", 60)

    assert found.without == dict.fromkeys(SOFT, REASON)
    assert {"MaxAppWQueue", "SndLimTimeRwinUs", "SndLimTimeRwin"} < set(found.coarser)
    assert (found.kernel, found.faults) == ("6.1.0", [])


def test_a_variable_that_no_hook_excuses_is_a_fault(findings: Path) -> None:
    """It is NULL, the run says nothing of it, and so the command fails."""
    with closing(sqlite3.connect(findings / DATABASE)) as database, database:
        database.execute("UPDATE sample SET SegsOut = NULL")
    found = report(findings, "emulated", "2026-01-02", 60)

    assert found.without == {**dict.fromkeys(SOFT, REASON), "SegsOut": ""}
    assert [fault.split()[1] for fault in found.faults] == ["SegsOut"]


def test_an_examination_that_broke_off_is_no_report(tmp_path: Path) -> None:
    """The machine did not come up, or the tests did not end."""
    with pytest.raises(FileNotFoundError):
        report(tmp_path, "emulated", "2026-01-02", 60)


@pytest.mark.parametrize(
    ("spoilt", "fault"),
    [
        (replace(PLAIN, failures=["test_x"]), "6.99.1: test_x failed"),
        (replace(PLAIN, tests={"skipped": 9}), "6.99.1: no test passed"),
    ],
)
def test_tests_that_fail_or_never_ran_are_faults(spoilt: Report, fault: str) -> None:
    """Nothing is proven by what was skipped."""
    assert spoilt.faults == [fault]
    assert PLAIN.faults == []


def test_the_page_has_each_variable_on_each_kernel() -> None:
    """One row for a variable, one column for a kernel, each reason once; and the missing hooks."""
    old = replace(
        PLAIN,
        kernel="6.1.0",
        without=dict.fromkeys(SOFT, REASON),
        coarser=["MaxAppWQueue"],
        lacks=["on_kfree_skb"],
    )
    text = page([old, PLAIN])

    assert "\n| stack | `SoftErrors` | no (1) | yes |\n" in text
    assert "\n| app | `MaxAppWQueue` | coarser | yes |\n" in text
    assert text.count(f"1. {REASON}") == 1
    assert all(f"| `{v.name}` |" in text for v in FILLED)
    assert f"| 7 passed, 1 skipped | 2 min 5 s | {len(FILLED)} of {len(FILLED)} |" in text
    (lost,) = [probe for probe in PROBES if probe.function == "on_kfree_skb"]
    assert f"`kfree_skb`, as of Linux {lost.since}, is missing on 6.1.0: no `SoftErrors`" in text
    assert "4 minutes" in text


def test_the_newest_kernel_is_taken_and_no_other_flavour() -> None:
    """Numbers are compared as numbers."""
    packages = """
linux-image-6.1.0-9-amd64 - Linux 6.1 for 64-bit PCs (signed)
linux-image-6.1.0-56-amd64 - Linux 6.1 for 64-bit PCs (signed)
linux-image-6.1.0-57-cloud-amd64 - Linux 6.1 for x86-64 cloud (signed)
linux-image-6.1.0-58-amd64-unsigned - Linux 6.1 for 64-bit PCs
linux-image-6.12-amd64 - Linux for 64-bit PCs (meta-package)
linux-image-6.12.9+deb12-amd64 - Linux 6.12 for 64-bit PCs (signed)
linux-image-6.12.117+deb12-amd64 - Linux 6.12 for 64-bit PCs (signed)
linux-image-6.12.117+deb12-rt-amd64 - Linux 6.12 for 64-bit PCs, PREEMPT_RT (signed)
"""
    assert newest("6.1", packages) == "linux-image-6.1.0-56-amd64"
    assert newest("6.12", packages) == "linux-image-6.12.117+deb12-amd64"
    with pytest.raises(LookupError, match=r"6\.18"):
        newest("6.18", packages)
