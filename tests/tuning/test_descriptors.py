"""Somebody's descriptor is copied, and used only if it is of the socket that is meant."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tuning.descriptors import Holders, NoDescriptorError, set_lock

SO_COOKIE = 57
#: Holds both ends of a connection: says their inodes and cookies, then what it reads of a lock.
OWNER = """
import os, socket, sys
with socket.create_server(("127.0.0.1", 0)) as listener:
    ends = socket.create_connection(listener.getsockname()), listener.accept()[0]
for end in ends:
    cookie = int.from_bytes(end.getsockopt(1, 57, 8), sys.byteorder)
    print(os.fstat(end.fileno()).st_ino, cookie, flush=True)
for _ in sys.stdin:
    print(ends[0].getsockopt(1, 72), ends[1].getsockopt(1, 72), flush=True)
"""


@pytest.fixture
def owner() -> Iterator["subprocess.Popen[str]"]:
    """A process with two sockets."""
    argv = [sys.executable, "-IS", "-c", OWNER]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def said(process: "subprocess.Popen[str]") -> tuple[int, int]:
    """Two numbers that it says next."""
    assert process.stdout is not None, "made with pipes"
    first, second = map(int, process.stdout.readline().split())
    return first, second


def locks(process: "subprocess.Popen[str]") -> tuple[int, int]:
    """What its sockets have locked."""
    assert process.stdin is not None, "made with pipes"
    process.stdin.write("\n")
    process.stdin.flush()
    return said(process)


def test_a_buffer_of_another_process_is_locked_and_let_go(
    owner: "subprocess.Popen[str]",
) -> None:
    """Of the socket that is meant; the other bit is left as it is."""
    (inode, cookie), _ = said(owner), said(owner)
    holders = Holders({inode})
    for bit, is_locked, expected in ((2, True, 2), (1, True, 3), (2, False, 1), (1, False, 0)):
        with holders.borrow(inode, cookie) as held:
            set_lock(held, bit, is_locked=is_locked)
        assert locks(owner) == (expected, 0)


def test_a_descriptor_of_another_socket_is_not_used(owner: "subprocess.Popen[str]") -> None:
    """Its owner may have opened another one meanwhile: only the copy's cookie counts."""
    (inode, cookie), (other_inode, other_cookie) = said(owner), said(owner)
    holders = Holders({inode, other_inode})
    for wrong in ((inode, other_cookie), (other_inode, cookie), (inode, cookie + 10**9)):
        with pytest.raises(NoDescriptorError), holders.borrow(*wrong) as held:
            set_lock(held, 2, is_locked=True)
    assert locks(owner) == (0, 0)


def test_a_socket_that_nobody_holds_cannot_be_borrowed() -> None:
    """Nor one whose owner has ended since."""
    with pytest.raises(NoDescriptorError, match="no process has"), Holders(()).borrow(0, 1):
        pass
    with socket.create_server(("127.0.0.1", 0)) as listener:
        inode = os.fstat(listener.fileno()).st_ino
        cookie = int.from_bytes(listener.getsockopt(1, SO_COOKIE, 8), sys.byteorder)
        holders = Holders({inode})
        with holders.borrow(inode, cookie) as held:
            assert held.fileno() != listener.fileno()
        assert listener.fileno() >= 0, "the owner's is not closed"
    with pytest.raises(NoDescriptorError, match="its descriptor in process"):
        holders.borrow(inode, cookie).__enter__()
