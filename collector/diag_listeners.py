"""The listeners that inet_diag knows: those of its own network namespace, and only their queues."""

import socket
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from bpf.filters import Filters
from bpf.record import LISTENER, Flag
from bpf.variable import Table
from collector.diag import V4_MAPPED, identities, matches
from collector.sock_diag import LISTENING, SOCKET, dump
from collector.tcp_info import Look, declined, fill

Array = npt.NDArray[Any]


class DiagListeners:
    """A ListenerSource that polls: whoever listens between two looks only is missed."""

    def __init__(self, filters: Filters) -> None:
        """Only those that ``filters`` want; the owner is unknown."""
        self._filters = filters
        self._last = np.zeros(0, LISTENER)

    def look(self) -> Array:
        """Ask the kernel; raises EnvironmentLacksError if it has no inet_diag or forbids it.

        Where it did not answer completely, who is missing is told as it was.
        """
        dumps = [dump(family, LISTENING) for family in (socket.AF_INET, socket.AF_INET6)]
        rows = self.rows(np.concatenate([d.sockets for d in dumps], dtype=SOCKET))
        if not all(d.complete for d in dumps):
            lacking = ~np.isin(self._last["identity"]["cookie"], rows["identity"]["cookie"])
            rows = np.concatenate([rows, self._last[lacking]], dtype=LISTENER)
        self._last = rows
        return rows

    def rows(self, sockets: Array) -> Array:
        """What a poll tells of these sockets (dtype ``SOCKET``)."""
        rows = np.zeros(len(sockets), LISTENER)
        rows["identity"] = identities(sockets, time.monotonic_ns())
        who = rows["identity"]
        _, before, now = np.intersect1d(
            self._last["identity"]["cookie"], who["cookie"], return_indices=True
        )
        who["start_ns"][now] = self._last["identity"]["start_ns"][before]
        rows["head"]["flags"] = Flag.POLLED
        rows["head"]["address_type"] = _address_types(who["local_address"], sockets["v6only"])
        fill(rows["listener"], Table.LISTENER, Look(sockets, who["start_ns"], declined()))
        wanted: Array = rows[matches(self._filters, who)]
        return wanted


def _address_types(addresses: Array, v6only: Array) -> Array:
    """RFC 4022's: 0 takes both kinds, 1 IPv4 only, 2 IPv6 only."""
    is_v4 = (addresses[:, : len(V4_MAPPED)] == np.frombuffer(V4_MAPPED, "u1")).all(axis=1)
    takes_both = ~addresses.any(axis=1) & (v6only == 0)
    return np.select([is_v4, takes_both], [1, 0], 2)
