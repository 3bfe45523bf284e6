"""The kernel programs: what each hooks, what it needs, what it is for. Rows, no logic."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from bpf.variable import HISTORIES, SAMPLED, Table


class Hook(Enum):
    """How a program is attached; the value names the BTF type that tells where."""

    TRACEPOINT = "btf_trace_{target}"  # typed, direct access to its arguments
    ITERATOR = "bpf_iter_{target}"  # runs when it is read
    INGRESS = ""  # root of cgroup v2, packets on their way to a socket
    EGRESS = " "  # root of cgroup v2, packets a socket sends


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One program: the C function ``function`` on ``target``.

    An iterator over a map is ``over`` that one. ``tables`` are those that have variables from it
    alone: masked out, it is not attached.
    ``since`` is the first kernel whose hook this is, for people; the kernel's BTF decides, also
    whether a tracepoint has as many ``arguments`` as are read. Where an optional one is missing,
    the variables that it ``feeds`` are NULL and those that it ``refines`` are seen at fewer
    moments; where another one is, the collector cannot run.
    """

    function: str
    hook: Hook
    target: str = ""
    over: str = ""
    tables: tuple[Table, ...] = SAMPLED
    since: str
    purpose: str
    arguments: int = 0
    is_optional: bool = False
    feeds: tuple[str, ...] = ()
    refines: tuple[str, ...] = ()


#: In the order they are attached: the lifecycle first, so that no connection is missed between
#: the hooks and the look at those that were open before.
PROBES: Final = (
    Probe(
        function="on_inet_sock_set_state",
        hook=Hook.TRACEPOINT,
        target="inet_sock_set_state",
        tables=HISTORIES,
        since="4.16",
        purpose="connections and listeners appear and close; the final values",
    ),
    Probe(
        function="on_tcp_destroy_sock",
        hook=Hook.TRACEPOINT,
        target="tcp_destroy_sock",
        tables=HISTORIES,
        since="4.16",
        purpose="the end of a socket: final values where the transition to CLOSE went unseen",
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
        tables=(Table.PERF, Table.PATH, Table.STACK, Table.LISTENER),
        since="4.10",
        purpose="every packet received: octets, duplicate ACKs, SACKs, echoes, windows, SYNs",
    ),
    Probe(
        function="on_egress",
        hook=Hook.EGRESS,
        tables=(Table.GLOBAL, Table.PERF, Table.PATH, Table.STACK, Table.APP, Table.LISTENER),
        since="4.10",
        purpose="every packet sent: SYNs, windows, duplicate ACKs, echoes, who limits the sender",
    ),
    Probe(
        function="on_tcp_cong_state_set",
        hook=Hook.TRACEPOINT,
        target="tcp_cong_state_set",
        tables=(Table.GLOBAL, Table.PERF, Table.PATH, Table.STACK, Table.EXTRAS),
        since="5.17",
        purpose="every change of the congestion state: signals, timeouts, recoveries",
        arguments=2,
        is_optional=True,
        feeds=(
            "CongSignals",
            "Timeouts",
            "NonRecovDA",
            "NonRecovDAEpisodes",
            "SumOctetsReordered",
            "PreCongSumCwnd",
            "PreCongSumRTTUs",
            "PostCongSumRTTUs",
            "PostCongCountRTT",
            "FastRetran",
            "SubsequentTimeouts",
            "AbruptTimeouts",
            "SpuriousFrDetected",
            "SpuriousRtoDetected",
            "CongOverCount",
            "SlowStart",
            "CongAvoid",
            "OtherReductions",
            "OtherReductionsCV",
            "SendStall",
        ),
    ),
    Probe(
        function="on_tcp_retransmit_skb",
        hook=Hook.TRACEPOINT,
        target="tcp_retransmit_skb",
        tables=(Table.PERF,),
        since="4.15",
        purpose="every retransmission: those of what was sent again before",
        arguments=2,
        is_optional=True,
        feeds=("LostRetransmitSegs",),
    ),
    Probe(
        function="on_tcp_sendmsg_locked",
        hook=Hook.TRACEPOINT,
        target="tcp_sendmsg_locked",
        tables=(Table.GLOBAL, Table.PERF, Table.APP),
        since="6.16",
        purpose="every write: the end of waiting for the application",
        arguments=1,
        is_optional=True,
        refines=(
            "LimState",
            "SndLimTransRwin",
            "SndLimTimeRwinUs",
            "SndLimTransCwnd",
            "SndLimTimeCwndUs",
            "SndLimTransSnd",
            "SndLimTimeSndUs",
            "SndLimTransTSODefer",
            "SndLimTimeTSODeferUs",
            "SndLimTransPace",
            "SndLimTimePaceUs",
            "MaxAppWQueue",
        ),
    ),
    Probe(
        function="on_kfree_skb",
        hook=Hook.TRACEPOINT,
        target="kfree_skb",
        tables=(Table.GLOBAL, Table.PERF, Table.PATH, Table.STACK),
        since="6.11",
        purpose="every dropped packet: what failed a test of the socket, ACKs while it closes",
        arguments=4,
        is_optional=True,
        feeds=("SoftErrors", "SoftErrorReason"),
    ),
    Probe(
        function="on_backfill",
        hook=Hook.ITERATOR,
        target="tcp",
        tables=HISTORIES,
        since="5.9",
        purpose="connections and listeners that are older than the collector, once at start",
    ),
    Probe(
        function="on_sweep",
        hook=Hook.ITERATOR,
        target="bpf_sk_storage_map",
        over="sockets",
        tables=HISTORIES,
        since="5.9",
        purpose="at each snapshot: what happened since a socket's last batch",
    ),
    Probe(
        function="on_census",
        hook=Hook.ITERATOR,
        target="bpf_sk_storage_map",
        over="sockets",
        tables=HISTORIES,
        since="5.9",
        purpose="after a final batch was lost: which connections still live",
    ),
    Probe(
        function="on_listeners",
        hook=Hook.ITERATOR,
        target="bpf_sk_storage_map",
        over="listening",
        tables=(Table.LISTENER,),
        since="5.9",
        purpose="at each snapshot: the listeners, their counts and queues",
    ),
)
