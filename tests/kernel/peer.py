"""One end of the test connections: does with its sockets what JSON lines on stdin tell it.

Runs as a script inside a network namespace, with nothing but the standard library. Each command
is an object ``{"do": NAME, …}`` and is answered by one line: its result, or ``{"error": …}``.
A peer holds its sockets open until it is told otherwise or its stdin ends.
"""

import ctypes
import json
import socket
import struct
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SO_COOKIE = 57
SO_MAX_PACING_RATE = 47
CONGESTION = "cubic"  # whatever the host prefers; a namespace has no say in it by sysctl
TCP_INFO_BYTES = 512  # more than any kernel fills: the length it returns is the true one
TCP_CLOSE = 7
MUCH = 4 << 20  # octets in one call
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER
SOL_MPTCP, MPTCP_TCPINFO, MPTCP_SUBFLOW_ADDRS = 284, 2, 3
SOCKADDR_BYTES = 128

Options = Sequence[tuple[int, int, int | bytes]]


def exactly(sock: socket.socket, size: int) -> None:
    """Read this many octets, or fail."""
    while size:
        data = sock.recv(min(size, 1 << 16))
        if not data:
            raise EOFError(f"{size} octets before the end")
        size -= len(data)


def family_of(address: str) -> socket.AddressFamily:
    """The kind of an address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def each_subflow(sock: socket.socket, name: int, size: int) -> list[bytes]:
    """An option that MPTCP answers for each subflow, in at most so many octets."""
    head = struct.Struct("=IIII")  # its own size, subflows, octets for each: the kernel's, ours
    room = ctypes.create_string_buffer(head.pack(head.size, 0, 0, size), head.size + 8 * size)
    length = ctypes.c_uint(len(room))  # Python's own getsockopt passes nothing in
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.getsockopt(sock.fileno(), SOL_MPTCP, name, room, ctypes.byref(length)):
        raise OSError(ctypes.get_errno(), "no subflows to be asked")
    _, count, _, given = head.unpack_from(room.raw)
    starts = range(head.size, head.size + count * given, given)
    return [room.raw[at : at + given] for at in starts]


def port_of(sockaddr: bytes) -> int:
    """The port in a sockaddr of either family."""
    return int.from_bytes(sockaddr[2:4], "big")


class Peer:
    """The sockets of one end, and what may be done with all of them at once."""

    def __init__(self) -> None:
        """No socket yet, and nothing special about those to come."""
        self.sockets: list[socket.socket] = []
        self.listener: socket.socket | None = None
        self.prepare()

    def prepare(
        self, congestion: str = CONGESTION, protocol: int = 0, options: Options = ()
    ) -> None:
        """What sockets made from now on are like; options are level, name and value."""
        self.protocol = protocol
        self.options = [(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode()), *options]

    def stream_socket(self, address: str) -> socket.socket:
        """A socket as prepared, for this kind of address."""
        sock = socket.socket(family_of(address), socket.SOCK_STREAM, self.protocol)
        for option in self.options:
            sock.setsockopt(*option)
        return sock

    def listen(self, address: str, port: int, dual: bool = False, backlog: int = 4096) -> None:
        """Listen; ``dual`` also takes IPv4 on the IPv6 socket, as v4-mapped."""
        self.listener = self.stream_socket(address)
        if ":" in address:
            self.listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address, port))
        self.listener.listen(backlog)

    def accept(self, count: int) -> None:
        """Take this many connections from the listener."""
        assert self.listener is not None, "told to listen first"
        for _ in range(count):
            sock, _ = self.listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sockets.append(sock)

    def connect(self, address: str, port: int, count: int = 1) -> None:
        """Open this many connections; a v4-mapped address makes IPv6 sockets that speak IPv4."""
        for _ in range(count):
            sock = self.stream_socket(address)
            sock.connect((address, port))
            self.sockets.append(sock)

    def attempt(self, address: str, port: int) -> dict[str, Any]:
        """Try to connect, and say how that ended: the socket as it was, and its errno."""
        with self.stream_socket(address) as sock:
            code = sock.connect_ex((address, port))
            return {"errno": code, "socket": self.describe(sock)}

    def abandon(self, address: str, port: int) -> dict[str, Any]:
        """Begin to connect and close before there is an answer: the socket as it was."""
        with self.stream_socket(address) as sock:
            sock.setblocking(False)
            sock.connect_ex((address, port))
            return self.describe(sock)

    def meet(self, address: str, port: int) -> None:
        """Connect from a port to the same port of a peer that does likewise."""
        sock = self.stream_socket(address)
        sock.bind(("", port))
        sock.connect((address, port))
        self.sockets.append(sock)

    def connect_with_data(self, address: str, port: int, size: int) -> None:
        """Open a connection by Fast Open: these octets go into the SYN, if the kernel may."""
        sock = self.stream_socket(address)
        sock.sendto(bytes(size), socket.MSG_FASTOPEN, (address, port))
        self.sockets.append(sock)

    def connect_again(self, address: str, port: int) -> int:
        """Connect, disconnect and connect the same socket; its cookie is the answer."""
        sock = self.stream_socket(address)
        sock.connect((address, port))
        disconnect = struct.pack("=H14x", socket.AF_UNSPEC)  # Python's own connect knows no such
        ctypes.CDLL(None).connect(sock.fileno(), disconnect, len(disconnect))
        sock.connect((address, port))
        self.sockets.append(sock)
        return int(self.describe(sock)["cookie"])

    def exchange(self, rounds: int, size: int) -> None:
        """Write to all connections, then read as much from each; so many times over."""
        data = bytes(size)
        for _ in range(rounds):
            for sock in self.sockets:
                sock.sendall(data)
            for sock in self.sockets:
                exactly(sock, size)

    def echo(self, rounds: int, size: int) -> None:
        """Answer ``exchange``."""
        data = bytes(size)
        for _ in range(rounds):
            for sock in self.sockets:
                exactly(sock, size)
                sock.sendall(data)

    def send(self, size: int, apart: bool = False, times: int = 1) -> None:
        """Write to all connections; ``apart`` keeps it from what is written next."""
        for _ in range(times):
            for sock in self.sockets:
                sock.sendall(bytes(size), socket.MSG_EOR if apart else 0)

    def receive(self, size: int) -> None:
        """Read this many octets from all connections."""
        for sock in self.sockets:
            exactly(sock, size)

    def mark(self, tos: int) -> None:
        """Let all connections send with this TOS or traffic class; the two low bits are ECN's."""
        for sock in self.sockets:
            if sock.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, tos)
            else:
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)

    def prefer(self, priority: int) -> None:
        """Let all connections send with this priority among the queues of the host."""
        for sock in self.sockets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, priority)

    def pace(self, octets: int) -> None:
        """Let all connections send no more than this in a second."""
        for sock in self.sockets:
            sock.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, octets)

    def pour(self, size: int) -> None:
        """Write very much to the only connection."""
        (sock,) = self.sockets
        data = memoryview(bytes(MUCH))
        while size:
            size -= sock.send(data[: min(size, MUCH)])

    def swallow(self, size: int) -> None:
        """Read what ``pour`` writes."""
        (sock,) = self.sockets
        room = bytearray(MUCH)
        while size:
            size -= sock.recv_into(room, min(size, MUCH))

    def call(self, address: str, port: int, count: int) -> None:
        """Make short connections one after another: connect, one octet, close."""
        for _ in range(count):
            with self.stream_socket(address) as sock:
                sock.connect((address, port))
                sock.sendall(b"x")
                sock.shutdown(socket.SHUT_WR)
                sock.recv(1)

    def answer(self, count: int) -> None:
        """Answer ``call``: read to the end, close."""
        assert self.listener is not None, "told to listen first"
        for _ in range(count):
            sock, _ = self.listener.accept()
            with sock:
                while sock.recv(16):
                    pass

    def half_close(self) -> None:
        """Send FIN on all connections and keep the descriptors, so that TCP_INFO can be read."""
        for sock in self.sockets:
            sock.shutdown(socket.SHUT_WR)

    def hear_end(self) -> None:
        """Wait for the other end's FIN on all connections."""
        for sock in self.sockets:
            assert not sock.recv(1), "nothing was to come but the end"

    def settle(self) -> None:
        """Wait until all connections have reached CLOSE: then no counter moves any more."""
        for sock in self.sockets:
            while self.describe(sock)["state"] != TCP_CLOSE:
                time.sleep(0.01)

    def reset(self) -> None:
        """End all connections by RST."""
        for sock in self.sockets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.close()

    def close(self) -> None:
        """Close all connections."""
        while self.sockets:
            self.sockets.pop().close()

    def describe(self, sock: socket.socket) -> dict[str, Any]:
        """Who a socket is, and its TCP_INFO in hexadecimal."""
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
        cookie = sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8)
        return {
            "cookie": int.from_bytes(cookie, sys.byteorder),
            "state": info[0],
            "info": info.hex(),
            "priority": sock.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY),
            "nodelay": sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
            "clamp": sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP),
        }

    def witness(self) -> list[dict[str, Any]]:
        """What the kernel says about all connections now."""
        return [self.describe(sock) for sock in self.sockets]

    def subflows(self) -> list[dict[str, Any]]:
        """Local and remote port and TCP_INFO of each subflow of the only MPTCP connection."""
        (sock,) = self.sockets
        infos = each_subflow(sock, MPTCP_TCPINFO, TCP_INFO_BYTES)
        addresses = each_subflow(sock, MPTCP_SUBFLOW_ADDRS, 2 * SOCKADDR_BYTES)
        return [
            {"info": info.hex(), "ports": [port_of(ends), port_of(ends[SOCKADDR_BYTES:])]}
            for info, ends in zip(infos, addresses, strict=True)
        ]

    def tuples(self) -> list[list[Any]]:
        """Local and remote address and port of all connections, while they are connected."""
        return [[*s.getsockname()[:2], *s.getpeername()[:2]] for s in self.sockets]


def main() -> None:
    """Obey until stdin ends; the first argument is the name this process shall go by."""
    Path("/proc/self/comm").write_text(sys.argv[1])
    peer = Peer()
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = getattr(peer, order.pop("do"))(**order)
        except (OSError, EOFError) as error:
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
