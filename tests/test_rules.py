"""Each rule takes what it should, refuses what it should, and says so in the words that a user reads."""

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minipacs import rules
from minipacs.rules import Network
from minipacs.schema import Invalid

from .wire.exchange import bounded

NAME = "must be a name of 1 to 64 letters, digits, '_', '-' and '.', not beginning with '-' or '.'"
HOST = "must be an IP address or a host name"
NETWORK = "must be an IP address or a network such as 10.1.2.0/24"
SECONDS = "must be more than 0 and at most 86400 seconds"
TEXT = "must be text in quotes"


def message(rule: Callable[[object], Any], value: object) -> str:
    with pytest.raises(Invalid) as raised:
        rule(value)
    return raised.value.msg


EVERY_RULE = {
    "text": rules.text,
    "path": rules.path,
    "ae_title": rules.ae_title,
    "peer_name": rules.peer_name,
    "host": rules.host,
    "network": rules.network,
    "port": rules.port,
    "listening_port": rules.listening_port,
    "seconds": rules.seconds,
}


@pytest.mark.parametrize("rule", EVERY_RULE.values(), ids=EVERY_RULE)
@pytest.mark.parametrize("value", [None, True, False, [], {}, b"x", [1], {"a": 1}, ...], ids=repr)
def test_no_rule_takes_what_is_neither_text_nor_number(rule: Callable[[object], Any], value: object) -> None:
    assert message(rule, value).startswith("must be ")


@pytest.mark.parametrize("rule", ["text", "path", "ae_title", "peer_name", "host", "network"])
@pytest.mark.parametrize("value", [1, 1.0, float("nan"), 2130706433], ids=repr)
def test_a_number_is_no_text(rule: str, value: object) -> None:
    assert message(EVERY_RULE[rule], value) == TEXT


@pytest.mark.parametrize("value", ["peers.toml", "/etc/minipacs/peers.toml", "../a b/ü.toml", " "])
def test_a_path_is_any_text(value: str) -> None:
    assert rules.path(value) == value


@pytest.mark.parametrize("value", ["", "a\0b"], ids=repr)
def test_no_file_has_such_a_path(value: str) -> None:
    assert message(rules.path, value) == "must be the path of a file"


def test_an_ae_title_is_taken_without_the_spaces_around_it() -> None:
    assert rules.ae_title("  CT 1  ") == "CT 1"


@pytest.mark.parametrize("value", ["a", "A", "0", "_", "ct1", "CT-1", "a.b", "1.2.3", "x" * 64])
def test_a_peer_name_needs_no_quoting(value: str) -> None:
    assert rules.peer_name(value) == value


@pytest.mark.parametrize("value", ["", "-a", ".a", "a b", "a@b", "a/b", "a:1", "é", "a\n", "\x1b", "x" * 65], ids=ascii)
def test_a_peer_name_is_refused(value: str) -> None:
    assert message(rules.peer_name, value) == NAME


@pytest.mark.parametrize(
    "value", ["127.0.0.1", "0.0.0.0", "::1", "::", "::ffff:10.0.0.5", "2001:db8::17", "fe80::1%eth0", "::1%br-1.2_3"]
)
def test_a_host_may_be_an_address(value: str) -> None:
    assert rules.host(value) == value


LABEL = "a" * 63
NAMES = """
    localhost a A.B 1a a1 1.a 10.0.0.5a my_container _x_ a-b a--b xn--rntgen-wxa pacs.example.org pacs.example.org. a.
"""


@pytest.mark.parametrize("value", [*NAMES.split(), LABEL, f"{LABEL}.{LABEL}.{LABEL}.{'a' * 61}"])
def test_a_host_may_be_a_name(value: str) -> None:
    assert rules.host(value) == value


NO_ADDRESSES = "10 10. 10.0.0 10.0.0.256 10.0.0.5.6 010.0.0.5 10.0.0.5/32 10.0.0.5:104 10.0.0.5%eth0 [::1] :::"
NO_NAMES = ". a..b .a - -a a- a-.b a.-b a.b- a.b-. a.1 a.1. http://a a/b a@b a* é"


@pytest.mark.parametrize("value", NO_ADDRESSES.split())
def test_a_mistyped_address_is_no_host(value: str) -> None:
    assert message(rules.host, value) == HOST


@pytest.mark.parametrize("zone", ["", "%", "a%b", " ", "\x1b[2J", "\n", "a]b", "é"], ids=ascii)
def test_a_zone_is_the_name_of_an_interface(zone: str) -> None:
    assert message(rules.host, f"fe80::1%{zone}") == HOST


@pytest.mark.parametrize("value", NO_NAMES.split())
def test_a_mistyped_name_is_no_host(value: str) -> None:
    assert message(rules.host, value) == HOST


@pytest.mark.parametrize(
    "value", ["", " ", "a b", " a", "a ", "a\n", "a\x1b", "\0", f"{LABEL}a", f"{LABEL}." * 4], ids=ascii
)
def test_a_host_has_no_white_space_and_bounds(value: str) -> None:
    assert message(rules.host, value) == HOST


@pytest.mark.parametrize(
    ("value", "network"),
    [
        ("10.0.0.5", IPv4Network("10.0.0.5/32")),
        ("10.1.2.0/24", IPv4Network("10.1.2.0/24")),
        ("10.1.2.0/255.255.255.0", IPv4Network("10.1.2.0/24")),
        ("0.0.0.0/0", IPv4Network("0.0.0.0/0")),
        ("::1", IPv6Network("::1/128")),
        ("fd00::/8", IPv6Network("fd00::/8")),
        ("::/0", IPv6Network("::/0")),
        (IPv4Network("10.0.0.0/8"), IPv4Network("10.0.0.0/8")),
        (IPv6Network("::/0"), IPv6Network("::/0")),
    ],
)
def test_a_network_is_an_address_or_cidr(value: object, network: Network) -> None:
    assert rules.network(value) == network


@pytest.mark.parametrize(
    "value", ["", "ct1", "10.0.0", "10.0.0.256", "10.0.0.0/33", "10.0.0.0/", "10.0.0.*", " 10.0.0.5", "::/129", "/8"]
)
def test_a_network_is_refused(value: str) -> None:
    assert message(rules.network, value) == NETWORK


@pytest.mark.parametrize(
    ("value", "meant"), [("10.1.2.3/24", "10.1.2.0/24"), ("10.1.2.3/0", "0.0.0.0/0"), ("fd00::1/8", "fd00::/8")]
)
def test_a_network_with_host_bits_is_refused_and_the_one_meant_is_told(value: str, meant: str) -> None:
    assert message(rules.network, value) == f"must be an IP address or a network without host bits, such as {meant}"


@pytest.mark.parametrize("value", ["fe80::%eth0/64", "fe80::1%eth0", "fe80::%\x1b/64", "%"], ids=ascii)
def test_a_network_has_no_zone(value: str) -> None:
    assert message(rules.network, value) == "must be an IP address or a network without a zone"


@pytest.mark.parametrize(
    ("network", "text"),
    [("10.0.0.5/32", "10.0.0.5"), ("10.0.0.0/8", "10.0.0.0/8"), ("::1/128", "::1"), ("fd00::/8", "fd00::/8")],
)
def test_a_network_is_written_as_in_the_table(network: str, text: str) -> None:
    assert rules.network_text(rules.network(network)) == text


@pytest.mark.parametrize("value", ["::ffff:10.0.0.5", "::ffff:10.0.0.0/104"])
def test_an_ipv4_network_in_ipv6_notation_is_refused_for_no_address_would_match(value: str) -> None:
    assert message(rules.network, value) == "must be in IPv4 notation, as addresses are compared"


@bounded
@given(st.ip_addresses().filter(lambda address: getattr(address, "ipv4_mapped", None) is None), st.data())
def test_any_network_that_was_written_is_read_back(address: object, data: st.DataObject) -> None:
    length = data.draw(st.integers(0, 32 if isinstance(rules.network(str(address)), IPv4Network) else 128))
    network = rules.network(str(rules.network(str(address)).supernet(new_prefix=length)))
    assert rules.network(rules.network_text(network)) == network


@pytest.mark.parametrize(
    ("rule", "value"),
    [(rules.port, 1), (rules.port, 65_535), (rules.listening_port, 0), (rules.listening_port, 65_535)],
)
def test_a_port_is_a_number_in_range(rule: Callable[[object], int], value: int) -> None:
    assert rule(value) == value


@pytest.mark.parametrize("value", [-1, 65_536, "104", 104.0, True, None, 1 << 64], ids=repr)
def test_a_port_is_refused(value: object) -> None:
    assert message(rules.port, value) == "must be 1 to 65535"
    assert message(rules.listening_port, value) == "must be 0 to 65535"


def test_port_0_is_for_listening_alone() -> None:
    assert message(rules.port, 0) == "must be 1 to 65535"


@pytest.mark.parametrize("value", [1, 0.001, 5.0, 86_400], ids=repr)
def test_seconds_are_a_float(value: float) -> None:
    assert rules.seconds(value) == value
    assert isinstance(rules.seconds(value), float)


@pytest.mark.parametrize(
    "value", [0, 0.0, -0.0, -1, 86_401, float("nan"), float("inf"), -float("inf"), True, "5", None, 1 << 2000], ids=str
)
def test_seconds_are_refused(value: object) -> None:
    assert message(rules.seconds, value) == SECONDS
