"""The kernel programs: what each hooks, what it needs, what it is for. Rows, no logic."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from bpf.variable import SAMPLED, Table


class Hook(Enum):
    """How a program is attached; the value names the BTF type that tells where."""

    TRACEPOINT = "btf_trace_{target}"  # typed, direct access to its arguments
    ITERATOR = "bpf_iter_{target}"  # runs when it is read
    INGRESS = ""  # root of cgroup v2, packets on their way to a socket
    EGRESS = " "  # root of cgroup v2, packets a socket sends


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One program: the C function ``function`` on ``target``.

    ``tables`` are those that have variables from it alone: masked out, it is not attached.
    ``since`` is the first kernel whose hook this is, for people; the kernel's BTF decides.
    """

    function: str
    hook: Hook
    target: str = ""
    tables: tuple[Table, ...] = SAMPLED
    since: str
    purpose: str


#: In the order they are attached: the lifecycle first, so that no connection is missed between
#: the hooks and the look at those that were open before.
PROBES: Final = (
    Probe(
        function="on_inet_sock_set_state",
        hook=Hook.TRACEPOINT,
        target="inet_sock_set_state",
        since="4.16",
        purpose="connections appear and close; the final values",
    ),
    Probe(
        function="on_tcp_probe",
        hook=Hook.TRACEPOINT,
        target="tcp_probe",
        since="4.16",
        purpose="every segment received in ESTABLISHED: RTT samples, maxima, flush",
    ),
    Probe(
        function="on_tcp_rcv_space_adjust",
        hook=Hook.TRACEPOINT,
        target="tcp_rcv_space_adjust",
        since="4.16",
        purpose="every read: the owner of accepted connections",
    ),
    Probe(
        function="on_ingress",
        hook=Hook.INGRESS,
        tables=(Table.PERF, Table.PATH),
        since="4.10",
        purpose="every packet received: HCDataOctetsIn, IpTtl, IpTosIn",
    ),
    Probe(
        function="on_egress",
        hook=Hook.EGRESS,
        tables=(Table.PERF, Table.PATH, Table.APP),
        since="4.10",
        purpose="every packet sent: CurRwinSent, MaxRwinSent, IpTosOut, MaxAppWQueue",
    ),
    Probe(
        function="on_backfill",
        hook=Hook.ITERATOR,
        target="tcp",
        since="5.9",
        purpose="connections that were open before the collector, once at start",
    ),
    Probe(
        function="on_sweep",
        hook=Hook.ITERATOR,
        target="bpf_sk_storage_map",
        since="5.9",
        purpose="at each snapshot: what happened since a socket's last batch",
    ),
    Probe(
        function="on_census",
        hook=Hook.ITERATOR,
        target="bpf_sk_storage_map",
        since="5.9",
        purpose="after a final batch was lost: which connections still live",
    ),
)

#: Kernel fields that not every kernel has, as struct and field, and the variables they feed.
OPTIONAL_FIELDS: Final = {("tcp_sock", "received_ce"): "CERcvd"}
