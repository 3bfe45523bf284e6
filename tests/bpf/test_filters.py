"""Filters decide in the kernel as they do in user space, and refuse what no connection can be."""

import ctypes as ct
import os
import subprocess
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bpf.errors import UsageError
from bpf.filters import COMM_BYTES, Filters, Network, c_source, parse_net
from bpf.generate import HEADER
from bpf.record import IDENTITY
from collector.diag import matches

#: The compiled text, with entrances: many connections and many owners at one call.
PROGRAM = """
typedef _Bool bool;
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32;
typedef int s32; typedef unsigned long long u64;
#define __always_inline inline
#include "{header}"
{filters}
void tuples(struct estats_identity *who, int count, u8 *wanted)
{{
	for (int i = 0; i < count; i++)
		wanted[i] = estats_wants_tuple(who + i);
}}
void owners(u32 *pids, char *comms, int count, u8 *wanted)
{{
	for (int i = 0; i < count; i++)
		wanted[i] = estats_wants_owner(pids[i], comms + 16 * i);
}}
int by_owner(void) {{ return ESTATS_FILTERS_OWNER; }}
"""

# Few values, so that filters and connections meet often.
PORTS = st.sampled_from([1, 80, 443, 0x1234, 0x3412, 65535])
PIDS = st.sampled_from([1, 2, 700, (1 << 31) - 1])
COMMS = st.sampled_from(["a", "sshd", "eightcha", "eightchar", "fifteen_letters", "\u00e9t\u00e9"])
V4 = st.sampled_from([0x0A000001, 0x0A000002, 0x0A010203, 0xC0A80001, 0x0100000A, 0xFFFFFFFF])
V6 = st.sampled_from([1, 0xFFFF << 32 | 0x0A000001, 0x20010DB8 << 96 | 1, 0x20010DB8 << 96, 0])

ADDRESSES = (
    V4.map(lambda address: 0xFFFF << 32 | address)
    | V6
    | st.integers(0, 127).flatmap(lambda bit: V6.map(lambda address: address ^ 1 << bit))
)
NETS = st.builds(
    lambda address, bits: ip_network((address, bits), strict=False), V4, st.integers(0, 32)
) | st.builds(
    lambda address, bits: ip_network((address.to_bytes(16, "big"), bits), strict=False),
    V6,
    st.integers(0, 128),
)


def some(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """Up to three values; most filters are not given."""
    return st.just(()) | st.lists(values, min_size=1, max_size=3).map(tuple)


FILTERS = st.builds(
    Filters,
    ports=some(PORTS),
    sports=some(PORTS),
    dports=some(PORTS),
    nets=some(NETS),
    pids=some(PIDS),
    comms=some(COMMS),
)
TUPLES = st.lists(st.tuples(ADDRESSES, PORTS, ADDRESSES, PORTS), min_size=30, max_size=60)
OWNERS = st.lists(st.tuples(PIDS, COMMS), min_size=5, max_size=20)


def compiled(folder: Path, filters: Filters) -> ct.CDLL:
    """The functions that the kernel programs would ask, in a library."""
    source, library = folder / "filters.c", folder / "filters.so"
    source.write_text(PROGRAM.format(header=HEADER, filters=c_source(filters)))
    options = ["-std=gnu11", "-fno-strict-aliasing", "-shared", "-fPIC", "-Wall", "-Werror"]
    options += ["-Wno-unused-variable"]  # a filter that is not given looks at nothing
    subprocess.run(["gcc", *options, "-o", library, source], check=True)
    return ct.CDLL(str(library))


def identities(tuples: list[tuple[int, int, int, int]]) -> npt.NDArray[Any]:
    """Connections with these ends."""
    made = np.zeros(len(tuples), IDENTITY)
    for row, (local, local_port, rem, rem_port) in zip(made, tuples, strict=True):
        row["local_address"] = list(local.to_bytes(16, "big"))
        row["rem_address"] = list(rem.to_bytes(16, "big"))
        row["local_port"], row["rem_port"] = local_port, rem_port
    return made


@settings(max_examples=25)
@given(filters=FILTERS, tuples=TUPLES, owners=OWNERS)
@example(
    filters=Filters(nets=(IPv4Network("0.0.0.0/0"),)),
    tuples=[(0xFFFF << 32 | 1, 1, 0xFFFF << 32 | 2, 80), (1, 1, 2, 80)],
    owners=[],
)
@example(
    filters=Filters(nets=(IPv6Network("::/0"),), comms=("x" * COMM_BYTES,)),
    tuples=[(0xFFFF << 32 | 1, 1, 2, 80)],
    owners=[(1, "x" * COMM_BYTES), (1, "x" * (COMM_BYTES - 1))],
)
def test_the_kernel_and_user_space_want_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    filters: Filters,
    tuples: list[tuple[int, int, int, int]],
    owners: list[tuple[int, str]],
) -> None:
    """Compiled, the filters let through exactly the connections and owners that they describe."""
    library = compiled(tmp_path_factory.mktemp("filters"), filters)
    who = identities(tuples)
    wanted = np.full(len(who), 2, "u1")
    library.tuples(who.ctypes.data_as(ct.c_void_p), len(who), wanted.ctypes.data_as(ct.c_void_p))

    assert wanted.tolist() == matches(filters, who).tolist()

    pids = np.array([pid for pid, _ in owners], "u4")
    comms = b"".join(comm.encode().ljust(16, b"\0") for _, comm in owners)
    wanted = np.full(len(owners), 2, "u1")
    library.owners(pids.ctypes.data_as(ct.c_void_p), comms, len(owners),
                   wanted.ctypes.data_as(ct.c_void_p))  # fmt: skip

    assert wanted.tolist() == [
        (not filters.pids or pid in filters.pids) and (not filters.comms or comm in filters.comms)
        for pid, comm in owners
    ]
    assert library.by_owner() == filters.by_owner == bool(filters.pids or filters.comms)


@given(comm=st.text(max_size=8))
def test_nothing_of_a_user_but_numbers_is_compiled(comm: str) -> None:
    """Whatever a process is called: the text differs from another name's in digits only."""
    try:
        filters = Filters(comms=(comm,))
    except UsageError:
        return

    ours, other = (c_source(f).translate({ord(d): None for d in "0123456789"})
                   for f in (filters, Filters(comms=("a",))))  # fmt: skip

    assert ours == other


@pytest.mark.parametrize(
    "wrong",
    [
        {"ports": (0,)},
        {"sports": (80, -1)},
        {"dports": (65536,)},
        {"pids": (0,)},
        {"pids": (1 << 31,)},
        {"comms": ("",)},
        {"comms": ("x" * (COMM_BYTES + 1),)},
        {"comms": ("\u00e9" * 8,)},  # 16 bytes
        {"comms": ("a\0b",)},
    ],
)
def test_what_no_connection_has_is_refused(wrong: dict[str, Any]) -> None:
    """A filter that could never match is a mistake, and is told as one."""
    with pytest.raises(UsageError):
        Filters(**wrong)


@pytest.mark.parametrize(
    ("text", "net"),
    [
        ("10.0.0.0/8", IPv4Network("10.0.0.0/8")),
        ("10.1.2.3/8", IPv4Network("10.0.0.0/8")),
        ("10.1.2.3", IPv4Network("10.1.2.3/32")),
        ("2001:db8::/32", IPv6Network("2001:db8::/32")),
        ("::1", IPv6Network("::1/128")),
    ],
)
def test_a_network_is_a_block_or_an_address(text: str, net: Network) -> None:
    """Bits beyond the prefix do not matter."""
    assert parse_net(text) == net


@pytest.mark.parametrize("text", ["", "10.0.0.0/33", "10.0.0", "::/129", "localhost", "1.2.3.4/x"])
def test_what_is_no_network_is_refused(text: str) -> None:
    """With examples of what is."""
    with pytest.raises(UsageError) as refusal:
        parse_net(text)

    assert repr(text) in refusal.value.message
    assert "10.0.0.0/8" in refusal.value.advice


def test_a_name_that_is_no_text_is_its_bytes() -> None:
    """As Python hands over an argument in another encoding than the terminal's."""
    latin1 = Filters(comms=(os.fsdecode(b"caf\xe9"),))

    assert f"{int.from_bytes(b'caf' + bytes([0xE9]), 'little')}ULL" in c_source(latin1)


def test_the_run_remembers_what_was_asked_for() -> None:
    """As words, and only what was given."""
    filters = Filters(dports=(80, 443), nets=(IPv4Network("10.0.0.0/8"),), comms=("curl",))

    assert filters.as_dict() == {"dport": ["80", "443"], "net": ["10.0.0.0/8"], "comm": ["curl"]}
    assert Filters().as_dict() == {}
