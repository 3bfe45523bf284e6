"""Which connections are wanted: decided in the kernel, before anything is sent.

A filter is compiled into the programs as plain comparisons, so that what is filtered out costs a
look-up and nothing else. Ports and networks are decided when a connection appears; pid and process
name once its owner is known, and until then nothing of it is sent.
"""

import ipaddress
import os
from dataclasses import dataclass, field

from bpf.errors import UsageError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

COMM_BYTES = 15  # what the kernel keeps of a process's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Wanted values; an empty tuple wants all. All fields that are given must match.

    ``ports`` match either end, ``sports`` the local port, ``dports`` the remote one; ``nets``
    match either address (IPv4 networks also on v4-mapped sockets).
    """

    ports: tuple[int, ...] = ()
    sports: tuple[int, ...] = ()
    dports: tuple[int, ...] = ()
    nets: tuple[Network, ...] = field(default=())
    pids: tuple[int, ...] = ()
    comms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises UsageError for values no connection can have."""
        for port in (*self.ports, *self.sports, *self.dports):
            if not 0 < port < 65536:
                raise UsageError(f"{port} is not a TCP port", "ports are 1 to 65535")
        for pid in self.pids:
            if not 0 < pid < 1 << 31:
                raise UsageError(f"{pid} is not a process id")
        for comm in self.comms:
            if not comm or "\0" in comm or len(os.fsencode(comm)) > COMM_BYTES:
                raise UsageError(
                    f"{comm!r} is not a process name",
                    f"the kernel keeps {COMM_BYTES} bytes of a name: give those",
                )

    @property
    def by_owner(self) -> bool:
        """Whether the owner decides, which polling cannot know."""
        return bool(self.pids or self.comms)

    def as_dict(self) -> dict[str, list[str]]:
        """What was asked for, for the ``run`` row; empty filters are left out."""
        given = {
            "port": self.ports,
            "sport": self.sports,
            "dport": self.dports,
            "net": self.nets,
            "pid": self.pids,
            "comm": self.comms,
        }
        return {name: [str(v) for v in values] for name, values in given.items() if values}


def parse_net(text: str) -> Network:
    """A CIDR block or a single address; raises UsageError."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as e:
        raise UsageError(
            f"{text!r} is not a network", "write 10.0.0.0/8, 2001:db8::/32 or a single address"
        ) from e


def c_source(filters: Filters) -> str:
    """The functions that the programs ask: only numbers are ever written into them."""
    owner = " && ".join(
        [
            _either([f"pid == {pid}U" for pid in filters.pids]),
            _either([_comm_matches(comm) for comm in filters.comms]),
        ]
    )
    local, rem = "who->local_port", "who->rem_port"
    tuple_ = " && ".join(
        [
            _either([f"{local} == {p} || {rem} == {p}" for p in filters.ports]),
            _either([f"{local} == {p}" for p in filters.sports]),
            _either([f"{rem} == {p}" for p in filters.dports]),
            _either([_net_matches(net) for net in filters.nets]),
        ]
    )
    return f"""
#define ESTATS_FILTERS_OWNER {int(filters.by_owner)}

static __always_inline bool estats_wants_tuple(struct estats_identity *who)
{{
	u32 *local = (u32 *)who->local_address, *rem = (u32 *)who->rem_address;

	return {tuple_};
}}

static __always_inline bool estats_wants_owner(u32 pid, char *comm)
{{
	u64 *name = (u64 *)comm;

	return {owner};
}}
"""


def _either(conditions: list[str]) -> str:
    return "(" + " || ".join(conditions or ["1"]) + ")"


def _comm_matches(comm: str) -> str:
    raw = os.fsencode(comm).ljust(16, b"\0")  # names are bytes, whatever they spell
    words = (int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:], "little"))
    return f"(name[0] == {words[0]}ULL && name[1] == {words[1]}ULL)"


def _net_matches(net: Network) -> str:
    """Compares the four words of a 16-octet address, as this (little-endian) CPU loads them."""
    if isinstance(net, ipaddress.IPv4Network):
        address = (0xFFFF << 32) | int(net.network_address)
        bits = 96 + net.prefixlen
    else:
        address, bits = int(net.network_address), net.prefixlen
    mask = ((1 << bits) - 1) << (128 - bits)
    pairs = [
        (
            int.from_bytes((address >> shift & 0xFFFFFFFF).to_bytes(4, "big"), "little"),
            int.from_bytes((mask >> shift & 0xFFFFFFFF).to_bytes(4, "big"), "little"),
        )
        for shift in (96, 64, 32, 0)
    ]

    def end(name: str) -> str:
        words = [f"({name}[{i}] & {m}U) == {a & m}U" for i, (a, m) in enumerate(pairs) if m]
        return "(" + " && ".join(words or ["1"]) + ")"

    return f"{end('local')} || {end('rem')}"
