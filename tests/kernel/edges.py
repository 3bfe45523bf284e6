"""What the tests of unusual connections share: quiet, and what TCP_INFO and a capture must say."""

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.kernel.capture import ACK, RST, SYN, Flow, Segment, capturing, segments
from tests.kernel.collecting import Database, Row, agree_with_socket, until
from tests.kernel.net import Host, Net
from tests.kernel.netstat import Sums
from tests.kernel.traffic import Pair, Peer
from tests.kernel.validation import Between

QUIET_SECONDS = 0.4  # longer than the last delayed acknowledgement takes


def settle(database: Database, peers: Pair) -> None:
    """Wait until the last acknowledgement has come and stands in the database."""

    def is_quiet() -> bool:
        return not any(w["tcpi_unacked"] for peer in peers.peers for w in peer.witnesses())

    until("the last acknowledgements", is_quiet)
    time.sleep(QUIET_SECONDS)
    database.catch_up()


def agree_with_kernel(database: Database, peers: Pair, without: Collection[str] = ()) -> None:
    """Compare all connections of both ends with their sockets; nothing may move meanwhile."""
    for peer in peers.peers:
        for witness in peer.witnesses():
            agree_with_socket(database.latest(witness.cookie), witness, without)


def row_of(database: Database, host: Host, flow: Flow) -> Row:
    """The only connection of a host with these local and remote ports."""
    sql = "SELECT * FROM latest WHERE LocalPort = ? AND RemPort = ? AND netns = ?"
    return database.one(sql, *flow, host.inode)


def bulk(sender: Peer, receiver: Peer, size: int) -> None:
    """So many octets from one end to the other, on each connection."""
    receiver.tell("receive", size=size)
    sender("send", size=size)
    receiver.hear()


def totals(path: Path, host: Host, flow: Flow) -> dict[str, int]:
    """What a capture at a host says of one connection there: all that passed, added up.

    Left out of SegsOut is what no socket sends: the SYN-ACK of a passive open, and the RST by
    which this end aborts, for its socket is closed by then.
    """
    addresses = (host.v4, host.v6)
    passed = [s for s in segments(path) if s.flow in (flow, flow[::-1])]
    sent = [s for s in passed if s.source in addresses]
    came = [s for s in passed if s.source not in addresses]
    is_request = sent[0].flags & (SYN | ACK) == SYN | ACK
    return {
        "SegsOut": sum(not s.flags & (RST | SYN * is_request) for s in sent),
        "SegsIn": len(came),
        "DataSegsOut": sum(bool(s.octets) for s in sent),
        "DataSegsIn": sum(bool(s.octets) for s in came),
        "HCDataOctetsOut": sum(s.octets for s in sent),
        "HCDataOctetsIn": sum(s.octets for s in came),
        "SegsRetrans": repeated(sent),
        "SndInitial": sent[0].seq,
        "RecInitial": came[0].seq,
    }


def repeated(sent: list[Segment]) -> int:
    """Segments that carry nothing but what was sent before.

    In a simultaneous open a SYN-ACK follows the SYN: it is another segment, not the same again.
    """
    count, top = 0, sent[0].seq
    for segment in sent:
        if segment.end == segment.seq or segment.flags & RST:
            continue
        if 0 < (segment.end - top) & 0xFFFFFFFF < 1 << 31:
            top = segment.end
        elif segment.flags & (SYN | ACK) != SYN | ACK:
            count += 1
    return count


@contextmanager
def capturing_both(net: Net, folder: Path, port: int) -> Iterator[Mapping[Host, Path]]:
    """Capture one port's packets at either host: the files by host."""
    files = {host: folder / f"{host.name}.pcap" for host in net.hosts}
    with ExitStack() as both:
        for host, file in files.items():
            both.enter_context(capturing(host, file, port))
        yield files


def agree_with_namespace(*ends: Sums, synacks: int = 0) -> None:
    """Compare the sums of what a host's counters of TCP know: recoveries, timeouts, duplicates.

    So many SYN-ACKs were sent again: each by a timeout, which is the listener's and no
    connection's, or to answer a SYN that came again.
    """
    reason = f"{synacks} SYN-ACKs were sent again, not all of them by a timeout"
    for end in ends:
        timeouts = end.kernel("TCPTimeouts")
        bounds = Between(low=timeouts - synacks, high=timeouts, reason=reason)
        end.agree(
            {
                "FastRetran": end.kernel("TCPSackRecovery", "TCPRenoRecovery"),
                "Timeouts + SubsequentTimeouts": bounds if synacks else timeouts,
                "DSACKDups": end.kernel("TCPDSACKRecvSegs"),
            }
        )
