"""Words to the service manager that started this process, as sd_notify(3) has them.

A manager that wants to hear of its service names a datagram socket in $NOTIFY_SOCKET; without one
nothing is said. One that has died, or does not listen, is no reason not to collect.
"""

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from cli.render import printable

_APART_SECONDS: Final = 0.9  # two words of progress: once a second, but for jitter
#: A snapshot that is so many intervals late, and this time more, is no progress any more.
_PATIENCE_INTERVALS: Final = 5
_PATIENCE_US: Final = 5_000_000


def patience_us(interval_us: int) -> int:
    """How old the last snapshot may be while all is well."""
    return _PATIENCE_INTERVALS * interval_us + _PATIENCE_US


class Service:
    """This process as a service: ready, alive, stopping."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """Nothing is said yet."""
        self._address = environment.get("NOTIFY_SOCKET", "")
        watched = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        patience = environment.get("WATCHDOG_USEC", "") if watched else ""
        self._watchdog_us = int(patience) if patience.isdecimal() else 0
        self._is_ready = False
        self._told = 0.0

    def alive(self, status: str, interval_us: int) -> None:
        """A snapshot has been committed, or is held. The first one makes the service ready.

        This is the only place that feeds the watchdog, so it starves when the writer, or any
        process that a snapshot takes, does not come on. A manager less patient than the interval
        allows is asked for more patience first.
        """
        if self._is_ready and time.monotonic() - self._told < _APART_SECONDS:
            return
        words = ["WATCHDOG=1", f"STATUS={printable(status)}"]
        if not self._is_ready:
            words.append("READY=1")
            needed_us = patience_us(interval_us)
            if 0 < self._watchdog_us < needed_us:
                words.append(f"WATCHDOG_USEC={needed_us}")
        self._is_ready, self._told = True, time.monotonic()
        self._send(words)

    def stopping(self, status: str = "stopping") -> None:
        """No snapshot comes any more."""
        self._send(["STOPPING=1", f"STATUS={printable(status)}"])

    def _send(self, words: list[str]) -> None:
        if not self._address.startswith(("/", "@")):
            return
        address = os.fsencode(self._address)
        if address.startswith(b"@"):  # a name in no folder
            address = b"\0" + address[1:]
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.setblocking(False)
            out.sendto("\n".join(words).encode(), address)
