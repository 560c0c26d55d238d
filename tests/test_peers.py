"""The peer table: every rule with a file that breaks it and the exact message, and values that cannot be wrong."""

import os
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from minipacs import Peer, PeerTable, PeerTableError
from minipacs.rules import Network, network_text
from minipacs.toml_file import SIZE_LIMIT

from .wire.exchange import ae_titles, bounded

DATA = Path(__file__).parent / "data"
SHIPPED = Path(__file__).parents[1] / "conf" / "peers.toml"

NAME = "must be a name of 1 to 64 letters, digits, '_', '-' and '.', not beginning with '-' or '.'"
HOST = "must be an IP address or a host name"
CERTIFICATE = "must be sha256: and the 64 hex digits of a fingerprint, or a subject such as CN=pacs,O=Hospital"
NETWORK = "must be an IP address or a network such as 10.1.2.0/24"
HOST_BITS = "must be an IP address or a network without host bits, such as"
PRINTABLE = "must be printable ASCII (the default repertoire of PS3.5)"

# tests/data/invalid-NAME.toml → the line of each fault, without the name of the file.
FAULTS: dict[str, tuple[str, ...]] = {
    "ae-title-8-bit": (rf'peers.ct1.ae_title: {PRINTABLE}, not "R\xd6NTGEN"',),
    "ae-title-array": ("peers.ct1.ae_title: must be text in quotes, not ['CT1']",),
    "ae-title-backslash": (r'peers.ct1.ae_title: must not contain a backslash, not "CT\\1"',),
    "ae-title-control": (rf'peers.ct1.ae_title: {PRINTABLE}, not "CT\x1b[31m1"',),
    "ae-title-empty": ('peers.ct1.ae_title: must not be empty, not ""',),
    "ae-title-line-feed": (rf'peers.ct1.ae_title: {PRINTABLE}, not "CT1\n"',),
    "ae-title-long": ('peers.ct1.ae_title: must be at most 16 characters, not "SEVENTEEN_LETTERS"',),
    "ae-title-missing": ("peers.ct1.ae_title: must be given, not left out",),
    "ae-title-number": ("peers.ct1.ae_title: must be text in quotes, not 1",),
    "ae-title-spaces": ('peers.ct1.ae_title: must not be empty, not "   "',),
    "ae-title-twice": (
        'peers.mr2.ae_title: must be unlike the title of peers.ct1, not "CT1"',
        'peers.us3.ae_title: must be unlike the title of peers.ct1, not " CT1 "',
    ),
    "allow-from-empty": ("peers.ct1.allow_from: must name an address or a network, or be left out for any, not []",),
    "allow-from-member-number": ("peers.ct1.allow_from[1]: must be text in quotes, not 10",),
    "allow-from-text": ('peers.ct1.allow_from: must be an array, not "10.0.0.5"',),
    "everything": (
        'colour: must be one of peers, not "colour"',
        f'peers.ct 5: {NAME}, not "ct 5"',
        'peers.ct4.ae_title: must be unlike the title of peers.ct3, not "MR1"',
        'peers.ct1.ae_title: must be at most 16 characters, not "SEVENTEEN_LETTERS"',
        f'peers.ct1.host: {HOST}, not "ct 1"',
        "peers.ct1.port: must be 1 to 65535, not 65536",
        f'peers.ct1.allow_from[0]: {HOST_BITS} 10.1.2.0/24, not "10.1.2.3/24"',
        "peers.ct1.allow_from[1]: must be text in quotes, not 7",
        'peers.ct1.allow: must be a known key (nearest: allow_from), not "allow"',
        "peers.ct2: must have port beside host, or neither, not a table",
        "peers.ct2.ae_title: must be given, not left out",
        "peers.ct4: must have host beside port, or neither, not a table",
        'peers.ct6: must be a table, not "CT6"',
    ),
    "host-malformed": (
        f'peers.ct0.host: {HOST}, not ""',
        f'peers.ct1.host: {HOST}, not "ct 1"',
        f'peers.ct2.host: {HOST}, not "10.0.0.256"',
        f'peers.ct3.host: {HOST}, not "10.0.0"',
        f'peers.ct4.host: {HOST}, not "10.0.0.5:104"',
        f'peers.ct5.host: {HOST}, not "http://ct1"',
        f'peers.ct6.host: {HOST}, not "[::1]"',
        f'peers.ct7.host: {HOST}, not "ct1-"',
        f'peers.ct8.host: {HOST}, not "-ct1"',
        f'peers.ct9.host: {HOST}, not "ct1..local"',
        f'peers.ct10.host: {HOST}, not "{"l" * 60}…"',
        rf'peers.ct11.host: {HOST}, not "r\xf6ntgen"',
        f'peers.ct12.host: {HOST}, not "fe80::1%"',
        rf'peers.ct13.host: {HOST}, not "fe80::1%\n"',
        rf'peers.ct14.host: {HOST}, not "ct1\n"',
    ),
    "host-number": ("peers.ct1.host: must be text in quotes, not 10.5",),
    "host-without-port": ("peers.ct1: must have port beside host, or neither, not a table",),
    "key-twice": ('line 3, column 17: must be TOML (Cannot overwrite a value), not "ae_title = "CT1""',),
    "name": (
        f'peers.: {NAME}, not ""',
        f'peers.ct 1: {NAME}, not "ct 1"',
        f'peers.-ct1: {NAME}, not "-ct1"',
        f'peers..ct1: {NAME}, not ".ct1"',
        f'peers.{"n" * 65}: {NAME}, not "{"n" * 60}…"',
        rf'peers.ct\x1b1: {NAME}, not "ct\x1b1"',
        rf'peers.ct1\n: {NAME}, not "ct1\n"',
        rf'peers.r\xf6ntgen: {NAME}, not "r\xf6ntgen"',
        f'peers.ct1@here: {NAME}, not "ct1@here"',
    ),
    "network-host-bits": (
        f'peers.ct1.allow_from[0]: {HOST_BITS} 10.1.2.0/24, not "10.1.2.3/24"',
        f'peers.ct1.allow_from[2]: {HOST_BITS} fd00::/8, not "fd00::1/8"',
    ),
    "network-malformed": (
        f'peers.ct1.allow_from[0]: {NETWORK}, not ""',
        f'peers.ct1.allow_from[1]: {NETWORK}, not "ct1"',
        f'peers.ct1.allow_from[2]: {NETWORK}, not "10.0.0.256"',
        f'peers.ct1.allow_from[3]: {NETWORK}, not "10.0.0.0/33"',
        f'peers.ct1.allow_from[4]: {NETWORK}, not "10.0.0.*"',
        f'peers.ct1.allow_from[5]: {NETWORK}, not "10.0.0.0-9"',
        f'peers.ct1.allow_from[6]: {NETWORK}, not "::/129"',
    ),
    "network-zone": (
        'peers.ct1.allow_from[0]: must be an IP address or a network without a zone, not "fe80::%eth0/64"',
    ),
    "not-toml": ('line 2, column 12: must be TOML (Invalid value), not "ae_title = CT1"',),
    "not-toml-header": (
        "line 2, column 11: must be TOML (Expected ']' at the end of a table declaration), not \"[peers.ct1\"",
    ),
    "not-toml-last-line": ('line 2, column 16: must be TOML (Unterminated string), not "ae_title = "CT1"',),
    "not-utf-8": ("byte 33: must be UTF-8, not 0xF6",),
    "not-utf-8-bom": ("byte 5: must be UTF-8, not 0xFF",),
    "peer-text": ('peers.ae_title: must be a table, not "CT1"',),
    "peers-array": ("peers: must be a table, not [{'ae_title': 'CT1'}]",),
    "peers-number": ("peers: must be a table, not 1",),
    "port-float": ("peers.ct1.port: must be 1 to 65535, not 104.0",),
    "port-high": ("peers.ct1.port: must be 1 to 65535, not 65536",),
    "port-negative": ("peers.ct1.port: must be 1 to 65535, not -104",),
    "port-text": ('peers.ct1.port: must be 1 to 65535, not "104"',),
    "port-true": ("peers.ct1.port: must be 1 to 65535, not true",),
    "port-without-host": ("peers.ct1: must have host beside port, or neither, not a table",),
    "port-zero": ("peers.ct1.port: must be 1 to 65535, not 0",),
    "section-misspelt": ('peer: must be a known key (nearest: peers), not "peer"',),
    "section-twice": ("line 4, column 11: must be TOML (Cannot declare ('peers', 'ct1') twice), not \"[peers.ct1]\"",),
    "section-without-peers": ('orthanc: must be one of peers, not "orthanc"',),
    "certificate-empty": ("peers.ct1.certificate: must name at least one, or be left out, not []",),
    "certificate-malformed": (f'peers.ct1.certificate: {CERTIFICATE}, not "pacs"',),
    "certificate-short": (f'peers.ct1.certificate: {CERTIFICATE}, not "sha256:abcd"',),
    "certificate-number": ("peers.ct1.certificate: must be text in quotes, not 1",),
    "tls-name-malformed": (f'peers.ct1.tls_name: {HOST}, not "ct 1"',),
    "services-empty": (
        "peers.ct1.services: must name one of echo, store, find, move, get, or be left out for all that the node has, "
        "not []",
    ),
    "services-text": ('peers.ct1.services: must be an array of echo, store, find, move, get, not "store"',),
    "services-unknown": (
        "peers.ct1.services: must be an array of echo, store, find, move, get, not ['echo', 'print']",
    ),
    "tls-name-without-tls": ("peers.ct1: must have tls = true beside tls_name, not a table",),
    "tls-number": ("peers.ct1.tls: must be true or false, not 1",),
    "tls-without-host": ("peers.ct1: must have host and port beside tls, which is how we call it, not a table",),
    "unknown-key-far": (
        "peers.ct1.colour: must be one of ae_title, host, port, allow_from, tls, tls_name, certificate, services, "
        'not "colour"',
    ),
    "unknown-key-near": ('peers.ct1.allow: must be a known key (nearest: allow_from), not "allow"',),
    "utf-16": ("byte 0: must be UTF-8, not 0xFF",),
}


def faults_of(path: Path | str) -> tuple[str, ...]:
    with pytest.raises(PeerTableError) as raised:
        PeerTable.read(path)
    assert str(raised.value) == "\n".join(raised.value.faults)
    return raised.value.faults


def faults_in(text: str | bytes) -> tuple[str, ...]:
    with pytest.raises(PeerTableError) as raised:
        PeerTable.parse(text.encode() if isinstance(text, str) else text)
    return raised.value.faults


# --- files that are not valid ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_is_told_every_fault_in_it(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(DATA)
    source = f"invalid-{fault}.toml"
    assert faults_of(source) == tuple(f"{source}: {line}" for line in FAULTS[fault])


def test_every_file_of_faults_has_its_messages() -> None:
    assert {path.name for path in DATA.glob("invalid-*.toml")} == {f"invalid-{fault}.toml" for fault in FAULTS}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_that_no_terminal_minds(fault: str) -> None:
    for line in faults_of(DATA / f"invalid-{fault}.toml"):
        assert line.replace("…", "").isascii()
        assert line.isprintable()


def test_the_fault_names_the_path_as_it_was_given() -> None:
    path = DATA / ".." / "data" / "invalid-peers-number.toml"
    assert faults_of(str(path)) == (f"{path}: peers: must be a table, not 1",)


def test_a_file_over_4_mib_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "peers.toml"
    path.write_bytes(b"#" * (SIZE_LIMIT + 1))
    assert faults_of(path) == (f"{path}: size: must be at most 4194304 bytes, not 4194305",)


def test_a_sparse_file_of_a_terabyte_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "peers.toml"
    path.touch()
    os.truncate(path, 1 << 40)
    assert faults_of(path) == (f"{path}: size: must be at most 4194304 bytes, not 1099511627776",)


def test_a_text_over_4_mib_is_not_parsed() -> None:
    assert faults_in("#" * (SIZE_LIMIT + 1)) == ("peers.toml: size: must be at most 4194304 bytes, not 4194305",)


def test_a_file_of_4_mib_is_read(tmp_path: Path) -> None:
    path = tmp_path / "peers.toml"
    path.write_bytes(b"#" * SIZE_LIMIT)
    assert PeerTable.read(path) == PeerTable()


def test_arrays_nested_without_end_are_a_fault() -> None:
    (line,) = faults_in("x = " + "[" * 100_000)
    assert line.startswith('peers.toml: file: must be TOML, not "')


def test_a_key_of_ten_thousand_parts_is_a_fault() -> None:
    (line,) = faults_in(".".join("x" * 10_000) + " = 1")
    assert line.startswith("peers.toml: ")


def test_a_decimal_integer_of_5000_digits_is_a_fault() -> None:
    (line,) = faults_in("x = " + "9" * 5000)
    assert line.startswith('peers.toml: file: must be TOML, not "')


def test_a_hexadecimal_integer_of_5000_digits_is_a_fault() -> None:
    text = f'[peers.a]\nae_title = "A"\nhost = "h"\nport = 0x{"f" * 5000}'
    assert faults_in(text) == ("peers.toml: peers.a.port: must be 1 to 65535, not a number of thousands of digits",)


def test_a_long_value_is_shown_cut() -> None:
    assert faults_in(f'[peers.a]\nae_title = "{"A" * 1000}"') == (
        f'peers.toml: peers.a.ae_title: must be at most 16 characters, not "{"A" * 60}…"',
    )


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "ae_title", "host", "port"),
    [
        ("ORTHANC@127.0.0.1:4242", "ORTHANC", "127.0.0.1", 4242),
        ("A@h:1", "A", "h", 1),
        ("A@pacs.example.org:65535", "A", "pacs.example.org", 65535),
        ("A@pacs.example.org.:104", "A", "pacs.example.org.", 104),
        ("A@my_container:104", "A", "my_container", 104),
        ("A@[::1]:104", "A", "::1", 104),
        ("A@[2001:db8::17]:104", "A", "2001:db8::17", 104),
        ("A@[fe80::1%eth0]:104", "A", "fe80::1%eth0", 104),
        ("A@B@h:1", "A@B", "h", 1),
        ("A@B:2@h:1", "A@B:2", "h", 1),
        ("CT 1@h:1", "CT 1", "h", 1),
        ("  CT 1  @h:1", "CT 1", "h", 1),
        ("A@h:00104", "A", "h", 104),
        ("ORTHANC", "ORTHANC", None, None),
        (" WS 2 ", "WS 2", None, None),
    ],
)
def test_a_target_is_parsed(target: str, ae_title: str, host: str | None, port: int | None) -> None:
    assert Peer.parse(target, "x") == Peer("x", ae_title, host, port)


TARGET = "target must be TITLE@HOST:PORT, not"
BRACKETS = "target must have its IPv6 address in brackets, not"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("A@h", f'{TARGET} "A@h"'),
        ("A@h:", f'{TARGET} "A@h:"'),
        ("A@h:x", f'{TARGET} "A@h:x"'),
        ("A@h:-1", f'{TARGET} "A@h:-1"'),
        ("A@h: 1", f'{TARGET} "A@h: 1"'),
        ("A@h:1_0", f'{TARGET} "A@h:1_0"'),
        ("A@h:١", rf'{TARGET} "A@h:\u0661"'),
        ("A@h:²", rf'{TARGET} "A@h:\xb2"'),
        ("A@h:100000", f'{TARGET} "A@h:100000"'),
        ("A@h:" + "9" * 5000, f'{TARGET} "A@h:{"9" * 252}...(+4748 characters)"'),
        ("A@[::1]", f'{TARGET} "A@[::1]"'),
        ("A@::1:104", f'{BRACKETS} "A@::1:104"'),
        ("A@[::1:104", f'{BRACKETS} "A@[::1:104"'),
        ("A@::1]:104", f'{BRACKETS} "A@::1]:104"'),
        ("A@h:104:105", f'{BRACKETS} "A@h:104:105"'),
        ("A@[[::1]]:104", f"host: {HOST}, not '[::1]'"),
        ("A@[::g]:104", f"host: {HOST}, not '::g'"),
        ("A@[h]:104", f"host: {HOST}, not '[h]'"),
        ("A@[h:104", f"host: {HOST}, not '[h'"),
        ("A@h]:104", f"host: {HOST}, not 'h]'"),
        ("A@[127.0.0.1]:104", f"host: {HOST}, not '[127.0.0.1]'"),
        ("A@:104", f"host: {HOST}, not ''"),
        ("A@ h:104", f"host: {HOST}, not ' h'"),
        ("A@h:0", "port: must be 1 to 65535, not 0"),
        ("A@h:65536", "port: must be 1 to 65535, not 65536"),
        ("@h:104", "ae_title: must not be empty, not ''"),
        ("", "ae_title: must not be empty, not ''"),
        ("SEVENTEEN_LETTERS@h:104", "ae_title: must be at most 16 characters, not 'SEVENTEEN_LETTERS'"),
    ],
)
def test_a_malformed_target_is_refused(target: str, message: str) -> None:
    with pytest.raises(ValueError) as raised:
        Peer.parse(target)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("peer", "text"),
    [
        (Peer("a", "A", "127.0.0.1", 104), "A@127.0.0.1:104"),
        (Peer("a", "A", "::1", 104), "A@[::1]:104"),
        (Peer("a", "A", "fe80::1%eth0", 104), "A@[fe80::1%eth0]:104"),
        (Peer("a", "A"), "A"),
    ],
)
def test_a_peer_reads_as_its_target(peer: Peer, text: str) -> None:
    assert str(peer) == text


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "a b"}, f"name: {NAME}, not 'a b'"),
        ({"name": None}, "name: must be text in quotes, not None"),
        ({"name": 0}, "name: must be text in quotes, not 0"),
        ({"ae_title": ""}, "ae_title: must not be empty, not ''"),
        ({"ae_title": None}, "ae_title: must be text in quotes, not None"),
        ({"ae_title": "\x1b[2J"}, rf"ae_title: {PRINTABLE}, not '\\x1b[2J'"),
        ({"host": "h"}, "port: must be 1 to 65535, not None"),
        ({"port": 104}, "host: must be text in quotes, not None"),
        ({"host": "h", "port": True}, "port: must be 1 to 65535, not True"),
        ({"host": "h", "port": "104"}, "port: must be 1 to 65535, not '104'"),
        ({"allow_from": ["10.0.0.1/8"]}, f"allow_from: {HOST_BITS} 10.0.0.0/8, not '10.0.0.1/8'"),
        ({"allow_from": [None]}, "allow_from: must be text in quotes, not None"),
        ({"tls": 1}, "tls: must be true or false, not 1"),
        ({"tls": True}, "must have host and port beside tls, which is how we call it"),
        ({"host": "h", "port": 104, "tls_name": "h2"}, "must have tls = true beside tls_name"),
        ({"host": "h", "port": 104, "tls": True, "tls_name": ""}, f"tls_name: {HOST}, not ''"),
    ],
)
def test_there_is_no_invalid_peer(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as raised:
        Peer(**({"name": "a", "ae_title": "A"} | values))
    assert str(raised.value) == message


def test_a_peer_is_normalised() -> None:
    peer = Peer("a", " A ", allow_from=("10.0.0.5", ip_network("fd00::/8")))  # type: ignore[arg-type]
    assert peer == Peer("a", "A", allow_from=(IPv4Network("10.0.0.5/32"), IPv6Network("fd00::/8")))


def test_a_peer_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Peer("a", "A").ae_title = "B"  # type: ignore[misc]


def test_a_copy_of_a_peer_is_checked_too() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        replace(Peer("a", "A"), ae_title=" ")


# --- the table -------------------------------------------------------------------------------------------------------

CT1, MR2 = Peer("ct1", "CT1", "10.0.0.5", 104), Peer("mr2", "mr2")


def test_a_table_is_a_mapping_in_the_order_of_the_file() -> None:
    table = PeerTable([MR2, CT1])
    assert list(table) == ["mr2", "ct1"]
    assert table["ct1"] is CT1
    assert len(table) == 2
    assert repr(table) == f"PeerTable([{MR2!r}, {CT1!r}])"


def test_a_peer_is_found_by_exactly_its_title() -> None:
    table = PeerTable([CT1, MR2])
    assert table.with_ae_title("CT1") is CT1
    assert table.with_ae_title("ct1") is None
    assert table.with_ae_title("MR2") is None
    assert table.with_ae_title("CT1 ") is None


def test_tables_are_equal_by_their_peers_alone() -> None:
    assert PeerTable([CT1, MR2]) == PeerTable([MR2, CT1])
    assert PeerTable([CT1]) != PeerTable([replace(CT1, port=105)])
    assert PeerTable([CT1]) != PeerTable()


def test_a_table_cannot_be_edited() -> None:
    assert not hasattr(PeerTable, "__setitem__")
    assert not hasattr(PeerTable, "__delitem__")


def test_an_empty_table_is_valid_and_admits_nobody() -> None:
    for text in (b"", b"# nothing\n", b"[peers]\n", b"\xef\xbb\xbf"):
        table = PeerTable.parse(text)
        assert not table
        assert table.with_ae_title("") is None


@pytest.mark.parametrize(
    ("peers", "message"),
    [
        ([CT1, Peer("ct1", "B")], "peers.ct1: must be a name of its own, not one that is in the table"),
        ([CT1, Peer("b", "CT1")], 'peers.b.ae_title: must be unlike the title of peers.ct1, not "CT1"'),
        ([CT1, Peer("b", " CT1 ")], 'peers.b.ae_title: must be unlike the title of peers.ct1, not "CT1"'),
    ],
)
def test_names_and_titles_are_unique(peers: list[Peer], message: str) -> None:
    with pytest.raises(ValueError) as raised:
        PeerTable(peers)
    assert str(raised.value) == message


def test_titles_that_differ_in_case_are_two() -> None:
    assert len(PeerTable([Peer("a", "CT1"), Peer("b", "ct1")])) == 2


def test_the_shipped_table_has_an_orthanc_with_its_own_defaults() -> None:
    orthanc = Peer("orthanc", "ORTHANC", "127.0.0.1", 4242, (IPv4Network("127.0.0.1"),))
    assert PeerTable.read(SHIPPED) == PeerTable([orthanc])


@pytest.mark.parametrize(
    "text",
    [
        '\ufeff[peers.ct1]\nae_title = "CT1"\n',
        '[peers.ct1]\r\nae_title = "CT1"\r\n',
        '[peers.ct1]\nae_title = "CT1"',
        '[peers]\nct1 = { ae_title = " CT1 " }\n',
        'peers = { ct1 = { ae_title = "CT1" } }\n',
        'peers.ct1.ae_title = "CT1"\n',
        '["peers"."ct1"]\n"ae_title" = "\\u0043T1"\n',
    ],
    ids=["byte order mark", "CR LF", "no last line end", "inline", "all inline", "dotted", "quoted"],
)
def test_a_table_may_be_written_in_any_way_of_toml(text: str) -> None:
    assert PeerTable.parse(text.encode()) == PeerTable([Peer("ct1", "CT1")])


# --- any table, any bytes --------------------------------------------------------------------------------------------

names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", fullmatch=True)
hosts = st.one_of(
    st.ip_addresses().map(str),
    st.from_regex(r"([a-z0-9_]([a-z0-9_-]{0,8}[a-z0-9_])?\.){0,3}[a-z]{1,9}", fullmatch=True),
    st.sampled_from(["fe80::1%eth0", "localhost", "a" * 63]),
)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    address = draw(st.ip_addresses().filter(lambda address: getattr(address, "ipv4_mapped", None) is None))
    return ip_network(f"{address}/{draw(st.integers(0, address.max_prefixlen))}", strict=False)


@st.composite
def peers(draw: st.DrawFn) -> Peer:
    peer = Peer(draw(names), draw(ae_titles), allow_from=tuple(draw(st.lists(networks(), max_size=3))))
    if draw(st.booleans()):
        peer = replace(peer, host=draw(hosts), port=draw(st.integers(1, 65_535)))
        if draw(st.booleans()):
            return replace(peer, tls=True, tls_name=draw(st.none() | hosts))
    return peer


tables = st.lists(peers(), max_size=5, unique_by=(lambda peer: peer.name, lambda peer: peer.ae_title)).map(PeerTable)


def written(table: PeerTable) -> str:
    document = tomlkit.document()
    document["peers"] = {name: dict(fields_of(peer)) for name, peer in table.items()}
    return tomlkit.dumps(document)


def fields_of(peer: Peer) -> Iterator[tuple[str, object]]:
    yield "ae_title", peer.ae_title
    if peer.host is not None:
        yield "host", peer.host
        yield "port", peer.port
    if peer.allow_from:
        yield "allow_from", [network_text(network) for network in peer.allow_from]
    if peer.tls:
        yield "tls", True
    if peer.tls_name is not None:
        yield "tls_name", peer.tls_name


@bounded
@given(tables)
def test_any_table_that_was_written_reads_back_equal(table: PeerTable) -> None:
    read = PeerTable.parse(written(table).encode())
    assert read == table
    assert list(read) == list(table)


@bounded
@given(peers())
def test_any_peer_is_parsed_from_how_it_reads(peer: Peer) -> None:
    if "@" not in peer.ae_title or peer.host is not None:
        assert Peer.parse(str(peer), peer.name) == replace(peer, allow_from=(), tls=False, tls_name=None)


@bounded
@given(st.text())
def test_any_target_is_a_peer_or_a_value_error(target: str) -> None:
    try:
        peer = Peer.parse(target)
    except ValueError:
        return
    assert Peer.parse(str(peer)) == peer or "@" in peer.ae_title


WORDS = r"""
[ ] [[ ]] { } = . , # " ' \ \u \n peers a ae_title host port allow_from allow "A" 'h' 104 1e9 nan true 1979-05-27
07:32:00 0x1 "10.0.0.0/8" é
"""
words = st.sampled_from(
    [
        *WORDS.strip().replace("\n", " ").split(" "),
        '"' * 3,
        "'" * 3,
        "\n",
        "\r\n",
        " ",
        "\0",
        "\x1b",
        "\u2028",
        "\ufeff",
    ]
)
toml_values = st.recursive(
    st.one_of(st.booleans(), st.integers(-(1 << 63), 1 << 63), st.floats(), st.text(), st.datetimes(), st.dates()),
    lambda values: st.one_of(st.lists(values, max_size=3), st.dictionaries(st.text(), values, max_size=3)),
    max_leaves=3,
)
keys = st.one_of(st.sampled_from(["peers", "a", "ae_title", "host", "port", "allow_from"]), st.text(max_size=3))
sections = st.dictionaries(keys, toml_values, max_size=3)
documents = st.dictionaries(keys, toml_values | st.dictionaries(keys, toml_values | sections, max_size=2), max_size=2)


def assert_a_table_or_its_faults(data: bytes) -> None:
    faults: tuple[str, ...] = ("peers.toml: none",)
    try:
        PeerTable.parse(data)
    except PeerTableError as error:
        faults = error.faults
    assert faults
    assert all(line.startswith("peers.toml: ") and "\n" not in line for line in faults)


@bounded
@given(st.binary())
def test_any_bytes_are_a_table_or_its_faults(data: bytes) -> None:
    assert_a_table_or_its_faults(data)


@bounded
@given(st.lists(words, max_size=40).map("".join))
def test_any_words_of_toml_are_a_table_or_its_faults(text: str) -> None:
    assert_a_table_or_its_faults(text.encode())


@bounded
@given(documents)
def test_any_toml_is_a_table_or_its_faults(content: dict[str, object]) -> None:
    assert_a_table_or_its_faults(tomlkit.dumps(content).encode())
