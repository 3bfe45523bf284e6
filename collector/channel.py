"""Words and arrays from one process to another: a small JSON message, and one memory file.

Arrays go into an anonymous memory file whose descriptor travels with the message, so a sender never
waits for a slow reader, nothing is copied through a pipe and nothing is left behind.
"""

import json
import mmap
import os
import select
import socket
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bpf.errors import CollectorError, EstatsError

Array = npt.NDArray[Any]

_MESSAGE_BYTES_MAX: Final = 1 << 18


class Channel:
    """One end of a pair; messages are dictionaries, arrays go by name."""

    def __init__(self, end: socket.socket) -> None:
        """``end`` is a SOCK_SEQPACKET socket: a message stays one message."""
        self._socket = end

    @classmethod
    def pair(cls) -> tuple["Channel", "Channel"]:
        """Two ends that talk to one another."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(one), cls(other)

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close this end; the other one's ``receive`` then says so."""
        self._socket.close()

    def send(self, message: Mapping[str, Any], arrays: Mapping[str, Array] | None = None) -> None:
        """Send; raises CollectorError if the other end is gone."""
        arrays = arrays or {}
        words = json.dumps({**message, "arrays": {k: a.nbytes for k, a in arrays.items()}})
        fds: list[int] = []
        try:
            if any(a.nbytes for a in arrays.values()):
                fds.append(os.memfd_create("estats", os.MFD_CLOEXEC))
                for array in arrays.values():
                    _write_all(fds[0], np.ascontiguousarray(array).view("u1").data)
            socket.send_fds(self._socket, [words.encode()], fds)
        except (BrokenPipeError, ConnectionResetError) as e:
            raise CollectorError("a process of the collector is gone") from e
        finally:
            for fd in fds:
                os.close(fd)

    def send_error(self, error: EstatsError) -> None:
        """Send what went wrong, in place of a message: the other end's ``receive`` raises it."""
        self.send({"error": (error.message, error.advice, error.exit_code)})

    def send_end(self, end: "Channel") -> None:
        """Pass on the end of another channel, and let go of it here.

        Raises CollectorError if the other end of this one is gone.
        """
        try:
            socket.send_fds(self._socket, [b"end"], [end.fileno()])
        except (BrokenPipeError, ConnectionResetError) as e:
            raise CollectorError("a process of the collector is gone") from e
        finally:
            end.close()

    def receive_end(self) -> "Channel":
        """The end that ``send_end`` passed on; raises CollectorError if there comes none."""
        _, fds, _, _ = socket.recv_fds(self._socket, 8, 1)
        if not fds:
            raise CollectorError("a process of the collector is gone")
        return Channel(socket.socket(fileno=fds[0]))

    def receive(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Wait for one message; its arrays are bytes (u1), to be viewed as what they are.

        Raises CollectorError if the other end is gone, and the error that it sent.
        """
        try:
            words, fds, _, _ = socket.recv_fds(self._socket, _MESSAGE_BYTES_MAX, 1)
        except ConnectionResetError:  # gone with our last message unread; its own may be here
            words, fds, _, _ = socket.recv_fds(self._socket, _MESSAGE_BYTES_MAX, 1)
        if not words:
            raise CollectorError("a process of the collector is gone")
        message: dict[str, Any] = json.loads(words)
        if "error" in message:
            text, advice, exit_code = message["error"]
            error = EstatsError(text, advice)
            error.exit_code = exit_code
            raise error
        sizes: dict[str, int] = message.pop("arrays")
        data = np.zeros(0, "u1")
        if fds:
            data = np.frombuffer(mmap.mmap(fds[0], 0, mmap.MAP_SHARED, mmap.PROT_READ), "u1")
            os.close(fds[0])
        arrays: dict[str, Array] = {}
        start = 0
        for name, size in sizes.items():
            arrays[name] = data[start : start + size]
            start += size
        return message, arrays

    def wait(self, seconds: float) -> bool:
        """Whether a message (or the end) comes within this time."""
        return bool(select.select([self], [], [], max(0.0, seconds))[0])


def _write_all(fd: int, data: memoryview) -> None:
    while data:
        data = data[os.write(fd, data) :]
