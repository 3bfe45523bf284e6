"""What TCP_INFO tells of a variable, and what it must not be taken for."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bpf.catalogue import stored_in
from bpf.record import block_dtype
from bpf.variable import HISTORIES, Table
from collector.sock_diag import SOCKET
from collector.tcp_info import ENDS, RULES, TCP_INFO, Look, declined, fill, unavailable

ALL_OPTIONS = 15
ESTABLISHED, SYN_SENT, CLOSE_WAIT = 1, 2, 8

#: Octets from the start of the struct, as linux/tcp.h has them.
OFFSETS = {
    "tcpi_state": 0,
    "tcpi_options": 5,
    "tcpi_rto": 8,
    "tcpi_unacked": 24,
    "tcpi_rtt": 68,
    "tcpi_snd_cwnd": 80,
    "tcpi_total_retrans": 100,
    "tcpi_bytes_acked": 120,
    "tcpi_segs_out": 136,
    "tcpi_notsent_bytes": 144,
    "tcpi_min_rtt": 148,
    "tcpi_delivery_rate": 160,
    "tcpi_bytes_sent": 200,
    "tcpi_dsack_dups": 216,
    "tcpi_snd_wnd": 228,
    "tcpi_rcv_wnd": 232,
    "tcpi_total_rto_time": 244,
    "tcpi_received_ce": 248,
}


def one(size: int = TCP_INFO.itemsize, queues: tuple[int, int] = (0, 0), **info: int) -> Look:
    """A socket with these fields of ``tcp_info``; ESTABLISHED unless they say otherwise."""
    socket = np.zeros(1, SOCKET)
    socket["info_size"] = size
    socket["message"]["rqueue"], socket["message"]["wqueue"] = queues
    for name, value in ({"state": ESTABLISHED} | info).items():
        socket["info"][f"tcpi_{name}"] = value
    unknown = {"tcp_timestamps": 3, "tcp_sack": 2, "tcp_ecn": 0}
    return Look(socket, np.array([23], "u8"), unknown)


def told(look: Look) -> dict[str, int | None]:
    """Every collected variable's value, None where it is unknown."""
    answer: dict[str, int | None] = {}
    for table in HISTORIES:
        block: npt.NDArray[Any] = np.zeros(1, block_dtype(table))
        fill(block, table, look)
        for bit, variable in enumerate(stored_in(table)):
            known = int(block["known"][0]) >> bit & 1
            value = int(block[variable.column][0])
            assert known or value == 0, "an unknown operand that varies looks like a change"
            answer[variable.name] = value if known else None
    return answer


def test_the_struct_is_laid_out_as_the_kernel_has_it() -> None:
    """A field in the wrong place would be a wrong value everywhere."""
    fields = TCP_INFO.fields
    assert fields is not None
    assert {name: fields[name][1] for name in OFFSETS} == OFFSETS


def test_every_field_the_catalogue_names_is_read() -> None:
    """A variable with a field in TCP_INFO has a rule, and rules name variables only."""
    stored = {v.name: v for table in HISTORIES for v in stored_in(table)}
    assert {name for name, v in stored.items() if v.tcp_info} <= set(RULES) <= set(stored)


@pytest.mark.parametrize("size", [0, 104, 192, 232, 240, TCP_INFO.itemsize])
def test_fields_beyond_what_the_kernel_sent_are_unknown(size: int) -> None:
    """Linux 3.0 sent 104 octets, 4.10 192, 5.4 232, 6.6 240."""
    values = told(one(size, state=ESTABLISHED, rtt=1, min_rtt=1, rcv_rtt=1, options=ALL_OPTIONS))
    for name, rule in RULES.items():
        assert (values[name] is not None) == (ENDS[f"tcpi_{rule.last}"] <= size), name


def test_nothing_is_negotiated_or_measured_before_the_handshake() -> None:
    """What the kernel presets is not a value: 0 for a round trip, 536 for the MSS."""
    values = told(one(state=SYN_SENT, snd_mss=536, rttvar=250_000, min_rtt=0xFFFFFFFF, advmss=1460))
    for name in (
        *("CurMSS", "MaxMSS", "MinMSS", "MSSSent", "CurRwinSent", "WinScaleSent", "WinScaleRcvd"),
        *("TimeStamps", "ECN", "WillSendSACK", "SmoothedRTTUs", "MdevUs", "MinRTTUs", "RcvRTT"),
    ):
        assert values[name] is None, name
    assert values["State"] == 3


def test_options_say_enabled_or_who_declined() -> None:
    """1 enabled, 2 selfDisabled, 3 peerDisabled, as the sysctl tells; else unknown."""
    names = ("TimeStamps", "WillSendSACK", "WillUseSACK", "ECN")
    enabled, lacking = told(one(options=ALL_OPTIONS)), told(one())
    assert [enabled[name] for name in names] == [1, 1, 1, 1]
    assert [lacking[name] for name in names] == [3, 2, 2, None]


def test_window_scales_share_an_octet() -> None:
    """Ours is in the high half; without scaling the peer's is -1 and ours forgotten."""
    scaled, bare = told(one(options=4, wscales=0x7A)), told(one(wscales=0x70))
    assert (scaled["WinScaleSent"], scaled["WinScaleRcvd"]) == (7, 10)
    assert (bare["WinScaleSent"], bare["WinScaleRcvd"]) == (None, -1)


def test_the_timestamp_option_is_part_of_the_mss_option() -> None:
    """The kernel has already taken its 12 octets off ``advmss``."""
    assert told(one(advmss=1448, options=1))["MSSSent"] == 1460
    assert told(one(advmss=1460))["MSSSent"] == 1460


def test_the_pipe_is_in_octets_and_in_recovery_in_whole_segments() -> None:
    """snd_nxt - snd_una while nothing is marked, RFC 3517's sum afterwards."""
    calm = told(one(queues=(0, 5000), notsent_bytes=2000, unacked=3, snd_mss=1000))
    marks = {"sacked": 2, "lost": 3, "retrans": 1}
    lossy = told(one(queues=(0, 9500), unacked=10, snd_mss=1000, **marks))
    assert (calm["PipeSize"], calm["CurRetxQueue"], calm["CurAppWQueue"]) == (3000, 3000, 2000)
    assert (lossy["PipeSize"], lossy["CurRetxQueue"]) == (6000, 9500)


def test_recovery_is_over_when_all_is_acknowledged() -> None:
    """1 contiguous, 2 unordered, 3 recovery."""
    assert told(one())["InRecovery"] == 1
    assert told(one(sacked=1, unacked=5))["InRecovery"] == 2
    assert told(one(retrans=1, unacked=5))["InRecovery"] == 3
    assert told(one(ca_state=4, unacked=5))["InRecovery"] == 3
    assert told(one(ca_state=4))["InRecovery"] == 1


def test_a_fin_is_not_an_octet_to_read() -> None:
    """It is in the kernel's count until the application has seen the end."""
    assert told(one(queues=(6, 0)))["CurAppRQueue"] == 6
    assert told(one(queues=(6, 0), state=CLOSE_WAIT))["CurAppRQueue"] == 5
    assert told(one(queues=(0, 0), state=CLOSE_WAIT))["CurAppRQueue"] == 0


@pytest.mark.parametrize(
    ("kernel", "rfc"),
    [(1, 5), (2, 3), (3, 4), (4, 6), (5, 7), (6, 11), (7, 1), (8, 8), (9, 9), (10, 2), (11, 10)],
)
def test_states_are_numbered_as_in_the_rfc(kernel: int, rfc: int) -> None:
    """Closed is 1 there, established 5; a number the kernel does not have is unknown."""
    assert told(one(state=kernel))["State"] == rfc
    assert told(one(state=0))["State"] is None


def test_who_declined_is_told_from_the_sysctls() -> None:
    """``tcp_ecn`` is 2 by default, which depends on who opened the connection."""
    assert set(declined()) == {"tcp_timestamps", "tcp_sack", "tcp_ecn"}
    assert set(declined().values()) <= {0, 2, 3}


def test_every_collected_variable_is_read_or_has_a_reason() -> None:
    """Nobody has to guess why a column is NULL."""
    reasons = unavailable(HISTORIES)
    collected = {v.name for table in HISTORIES for v in stored_in(table)}
    assert set(reasons) | set(RULES) == collected
    assert all(reasons.values())
    assert set(unavailable([Table.TUNE])) == {"LimCwnd", "LimRwin", "LimMSS"}
