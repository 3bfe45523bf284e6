"""The options that choose connections, and their order."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpf.catalogue import BY_NAME
from bpf.errors import UsageError
from cli.choice import addresses, nets, ports, sort_order
from storage.question import Order


def test_ports_are_numbers_ranges_and_services() -> None:
    """A list with commas counts as several options."""
    asked = ports(["80,443", "5000-5010", "https"], "--dport")
    assert asked == (range(80, 81), range(443, 444), range(5000, 5011), range(443, 444))


@pytest.mark.parametrize(
    "text", ["65536", "99999999999", "10-5", "-1", "1-", "nosuchservice", "1-2-3", "\u0663"]
)
def test_what_is_no_port_is_refused(text: str) -> None:
    """The message names the option."""
    with pytest.raises(UsageError, match="--sport"):
        ports([text], "--sport")


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("FD00:0::1", "fd00::1"),
        ("[fd00::1]", "fd00::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
    ],
)
def test_an_address_is_spelled_as_the_database_does(text: str, stored: str) -> None:
    """IPv6 as in RFC 5952; a v4-mapped address was IPv4 on the wire."""
    assert addresses([text], "--saddr") == (stored,)


@pytest.mark.parametrize("text", ["10.0.0", "10.0.0.0/8", "host.example", "::1::"])
def test_what_is_no_address_is_refused(text: str) -> None:
    """Names are not looked up, and networks have an option of their own."""
    with pytest.raises(UsageError, match="--daddr"):
        addresses([text], "--daddr")


def test_a_v4_mapped_network_is_an_ipv4_network() -> None:
    """As it is with addresses."""
    assert list(map(str, nets(["::ffff:10.0.0.0/104", "10.1.2.3/8", "fd00::/8", "10.1.2.3"]))) == [
        "10.0.0.0/8",
        "10.0.0.0/8",
        "fd00::/8",
        "10.1.2.3/32",
    ]


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.0/-1", "nonsense", "10.0.0.0/8/8"])
def test_what_is_no_network_is_refused(text: str) -> None:
    """With an example of what is one."""
    with pytest.raises(UsageError, match="is not a network"):
        nets([text])


@given(st.text(max_size=20))
def test_any_text_is_understood_or_a_usage_error(text: str) -> None:
    """Nothing that is typed makes another exception."""
    with suppress(UsageError):
        ports([text], "--sport")
    with suppress(UsageError):
        addresses([text], "--saddr")
    with suppress(UsageError):
        nets([text])


def test_the_order_is_by_a_variable_or_a_key_of_ours() -> None:
    """A minus in front turns it round."""
    assert sort_order(None) == Order("ConnectIndex")
    assert sort_order("-segsretrans") == Order(BY_NAME["segsretrans"], descending=True)
    assert sort_order("Opened") == Order("opened_us")
    assert sort_order("remport") == Order("RemPort")


@pytest.mark.parametrize(
    "text", ["", "-", "nothing", "segs*", "CurBacklog", "opened_us; DROP TABLE run"]
)
def test_an_order_by_anything_else_is_refused(text: str) -> None:
    """Column names come from a fixed set."""
    with pytest.raises(UsageError):
        sort_order(text)
