"""``--max-connections``: who is tracked, who makes room, who comes back; and all are counted."""

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest

from bpf.filters import Filters
from bpf.loader import Request, load
from bpf.record import Flag, batch_dtype
from bpf.variable import SAMPLED
from collector.crowd import Crowd
from collector.kernel import Counters, census, sweep
from collector.ring import Ring
from tests.kernel.collecting import HOME, INTERVAL_SECONDS, Database, Row, collecting, until
from tests.kernel.inside import cookie

pytestmark = pytest.mark.kernel

MOST = 200
OCTETS = 100
FOREVER = (1 << 63) - 1
#: Longer than an acknowledgement is delayed: who spoke in one group is older than all of the next.
BETWEEN_GROUPS_SECONDS = 0.1

Ends = tuple[socket.socket, socket.socket]


class Hall:
    """A listener, whose port is the only one that is collected, and connections to it."""

    def __init__(self, server: socket.socket, stack: ExitStack) -> None:
        """Nobody has come yet."""
        self.port: int = server.getsockname()[1]
        self._server, self._stack = server, stack

    @property
    def options(self) -> list[str]:
        """Of a collector."""
        return ["--source", "bpf", "--port", str(self.port), "--max-connections", str(MOST)]

    def open(self, pairs: int) -> list[Ends]:
        """So many connections more, each of which has sent something."""
        made: list[Ends] = []
        for _ in range(pairs):
            client = socket.create_connection(self._server.getsockname())
            accepted, _ = self._server.accept()
            made.append((self._stack.enter_context(client), self._stack.enter_context(accepted)))
            exchange(made[-1])
        return made

    def close(self) -> None:
        """All connections."""
        self._stack.close()


@pytest.fixture
def hall() -> Iterator[Hall]:
    """With room for the descriptors of a thousand ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4_096)), hard))
    with closing(socket.create_server(("127.0.0.1", 0))) as server, ExitStack() as stack:
        yield Hall(server, stack)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def exchange(ends: Ends) -> None:
    """Send a few octets, and read them."""
    client, accepted = ends
    client.sendall(b"x" * OCTETS)
    assert len(accepted.recv(OCTETS, socket.MSG_WAITALL)) == OCTETS


def cookies(pairs: list[Ends]) -> list[int]:
    """Of both ends of each."""
    return [cookie(end) for ends in pairs for end in ends]


def total(base: Database, name: str) -> int:
    """One meter of all snapshots so far."""
    return int(base.value(f"SELECT coalesce(sum({name}), 0) FROM snapshot"))  # noqa: S608


def rows(base: Database, why: str) -> list[Row]:
    """Connections with their newest values, of which this holds."""
    return base.ask(f"SELECT * FROM latest WHERE {why} ORDER BY ConnectIndex")  # noqa: S608


def agree_with_the_bound(base: Database, ends: int) -> None:
    """Each end is a row from its beginning or was not tracked; whoever made room was counted."""
    assert total(base, "lost + lost_finals + late") == 0
    assert len(rows(base, "origin != 'backfill'")) + total(base, "untracked") == ends
    assert len(rows(base, "close_reason = 'evicted'")) == total(base, "evicted")
    assert base.value("SELECT max(connections) FROM snapshot") <= MOST


def test_the_programs_track_no_more_than_they_may(hall: Hall) -> None:
    """What is beyond is counted once, however much it sends; who closes makes room again."""
    filters = Filters(ports=(hall.port,))
    loaded = load(
        Request(tables=SAMPLED, shards=1, flush_us=1_000, filters=filters, connections_max=MOST)
    )
    try:
        counters = Counters(loaded, 1)
        first = hall.open(MOST // 2)
        beyond = hall.open(MOST)
        for ends in beyond:
            exchange(ends)
        sweep(loaded)

        assert sorted(census(loaded)["id"].tolist()) == sorted(cookies(first))
        assert counters.total("opened") == MOST
        assert counters.total("untracked") == 2 * MOST

        for end in first[0]:
            end.close()
        exchange(beyond[7])
        living = {id_ % (1 << 40) for id_ in census(loaded)["id"].tolist()}  # of cookies

        assert living == set(cookies(first[1:])) | set(cookies([beyond[7]]))
        assert counters.total("untracked") == 2 * MOST
    finally:
        loaded.close()


def test_who_comes_back_has_another_name_and_the_same_cookie(hall: Hall) -> None:
    """So that nothing of it is taken for late news of the one before."""
    filters = Filters(ports=(hall.port,))
    loaded = load(
        Request(tables=SAMPLED, shards=1, flush_us=1_000, filters=filters, connections_max=MOST)
    )
    try:
        (ends,) = hall.open(1)
        crowd, counters = Crowd(loaded), Counters(loaded, 1)
        for turn in range(1, 4):
            latest_us = census(loaded)["active_us"].max()
            with crowd.making_room(np.full(MOST, latest_us), FOREVER):
                sweep(loaded)
            assert len(census(loaded)) == 0
            assert counters.total("evicted") == counters.total("ended") == 2 * turn
            exchange(ends)
            assert len(census(loaded)) == 2
        assert counters.total("opened") == 8
        assert counters.total("untracked") == 0
        batches = [Ring(fd, loaded.ring_bytes, batch_dtype()) for fd in loaded.rings.values()]
        told = np.concatenate([ring.read(FOREVER).copy() for ring in batches])
        evicted = told[(told["head"]["flags"] & np.uint32(Flag.EVICTED)) != 0]
        assert sorted(set(evicted["identity"]["cookie"].tolist())) == sorted(cookies([ends]))
        assert len(set(evicted["head"]["id"].tolist())) == len(evicted) == 6
    finally:
        loaded.close()


def test_a_thousand_connections_take_no_more_than_the_bound(hall: Hall, tmp_path: Path) -> None:
    """Each end is told of, or counted; once some have closed, the others have their values."""
    with collecting(tmp_path, *hall.options) as collector:
        base = collector.database
        whose = cookies(hall.open(500))
        base.catch_up()
        agree_with_the_bound(base, len(whose))
        assert total(base, "untracked") > 0 and total(base, "evicted") > 0
        hall.close()
        base.catch_up()
    agree_with_the_bound(base, len(whose))
    assert rows(base, "closed_us IS NULL") == []
    ended = rows(base, "close_reason = 'closed'")
    for row in ended:
        assert max(row["HCDataOctetsOut"], row["HCDataOctetsIn"]) == OCTETS
    last = {row["cookie"] for row in ended} | {r["cookie"] for r in rows(base, "1")}
    assert last <= set(whose)
    words = collector.log.read_text().splitlines()[-1]
    assert f" {total(base, 'untracked')} connections not tracked, " in words
    assert f" {total(base, 'evicted')} evicted to keep to --max-connections, " in words


def evicted(base: Database) -> set[int]:
    """The cookies of those that made room."""
    return {row["cookie"] for row in rows(base, "close_reason = 'evicted'")}


def test_the_oldest_idle_make_room_and_the_busy_stay(hall: Hall, tmp_path: Path) -> None:
    """However early the busy were opened, they have their last values, to the octet."""
    with collecting(tmp_path, *hall.options) as collector:
        base = collector.database
        busy, groups = hall.open(5), [hall.open(8) for _ in range(10)]
        base.catch_up()
        assert total(base, "evicted") == 0
        groups.reverse()
        for group in groups:
            for ends in (*group, *busy):
                exchange(ends)
            time.sleep(BETWEEN_GROUPS_SECONDS)
        spoken = 1 + len(groups)
        time.sleep(2 * INTERVAL_SECONDS)
        newest = hall.open(15)

        def made_room() -> int:
            nonlocal spoken
            for ends in busy:
                exchange(ends)
            spoken += 1
            return total(base, "evicted")

        until("an eviction", made_room)
        base.catch_up()
        gone = evicted(base)
        whose, kept = cookies(busy), cookies([*busy, *newest])
        there = [len(gone & set(cookies(group))) for group in groups]
        hall.close()
        base.catch_up()
    assert sum(there) == len(gone) == total(base, "evicted")
    assert there == sorted(there, reverse=True), "the oldest group first"
    assert sum(0 < count < 16 for count in there) <= 1, "and whole before the next"
    agree_with_the_bound(base, 2 * (5 + 80 + 15))
    ended = [base.latest(one) for one in kept]
    assert {row["close_reason"] for row in ended} == {"closed"}
    for row in ended[: len(whose)]:
        assert max(row["HCDataOctetsOut"], row["HCDataOctetsIn"]) == spoken * OCTETS


def test_who_was_evicted_comes_back_with_all_that_it_ever_sent(hall: Hall, tmp_path: Path) -> None:
    """In a row of its own; the first one keeps what was known when it made room."""
    with collecting(tmp_path, *hall.options) as collector:
        base = collector.database
        old = hall.open(80)
        base.catch_up()
        hall.open(18)
        until("an eviction", lambda: evicted(base))
        gone = evicted(base)
        again = next(ends for ends in old if set(cookies([ends])) <= gone)
        whose = cookies([again])
        exchange(again)
        until("it comes back", lambda: len(rows(base, "origin = 'backfill'")) == 2)
        shown = subprocess.run(
            [sys.executable, "-m", "estats", "connections", "--db", str(base.path)],
            capture_output=True,
            text=True,
            check=True,
            cwd=HOME,
            env=os.environ,
        )
        count = total(base, "evicted")
        hall.close()
        base.catch_up()
    assert f"{count} idle connections evicted to keep to --max-connections" in shown.stderr
    agree_with_the_bound(base, 2 * (80 + 18))
    for one, is_client in zip(whose, (True, False), strict=True):
        first, second = base.ask("SELECT * FROM latest WHERE cookie = ? ORDER BY opened_us", one)
        assert (first["origin"] != "backfill", first["close_reason"]) == (True, "evicted")
        assert (second["origin"], second["close_reason"]) == ("backfill", "closed")
        for row, octets, fin in ((first, OCTETS, 0), (second, 2 * OCTETS, 1)):
            told = row["HCDataOctetsOut"] if is_client else row["HCThruOctetsReceived"] - fin
            assert told == octets
