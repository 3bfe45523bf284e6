"""Listeners: what is told of them at each cut, from the kernel's programs and from inet_diag."""

import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from bpf import syscall
from bpf.filters import Filters, parse_net
from bpf.loader import ListenerFds
from bpf.record import LISTENER, Flag, known_bit
from bpf.variable import HISTORIES, Table
from collector.diag_listeners import DiagListeners
from collector.listeners import Changes, KernelListeners, Listeners, control
from collector.recording import Cut
from collector.supervisor import Progress
from tests.collector.running import DIAG, Collected

SECOND_NS = 1_000_000_000
OFFSET_US = 1_700_000_000_000_000
DIAG_A_WHILE = replace(DIAG, duration_us=300_000)


def cut(seconds: int) -> Cut:
    """So long after the kernel's clock began."""
    return Cut(seconds * SECOND_NS, OFFSET_US + seconds * 1_000_000)


def record(cookie: int, start: int, *, syns: int = 0, closed: int = 0, flags: int = 0) -> bytes:
    """What the kernel tells of one listener; times are seconds."""
    made = np.zeros(1, LISTENER)
    made["head"]["closed_ns"], made["head"]["flags"] = closed * SECOND_NS, flags
    made["identity"]["cookie"], made["identity"]["start_ns"] = cookie, start * SECOND_NS
    made["listener"]["hc_syn_rcvd"] = syns
    made["listener"]["start_time"] = 0 if flags & Flag.BACKFILL else start * SECOND_NS
    return made.tobytes()


def take(listeners: Listeners, seconds: int, *records: bytes) -> Changes:
    """What changed at a cut."""
    return listeners.take(np.frombuffer(b"".join(records), LISTENER), cut(seconds))


def told(changes: Changes) -> tuple[list[tuple[int, int]], list[tuple[int, int]], int | None]:
    """(index, closed second) of endpoints, (index, SYNs) of rows, and the second of the change."""
    closed = [(us - OFFSET_US) // 1_000_000 if us else 0
              for us in changes.endpoints["closed_us"].tolist()]  # fmt: skip
    endpoints = list(zip(changes.endpoints["listener_index"].tolist(), closed, strict=True))
    syns = changes.rows["block"]["hc_syn_rcvd"].tolist()
    rows = list(zip(changes.rows["listener_index"].tolist(), syns, strict=True))
    last = changes.last_change_us
    return endpoints, rows, (last - OFFSET_US) // 1_000_000 if last else last


def test_a_listener_is_told_when_it_comes_changes_and_goes() -> None:
    """Who it is once, its values when they differ, its end at its own time."""
    listeners = Listeners(41)

    assert told(take(listeners, 1)) == ([], [], 0)
    assert told(take(listeners, 5, record(7, 3))) == ([(42, 0)], [(42, 0)], 3)
    assert told(take(listeners, 6, record(7, 3))) == ([], [], None)
    assert told(take(listeners, 7, record(7, 3, syns=9))) == ([], [(42, 9)], None)
    ended = take(listeners, 9, record(7, 3, syns=9), record(7, 3, syns=10, closed=8))
    assert told(ended) == ([(42, 8)], [(42, 10)], 8)
    assert told(take(listeners, 10)) == ([], [], None)


def test_one_that_is_older_changes_nothing_until_it_closes() -> None:
    """RFC 4898: the start is 0, and so is the table's last change."""
    listeners = Listeners(0)
    older = record(7, 3, flags=Flag.BACKFILL)

    found = take(listeners, 5, older)

    assert told(found) == ([(1, 0)], [(1, 0)], 0)
    assert found.rows["block"]["start_time"].tolist() == [0]
    assert told(take(listeners, 6)) == ([(1, 6)], [], 6), "its end was not told: it is gone"


def test_start_times_do_not_drift_with_the_clock() -> None:
    """The wall clock is asked once, when the listener is first seen."""
    listeners = Listeners(0)
    first = take(listeners, 5, record(7, 3))
    later = listeners.take(
        np.frombuffer(record(7, 3, syns=1), LISTENER), Cut(6 * SECOND_NS, OFFSET_US)
    )

    opened = OFFSET_US + 3_000_000
    assert first.endpoints["opened_us"].tolist() == [opened]
    assert first.rows["block"]["start_time"].tolist() == [opened]
    assert later.rows["block"]["start_time"].tolist() == [opened]


def test_a_socket_that_listens_again_is_another_listener() -> None:
    """Also where both its lives end within one interval."""
    listeners = Listeners(0)
    lives = record(7, 7), record(7, 5, closed=6), record(7, 3, closed=4)

    assert told(take(listeners, 8, *lives)) == (
        [(1, 4), (2, 6), (3, 0)],
        [(1, 0), (2, 0), (3, 0)],
        7,
    )


def test_the_kernels_listeners_are_those_that_live_and_those_that_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A last record is whole when it is found in its map, and is taken out of it."""
    closed = {b"a" * 16: record(1, 1, closed=2), b"b" * 16: record(2, 1, closed=3)}
    monkeypatch.setattr(syscall, "iterate", lambda fd: record(3, 1) if fd == 5 else b"")
    monkeypatch.setattr(syscall, "take_elements", lambda fd, *sizes: list(closed.items()))
    monkeypatch.setattr(syscall, "delete_element", lambda fd, key: closed.pop(key))

    found = KernelListeners(ListenerFds(5, 6)).look()

    assert found["identity"]["cookie"].tolist() == [3, 1, 2]
    assert not closed


def mine(found: npt.NDArray[np.void], listeners: Sequence[socket.socket]) -> list[int]:
    """Where these sockets are among records, by port."""
    ports = found["identity"]["local_port"].tolist()
    return [ports.index(listener.getsockname()[1]) for listener in listeners]


def test_inet_diag_knows_the_queues_of_listeners() -> None:
    """Without privileges: who listens, how many wait and may; the rest is unknown, not 0."""
    v6only = (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    with (
        socket.create_server(("127.0.0.1", 0), backlog=23) as v4,
        socket.socket(socket.AF_INET6) as both,
        socket.socket(socket.AF_INET6) as v6,
        socket.create_connection(v4.getsockname()),
    ):
        for listener, only in ((both, 0), (v6, 1)):
            listener.setsockopt(*v6only, only)
            listener.bind(("::", 0))
            listener.listen(5)
        ports = tuple(listener.getsockname()[1] for listener in (v4, both, v6))
        source = DiagListeners(Filters(sports=ports))
        first, again = source.look(), source.look()
        places = mine(first, (v4, both, v6))
        found = first[places]
        listeners = Listeners(0)
        assert len(listeners.take(first, cut(1)).rows) == len(first)
        assert len(listeners.take(again, cut(2)).rows) == 0, "nothing has changed"

    assert found["head"]["address_type"].tolist() == [1, 0, 2]
    assert found["head"]["flags"].tolist() == [Flag.POLLED] * 3
    assert found["listener"]["max_backlog"].tolist() == [23, 5, 5]
    assert found["listener"]["cur_estab_backlog"].tolist() == [1, 0, 0]
    known = sum(1 << known_bit(Table.LISTENER, c) for c in ("max_backlog", "cur_estab_backlog"))
    assert found["listener"]["known"].tolist() == [known] * 3


def test_inet_diag_leaves_out_what_is_not_asked_for() -> None:
    """By port and by network; a remote port no listener has."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)):
        port = one.getsockname()[1]
        asked = (Filters(sports=(port,)), Filters(ports=(port,), nets=(parse_net("127.0.0.0/8"),)))
        for filters in asked:
            found = DiagListeners(filters).look()
            assert found["identity"]["local_port"].tolist() == [port]
        assert len(DiagListeners(Filters(dports=(port,))).look()) == 0


def test_control_says_which_tables_are_kept() -> None:
    """1 is true and 2 false; there are no notifications, and no end to keeping but --keep."""
    everything, some = control(HISTORIES), control((Table.PATH, Table.LISTENER))

    assert everything == {
        **dict.fromkeys(("ControlPath", "ControlStack", "ControlApp", "ControlTune"), 1),
        "ControlNotify": 2,
        "ConnTableLatency": 2**32 - 1,
    }
    assert {name for name, value in some.items() if value == 1} == {"ControlPath"}
    assert control(HISTORIES, keep_us=7 * 86_400_000_000)["ConnTableLatency"] == 604_800


def test_a_run_without_privileges_writes_listeners(tmp_path: Path) -> None:
    """Through all processes into the database; what is unknown has its reason."""
    run = Collected(tmp_path / "flows.db")
    with socket.create_server(("127.0.0.1", 0), backlog=23) as listener:
        port = listener.getsockname()[1]

        def stop_listening(progress: Progress) -> None:
            if progress.snapshots == 3:  # the children hold the descriptor, too
                listener.shutdown(socket.SHUT_RDWR)

        run.on_progress = stop_listening
        run.run(DIAG_A_WHILE)

    sql = f"SELECT * FROM latest_listener WHERE LocalPort = {port}"  # noqa: S608
    (row,) = run.ask(sql)
    assert (row["LocalAddressType"], row["LocalAddress"]) == (1, "127.0.0.1")
    assert (row["origin"], row["pid"], row["MaxBacklog"], row["HCSynRcvd"]) == (
        *("polled", None, 23, None),
    )
    assert row["opened_us"] < row["closed_us"]
    assert run.ask("SELECT ControlPath, ControlNotify FROM control") == [
        {"ControlPath": 1, "ControlNotify": 2}
    ]
    changes = [r["ListenerTableLastChange"] for r in run.ask("SELECT * FROM scalar")]
    assert changes[0] == 0
    assert row["closed_us"] in changes
    assert '"HCSynRcvd": "inet_diag does not tell it"' in run.one("SELECT unavailable FROM run")
