"""Who is admitted: each rule with its codes, their order, and what becomes of a guard that breaks."""

from collections.abc import Callable
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from minipacs import Peer, PeerTable, admission
from minipacs.admission import Admission, admit
from minipacs.wire.verification import request
from tests.wire.exchange import ae_titles, bounded

ORTHANC = Peer("orthanc", "ORTHANC")
CT = Peer("ct1", "CT_1", allow_from=("10.1.2.0/24", "192.168.7.9", "2001:db8::/32", "fe80::/10"))  # type: ignore[arg-type]
TABLE = PeerTable([ORTHANC, CT])

ASKING = request("ORTHANC", "MINIPACS")
FROM_CT = request("CT_1", "MINIPACS")
HERE = "127.0.0.1"


def decided(decision: Admission) -> tuple[str, str]:
    """The codes and the cause of a rejection; of an admission, nothing twice."""
    return (str(decision.rejection) if decision.rejection else "", decision.cause)


# --- each rule -----------------------------------------------------------------------------------------------------


def test_a_peer_of_the_table_is_admitted() -> None:
    assert admit(ASKING, HERE, TABLE, "MINIPACS") == Admission(ORTHANC)


@pytest.mark.parametrize("version", [0, 2, 0xFFFE])
def test_a_version_without_bit_0_is_rejected(version: int) -> None:
    asking = replace(ASKING, protocol_version=version)
    assert decided(admit(asking, HERE, TABLE, "MINIPACS")) == ("1/2/2", "admission.protocol-version")


@pytest.mark.parametrize("version", [1, 3, 0xFFFF])
def test_a_version_with_bit_0_is_admitted(version: int) -> None:
    assert admit(replace(ASKING, protocol_version=version), HERE, TABLE, "MINIPACS") == Admission(ORTHANC)


@pytest.mark.parametrize("name", ["", "1.2.840.10008.3.1.1", "1.2.840.10008.3.1.1.1.1", "1.2.840.10008.1.1"])
def test_another_application_context_is_rejected(name: str) -> None:
    asking = replace(ASKING, application_context=name)
    assert decided(admit(asking, HERE, TABLE, "MINIPACS")) == ("1/1/2", "admission.application-context")


@pytest.mark.parametrize("called", ["", "MINIPAC", "MINIPACS2", "minipacs", "MINI PACS", "ORTHANC"])
def test_a_call_to_another_title_is_rejected(called: str) -> None:
    decision = admit(request("ORTHANC", called), HERE, TABLE, "MINIPACS")
    assert decided(decision) == ("1/1/7", "admission.called-ae-title")
    assert decision.peer == ORTHANC


@pytest.mark.parametrize("calling", ["", "ORTHAN", "ORTHANC2", "ORT HANC", "CT-1", "A\\B", "\x1b[2J"])
def test_a_stranger_is_rejected(calling: str) -> None:
    decision = admit(request(calling, "MINIPACS"), HERE, TABLE, "MINIPACS")
    assert decided(decision) == ("1/1/3", "admission.calling-ae-title")
    assert decision.peer is None


def test_more_than_the_limit_are_rejected() -> None:
    decision = admit(ASKING, HERE, TABLE, "MINIPACS", is_full=True)
    assert (decided(decision), decision.peer) == (("2/3/2", "admission.limit"), ORTHANC)


def test_more_than_the_limit_of_one_peer_are_rejected() -> None:
    decision = admit(ASKING, HERE, TABLE, "MINIPACS", is_full=True, peer_is_full=True)
    assert (decided(decision), decision.peer) == (("2/3/2", "admission.peer-limit"), ORTHANC)
    outside = admit(FROM_CT, HERE, TABLE, "MINIPACS", peer_is_full=True)
    assert decided(outside) == ("1/1/3", "admission.address")


def test_an_empty_table_admits_nobody() -> None:
    assert decided(admit(ASKING, HERE, PeerTable(), "MINIPACS")) == ("1/1/3", "admission.calling-ae-title")


@bounded
@given(calling=ae_titles, called=ae_titles, known=st.sets(ae_titles, max_size=4), ours=ae_titles)
def test_only_a_title_of_the_table_that_calls_our_title_is_ever_admitted(
    calling: str, called: str, known: set[str], ours: str
) -> None:
    table = PeerTable(Peer(f"peer-{number}", title) for number, title in enumerate(sorted(known)))
    is_admitted = admit(request(calling, called), HERE, table, ours).rejection is None
    assert is_admitted == (calling in known and called == ours)


# --- the address ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "10.1.2.3",
        "192.168.7.9",
        "::ffff:10.1.2.3",  # as a socket for both versions shows it
        "::FFFF:192.168.7.9",
        "2001:db8:1::7",
        "2001:db8::1%eth0",
        "fe80::21a:2bff:fe3c:4d5e%2",
    ],
)
def test_an_address_in_allow_from_is_admitted(address: str) -> None:
    assert admit(FROM_CT, address, TABLE, "MINIPACS") == Admission(CT)


@pytest.mark.parametrize(
    "address", ["10.1.3.3", "192.168.7.8", "127.0.0.1", "::1", "::ffff:10.1.3.3", "2001:db9::1", "::10.1.2.3"]
)
def test_another_address_is_rejected(address: str) -> None:
    decision = admit(FROM_CT, address, TABLE, "MINIPACS")
    assert decided(decision) == ("1/1/3", "admission.address")
    assert decision.peer == CT


def test_a_peer_without_allow_from_may_call_from_anywhere() -> None:
    assert admit(ASKING, "203.0.113.9", TABLE, "MINIPACS") == Admission(ORTHANC)


# --- near misses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calling", "near_miss"),
    [("orthanc", "ORTHANC"), ("Orthanc", "ORTHANC"), ("ct_1", "CT_1"), ("ORTHANC2", ""), ("CT1", ""), ("", "")],
)
def test_a_stranger_that_differs_in_capitals_alone_is_a_near_miss(calling: str, near_miss: str) -> None:
    decision = admit(request(calling, "MINIPACS"), HERE, TABLE, "MINIPACS")
    assert decided(decision) == ("1/1/3", "admission.capitals" if near_miss else "admission.calling-ae-title")
    assert (decision.near_miss, decision.peer) == (near_miss, None)


@pytest.mark.parametrize(("called", "near_miss"), [("MiniPACS", "MINIPACS"), ("MINIPACS2", ""), ("", "")])
def test_a_call_that_differs_in_capitals_alone_is_a_near_miss(called: str, near_miss: str) -> None:
    assert admit(request("ORTHANC", called), HERE, TABLE, "MINIPACS").near_miss == near_miss


# --- the order -----------------------------------------------------------------------------------------------------

# What each rule refuses, in the order of the rules; a call breaks some of them.
BROKEN_RULES = ("1/2/2", "1/1/2", "1/1/7", "1/1/3 stranger", "1/1/3 address", "2/3/2")
STRANGER_AND_ADDRESS = set(BROKEN_RULES[3:5])  # of a stranger no address is known


@pytest.mark.parametrize(
    ("first", "second"),
    [pair for pair in combinations(BROKEN_RULES, 2) if set(pair) != STRANGER_AND_ADDRESS],
    ids=" before ".join,
)
def test_the_rules_are_applied_in_their_order(first: str, second: str) -> None:
    assert decided(_breaking(first, second))[0] == first.partition(" ")[0]


def test_of_a_call_that_breaks_every_rule_the_version_is_told() -> None:
    assert decided(_breaking(*BROKEN_RULES))[0] == "1/2/2"


def _breaking(*rules: str) -> Admission:
    calling = "STRANGER" if "1/1/3 stranger" in rules else "CT_1"
    called = "OTHER" if "1/1/7" in rules else "MINIPACS"
    asking = replace(
        request(calling, called),
        protocol_version=2 if "1/2/2" in rules else 1,
        application_context="1.2.3" if "1/1/2" in rules else ASKING.application_context,
    )
    address = HERE if "1/1/3 address" in rules else "10.1.2.3"
    return admit(asking, address, TABLE, "MINIPACS", is_full="2/3/2" in rules)


# --- a guard that breaks -------------------------------------------------------------------------------------------


class BrokenTable(PeerTable):
    """A table whose lookup fails."""

    def with_ae_title(self, ae_title: str) -> Peer | None:
        raise RuntimeError(f"no lookup of {ae_title}")


def test_a_table_that_fails_admits_nobody() -> None:
    decision = admit(ASKING, HERE, BrokenTable([ORTHANC]), "MINIPACS")
    assert decided(decision) == ("1/1/1", "admission.internal-error")
    assert repr(decision.error) == "RuntimeError('no lookup of ORTHANC')"
    assert decision.peer is None


def test_an_address_that_is_none_is_not_in_allow_from() -> None:
    decision = admit(FROM_CT, "unknown", TABLE, "MINIPACS")
    assert decided(decision) == ("1/1/1", "admission.internal-error")
    assert isinstance(decision.error, ValueError)


def _raises(*_: object) -> Admission:
    raise KeyError("broken")


def _recurses(*arguments: object) -> Admission:
    return _recurses(*arguments)


@pytest.mark.parametrize("broken", [_raises, _recurses])
def test_whatever_breaks_in_a_rule_nobody_is_admitted(
    broken: Callable[..., Admission], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "_admit", broken)
    decision = admit(ASKING, HERE, TABLE, "MINIPACS")
    assert decided(decision) == ("1/1/1", "admission.internal-error")
    assert decision.error is not None
