"""estats connections: who talks to whom."""

import json
import os
from pathlib import Path

import pytest

from bpf.loader import cgroup_root
from cli.owners import Owners
from tests.cli.conftest import Estats

#: Another host's: its numbers say nothing here.
OWNER = ["1000", "4026531840", "-"]


def test_a_row_tells_who_how_long_how_much_and_how_well(estats: Estats, story: Path) -> None:
    """A closed connection tells why; one that an earlier run left open, nobody knows."""
    header, *lines = estats("connections", "--db", story).out.splitlines()
    assert header.split() == [
        *("ConnectIndex", "Local", "Remote", "Owner", "State"),
        *("Age", "Origin", "Out", "In", "Retrans", "User", "Netns", "Cgroup"),
    ]
    assert [line.split()[3:] for line in lines[:3]] == [
        ["iperf[42]", "closed", "3s", "active", "9000", "-", "7", *OWNER],
        ["-", "unknown", "3s", "passive", "-", "-", "-", *OWNER],
        ["sshd[77]", "established", "2s", "backfill", "50500", "-", "110", *OWNER],
    ]


def test_it_takes_the_options_of_query(estats: Estats, story: Path) -> None:
    """Filters, period, order, limit and format mean the same."""
    options = ("--dport", 5001, "--sort", "-opened", "--limit", 1, "--until", "now")
    answer = estats("connections", "--db", story, "--format", "json", *options)
    (found,) = json.loads(answer.out)
    assert (found["ConnectIndex"], found["State"], found["SegsRetrans"]) == (4, 5, 4)


def test_eighty_columns_are_enough(
    estats: Estats, story: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit beside stands below, under the number of its connection."""
    monkeypatch.setenv("COLUMNS", "80")
    lines = estats("connections", "--db", story).out.splitlines()
    assert max(map(len, lines)) <= 80
    assert len([line for line in lines if line.startswith("ConnectIndex")]) > 1


def test_what_is_of_this_host_has_names() -> None:
    """Users of this host, cgroups of this boot; everything else stays a number."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    here = os.uname().nodename
    runs = {
        1: {"host": here, "boot_id": boot},
        2: {"host": here, "boot_id": "earlier"},
        3: {"host": "elsewhere", "boot_id": "another"},
    }
    cgroup = cgroup_root().stat().st_ino
    owners = Owners(runs)
    told = [
        (owners.user(row), owners.cgroup(row))
        for row in ({"run_id": run, "uid": 0, "cgroup_id": cgroup} for run in runs)
    ]
    assert told == [("root", "/"), ("root", str(cgroup)), ("0", str(cgroup))]
    unknown = {"run_id": 1, "uid": None, "cgroup_id": None}
    assert (owners.user(unknown), owners.cgroup(unknown)) == (None, None)
    nobody = {"run_id": 1, "uid": 2**31, "cgroup_id": 2**63 - 1}
    assert (owners.user(nobody), owners.cgroup(nobody)) == (str(2**31), str(2**63 - 1))
