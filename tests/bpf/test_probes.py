"""The rows of programs and the programs themselves are the same list."""

import re
from pathlib import Path

from bpf import tuner
from bpf.catalogue import BY_NAME
from bpf.probes import PROBES, Hook
from bpf.variable import HISTORIES, SAMPLED, Status, Table

BPF = Path(__file__).parents[2] / "bpf"
TEXT = "\n".join(path.read_text() for path in sorted(BPF.glob("*.bpf.c")))

PACKETS = (Hook.INGRESS, Hook.EGRESS)


def test_every_program_has_a_row_and_every_row_a_program() -> None:
    """A program without a row would never be attached; a row without one fails only at start."""
    assert sorted(re.findall(r"^int (on_\w+)\(", TEXT, re.MULTILINE)) == sorted(
        probe.function for probe in (*PROBES, tuner._PROBE)
    )


def test_a_program_is_named_for_what_it_hooks() -> None:
    """A tracepoint by its own name; the 15 bytes that the kernel keeps tell the programs apart."""
    for probe in PROBES:
        if probe.hook is Hook.TRACEPOINT:
            assert probe.function == f"on_{probe.target}"
        assert bool(probe.target) is (probe.hook not in PACKETS)
    names = [probe.function[:15] for probe in PROBES]
    assert len(set(names)) == len(names)


def test_an_optional_program_says_what_it_is_for() -> None:
    """By the names of variables that are stored, each fed by one only; nobody misses another."""
    for probe in PROBES:
        assert probe.is_optional is bool(probe.feeds or probe.refines)
        for name in (*probe.feeds, *probe.refines):
            assert BY_NAME[name.lower()].status is Status.COLLECTED
            assert BY_NAME[name.lower()].table in probe.tables
    fed = [name for probe in PROBES for name in probe.feeds]
    assert len(set(fed)) == len(fed)


def test_every_table_has_what_its_connections_need() -> None:
    """They appear, are swept, and close, whatever is masked out."""
    whole = {"on_inet_sock_set_state", "on_tcp_probe", "on_tcp_rcv_space_adjust"}
    whole |= {"on_backfill", "on_sweep", "on_census"}

    assert whole <= {probe.function for probe in PROBES if set(probe.tables) >= set(SAMPLED)}
    assert all(probe.tables and set(probe.tables) <= set(HISTORIES) for probe in PROBES)


def test_listeners_alone_need_no_look_at_segments_under_the_lock() -> None:
    """They appear, are swept for what came from them, and their handshakes pass two hooks."""
    needed = {probe.function for probe in PROBES if Table.LISTENER in probe.tables}

    assert needed == {
        *("on_inet_sock_set_state", "on_tcp_destroy_sock", "on_ingress", "on_egress"),
        *("on_backfill", "on_sweep", "on_census", "on_listeners"),
    }
    assert {p.function for p in PROBES if p.tables == (Table.LISTENER,)} == {"on_listeners"}
