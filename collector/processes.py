"""Child processes that never outlive their parent."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bpf.children import die_with
from bpf.libc import LIBC

_PR_SET_NAME: Final = 15
# Of glibc's malloc. Left alone it learns to keep what the largest snapshot needed, for ever.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_FAILED: Final = 70


@dataclass(frozen=True, slots=True)
class Child:
    """A running child; ``fd`` polls readable once it has ended."""

    name: str
    pid: int
    fd: int

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self.fd

    def kill(self) -> None:
        """End it now, whatever it does."""
        signal.pidfd_send_signal(self.fd, signal.SIGKILL)

    def wait(self) -> int:
        """Wait for its end: the exit status, or minus the signal that killed it."""
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


def spawn(name: str, work: Callable[[], None]) -> Child:
    """Fork a child that does ``work`` and ends.

    It dies with its parent, kill -9 included. It ignores SIGINT and SIGTERM, for a terminal and a
    service manager send those to all of us, and it is the supervisor who stops the others in order.
    """
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return Child(name, pid, os.pidfd_open(pid))
    status = _FAILED
    try:
        die_with(parent)
        LIBC.prctl(_PR_SET_NAME, f"estats-{name}".encode()[:15], 0, 0, 0)
        _give_memory_back()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        work()
        status = 0
    except BaseException:  # (nothing above but the interpreter's end)
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _give_memory_back() -> None:
    """Have arrays of a large snapshot's size returned to the kernel; smaller ones are used again.

    Other C libraries than glibc have no such setting, and no need of it.
    """
    if hasattr(LIBC, "mallopt"):
        LIBC.mallopt(_M_MMAP_THRESHOLD, 4 << 20)
        LIBC.mallopt(_M_TRIM_THRESHOLD, 8 << 20)
