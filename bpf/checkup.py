"""What this host has of what the programs need: questions with an answer and a cure."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from bpf import landlock
from bpf.btf import VMLINUX, Btf
from bpf.errors import EnvironmentLacksError
from bpf.filters import Filters
from bpf.loader import Loaded, Request, cgroup_root, is_available, load
from bpf.probes import PROBES, Hook
from bpf.variable import HISTORIES


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor: what was looked at, whether it is there, and what that means."""

    subject: str
    ok: bool
    answer: str
    advice: str = ""


def examine() -> Iterator[Finding]:
    """Every requirement, in the order in which a start meets them; the last one is a real start."""
    yield Finding(
        "root",
        os.geteuid() == 0,
        "this process is root" if os.geteuid() == 0 else "this process is not root",
        "run as root, or use --source diag",
    )
    yield _bcc()
    try:
        btf = Btf()
    except EnvironmentLacksError as e:
        yield Finding("BTF", False, e.message, e.advice)
        return
    yield Finding("BTF", True, f"{VMLINUX} can be read")
    yield _cgroup()
    yield _landlock()
    yield from _hooks(btf)
    yield _start()


def _bcc() -> Finding:
    # In a process of its own: LLVM would stay in this one.
    test = [sys.executable, "-c", "import bcc; print(getattr(bcc, '__version__', '?'))"]
    done = subprocess.run(test, capture_output=True, text=True, check=False)  # noqa: S603
    ok = done.returncode == 0
    return Finding(
        "bcc",
        ok,
        f"version {done.stdout.strip()}" if ok else f"{sys.executable} cannot import it",
        "apt-get install python3-bpfcc, and a virtual environment made from /usr/bin/python3"
        " with --system-site-packages",
    )


def _cgroup() -> Finding:
    try:
        return Finding("cgroup v2", True, f"mounted at {cgroup_root()}")
    except EnvironmentLacksError as e:
        return Finding("cgroup v2", False, e.message, e.advice)


def _landlock() -> Finding:
    """Not needed to start: without it a writer that is root may change what root may change."""
    version = landlock.version()
    return Finding(
        "Landlock",
        version > 0,
        f"version {version}" if version else "this kernel has none, or has it turned off",
        "kernels from 5.13 on have it (lsm=landlock,…); without it collect with --user, or into a"
        " folder that is not root's",
    )


def _hooks(btf: Btf) -> Iterator[Finding]:
    for probe in PROBES:
        if probe.hook in (Hook.INGRESS, Hook.EGRESS):
            continue
        what = "iterator" if probe.hook is Hook.ITERATOR else "tracepoint"
        without = "NULL" if probe.feeds else "seen at fewer moments"
        names = ", ".join(probe.feeds or probe.refines)
        yield Finding(
            probe.function,
            is_available(probe, btf),
            f"{what} {probe.target}: {probe.purpose}",
            f"kernels from {probe.since} on have it; "
            + (f"{without} here: {names}" if probe.is_optional else "--source diag works without"),
        )


def _start() -> Finding:
    """Load everything for real, and let go of it."""
    request = Request(tables=HISTORIES, shards=1, flush_us=1_000_000, filters=Filters())
    try:
        loaded: Loaded = load(request)
    except EnvironmentLacksError as e:
        return Finding("start", False, e.message, e.advice)
    loaded.close()
    took = f"all programs loaded and attached in {loaded.seconds:.1f} s, {loaded.origin}"
    return Finding("start", True, took)
