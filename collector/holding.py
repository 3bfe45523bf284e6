"""A snapshot that could not be written, merged with the one after it: nothing in it is out of date.

Values are absolute, so of each connection only the newest sample is needed; meters add up. That the
history then has one point fewer is what the meter ``merged`` says.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bpf.meters import LEVELS, Inherited, Snapshot
from bpf.record import new_bit, raw
from bpf.variable import REFERRED
from collector.apply import joined

Array = npt.NDArray[Any]


def merged(older: Snapshot, newer: Snapshot) -> Snapshot:
    """Both as one, taken when ``newer`` was: a tick was ``merged``."""
    host = {**older.host}
    for table, values in newer.host.items():
        host[table] = {**host.get(table, {}), **values}
    return replace(
        newer,
        interval_us=older.interval_us + newer.interval_us,
        meters=_meters(older.meters, newer.meters),
        connections=newest(joined((older.connections, newer.connections)), "connect_index"),
        samples=_samples(older.samples, newer.samples),
        endpoints=newest(joined((older.endpoints, newer.endpoints)), "listener_index"),
        listeners=newest(joined((older.listeners, newer.listeners)), "listener_index"),
        host=host,
    )


def nbytes(snapshot: Snapshot) -> int:
    """What it takes in memory."""
    parts = (snapshot.connections, snapshot.samples, snapshot.endpoints, snapshot.listeners)
    return sum(part.nbytes for part in parts)


def overlaid(stored: Inherited, held: Snapshot | None) -> Inherited:
    """What the database would have, were the snapshot that is held written."""
    if held is None:
        return stored
    numbered = dict(stored.numbered)
    for name, numbers in (
        ("connection", held.connections["connect_index"]),
        ("endpoint", held.endpoints["listener_index"]),
        *((group.value, held.samples[group.value]) for group in REFERRED),
    ):
        numbered[name] = max(numbered[name], int(numbers.max(initial=0)))
    connections = newest(joined((stored.connections, held.connections)), "connect_index")
    return replace(stored, numbered=numbered, connections=connections)


def newest(rows: Array, key: str) -> Array:
    """Of the rows with the same key the last one, in their order."""
    _, from_behind = np.unique(rows[key][::-1], return_index=True)
    kept: Array = raw(rows)[np.sort(len(rows) - 1 - from_behind)].view(rows.dtype)
    return kept


def _samples(older: Array, newer: Array) -> Array:
    """The newest of each connection; a row that only the older one said was new still is."""
    both = joined((older, newer))
    kept = newest(both, "connect_index")
    for group in REFERRED:
        bit = np.uint64(new_bit(group))
        unwritten = both[group.value][both["new"] & bit != 0]
        kept["new"][np.isin(kept[group.value], unwritten)] |= bit
    return kept


def _meters(older: Mapping[str, int], newer: Mapping[str, int]) -> dict[str, int]:
    """Amounts added up, levels as they are now, the longest lag."""
    meters = {**older, **newer}
    for name in older.keys() & newer.keys() - LEVELS:
        meters[name] = older[name] + newer[name]
    meters["lag_us"] = max(older["lag_us"], newer["lag_us"])
    meters["merged"] += 1
    return meters
