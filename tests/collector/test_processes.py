"""A child ends with its work or its parent, and its parent learns how."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from collector.processes import Child, spawn

ROOT = Path(__file__).parents[2]
PATIENCE = 60  # seconds; whatever takes longer hangs

#: A parent that starts a child, says its pid, and waits to be killed.
PARENT = """
import signal
from collector.processes import spawn
print(spawn("orphan", signal.pause).pid, flush=True)
signal.pause()
"""


class Blocked:
    """A child whose work begins and then lasts until it is told to go on."""

    def __init__(self) -> None:
        """Started, and at work already."""
        begun, says = os.pipe()
        waits, self._go = os.pipe()

        def work() -> None:
            os.write(says, b".")
            os.read(waits, 1)

        self.child = spawn("blocked", work)
        for fd in (says, waits):
            os.close(fd)
        assert os.read(begun, 1) == b"."
        os.close(begun)

    def go_on(self) -> None:
        """Let it end."""
        os.write(self._go, b".")
        os.close(self._go)

    def forget(self) -> None:
        """It is dead: close what it waited for."""
        os.close(self._go)


def ended(child: Child, seconds: float = PATIENCE) -> bool:
    """Whether it has ended, or does so within this time."""
    return bool(select.select([child], [], [], seconds)[0])


def test_a_child_ends_with_its_work() -> None:
    """Its descriptor shows the end, and waiting gives 0 and closes it."""
    blocked = Blocked()

    assert not ended(blocked.child, 0)
    blocked.go_on()
    assert ended(blocked.child)
    assert blocked.child.wait() == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(blocked.child.fileno())


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_of_a_child_is_told_and_counted(
    error: type[BaseException], capfd: pytest.CaptureFixture[str]
) -> None:
    """Its traceback is on stderr, and its status is not 0."""

    def work() -> None:
        raise error("spilled")

    assert spawn("clumsy", work).wait() == 70
    assert f"{error.__name__}: spilled" in capfd.readouterr().err


def test_a_child_does_nothing_of_its_parents_clean_up(capfd: pytest.CaptureFixture[str]) -> None:
    """What the parent has begun, the parent ends: neither handlers nor finally clauses run."""

    def parent(work: Callable[[], None]) -> int:
        try:
            return spawn("thrifty", work).wait()
        finally:
            os.write(1, b"once")

    assert parent(lambda: None) == 0
    assert capfd.readouterr().out == "once"


def test_a_killed_child_is_told_by_the_signal() -> None:
    """As a negative number."""
    blocked = Blocked()
    blocked.child.kill()

    assert blocked.child.wait() == -signal.SIGKILL
    blocked.forget()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_child_leaves_signals_to_its_parent(number: signal.Signals) -> None:
    """A terminal sends them to all of a group; the supervisor stops the others in order."""
    blocked = Blocked()
    os.kill(blocked.child.pid, number)

    assert not ended(blocked.child, 0.05)
    blocked.go_on()
    assert blocked.child.wait() == 0


def test_a_child_is_called_by_its_name() -> None:
    """As ps and top show it, in the 15 bytes the kernel keeps."""
    blocked = Blocked()
    name = Path(f"/proc/{blocked.child.pid}/comm").read_text()
    blocked.go_on()
    blocked.child.wait()

    assert name == "estats-blocked\n"


def test_a_child_dies_with_its_parent() -> None:
    """Also with one that had no time to say so."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as parent:
        assert parent.stdout is not None
        orphan = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()

    try:
        assert select.select([orphan], [], [], PATIENCE)[0]
    finally:
        os.close(orphan)
