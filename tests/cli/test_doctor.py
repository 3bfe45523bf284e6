"""The doctor's words and exit code, and what it looks at."""

import os
from pathlib import Path

import pytest

from bpf import checkup, landlock
from bpf.checkup import Finding
from bpf.errors import EnvironmentLacksError
from bpf.loader import Loaded, Request
from bpf.probes import PROBES, Hook
from cli import doctor
from tests.cli.conftest import Estats

ROOT = Finding("root", False, "this process is not root", "run as root")
CGROUP = Finding("cgroup v2", True, "mounted at /sys/\x1b[2J", "never told")
STARTED = Finding("start", True, "all programs loaded in 1.0 s")
FAILED = Finding("start", False, "the kernel refuses BPF", "")


def found(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    """Let the examination end like this."""
    monkeypatch.setattr(doctor, "examine", lambda: iter(findings))


def test_each_finding_is_a_line_with_its_cure(
    estats: Estats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cure only of what is missing, and nothing that steers a terminal."""
    found(monkeypatch, ROOT, CGROUP, STARTED)
    answer = estats("doctor")

    assert (answer.code, answer.err) == (0, "")
    root, cure, cgroup, start = answer.out.splitlines()
    assert root.split() == ["missing", "root", *ROOT.answer.split()]
    assert cure.strip() == "cure: run as root"
    assert cgroup.startswith("ok ") and "\x1b" not in cgroup
    assert start.startswith("ok ")


def test_what_counts_is_whether_the_programs_start(
    estats: Estats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not whether everything else is there: exit code 3, on stderr what to do meanwhile."""
    found(monkeypatch, CGROUP, FAILED)
    answer = estats("doctor")

    assert answer.code == EnvironmentLacksError.exit_code
    assert "missing  start" in answer.out
    assert "--source diag" in answer.err


def test_no_finding_at_all_is_no_start(estats: Estats, monkeypatch: pytest.MonkeyPatch) -> None:
    """An examination that ends early ends badly."""
    found(monkeypatch)

    assert estats("doctor").code == EnvironmentLacksError.exit_code


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """A kernel that takes no programs; what was asked of it."""
    asked: list[Request] = []

    def load(request: Request) -> Loaded:
        asked.append(request)
        raise EnvironmentLacksError("refused", "grant it")

    monkeypatch.setattr(checkup, "load", load)
    return asked


def test_the_examination_ends_with_a_real_start(refusing: list[Request]) -> None:
    """Everything that a start meets is looked at before; its own error is the last finding."""
    findings = list(checkup.examine())
    subjects = [finding.subject for finding in findings]

    if "start" not in subjects:
        assert (subjects[-1], findings[-1].ok) == ("BTF", False)
        return
    assert findings[-1] == Finding("start", False, "refused", "grant it")
    assert subjects[:4] == ["root", "bcc", "BTF", "cgroup v2"]
    hooked = {p.function for p in PROBES if p.hook in (Hook.TRACEPOINT, Hook.ITERATOR)}
    assert hooked <= set(subjects)
    assert len(refusing) == 1
    assert all(finding.ok or finding.advice for finding in findings)


@pytest.mark.parametrize("origin", ["compiled", "from the cache", "compiled; not kept, for /x: y"])
def test_a_start_says_where_its_programs_are_from(
    monkeypatch: pytest.MonkeyPatch, origin: str
) -> None:
    """A cache that cannot be used is no failure, and no secret."""
    loaded = Loaded(
        rings={},
        ring_bytes=4096,
        cpus=1,
        counters=os.open(os.devnull, os.O_RDONLY),
        bound=os.open(os.devnull, os.O_RDONLY),
        finals=os.open(os.devnull, os.O_RDONLY),
        links=(),
        programs=(),
        sweep=os.open(os.devnull, os.O_RDONLY),
        census=os.open(os.devnull, os.O_RDONLY),
        unavailable={},
        seconds=0.25,
        origin=origin,
    )
    monkeypatch.setattr(checkup, "load", lambda _: loaded)

    finding = checkup._start()

    assert finding == Finding("start", True, f"all programs loaded and attached in 0.2 s, {origin}")


def test_a_kernel_without_types_ends_the_examination(
    refusing: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be looked up, nor started."""

    def lack() -> None:
        raise EnvironmentLacksError("no types", "another kernel")

    monkeypatch.setattr(checkup, "Btf", lack)

    assert list(checkup.examine())[-1] == Finding("BTF", False, "no types", "another kernel")
    assert refusing == []


def test_a_kernel_without_landlock_is_told_with_its_cure(
    refusing: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no reason not to start."""
    for version in (0, 4):
        monkeypatch.setattr(landlock, "version", lambda version=version: version)
        finding = checkup._landlock()
        assert finding.ok is bool(version)
        assert "--user" in finding.advice
    if (Path("/sys/kernel/btf/vmlinux")).exists():
        assert "Landlock" in {found.subject for found in checkup.examine()}
