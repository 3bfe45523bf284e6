"""Listening sockets: where they are looked at, and what of them changed since the last snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from numpy.lib.recfunctions import repack_fields

from bpf import syscall
from bpf.loader import ListenerFds
from bpf.record import ENDPOINT, LISTENER, LISTENER_ROW, Dtype, Flag
from bpf.variable import Table
from collector.recording import Cut

Array = npt.NDArray[Any]

_FOREVER: Final = 0xFFFFFFFF  # the longest time that the RFC's type has, in seconds
_KEY_BYTES: Final = 16  # cookie and start_ns, side by side in the identity

#: Without padding, which numpy copies or not as it likes: equal records are equal bytes.
_RECORD: Final[Dtype] = repack_fields(LISTENER, recurse=True)


def _key_offset() -> int:
    fields = _RECORD.fields
    assert fields is not None, "a record is a structure"
    inner = fields["identity"][0].fields
    assert inner is not None, "an identity, too"
    return int(fields["identity"][1] + inner["cookie"][1])


_KEY: Final = slice(_key_offset(), _key_offset() + _KEY_BYTES)


class ListenerSource(Protocol):
    """Who knows the listeners of this host."""

    def look(self) -> Array:
        """All listeners as they are now, and those that closed: dtype ``record.LISTENER``."""
        ...


class KernelListeners:
    """The loaded programs' listeners, of all network namespaces."""

    def __init__(self, fds: ListenerFds) -> None:
        """Read through the descriptors of ``bpf.loader``."""
        self._fds = fds

    def look(self) -> Array:
        """First who listens, then who closed: whoever does in between is told as both."""
        rows = [np.frombuffer(syscall.iterate(self._fds.look), LISTENER)]
        for key, value in syscall.take_elements(self._fds.closed, _KEY_BYTES, LISTENER.itemsize):
            rows.append(np.frombuffer(value, LISTENER))
            syscall.delete_element(self._fds.closed, key)
        return np.concatenate(rows, dtype=LISTENER)


@dataclass(slots=True)
class _Known:
    index: int
    opened_us: int
    record: bytes
    identity: bytes


@dataclass(frozen=True, slots=True)
class Changes:
    """New and changed listeners: dtypes ``record.ENDPOINT`` and ``record.LISTENER_ROW``.

    ``last_change_us`` is when, in UTC microseconds, one last began or ceased to listen: 0 before
    it ever happened, None if that was told already.
    """

    endpoints: Array
    rows: Array
    last_change_us: int | None


class Listeners:
    """Tells what changed, and numbers the listeners."""

    def __init__(self, first_index: int) -> None:
        """New ones are numbered from the one after ``first_index``."""
        self._next_index = first_index + 1
        self._known: dict[bytes, _Known] = {}
        self._last_change_us = 0
        self._told_us: int | None = None

    def take(self, records: Array, cut: Cut) -> Changes:
        """What ``records`` have that was not told before; who is missing in them has closed.

        The records (dtype ``record.LISTENER``) were made shortly before the cut.
        """
        # Numbered as they began; of one that is told twice, its end stays behind its life.
        records = records[np.argsort(records["identity"]["start_ns"], kind="stable")]
        newest = {piece[_KEY]: piece for piece in _pieces(records.astype(_RECORD).tobytes())}
        changed = [(k, p) for k, p in newest.items() if not self._is_known(k, p)]
        endpoints = [self._gone(key, cut) for key in self._known.keys() - newest.keys()]
        rows: list[Array] = []
        for key, piece in changed:
            record = np.frombuffer(piece, _RECORD)
            known = self._known.get(key)
            is_new = known is None
            known = known or self._open(key, record, cut)
            closed_us = _utc_us(int(record["head"]["closed_ns"][0]), cut)
            if is_new or closed_us:
                known.identity = record["identity"].tobytes()
                endpoints.append(self._endpoint(known, record["head"], closed_us))
            known.record = piece
            rows.append(_row(known, record))
            if closed_us:
                self._change(closed_us)
                del self._known[key]
        news = None if self._last_change_us == self._told_us else self._last_change_us
        self._told_us = self._last_change_us
        return Changes(_joined(endpoints, ENDPOINT), _joined(rows, LISTENER_ROW), news)

    def _is_known(self, key: bytes, piece: bytes) -> bool:
        known = self._known.get(key)
        return known is not None and known.record == piece

    def _open(self, key: bytes, record: Array, cut: Cut) -> _Known:
        opened_us = _utc_us(int(record["identity"]["start_ns"][0]), cut)
        if not record["head"]["flags"][0] & (Flag.BACKFILL | Flag.POLLED):
            self._change(opened_us)
        known = self._known[key] = _Known(self._next_index, opened_us, b"", b"")
        self._next_index += 1
        return known

    def _gone(self, key: bytes, cut: Cut) -> Array:
        """One whose last record never came: closed as of the cut."""
        known = self._known.pop(key)
        self._change(cut.taken_us)
        head = np.frombuffer(known.record, _RECORD)["head"]
        return self._endpoint(known, head, cut.taken_us)

    def _change(self, moment_us: int) -> None:
        self._last_change_us = max(self._last_change_us, moment_us)

    @staticmethod
    def _endpoint(known: _Known, head: Array, closed_us: int) -> Array:
        made = np.zeros(1, ENDPOINT)
        made["listener_index"], made["opened_us"] = known.index, known.opened_us
        made["identity"] = np.frombuffer(known.identity, made.dtype["identity"])
        made["closed_us"] = closed_us
        for name in ("flags", "address_type"):
            made[name] = head[name]
        return made


def _pieces(data: bytes) -> list[bytes]:
    size = _RECORD.itemsize
    return [data[start : start + size] for start in range(0, len(data), size)]


def _row(known: _Known, record: Array) -> Array:
    made = np.zeros(1, LISTENER_ROW)
    made["listener_index"] = known.index
    made["block"] = record["listener"]
    if made["block"]["start_time"][0]:
        made["block"]["start_time"] = known.opened_us
    return made


def _joined(parts: list[Array], dtype: np.dtype[Any]) -> Array:
    return np.concatenate(parts, dtype=dtype) if parts else np.zeros(0, dtype)


def _utc_us(monotonic_ns: int, cut: Cut) -> int:
    """Microseconds since the epoch, from 1 on; 0 is never."""
    return max(1, (monotonic_ns + cut.wall_offset_ns) // 1_000) if monotonic_ns else 0


def control(tables: tuple[Table, ...], keep_us: int | None = None) -> Mapping[str, int]:
    """The RFC's control table: what this agent is set to keep, and how long."""
    switches = {
        "ControlPath": Table.PATH,
        "ControlStack": Table.STACK,
        "ControlApp": Table.APP,
        "ControlTune": Table.TUNE,
    }
    yes, no = 1, 2
    return {
        **{name: yes if table in tables else no for name, table in switches.items()},
        "ControlNotify": no,
        "ConnTableLatency": _FOREVER if keep_us is None else min(keep_us // 1_000_000, _FOREVER),
    }
