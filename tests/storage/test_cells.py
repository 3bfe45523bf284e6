"""Rows as SQLite gets them: the values that were meant, and text that people can read."""

from ipaddress import ip_address
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bpf.catalogue import stored_in
from bpf.meters import Run
from bpf.record import Flag, block_dtype
from bpf.variable import SAMPLED, Table
from storage import u64
from storage.writer import Writer
from tests.storage.contents import MakeSnapshot, one_connection, rows, select


def mapped(address: str) -> list[int]:
    """16 octets, IPv4 as v4-mapped."""
    packed = ip_address(address).packed
    return list(packed if len(packed) == 16 else bytes(10) + b"\xff\xff" + packed)


@pytest.mark.parametrize("literals_from", [1, 1000])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(data=st.data())
def test_rows_through_the_database_and_back_are_the_identity(
    database: Path,
    run: Run,
    make_snapshot: MakeSnapshot,
    monkeypatch: pytest.MonkeyPatch,
    literals_from: int,
    data: st.DataObject,
) -> None:
    """Any operands, any of them unknown or the same in all rows, bound and as literals."""
    monkeypatch.setattr("storage.cells._MANY", literals_from)
    table = data.draw(st.sampled_from(SAMPLED))
    dtype = block_dtype(table)
    many, alike = data.draw(st.integers(0, 40)), data.draw(st.integers(1, 40))
    drawn = -(-many // alike) * dtype.itemsize
    octets = data.draw(st.binary(min_size=drawn, max_size=drawn))
    octets = (octets * alike)[: many * dtype.itemsize]
    snapshot = make_snapshot(many, tables=(table,))
    snapshot.samples["blocks"][table.value] = given_rows = np.frombuffer(octets, dtype)
    writer = Writer(database, run)
    writer.write(snapshot)
    writer.close("done")
    variables = stored_in(table)
    newest = "WHERE snapshot_id = (SELECT max(snapshot_id) FROM snapshot) ORDER BY ConnectIndex"
    found = select(database, [v.name for v in variables], table.value, newest)
    assert len(found) == many
    for row, values in zip(given_rows, found, strict=True):
        for bit, (variable, value) in enumerate(zip(variables, values, strict=True)):
            if not int(row["known"]) >> bit & 1:
                assert value is None
            elif variable.dtype == "u8":
                assert u64.decode([value])[0] == row[variable.column]
            else:
                assert value == row[variable.column]


@pytest.mark.parametrize("value", [0, 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_value_that_all_rows_have_is_stored_in_each(
    database: Path, writer: Writer, make_snapshot: MakeSnapshot, value: int
) -> None:
    """Of a crowd, such a column is not bound but written into the statement; so are its NULLs."""
    snapshot = make_snapshot(2_500, tables=(Table.PERF,))
    block = snapshot.samples["blocks"]["perf"]
    places = {v.name: (v.column, n) for n, v in enumerate(stored_in(Table.PERF))}
    block[places["HCDataOctetsOut"][0]] = value
    block["known"] &= ~np.uint64(1 << places["SegsIn"][1])
    writer.write(snapshot)
    (stored,) = u64.encode(np.array([value], "u8"))
    found = rows(database, "SELECT HCDataOctetsOut, SegsIn, SegsOut FROM perf ORDER BY rowid")
    kept = block[places["SegsOut"][0]].tolist()
    assert found == [(stored, None, segments) for segments in kept]


@pytest.mark.parametrize(
    ("address", "ipv4", "text"),
    [
        ("10.0.0.1", True, "10.0.0.1"),
        ("fd00::1", False, "fd00::1"),
        ("2001:db8:0:0:1:0:0:1", False, "2001:db8::1:0:0:1"),
        ("2001:DB8:0:1:1:1:1:1", False, "2001:db8:0:1:1:1:1:1"),
        ("::", False, "::"),
    ],
)
def test_addresses_are_text_as_people_write_it(
    database: Path,
    writer: Writer,
    make_snapshot: MakeSnapshot,
    address: str,
    ipv4: bool,
    text: str,
) -> None:
    """Dotted quads for IPv4 on the wire, RFC 5952 for IPv6."""
    writer.write(
        one_connection(
            make_snapshot,
            flags=Flag.IPV4 if ipv4 else 0,
            local_address=mapped(address),
            rem_address=mapped(address),
            local_port=40000,
            rem_port=5001,
        )
    )
    assert rows(
        database,
        "SELECT AddressType, LocalAddress, LocalPort, RemAddress, RemPort FROM connection",
    ) == [(1 if ipv4 else 2, text, 40000, text, 5001)]


@pytest.mark.parametrize(
    ("flags", "origin"),
    [
        (Flag.ACTIVE, "active"),
        (Flag.PASSIVE, "passive"),
        (Flag.ACTIVE | Flag.BACKFILL, "backfill"),
        (Flag.PASSIVE | Flag.BACKFILL | Flag.POLLED, "polled"),
        (Flag(0), "backfill"),
    ],
)
def test_the_flags_say_how_a_connection_came_to_be_known(
    database: Path, writer: Writer, make_snapshot: MakeSnapshot, flags: Flag, origin: str
) -> None:
    """Polled before backfill before the handshake's side."""
    writer.write(one_connection(make_snapshot, flags=flags))
    assert rows(database, "SELECT origin FROM connection") == [(origin,)]


OWNER_COLUMNS = "SELECT pid, pid_start_ns, comm, uid, cgroup_id, netns FROM connection"


def test_an_owner_seen_in_process_context_is_stored(
    database: Path, writer: Writer, make_snapshot: MakeSnapshot
) -> None:
    """Process, user, cgroup and namespace."""
    writer.write(
        one_connection(
            make_snapshot,
            flags=Flag.OWNER,
            pid=23,
            pid_start_ns=5,
            comm=b"iperf3",
            uid=1000,
            cgroup=7,
            netns=4026531840,
        )
    )
    assert rows(database, OWNER_COLUMNS) == [(23, 5, "iperf3", 1000, 7, 4026531840)]


def test_an_unknown_owner_is_null(
    database: Path, writer: Writer, make_snapshot: MakeSnapshot
) -> None:
    """Never zero, and never what happened to lie in the fields."""
    writer.write(
        one_connection(make_snapshot, flags=0, pid=23, pid_start_ns=5, comm=b"x", uid=2**32 - 1)
    )
    assert rows(database, OWNER_COLUMNS) == [(None,) * 6]


@pytest.mark.parametrize(
    ("comm", "text"),
    [
        (b"caf\xc3\xa9", "café"),
        (b"\xff\xfe", "\\xff\\xfe"),
        (b"a\x1b[2Jb", "a\\x1b[2Jb"),
        (b"a\nb\tc\x7f", "a\\nb\\tc\\x7f"),
        ("x\u202ey".encode(), "x\\u202ey"),
        (b"new\0ldname", "new"),
        (b"'; DROP TABLE--", "'; DROP TABLE--"),
    ],
)
def test_a_hostile_process_name_is_only_text(
    database: Path, writer: Writer, make_snapshot: MakeSnapshot, comm: bytes, text: str
) -> None:
    """Any process can call itself anything; no terminal obeys what is stored."""
    writer.write(one_connection(make_snapshot, flags=Flag.OWNER, comm=comm))
    assert rows(database, "SELECT comm FROM connection") == [(text,)]
