"""The kernel's answer is decoded in bulk, and no bytes can break that."""

import errno
import socket
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpf.errors import EnvironmentLacksError
from collector import sock_diag
from collector.sock_diag import SLACK_BYTES, SOCKET, Dump, Walk, decode, dump
from collector.tcp_info import TCP_INFO

INFO, CGROUP, SHUTDOWN = 2, 21, 8
DONE, ERROR = 3, 2
NOBODY = np.empty(0, SOCKET)


def attribute(kind: int, payload: bytes) -> bytes:
    """A netlink attribute, padded."""
    padding = bytes(-len(payload) % 4)
    return struct.pack("=HH", len(payload) + 4, kind) + payload + padding


def message(kind: int, body: bytes, flags: int = 0) -> bytes:
    """A netlink message."""
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body


def listed(cookie: int, *attributes: bytes) -> bytes:
    """The message of an established IPv4 socket 10.0.0.1:1000 - 10.0.0.2:5001."""
    who = struct.pack(">HH4s12x4s12x", 1000, 5001, b"\x0a\0\0\1", b"\x0a\0\0\2")
    rest = struct.pack("=IQIIIII", 0, cookie, 0, 7, 9, 1234, 0)
    return message(
        20, struct.pack("=BBBB", socket.AF_INET, 1, 0, 0) + who + rest + b"".join(attributes)
    )


def walked(*datagrams: bytes) -> tuple[npt.NDArray[Any], Walk]:
    """A block that holds the datagrams, and the walk over it."""
    walk, block, at = (
        Walk(),
        np.zeros(sum(map(len, datagrams)) + 4 * len(datagrams) + SLACK_BYTES, "u1"),
        0,
    )
    for datagram in datagrams:
        block[at : at + len(datagram)] = np.frombuffer(datagram, "u1")
        walk.add(block.data, at, at + len(datagram))
        at += (len(datagram) + 3) & ~3
    return block, walk


def test_messages_of_different_shapes_are_decoded_alike() -> None:
    """Where an attribute lies, and what else there is, differs from socket to socket."""
    info = bytes(range(104))
    cgroup = attribute(CGROUP, struct.pack("=Q", 77))
    block, walk = walked(
        listed(1, attribute(INFO, info)),
        listed(2, attribute(SHUTDOWN, b"\0"), cgroup, attribute(INFO, info))
        + listed(3, attribute(INFO, info), cgroup, attribute(99, bytes(7))),
        message(DONE, bytes(4)),
    )
    sockets, damaged = decode(block, walk.starts, walk.ends)
    assert walk.done
    assert (walk.skipped, walk.error, damaged) == (0, 0, 0)
    assert sockets["message"]["cookie"].tolist() == [1, 2, 3]
    assert sockets["cgroup"].tolist() == [0, 77, 77]
    assert set(sockets["message"]["rem_port"].tolist()) == {5001}
    assert set(sockets["message"]["wqueue"].tolist()) == {9}
    for one in sockets:
        assert one["info"].tobytes() == info.ljust(TCP_INFO.itemsize, b"\0")
        assert one["info_size"] == 104


def test_a_longer_tcp_info_is_cut_to_the_fields_we_know() -> None:
    """A newer kernel appends fields."""
    info = b"\x01" * (TCP_INFO.itemsize + 24)
    block, walk = walked(listed(1, attribute(INFO, info)))
    sockets, _ = decode(block, walk.starts, walk.ends)
    assert sockets[0]["info_size"] == TCP_INFO.itemsize


def test_what_has_no_tcp_info_is_not_a_socket() -> None:
    """Handshakes in the listener's queue and TIME_WAIT remnants are listed without it."""
    block, walk = walked(listed(1, attribute(SHUTDOWN, b"\0")) + listed(2))
    sockets, damaged = decode(block, walk.starts, walk.ends)
    assert (len(sockets), damaged) == (0, 0)


def test_a_damaged_message_costs_itself_only() -> None:
    """An attribute that leaves its message is counted; its neighbours are read."""
    good = attribute(INFO, bytes(104))
    block, walk = walked(listed(1, good) + listed(2, b"\xff\xff\2\0") + listed(3, good))
    sockets, damaged = decode(block, walk.starts, walk.ends)
    assert sockets["message"]["cookie"].tolist() == [1, 3]
    assert damaged == 1


def test_a_truncated_datagram_is_counted_and_the_next_one_read() -> None:
    """Nothing says where a message begins behind one that was cut."""
    whole = listed(1, attribute(INFO, bytes(104)))
    _, walk = walked(whole + whole[:-4], whole, message(DONE, b""))
    assert (len(walk.starts), walk.skipped, walk.done) == (2, 1, True)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=600), max_size=4))
def test_any_bytes_give_sockets_or_are_counted(datagrams: list[bytes]) -> None:
    """No answer can make the walk or the decoding fail."""
    block, walk = walked(*datagrams)
    sockets, damaged = decode(block, walk.starts, walk.ends)
    assert len(sockets) + damaged <= len(walk.starts)


@settings(deadline=None)
@given(
    st.integers(0, 280), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=12)
)
def test_any_corruption_of_an_answer_is_survived(size: int, wrong: list[tuple[int, int]]) -> None:
    """Near misses reach further into the decoding than noise does."""
    cgroup = attribute(CGROUP, bytes(8))
    one = listed(1, cgroup, attribute(INFO, bytes(size)), attribute(SHUTDOWN, b"\0"))
    answer = bytearray(one * 3 + message(DONE, bytes(4)))
    for place, octet in wrong:
        answer[place % len(answer)] = octet
    block, walk = walked(bytes(answer))
    sockets, damaged = decode(block, walk.starts, walk.ends)
    assert len(sockets) + damaged <= len(walk.starts) <= 3 * len(one) // 16


def test_an_interrupted_dump_is_asked_again_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel marks an answer during which its list changed too much."""
    _, walk = walked(message(20, bytes(72), flags=0x10))
    assert walk.interrupted
    answers = [Dump(NOBODY, 0, complete=False)] * 5
    monkeypatch.setattr(sock_diag, "_ask", lambda family, states: answers.pop())
    assert not dump(socket.AF_INET).complete
    assert len(answers) == 5 - sock_diag.ATTEMPTS_MAX


def test_a_full_receive_buffer_is_an_incomplete_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not look like the end of every connection that was not read."""

    def overrun(family: int, states: int) -> Dump:
        raise OSError(errno.ENOBUFS, "No buffer space available")

    monkeypatch.setattr(sock_diag, "_ask", overrun)
    assert not dump(socket.AF_INET).complete


def test_a_host_without_inet_diag_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's refusal becomes a sentence with a cure."""
    _, walk = walked(message(ERROR, struct.pack("=i", -errno.ENOENT) + bytes(16)))
    assert (walk.done, walk.error) == (True, errno.ENOENT)
    refusal = np.zeros(SLACK_BYTES, "u1")
    monkeypatch.setattr(
        sock_diag, "_receive", lambda link: (refusal, Walk(done=True, error=walk.error))
    )
    with pytest.raises(EnvironmentLacksError, match="No such file") as caught:
        dump(socket.AF_INET)
    assert "tcp_diag" in caught.value.advice


def test_an_answer_longer_than_a_block_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is taken a block at a time, and what lies behind the first is not lost."""
    monkeypatch.setattr(sock_diag, "BLOCK_BYTES", sock_diag.DATAGRAM_BYTES_MAX)
    with socket.create_server(("127.0.0.1", 0), backlog=256) as server:
        port = server.getsockname()[1]
        clients = [socket.create_connection(server.getsockname()) for _ in range(150)]
        try:
            found = dump(socket.AF_INET)
        finally:
            for client in clients:
                client.close()
    assert found.complete
    assert np.count_nonzero(found.sockets["message"]["rem_port"] == port) == 150
