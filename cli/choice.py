"""Which connections a command is about, and in what order: from its options to the reader."""

import re
import socket
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from bpf.errors import UsageError
from bpf.filters import COMM_BYTES, Network, parse_net
from bpf.variable import SAMPLED, Table
from cli.names import ALTERNATIVES_MAX, matching, split
from storage.question import Ends, Order

#: What --sort takes beside variables: our own keys, and the columns they are made from.
_OUR_COLUMNS = {
    "opened": "opened_us",
    "closed": "closed_us",
    "close_reason": "close_reason",
    "origin": "origin",
    "pid": "pid",
    "comm": "comm",
    "uid": "uid",
    "netns": "netns",
    "lost": "lost",
}
_INDEX_MAX = (1 << 63) - 1  # of SQLite
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)
#: A name with every octet as an escape, and a wildcard beside each.
_PATTERN_MAX = 255
_MAPPED = IPv6Network("::ffff:0:0/96")


def named(words: Sequence[str]) -> tuple[tuple[int, ...], tuple[Ends, ...]]:
    """Connections that are named: by number, or by local and remote end, a word each.

    Raises UsageError for what is neither, and for an end without the other.
    """
    indexes: list[int] = []
    ends: list[Ends] = []
    waiting: tuple[str, int] | None = None
    for word in words:
        if waiting is not None:
            ends.append((*waiting, *_end(word)))
            waiting = None
        elif word.isascii() and word.isdecimal():
            indexes.append(_index(word))
        else:
            waiting = _end(word)
    if waiting is not None:
        raise UsageError(
            f"{words[-1]!r} is one end of a connection",
            "Name both, the local one first, as `estats connections` prints them.",
        )
    if len(indexes) + len(ends) > ALTERNATIVES_MAX:
        raise UsageError(
            f"{len(words)} words name connections",
            f"Name at most {ALTERNATIVES_MAX}, or choose by what they have in common.",
        )
    return tuple(indexes), tuple(ends)


def ports(asked: Sequence[str], option: str) -> tuple[range, ...]:
    """Ports: numbers, ranges such as 5000-5010, and names of services. Raises UsageError."""
    return tuple(_ports(text, option) for text in split(asked))


def addresses(asked: Sequence[str], option: str) -> tuple[str, ...]:
    """Addresses as the database spells them; a v4-mapped one is IPv4. Raises UsageError."""
    return tuple(_address(text, option) for text in split(asked))


def nets(asked: Sequence[str]) -> tuple[Network, ...]:
    """Networks in CIDR notation; a v4-mapped one is IPv4. Raises UsageError."""
    return tuple(_net(text) for text in split(asked))


def process_names(asked: Sequence[str]) -> tuple[str, ...]:
    """Names or patterns of processes. Raises UsageError for more than a name can be."""
    found = tuple(split(asked))
    for name in found:
        if len(name) > _PATTERN_MAX:
            raise UsageError(
                f"--comm has a name of {len(name)} characters",
                f"A process's name has at most {COMM_BYTES} octets; * and ? stand for others.",
            )
    return found


def sort_order(text: str | None) -> Order:
    """What ``--sort`` says: one variable or key of ours, with - in front for descending.

    Raises UsageError for a name that is none, or is not about connections.
    """
    if text is None:
        return Order()
    name = text.removeprefix("-").strip()
    descending = text.startswith("-")
    if column := _OUR_COLUMNS.get(name.lower()):
        return Order(column, descending)
    found = matching(name)
    if len(found) != 1 or found[0].table not in (Table.CONNECTION, *SAMPLED):
        raise UsageError(
            f"--sort {name!r} is not one variable of a connection",
            f"Name a variable, or one of {', '.join(_OUR_COLUMNS)}.",
        )
    by = found[0].name if found[0].table is Table.CONNECTION else found[0]
    return Order(by, descending)


def _index(word: str) -> int:
    number = int(word) if len(word) < 20 else _INDEX_MAX + 1
    if number > _INDEX_MAX:
        raise UsageError(f"{word} is no ConnectIndex", "`estats connections` shows them.")
    return number


def _end(word: str) -> tuple[str, int]:
    """ADDRESS:PORT, an IPv6 address in brackets."""
    text, colon, port = word.rpartition(":")
    is_bracketed = text.startswith("[") and text.endswith("]")
    if not colon or not _PORT.fullmatch(port) or (":" in text) != is_bracketed:
        raise UsageError(
            f"{word!r} is neither a ConnectIndex nor an end of a connection",
            "Write 7, or both ends: 192.0.2.1:40000 192.0.2.7:443, [2001:db8::1]:40000 ....",
        )
    return _address(text, "end"), _ports(port, "end").start


def _ports(text: str, option: str) -> range:
    if match := _RANGE.fullmatch(text):
        first, last = int(match[1]), int(match[2] or match[1])
        if first <= last <= 65535:
            return range(first, last + 1)
    else:
        try:
            port = socket.getservbyname(text.lower(), "tcp")
        except (OSError, ValueError):  # ValueError: a name that no file could hold
            pass
        else:
            return range(port, port + 1)
    raise UsageError(
        f"{option} {text!r} is not a port",
        "Write a number up to 65535, a range such as 5000-5010, or a name in /etc/services.",
    )


def _address(text: str, option: str) -> str:
    try:
        address = ip_address(text.strip("[]"))
    except ValueError:
        raise UsageError(
            f"{option} {text!r} is not an IP address",
            "Write one such as 192.0.2.7 or 2001:db8::7; networks go to --net.",
        ) from None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(address)


def _net(text: str) -> Network:
    net = parse_net(text)
    if isinstance(net, IPv6Network) and net.subnet_of(_MAPPED):
        inner = net.network_address.ipv4_mapped
        assert inner is not None, "the network lies in ::ffff:0:0/96"
        return IPv4Network(f"{inner}/{net.prefixlen - 96}")
    return net
