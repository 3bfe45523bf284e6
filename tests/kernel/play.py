"""A script, the kernel's socket at the other end, and what the database says of it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest

from tests.kernel.collecting import Collector, Row
from tests.kernel.script import (
    ACK,
    NOP,
    SACK_PERMITTED,
    SYN,
    Script,
    Segment,
    Wire,
    mss,
    sack,
)
from tests.kernel.traffic import Peer
from tests.kernel.validation import agree

MSS = 1000
PLAIN = mss(MSS)
_PORTS = count(7901)


class Play:
    """One connection, opened by either end."""

    def __init__(self, link: Wire, collector: Collector) -> None:
        """Nothing is opened yet."""
        self.host = Peer(link.host, "kt-script")
        self.script = Script(link, next(_PORTS))
        self._database = collector.database
        self.cookie = 0

    def open(self, options: bytes = PLAIN, flags: int = SYN, window: int | None = None) -> Script:
        """Let the script connect to the kernel's socket."""
        self.listen()
        self.script.open(options, flags, window)
        return self.opened()

    def listen(self) -> Script:
        """Let the kernel wait for the script to connect."""
        self.host("listen", address=self.script.link.host.v4, port=self.script.to)
        self.host.tell("accept", count=1)
        return self.script

    def connect(self, options: bytes = PLAIN, flags: int = SYN | ACK) -> Segment:
        """Let the kernel's socket connect to the script; its SYN is the answer."""
        self.host.tell("connect", address=self.script.link.far, port=self.script.port)
        syn = self.script.answer(options, flags)
        self.opened()
        return syn

    def opened(self) -> Script:
        """Wait until the kernel's socket is in hand."""
        self.host.hear()
        (witness,) = self.host.witnesses()
        self.cookie = witness.cookie
        return self.script

    def write(self, segments: int) -> int:
        """Let the kernel send so many full segments; the answer is where the first begins."""
        self.host("send", size=segments * MSS)
        self.script.hear_data(segments * MSS)
        return self.script.ack

    def recover(self) -> int:
        """Open, let the kernel send five segments and the first of them again, and take them all.

        The answer is where the first one begins.
        """
        script = self.open(PLAIN + SACK_PERMITTED)
        first = self.write(5)
        for n in (2, 3, 4):
            script.send(options=NOP * 2 + sack((first + MSS, first + n * MSS)))
        assert script.hear_data(MSS)[0].seq == first
        script.ack = first + 5 * MSS
        script.send()
        return first

    def row(self) -> Row:
        """The connection's newest values."""
        return self._database.latest(self.cookie)

    def settle(self) -> None:
        """Wait until everything up to now is in the database."""
        self._database.catch_up()

    def check(self, **expected: object) -> None:
        """Compare, once everything up to now is in the database.

        What this kernel has no hook for is left out; test_available.py sees to it that no more is.
        """
        self.settle()
        unavailable = json.loads(self._database.value("SELECT unavailable FROM run"))
        answers = {name: value for name, value in expected.items() if name not in unavailable}
        if not answers:
            pytest.skip(unavailable[next(iter(expected))])
        agree("packet script", self.row(), answers)


@contextmanager
def staged(link: Wire, collector: Collector) -> Iterator[Play]:
    """A connection yet to be opened, gone at the end."""
    one = Play(link, collector)
    try:
        yield one
    finally:
        one.script.reset()
        one.host.stop()
