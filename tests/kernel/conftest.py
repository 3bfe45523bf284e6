"""Fixtures for tests on real traffic: who may run them, the path, and that nothing stays."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.leftovers import left_for_good
from tests.kernel.net import Net, network
from tests.kernel.traffic import Pair, pair


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Fail the run if a process, a BPF object or a namespace of ours outlives it."""
    if os.geteuid() != 0:
        pytest.skip("kernel tests need root")
    if not Path("/sys/kernel/btf/vmlinux").exists():
        pytest.skip("this kernel has no BTF")
    yield
    found = left_for_good()
    assert not found, f"left behind: {found}"


@pytest.fixture(scope="module")
def net(nothing_is_left_behind: None) -> Iterator[Net]:
    """Two hosts and a clean path, for all tests of a module."""
    with network() as made:
        yield made


@pytest.fixture
def lossless(net: Net) -> Iterator[Net]:
    """The path without loss, whatever the test before did; and again none after it."""
    net.lose(0)
    yield net
    net.lose(0)


@pytest.fixture
def peers(net: Net) -> Iterator[Pair]:
    """A client and a server, one on each host."""
    with pair(net.client, net.server) as both:
        yield both
