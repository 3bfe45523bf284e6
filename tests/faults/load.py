"""The load: connections over loopback that count their own octets, as the oracle of each."""

import random
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Final

from tests.kernel.inside import cookie

_PORT: Final = 17_917  # always the same, so that the kernel programs are compiled once
_LASTING: Final = 16  # connections that are open from the beginning to the end
_PAUSE_SECONDS: Final = 0.002
_BYTES_RECEIVED: Final = slice(128, 136)  # of struct tcp_info
_FIN: Final = 1  # an octet of the sequence space, which the kernel counts as received


@dataclass(frozen=True, slots=True)
class End:
    """One end of a connection that closed: what it is called, its oracle, and when it was over.

    ``octets`` is what ``TCP_INFO`` said it had received just before it was closed, and the peer's
    FIN. ``closed_us`` is UTC, read after the close: both ends were in CLOSE by then.
    """

    cookie: int
    octets: int
    closed_us: int


@dataclass
class Load:
    """Short connections one after the other, and some that last; each of them ends in order."""

    address: str = "127.0.0.1"
    ends: list[End] = field(default_factory=list[End])
    _listener: socket.socket = field(init=False)
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        """With the lasting ones."""
        self._listener = socket.create_server((self.address, _PORT), backlog=1024)
        self._random = random.Random(self.port)  # noqa: S311  (sizes, no secrets)
        self._lasting = [self.connect() for _ in range(_LASTING)]
        self._thread = threading.Thread(target=self._work, daemon=True)

    def begin(self) -> None:
        """From now on."""
        if not self._thread.ident:
            self._thread.start()

    @property
    def port(self) -> int:
        """Where it is all about."""
        port: int = self._listener.getsockname()[1]
        return port

    def connect(self) -> tuple[socket.socket, socket.socket]:
        """Both ends of a connection."""
        with self._turn:  # or one thread would accept what the other opened
            client = socket.create_connection(self._listener.getsockname())
            server, _ = self._listener.accept()
        return client, server

    def close(self, pairs: list[tuple[socket.socket, socket.socket]]) -> None:
        """End these, the client first, and remember both ends."""
        octets = [(cookie(end), _received(end)) for pair in pairs for end in pair]
        for client, _ in pairs:
            client.shutdown(socket.SHUT_WR)
        for side in (1, 0):
            for pair in pairs:
                assert pair[side].recv(1) == b"", "all was read"
                pair[side].close()
        now_us = time.time_ns() // 1000
        self.ends += [End(name, received + _FIN, now_us) for name, received in octets]

    def finish(self) -> list[End]:
        """Close what is open, and tell of all."""
        if not self._stop.is_set():
            self._stop.set()
            self.begin()  # and end at once, if it never did
            self._thread.join()
            self.close(self._lasting)
            self._listener.close()
        return self.ends

    def _work(self) -> None:
        while not self._stop.is_set():
            pair = self.connect()
            self._exchange(pair)
            self._exchange(self._random.choice(self._lasting))
            self.close([pair])
            time.sleep(_PAUSE_SECONDS)

    def _exchange(self, pair: tuple[socket.socket, socket.socket]) -> None:
        """So many octets there, and others back."""
        for sender, receiver in (pair, pair[::-1]):
            size = self._random.randrange(1, 4000)
            sender.sendall(b"x" * size)
            while size:
                size -= len(receiver.recv(size))


def _received(end: socket.socket) -> int:
    said = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136)
    return int.from_bytes(said[_BYTES_RECEIVED], "little")
