"""The words of the ring: one batch of ops of one connection, as numpy sees the bytes.

A batch is the only thing the kernel programs send. It carries one operand for every collected
variable of the chosen tables, in the catalogue's order, so the op of each operand is known from
its place and only operands travel:

    | head | identity | block of table 1 | block of table 2 | ...
                        known, u64 operands, u32 operands

All batches of one load have the same size, so a ring is read as one array, without a walk from
record to record. Totals, maxima and the identity are absolute: a batch that is lost is healed by
the next one. ``known`` has a bit for each variable of the block; a variable without its bit is
unknown (NULL), whatever its operand holds.
"""

from collections.abc import Collection
from enum import IntFlag
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from bpf.catalogue import stored_in
from bpf.variable import REFERRED, SAMPLED, Group, Table

Dtype = np.dtype[Any]


class Flag(IntFlag):
    """What a batch says about itself and its connection (``head.flags``)."""

    ACTIVE = 1  # this end sent the opening SYN
    PASSIVE = 2  # this end accepted it
    BACKFILL = 4  # the connection is older than the collector
    FINAL = 8  # the last batch: values as of the transition to CLOSE
    SWEPT = 16  # read by the sweep, without the socket's lock
    IPV4 = 32  # IPv4 on the wire, v4-mapped IPv6 sockets included
    OWNER = 64  # pid, pid_start_ns and comm were taken in process context
    POLLED = 128  # made from TCP_INFO by inet_diag, not by a kernel program
    EVICTED = 256  # with FINAL: it lives on, but made room for others


#: ``ts`` CLOCK_MONOTONIC ns; ``id`` names the connection: its socket's cookie, xor the number of
#: reconnects of that socket in the top byte; ``sent`` batches offered for this connection so far,
#: this one included; ``state``/``old_state`` kernel TCP states (``old_state``
#: is 0 but at the end); ``error`` is sk_err, an errno.
HEAD: Dtype = np.dtype(
    [
        ("ts", "u8"),
        ("id", "u8"),
        ("sent", "u4"),
        ("shard", "u2"),
        ("state", "u1"),
        ("old_state", "u1"),
        ("flags", "u4"),
        ("error", "u4"),
    ]
)

#: Addresses are 16 octets in network order, IPv4 as v4-mapped (::ffff:a.b.c.d); ports in host
#: order; ``start_ns`` and ``pid_start_ns`` are CLOCK_MONOTONIC and CLOCK_BOOTTIME ns.
IDENTITY: Dtype = np.dtype(
    [
        ("cookie", "u8"),
        ("start_ns", "u8"),
        ("cgroup", "u8"),
        ("pid_start_ns", "u8"),
        ("local_address", "u1", 16),
        ("rem_address", "u1", 16),
        ("local_port", "u2"),
        ("rem_port", "u2"),
        ("netns", "u4"),
        ("pid", "u4"),
        ("uid", "u4"),
        ("comm", "S16"),
    ]
)

RING_HEADER = 8  # bytes the kernel puts before each record of a BPF ring buffer
assert HEAD.itemsize == 32 and IDENTITY.itemsize == 96, "the C structs have these sizes"


def known_bit(table: Table, column: str) -> int:
    """The bit of ``known`` that says the variable of this column has a value."""
    return [v.column for v in stored_in(table)].index(column)


def raw(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same elements as plain bytes: numpy moves those whole, and structures by the field."""
    return array.view(f"V{array.dtype.itemsize}")


@cache
def block_dtype(table: Table) -> Dtype:
    """One table's part of a batch: ``known`` and the operands, padded to 8 bytes."""
    fields = [("known", "u8"), *((v.column, v.dtype) for v in stored_in(table))]
    return np.dtype(fields, align=True)


def batch_dtype(tables: Collection[Table] = SAMPLED) -> Dtype:
    """A batch that carries the blocks of ``tables``, in the catalogue's order."""
    return np.dtype([("head", HEAD), ("identity", IDENTITY), *_blocks(tables)])


def sample_dtype(tables: Collection[Table] = SAMPLED) -> Dtype:
    """All that is known of a connection that changed, on its way to storage.

    ``event`` and ``setup`` are the numbers of the rows that hold its variables of those groups;
    ``new`` has the bit of each group (see ``new_bit``) whose row is not stored yet. The variables
    are in the blocks of their tables, as in a batch.
    """
    numbers = [(group.value, "u8") for group in REFERRED]
    blocks = np.dtype(_blocks(tables))
    return np.dtype([("connect_index", "u8"), *numbers, ("new", "u8"), ("blocks", blocks)])


def new_bit(group: Group) -> int:
    """The bit of a sample's ``new`` that says the group's row is to be stored."""
    return 1 << REFERRED.index(group)


def _blocks(tables: Collection[Table]) -> list[tuple[str, Dtype]]:
    return [(t.value, block_dtype(t)) for t in SAMPLED if t in tables]


#: A changed row of the table of listeners on its way to storage: whose it is, and its block.
LISTENER_ROW: Dtype = np.dtype([("listener_index", "u8"), ("block", block_dtype(Table.LISTENER))])


#: A new or changed connection on its way to storage. Wall-clock times are UTC microseconds;
#: ``closed_us`` is 0 while it is open. ``lost`` counts batches that never arrived.
CONNECTION: Dtype = np.dtype(
    [
        ("connect_index", "u8"),
        ("identity", IDENTITY),
        ("opened_us", "u8"),
        ("closed_us", "u8"),
        ("flags", "u4"),
        ("state", "u1"),
        ("old_state", "u1"),
        ("error", "u4"),
        ("lost", "u4"),
    ]
)

#: ``closed_ns`` CLOCK_MONOTONIC ns, 0 while it listens; ``flags`` as of a batch: BACKFILL, OWNER,
#: POLLED; ``address_type`` the RFC's: 0 takes IPv4 and IPv6, 1 IPv4 only, 2 IPv6 only.
LISTENER_HEAD: Dtype = np.dtype([("closed_ns", "u8"), ("flags", "u4"), ("address_type", "u4")])

#: A listening socket as the kernel programs tell it. Of the identity there are no remote address
#: and port; ``start_ns`` is when it began to listen, or was found, and with ``cookie`` names it.
LISTENER: Dtype = np.dtype(
    [("head", LISTENER_HEAD), ("identity", IDENTITY), ("listener", block_dtype(Table.LISTENER))]
)

#: A new or changed listening socket on its way to storage; times as in ``CONNECTION``.
ENDPOINT: Dtype = np.dtype(
    [
        ("listener_index", "u8"),
        ("identity", IDENTITY),
        ("opened_us", "u8"),
        ("closed_us", "u8"),
        ("flags", "u4"),
        ("address_type", "u4"),
    ]
)
