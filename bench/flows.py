"""Connections that are made up, with values that move as those of healthy bulk transfers do.

What moves at each step is what moves there: octets, segments, samples, windows, queues. Constants
and what only trouble moves stay as they are, so that rows are as long, and as many blocks change,
as they would on a host. Octets of real connections are measured by ``bench.start``.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bpf.catalogue import stored_in
from bpf.meters import METERS, Run, Snapshot
from bpf.record import Flag, batch_dtype
from bpf.variable import SAMPLED, Kind
from collector.ring import Batches
from collector.tables import Tables

#: Counters of a healthy transfer, and how far they move in a second at most.
_STEPS: Final = {
    "HCDataOctetsOut": 12_000_000,
    "HCThruOctetsAcked": 12_000_000,
    "HCDataOctetsIn": 9_000,
    "HCThruOctetsReceived": 9_000,
    "ElapsedUs": 1_000_000,
    "SndLimTimeCwndUs": 800_000,
    "SndLimTimeSndUs": 200_000,
    "SegsOut": 8_000,
    "DataSegsOut": 8_000,
    "SegsIn": 4_000,
    "DataSegsIn": 40,
    "SndLimTransCwnd": 90,
    "SndLimTransSnd": 90,
    "NormalRTTm": 3_000,
    "CountRTT": 3_000,
    "HCSumRTTUs": 60_000_000,
    "CongAvoid": 3_000,
    "SndUna": 12_000_000,
    "SndNxt": 12_000_000,
    "RcvNxt": 9_000,
}
#: Gauges of such a transfer: what they stay below.
_LEVELS: Final = {
    "PipeSize": 300_000,
    "CurRwinSent": 6_000_000,
    "CurRwinRcvd": 6_000_000,
    "SmoothedRTTUs": 40_000,
    "CurRTOUs": 240_000,
    "CurCwndSegs": 300,
    "SampleRTTUs": 40_000,
    "MdevUs": 9_000,
    "CurRetxQueue": 300_000,
    "CurAppWQueue": 2_000_000,
    "LimState_ts": 1 << 40,
    "current_ts": 1 << 40,
}
#: The last numbers in use of a new database.
NUMBERED: Final = {"connection": 0, "event": 0, "setup": 0}
_SECOND_NS: Final = 1_000_000_000
_EPOCH_US: Final = 1_700_000_000_000_000


class Flows:
    """So many connections, and a shard's tables that were told of all of them."""

    def __init__(self, count: int, numbered: Mapping[str, int] = NUMBERED) -> None:
        """None of them has been told of yet: the first snapshot is of all.

        ``numbered`` are the last numbers in use of the database that it will be written to.
        """
        self._random = np.random.default_rng(1)
        self._tables = Tables(SAMPLED, numbered, 1, 0)
        self._batches: Batches = np.zeros(count, batch_dtype())
        self._steps = 0
        head, identity = self._batches["head"], self._batches["identity"]
        head["id"] = identity["cookie"] = np.arange(count) + 1
        head["flags"] = Flag.ACTIVE | Flag.OWNER | Flag.IPV4
        head["state"] = 1
        identity["start_ns"] = identity["pid_start_ns"] = 1
        identity["comm"] = b"transfer"
        identity["pid"] = self._random.integers(300, 400, count)
        identity["local_port"] = np.arange(count) % 28_000 + 32_768
        identity["rem_port"] = self._random.integers(1_024, 5_000, count)
        identity["rem_port"][:: max(1, count // 10)] = 5_001
        for name in ("local_address", "rem_address"):
            identity[name][:, 10:12] = 255
            identity[name][:, 12:] = self._random.integers(0, 256, (count, 4))
        self._begin()

    def _begin(self) -> None:
        """Everything known, with what a young connection has."""
        count = len(self._batches)
        for table in SAMPLED:
            block = self._batches[table.value]
            block["known"] = (1 << len(stored_in(table))) - 1
            for v in stored_in(table):
                if v.name in _LEVELS or v.kind in (Kind.MAXIMUM, Kind.MINIMUM, Kind.SEQUENCE):
                    block[v.column] = self._random.integers(0, _LEVELS.get(v.name, 60_000), count)
                elif v.kind in (Kind.ENUM, Kind.CONSTANT, Kind.GAUGE):
                    block[v.column] = self._random.integers(0, 10, count)

    def snapshot(self, active: int) -> Snapshot:
        """A second later, of which the first ``active`` connections made use."""
        self._steps += 1
        moving = self._batches[:active]
        head = moving["head"]
        head["ts"] = self._steps * _SECOND_NS
        head["sent"] += 1
        for table in SAMPLED:
            for v in stored_in(table):
                column = moving[table.value][v.column]
                if v.name in _STEPS:
                    column += self._amounts(_STEPS[v.name], active).astype(column.dtype)
                elif v.name in _LEVELS:
                    column[:] = self._amounts(_LEVELS[v.name], active)
        self._tables.apply(moving, _EPOCH_US * 1_000)
        connections, samples = self._tables.take()
        return Snapshot(
            cut_ns=self._steps * _SECOND_NS,
            taken_us=_EPOCH_US + self._steps * 1_000_000,
            interval_us=1_000_000,
            meters=dict.fromkeys(METERS, 0) | self._tables.meters(),
            connections=connections,
            samples=samples,
        )

    def _amounts(self, below: int, count: int) -> npt.NDArray[Any]:
        return self._random.integers(below // 2, below, count)


def run_row() -> Run:
    """A run to write them under."""
    return Run(
        started_us=_EPOCH_US,
        host="bench",
        kernel="",
        boot_id="",
        version="",
        source="replay",
        interval_us=1_000_000,
        flush_us=250_000,
        shards=1,
        tables=tuple(table.value for table in SAMPLED),
        filters="{}",
        unavailable={},
    )
