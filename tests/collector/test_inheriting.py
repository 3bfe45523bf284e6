"""Tables in the place of a dead worker's go on with what the database has, under its numbers."""

from typing import Any

import numpy as np
import numpy.typing as npt

from bpf.meters import Inherited
from bpf.record import CONNECTION, Flag, batch_dtype, known_bit
from bpf.variable import Table
from collector.tables import Tables

TABLES = (Table.EXTRAS,)
BATCH = batch_dtype(TABLES)
SHARDS, SHARD = 2, 1
NUMBERED = {"connection": 100, "event": 0, "setup": 0}
LARGEST = {"connection": 110, "event": 31, "setup": 8}
OPENED_US = 5_000_000

Array = npt.NDArray[Any]


def known(**of: int) -> Array:
    """A row of the database: by its ``cookie`` and other fields."""
    made = np.zeros(1, CONNECTION)
    made["connect_index"], made["opened_us"] = 102, OPENED_US
    made["identity"]["cookie"] = of.pop("cookie", 7)
    for name, value in of.items():
        made[name] = value
    return made


def heirs(*rows: Array) -> Tables:
    """Tables that inherited these."""
    tables = Tables(TABLES, NUMBERED, SHARDS, SHARD)
    tables.inherit(
        Inherited(LARGEST, np.concatenate([np.zeros(0, CONNECTION), *rows], dtype=CONNECTION))
    )
    return tables


def batch(cookie: int, sent: int, *, reconnects: int = 0, flags: int = 0) -> Array:
    """One that says a Priority, of a connection that began at OPENED_US."""
    made = np.zeros(1, BATCH)
    made["head"]["id"], made["head"]["sent"] = cookie ^ reconnects << 56, sent
    made["head"]["ts"], made["head"]["flags"] = OPENED_US * 1_000 + sent, flags
    made["identity"]["cookie"], made["identity"]["start_ns"] = cookie, OPENED_US * 1_000
    made["extras"]["known"] = 1 << known_bit(Table.EXTRAS, "priority")
    made["extras"]["priority"] = sent
    return made


def test_a_connection_goes_on_under_its_number() -> None:
    """With all of its values, as new ones, and without any loss that there was not."""
    tables = heirs(known(lost=3))
    tables.apply(batch(7, sent=50), 0)
    tables.apply(batch(7, sent=52), 0)

    connections, samples = tables.take()
    assert connections["connect_index"].tolist() == [102]
    assert connections["lost"].tolist() == [3 + 1]
    assert samples["connect_index"].tolist() == [102]
    assert samples["event"].tolist() == [32]
    assert samples["setup"].tolist() == [10]


def test_new_ones_are_numbered_beyond_all_that_were_given() -> None:
    """In the places of this shard."""
    tables = heirs()
    for cookie in (1, 2):
        tables.apply(batch(cookie, sent=1), 0)
    assert tables.take()[0]["connect_index"].tolist() == [112, 114]


def test_a_socket_that_had_connected_before_finds_its_row() -> None:
    """Its id has the number of reconnects in it, which the database has not."""
    tables = heirs(known())
    tables.apply(batch(7, sent=50, reconnects=3), 0)
    tables.apply(batch(7, sent=51, reconnects=3), 0)
    connections, _ = tables.take()
    assert connections["connect_index"].tolist() == [102]


def test_a_socket_that_connects_anew_gets_a_row_of_its_own() -> None:
    """It began at another time than the one that is known."""
    tables = heirs(known(opened_us=OPENED_US - 1_000_000))
    tables.apply(batch(7, sent=1, reconnects=1), 0)
    assert tables.take()[0]["connect_index"].tolist() == [112]


def test_other_shards_and_other_runs_are_not_inherited() -> None:
    """Their numbers tell."""
    tables = heirs(known(connect_index=103), known(cookie=8, connect_index=98))
    assert tables.meters()["connections"] == 0


def test_who_is_gone_is_closed_by_the_census() -> None:
    """As what it was: only that it is over is news."""
    tables = heirs(known(lost=3, flags=int(Flag.IPV4)))
    assert tables.close_missing(np.zeros(0, "u8"), 1, 9_000) == 1
    connections, samples = tables.take()
    assert len(samples) == 0
    expected = known(lost=3, flags=int(Flag.IPV4), closed_us=9_000)
    assert connections.tobytes() == expected.tobytes()


def test_a_batch_after_the_end_makes_no_second_row() -> None:
    """It closed in one of the last snapshots; after one more it is forgotten."""
    tables = heirs(known(closed_us=8_000))
    tables.apply(batch(7, sent=50), 0)
    assert tables.take()[0]["connect_index"].tolist() == [102]
    assert tables.take()[0].tolist() == []
    assert tables.meters()["late"] == 1


def test_who_was_evicted_and_came_back_keeps_its_newest_row() -> None:
    """The end of the older one was lost with the worker: it is told, as that of an eviction."""
    found_open_us = OPENED_US + 1_000_000
    old = known(flags=int(Flag.ACTIVE), lost=3)
    new = known(connect_index=104, opened_us=found_open_us, flags=int(Flag.BACKFILL))
    for rows in ((old, new), (new, old)):
        tables = heirs(*rows)
        connections, samples = tables.take()
        assert len(samples) == 0
        (ended,) = connections
        assert (ended["connect_index"], ended["closed_us"]) == (102, found_open_us)
        assert ended["lost"] == 3
        assert close_flags(ended) == Flag.FINAL | Flag.EVICTED
        assert tables.meters()["connections"] == 1

        again = batch(7, sent=50, reconnects=1)
        again["identity"]["start_ns"] = found_open_us * 1_000
        tables.apply(again, 0)
        assert tables.take()[0]["connect_index"].tolist() == [104]
        assert tables.take()[0].tolist() == []


def test_a_socket_that_connected_anew_was_not_evicted() -> None:
    """It began again, or has other ends: nobody saw its close."""
    elsewhere = known(connect_index=104, flags=int(Flag.BACKFILL))
    elsewhere["identity"]["rem_port"] = 443
    anew = known(connect_index=104, flags=int(Flag.ACTIVE))
    for later in (elsewhere, anew):
        (ended,) = heirs(known(flags=int(Flag.ACTIVE)), later).take()[0]
        assert ended["connect_index"] == 102 and ended["closed_us"] == OPENED_US
        assert close_flags(ended) == 0


def test_what_has_an_end_is_not_ended_again() -> None:
    """Of several rows of a socket: neither the older ones nor the newest."""
    older = known(closed_us=8_000)
    for newest in (known(connect_index=104), known(connect_index=104, closed_us=9_000)):
        assert heirs(older, newest).take()[0].tolist() == []


def test_rows_of_other_sockets_are_not_each_others_end() -> None:
    """However they are ordered."""
    tables = heirs(known(cookie=9), known(cookie=8, connect_index=104))
    assert tables.take()[0].tolist() == []
    assert tables.meters()["connections"] == 2


def close_flags(row: Array) -> int:
    """Those that say how it closed."""
    return int(row["flags"]) & int(Flag.FINAL | Flag.EVICTED)
