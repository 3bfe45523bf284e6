"""Why the kernel drops a received segment, as RFC 4898's SoftErrorReason counts it.

The kernel's numbers of the reasons change with its version; its BTF has them by name.
"""

from typing import Final

from bpf.btf import Btf

#: RFC 4898 tcpEStatsStackSoftErrorReason.
_BELOW_DATA_WINDOW, _ABOVE_DATA_WINDOW, _BELOW_ACK_WINDOW, _ABOVE_ACK_WINDOW = 1, 2, 3, 4
_BELOW_TS_WINDOW, _ABOVE_TS_WINDOW, _DATA_CHECKSUM, _OTHER = 5, 6, 7, 8

SOFT_ERRORS: Final = {
    "TCP_OLD_SEQUENCE": _BELOW_DATA_WINDOW,
    "TCP_OLD_DATA": _BELOW_DATA_WINDOW,
    "TCP_INVALID_SEQUENCE": _ABOVE_DATA_WINDOW,
    "TCP_INVALID_END_SEQUENCE": _ABOVE_DATA_WINDOW,
    "TCP_OVERWINDOW": _ABOVE_DATA_WINDOW,
    "TCP_ZEROWINDOW": _ABOVE_DATA_WINDOW,
    "TCP_TOO_OLD_ACK": _BELOW_ACK_WINDOW,
    "TCP_OLD_ACK": _BELOW_ACK_WINDOW,
    "TCP_ACK_UNSENT_DATA": _ABOVE_ACK_WINDOW,
    "TCP_INVALID_ACK_SEQUENCE": _ABOVE_ACK_WINDOW,
    "TCP_RFC7323_PAWS": _BELOW_TS_WINDOW,
    "TCP_RFC7323_PAWS_ACK": _BELOW_TS_WINDOW,
    "TCP_RFC7323_TSECR": _ABOVE_TS_WINDOW,
    "TCP_CSUM": _DATA_CHECKSUM,
    "TCP_FLAGS": _OTHER,
    "TCP_INVALID_SYN": _OTHER,
    "TCP_FASTOPEN": _OTHER,
    "TCP_MD5NOTFOUND": _OTHER,
    "TCP_MD5UNEXPECTED": _OTHER,
    "TCP_MD5FAILURE": _OTHER,
}


def c_source(btf: Btf) -> str:
    """What the program on kfree_skb asks: whether it is a soft error (0: no), or no drop at all."""
    numbers = btf.enumerators("skb_drop_reason")
    unspecified = numbers.get("SKB_DROP_REASON_NOT_SPECIFIED", 0)
    cases = "".join(
        f"\tcase {numbers[name]}: return {code};\n"
        for reason, code in SOFT_ERRORS.items()
        if (name := f"SKB_DROP_REASON_{reason}") in numbers
    )
    return (
        f"\n#define ESTATS_DROP_NOT_SPECIFIED\t{unspecified}\n"
        "\nstatic __always_inline u32 estats_soft_error(u32 reason)\n"
        f"{{\n\tswitch (reason) {{\n{cases}\t}}\n\treturn 0;\n}}\n"
    )
