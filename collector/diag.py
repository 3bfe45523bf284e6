"""A source of batches that needs no privileges: inet_diag, polled once for each cut.

It sees the TCP connections of its own network namespace, and of each only what TCP_INFO tells
when it looks: a connection that lives between two looks is missed, one that ends keeps the
values of the last look, and its owner is unknown.
"""

import socket
import time
from collections.abc import Collection
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bpf.errors import UsageError
from bpf.filters import Filters, Network
from bpf.loader import CONNECTIONS_MAX
from bpf.record import IDENTITY, Flag, batch_dtype
from bpf.variable import SAMPLED, Table
from collector.sock_diag import SOCKET, dump
from collector.tcp_info import CLOSE, RFC_STATES, Look, declined, fill

Array = npt.NDArray[Any]

ADDRESSES = ("local_address", "rem_address")
PORTS = ("local_port", "rem_port")
V4_MAPPED = bytes(10) + b"\xff\xff"
RECONNECT_SHIFT = np.uint64(56)  # head.id: reconnects above, cookie below
COOKIE_MASK = np.uint64((1 << 56) - 1)


def matches(filters: Filters, identities: Array) -> Array:
    """Which of these identities (dtype ``record.IDENTITY``) the filters want."""
    local, rem = identities["local_port"], identities["rem_port"]
    wanted = np.ones(len(identities), np.bool_)
    if filters.ports:
        wanted &= np.isin(local, filters.ports) | np.isin(rem, filters.ports)
    if filters.sports:
        wanted &= np.isin(local, filters.sports)
    if filters.dports:
        wanted &= np.isin(rem, filters.dports)
    if filters.nets:
        inside = [_inside(identities[end], net) for net in filters.nets for end in ADDRESSES]
        wanted &= np.logical_or.reduce(inside)
    return wanted


def _inside(addresses: Array, net: Network) -> Array:
    """Which of these addresses, 16 octets each, lie in ``net``."""
    prefix, mask = net.network_address.packed, net.netmask.packed
    if net.version == 4:
        prefix, mask = V4_MAPPED + prefix, b"\xff" * len(V4_MAPPED) + mask
    same = (addresses & np.frombuffer(mask, "u1")) == np.frombuffer(prefix, "u1")
    inside: Array = same.all(axis=1)
    return inside


def identities(sockets: Array, now_ns: int) -> Array:
    """Who each socket (dtype ``SOCKET``) is, as if it had just been found: ``record.IDENTITY``."""
    message = sockets["message"]
    who = np.zeros(len(sockets), IDENTITY)
    is_v4 = message["family"] == socket.AF_INET
    for end in ADDRESSES:
        who[end] = message[end]
        who[end][is_v4] = np.frombuffer(V4_MAPPED + bytes(4), "u1")
        who[end][is_v4, len(V4_MAPPED) :] = message[end][is_v4, :4]
    for field in (*PORTS, "cookie", "uid"):
        who[field] = message[field]
    netns = Path("/proc/self/ns/net").stat().st_ino
    who["start_ns"], who["netns"], who["cgroup"] = now_ns, netns, sockets["cgroup"]
    return who


class DiagSource:
    """A RingSource whose every read is one poll: a batch for each connection, and last ones.

    A connection is a socket's cookie and tuple. When it is no longer listed its last batch is
    sent again as final, with the values of the last look; a socket in TIME_WAIT is not listed.
    Only a complete answer of the kernel can tell that.

    ``skipped`` counts damaged messages of the kernel, ``incomplete`` the polls that stayed so,
    ``untracked`` connections that found as many as may be known already when they were first seen.
    """

    more = False

    def __init__(
        self,
        tables: Collection[Table],
        filters: Filters | None = None,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        """Watch what ``filters`` let through; raises UsageError if inet_diag cannot decide them.

        No more than ``connections_max`` are known at a time; the others wait until some have ended.
        """
        self.filters = filters or Filters()
        if self.filters.by_owner:
            raise UsageError(
                "the owner of a connection is unknown to inet_diag, so --pid and --comm match none",
                "leave them out, or run as root so that the kernel programs can be used",
            )
        self.skipped = 0
        self.incomplete = 0
        self.untracked = 0
        self._most = connections_max
        self._waiting = np.zeros(0, "u8")  # cookies of those beyond it
        self._tables = tuple(t for t in SAMPLED if t in tables)
        self._dtype = batch_dtype(self._tables)
        self._last = np.zeros(0, self._dtype)  # of every open connection

    def read(self, cut_ns: int) -> Array:
        """Poll now; all batches are stamped with the present or ``cut_ns``, the earlier of them.

        Raises EnvironmentLacksError if this host has no inet_diag or forbids it.
        """
        now = min(time.monotonic_ns(), cut_ns)
        dumps = [dump(family) for family in (socket.AF_INET, socket.AF_INET6)]
        complete = all(d.complete for d in dumps)
        self.skipped += sum(d.skipped for d in dumps)
        self.incomplete += not complete
        sockets = np.concatenate([d.sockets for d in dumps], dtype=SOCKET)
        return self.look(sockets, now, complete=complete)

    def release(self) -> None:
        """Nothing to give back: what was read is the reader's."""

    def fileno(self) -> int | None:
        """None: nothing to wait for, the cuts set the pace."""
        return None

    def look(self, sockets: Array, now_ns: int, *, complete: bool) -> Array:
        """The batches of a poll at ``now_ns`` that found ``sockets`` (dtype ``SOCKET``)."""
        _, first = np.unique(sockets["message"]["cookie"], return_index=True)
        sockets = sockets[first]
        who = identities(sockets, now_ns)
        if not (wanted := matches(self.filters, who)).all():
            sockets, who = sockets[wanted], who[wanted]
        admitted = self._admit(who["cookie"], complete=complete)
        sockets, who = sockets[admitted], who[admitted]
        last = self._last
        old, new, same = _pair(last["identity"], who)
        ended = np.full(len(last), complete)
        ended[old] = ~same  # listed with another tuple: it connected anew
        kept = ~ended
        kept[old] = False
        count = np.count_nonzero(ended)
        batches = np.zeros(count + len(who), self._dtype)
        batches[:count] = last[ended]
        final, live = batches[:count], batches[count:]
        self._end(final, now_ns)
        live["identity"] = who
        self._continue(live, old, new, same)
        self._measure(live, sockets, now_ns)
        self._last = _joined(live, last[kept]) if kept.any() else live
        batches.flags.writeable = False  # the next poll compares with it
        return batches

    def _admit(self, cookies: Array, *, complete: bool) -> Array:
        """Whose batches are made: whoever is known, and of the others those that find room."""
        admitted = np.isin(cookies, self._last["identity"]["cookie"])
        stay = np.count_nonzero(admitted) if complete else len(self._last)
        others = np.flatnonzero(~admitted)
        admitted[others[: max(0, self._most - stay)]] = True
        beyond = cookies[~admitted]
        self.untracked += int(np.count_nonzero(np.isin(beyond, self._waiting, invert=True)))
        self._waiting = beyond
        return admitted

    def _continue(self, live: Array, old: Array, new: Array, same: Array) -> None:
        """Number ``live`` batches; ``live[new]`` are of sockets known as ``self._last[old]``."""
        head, before = live["head"], self._last["head"]
        head["id"], head["sent"] = live["identity"]["cookie"] & COOKIE_MASK, 1
        reconnects = (before["id"][old] >> RECONNECT_SHIFT) + ~same
        head["id"][new] |= reconnects << RECONNECT_SHIFT
        old, new = old[same], new[same]
        head["sent"][new] = before["sent"][old] + 1
        live["identity"]["start_ns"][new] = self._last["identity"]["start_ns"][old]

    def _measure(self, live: Array, sockets: Array, now_ns: int) -> None:
        """Write what the poll tells of each connection."""
        head, who = live["head"], live["identity"]
        on_wire_v4 = _inside(who["rem_address"], IPv4Network("0.0.0.0/0"))
        head["ts"], head["state"] = now_ns, sockets["message"]["state"]
        head["flags"] = np.where(on_wire_v4, Flag.POLLED | Flag.IPV4, Flag.POLLED)
        look = Look(sockets, who["start_ns"], declined())
        for table in self._tables:
            fill(live[table.value], table, look)

    def _end(self, final: Array, now_ns: int) -> None:
        """Make final batches of the last ones that connections sent."""
        head = final["head"]
        head["ts"] = now_ns
        head["sent"] += 1
        head["old_state"], head["state"] = head["state"], CLOSE
        head["flags"] |= np.uint32(Flag.FINAL)
        if Table.STACK in self._tables:
            final["stack"]["state"] = RFC_STATES[CLOSE]


def _pair(last: Array, who: Array) -> tuple[Array, Array, Array]:
    """Where the same sockets lie in two arrays of identities, and whether on the same tuple."""
    _, old, new = np.intersect1d(
        last["cookie"], who["cookie"], assume_unique=True, return_indices=True
    )
    same = np.ones(len(old), np.bool_)
    for port in PORTS:
        same &= last[port][old] == who[port][new]
    for end in ADDRESSES:
        same &= (last[end][old] == who[end][new]).all(axis=1)
    return old, new, same


def _joined(one: Array, other: Array) -> Array:
    """Both, one after the other; numpy's own concatenation would drop the blocks' padding."""
    both = np.empty(len(one) + len(other), one.dtype)
    both[: len(one)], both[len(one) :] = one, other
    return both
