"""Our entry among Orthanc's modalities: which it is, how far it is right, and that it is put back as it was."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from minipacs import Peer, echo
from minipacs.errors import OrthancError, RegistrationError
from minipacs.leg import Standing
from minipacs.orthanc import Modality, Orthanc
from minipacs.registered_leg import compare, look
from minipacs.registration import Registration, Wanted, differences, find, ours_to_remove, services_text, wanted
from minipacs.verdict import RegisteredOutcome

from .peers import orthanc as real
from .peers.ports import free_port, has_ipv6
from .peers.required import required
from .peers.web import Request, web

US = Wanted("minipacs", "MINIPACS", "127.0.0.1", 11112)
RIGHT = Modality("MINIPACS", "127.0.0.1", 11112)
OTHER = Modality("OTHER", "10.0.0.9", 104)
URL = "http://127.0.0.1:8042"
REGISTER = (
    f"minipacs orthanc register --orthanc {URL}; or in its configuration: "
    '"DicomModalities": { "minipacs": ["MINIPACS", "127.0.0.1", 11112] }'
)
OR_ADDRESS = "; or, where what it has is how it reaches us: name that host by --our-address"


def modality(ae_title: str = "MINIPACS", host: str = "127.0.0.1", port: int = 11112, **services: bool) -> Modality:
    return Modality(ae_title, host, port, services=services)


# --- what Orthanc has to know -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (("a b", "A", "h", 1), "a name among Orthanc's modalities must be letters, digits, - and _, not a b"),
        (("", "A", "h", 1), "a name among Orthanc's modalities must be letters, digits, - and _, not empty"),
        (("é", "A", "h", 1), r"a name among Orthanc's modalities must be letters, digits, - and _, not \xe9"),
        (("a", "A", "h", 0), "Orthanc takes a port of 1 to 65534, not 0: choose one by --port"),
        (("a", "A", "h", 65_535), "Orthanc takes a port of 1 to 65534, not 65535: choose one by --port"),
        (
            ("a", "A", "::1", 1),
            "Orthanc takes an IPv4 address or a host name, not ::1: name one that it reaches by --our-address",
        ),
    ],
)
def test_what_orthanc_cannot_know_is_refused_with_the_rule(values: Any, said: str) -> None:
    with pytest.raises(RegistrationError) as raised:
        Wanted(*values)
    assert str(raised.value) == said


@pytest.mark.parametrize(
    ("host", "our_address", "expected"),
    [
        ("127.0.0.1", None, "127.0.0.1"),
        ("localhost", None, "127.0.0.1"),
        ("0.0.0.0", None, "127.0.0.1"),
        ("::", None, "127.0.0.1"),
        ("0.0.0.0", "10.0.0.7", "10.0.0.7"),
        ("10.1.2.3", None, "10.1.2.3"),
        ("node.example", None, "node.example"),
        ("127.0.0.1", "host.docker.internal", "host.docker.internal"),
    ],
)
def test_where_orthanc_on_this_machine_reaches_us(host: str, our_address: str | None, expected: str) -> None:
    for url in ("http://127.0.0.1:8042", "http://localhost:8042"):
        assert wanted(Orthanc(url), None, "MINIPACS", host, 104, our_address).host == expected


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6")
def test_an_orthanc_asked_by_ipv6_is_given_an_address_that_it_takes() -> None:
    orthanc = Orthanc("http://[::1]:8042")
    assert (orthanc.local_address(), orthanc.is_here()) == ("::1", True)
    assert wanted(orthanc, None, "MINIPACS", "0.0.0.0", 104).host == "127.0.0.1"


def test_without_an_orthanc_every_address_is_none() -> None:
    with pytest.raises(RegistrationError) as raised:
        wanted(None, None, "MINIPACS", "0.0.0.0", 104)
    assert str(raised.value) == "0.0.0.0 is every address of this machine: name one by --our-address"
    assert wanted(None, None, "MINIPACS", "127.0.0.1", 104).host == "127.0.0.1"


class Elsewhere(Orthanc):
    """One whose machine is known to be another, whatever network the tests have."""

    def is_here(self) -> bool:
        return False


def test_an_orthanc_on_another_machine_does_not_reach_our_loopback() -> None:
    far = Elsewhere("http://pacs.example:8042")
    with pytest.raises(RegistrationError) as raised:
        wanted(far, None, "MINIPACS", "127.0.0.1", 104)
    assert str(raised.value) == (
        "we listen on 127.0.0.1, and pacs.example is another machine: listen where it reaches us (--host 0.0.0.0), "
        "or say by --our-address where it does"
    )
    assert wanted(far, None, "MINIPACS", "127.0.0.1", 104, "127.0.0.1").host == "127.0.0.1"  # as through a tunnel


def test_the_name_is_made_of_our_title_unless_it_is_given() -> None:
    made, given = wanted(None, None, "CT 1", "h", 1), wanted(None, "ct-1", "CT 1", "h", 1)
    assert (made.name, made.is_named) == ("ct-1", False)
    assert (given.name, given.is_named) == ("ct-1", True)
    assert str(given) == "CT 1@h:1"


# --- which entry is ours ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("modalities", "name"),
    [
        ({}, None),
        ({"x": OTHER}, None),
        ({"minipacs": OTHER}, None),
        ({"x": RIGHT}, "x"),
        ({"x": modality("minipacs ")}, "x"),
        ({"a": modality(port=1), "b": RIGHT}, "b"),
        ({"a": modality(port=1), "minipacs": modality(port=2)}, "minipacs"),
        ({"minipacs": modality(port=2), "z": RIGHT}, "z"),
    ],
)
def test_our_entry_is_found_by_its_title(modalities: dict[str, Modality], name: str | None) -> None:
    assert find(modalities, US) == name


def test_a_name_that_was_given_is_the_only_one_that_counts() -> None:
    named = Wanted("mine", "MINIPACS", "127.0.0.1", 11112, is_named=True)
    assert find({"x": RIGHT}, named) is None
    assert find({"x": RIGHT, "mine": modality(port=1)}, named) == "mine"
    assert find({"mine": OTHER}, named) is None


@pytest.mark.parametrize(
    ("modalities", "name", "found"),
    [
        ({"x": RIGHT}, None, "x"),
        ({"x": modality(host="10.0.0.8")}, None, "x"),
        ({"x": OTHER}, None, None),
        ({"x": RIGHT}, "y", None),
        ({"x": RIGHT, "y": RIGHT}, "y", "y"),
    ],
)
def test_what_is_ours_to_take_away(modalities: dict[str, Modality], name: str | None, found: str | None) -> None:
    assert ours_to_remove(modalities, "MINIPACS", name) == found


@pytest.mark.parametrize(
    ("modalities", "name", "said"),
    [
        ({"x": OTHER}, "x", '"x" is OTHER@10.0.0.9:104, and we are MINIPACS: it is not ours'),
        (
            {"x": RIGHT, "y": modality("minipacs")},
            None,
            'several are called MINIPACS: "x" (MINIPACS@127.0.0.1:11112), "y" (minipacs@127.0.0.1:11112); '
            "choose one by --name",
        ),
    ],
)
def test_what_is_not_ours_to_take_away(modalities: dict[str, Modality], name: str | None, said: str) -> None:
    with pytest.raises(RegistrationError) as raised:
        ours_to_remove(modalities, "MINIPACS", name)
    assert str(raised.value) == said


# --- how far it is right ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        (RIGHT, []),
        (modality(host="LOCALHOST"), []),
        (modality(AllowEcho=True, AllowStore=False), []),
        (modality("MINIPACS "), []),
        (modality("minipacs"), ["AE title is minipacs, not MINIPACS"]),
        (modality("\x1b[2J"), [r"AE title is \x1b[2J, not MINIPACS"]),
        (modality(""), ["AE title is empty, not MINIPACS"]),
        (modality(host="127.0.0.2"), ["host is 127.0.0.2, not 127.0.0.1"]),
        (modality(host="no.such.invalid"), ["host is no.such.invalid, not 127.0.0.1"]),
        (modality(host="."), ["host is ., not 127.0.0.1"]),
        (modality(host=""), ["host is empty, not 127.0.0.1"]),
        (modality(port=104), ["port is 104, not 11112"]),
        (modality(AllowEcho=False), ["AllowEcho is false, not true"]),
        (Modality("MINIPACS", "127.0.0.1", 11112, uses_tls=True), ["UseDicomTls is true, and our port is plain"]),
        (
            modality("A", "1.2.3.4", 1),
            ["AE title is A, not MINIPACS", "host is 1.2.3.4, not 127.0.0.1", "port is 1, not 11112"],
        ),
    ],
)
def test_every_field_that_is_wrong_is_told(entry: Modality, found: list[str]) -> None:
    assert differences(entry, US) == found


@pytest.mark.parametrize(
    ("services", "text"),
    [
        ({}, ""),
        ({"AllowEcho": True, "AllowStore": True}, "every service is allowed"),
        ({"AllowEcho": True, "AllowStore": False}, "allowed: Echo; not allowed: Store"),
        ({"AllowEcho": False}, "allowed: nothing; not allowed: Echo"),
    ],
)
def test_the_services_in_words(services: dict[str, bool], text: str) -> None:
    assert services_text(Modality("A", "h", 1, services=services)) == text


COMPARISONS: list[tuple[dict[str, Modality], str | None, str, str, str, str]] = [
    ({}, None, "missing", "registered.missing", f"{URL} has nobody called MINIPACS", REGISTER),
    (
        {"minipacs": OTHER},
        None,
        "missing",
        "registered.taken",
        f'{URL} has nobody called MINIPACS, and OTHER@10.0.0.9:104 as "minipacs"',
        f"choose another name for our entry: --name NAME; or minipacs orthanc register --orthanc {URL} --replace",
    ),
    (
        {"minipacs": modality("minipacs", "10.0.0.8")},
        "minipacs",
        "wrong",
        "registered.wrong",
        f'{URL} has minipacs@10.0.0.8:11112 as "minipacs": AE title is minipacs, not MINIPACS; '
        "host is 10.0.0.8, not 127.0.0.1",
        REGISTER + OR_ADDRESS,
    ),
    (
        {"minipacs": modality(port=104)},  # the host is right: another --our-address mends nothing
        "minipacs",
        "wrong",
        "registered.wrong",
        f'{URL} has MINIPACS@127.0.0.1:104 as "minipacs": port is 104, not 11112',
        REGISTER,
    ),
    (
        {"minipacs": RIGHT, "x": modality(port=1, AllowEcho=False)},
        "minipacs",
        "wrong",
        "registered.forbidden",
        f'{URL} has MINIPACS also as "x" (MINIPACS@127.0.0.1:1), and there AllowEcho is false: '
        "it holds for all of that title",
        f"minipacs orthanc unregister --orthanc {URL} --ae-title MINIPACS --name x; or set AllowEcho there",
    ),
    ({"x": RIGHT}, "x", "right", "registered.right", f'{URL} has MINIPACS@127.0.0.1:11112 as "x"', ""),
    (
        {"x": modality(host="localhost", AllowEcho=True), "y": modality(port=1)},
        "x",
        "right",
        "registered.right",
        f'{URL} has MINIPACS@localhost:11112 as "x"; every service is allowed; with DicomCheckModalityHost its '
        'host has to be 127.0.0.1; "y" has our AE title, too: with DicomCheckModalityHost Orthanc goes by the '
        "first",
        "",
    ),
]


@pytest.mark.parametrize(
    ("has", "host", "told"),
    [
        ("127.0.0.1", "127.0.0.1", ""),
        ("127.0.0.1", "localhost", ""),
        ("localhost", "127.0.0.1", "; with DicomCheckModalityHost its host has to be 127.0.0.1"),
        (
            "localhost",
            "localhost",
            "; with DicomCheckModalityHost its host has to be the numeric address that we call from",
        ),
    ],
)
def test_with_its_host_checked_orthanc_has_to_have_a_numeric_address(has: str, host: str, told: str) -> None:
    _, result, words = compare(URL, replace(US, host=host), {"minipacs": modality(host=has)})
    assert result is RegisteredOutcome.RIGHT
    assert words.reason == f'{URL} has MINIPACS@{has}:11112 as "minipacs"{told}'


@pytest.mark.parametrize(("modalities", "name", "outcome", "code", "reason", "fix"), COMPARISONS)
def test_the_comparison_in_words(
    modalities: dict[str, Modality], name: str | None, outcome: str, code: str, reason: str, fix: str
) -> None:
    found, result, words = compare(URL, US, modalities)
    assert (found, result, words.code, words.reason, words.fix) == (name, outcome, code, reason, fix)


def test_a_name_that_was_given_and_is_not_there_is_told() -> None:
    named = Wanted("mine", "MINIPACS", "127.0.0.1", 11112, is_named=True)
    assert compare(URL, named, {"x": RIGHT})[2].reason == f'{URL} has nobody called MINIPACS as "mine"'


@pytest.mark.parametrize(
    ("us", "options"),
    [
        (US, ""),
        (Wanted("mine", "MINIPACS", "127.0.0.1", 11112, is_named=True), " --name mine"),
        (Wanted("ct-1", "CT 1", "10.0.0.7", 104), " --ae-title 'CT 1' --our-address 10.0.0.7 --port 104"),
    ],
)
def test_the_command_that_puts_it_right_means_us(us: Wanted, options: str) -> None:
    fix = compare(URL, us, {})[2].fix
    assert fix.startswith(f"minipacs orthanc register --orthanc {URL}{options}; or in its configuration: ")
    taken = compare(URL, us, {us.name: OTHER})[2].fix
    assert taken.endswith(f"; or minipacs orthanc register --orthanc {URL}{options} --replace")


# --- in a real Orthanc ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[real.Orthanc]:
    with real.Orthanc(tmp_path_factory.mktemp("orthanc"), minipacs_port=11112) as orthanc:
        yield orthanc


@pytest.fixture
def orthanc(started: real.Orthanc) -> real.Orthanc:
    """It knows nobody."""
    for name in json.loads(started.get("/modalities")[1]):
        started.unregister(name)
    return started


def known(orthanc: real.Orthanc) -> Any:
    return json.loads(orthanc.get("/modalities?expand")[1])


needs_orthanc = required(real.ORTHANC)


@needs_orthanc
def test_what_was_put_is_taken_away(orthanc: real.Orthanc) -> None:
    registration = Registration(Orthanc(orthanc.url), US)
    assert not registration.take_away()
    assert registration.put() == "minipacs"
    entry = known(orthanc)["minipacs"]
    assert (entry["AET"], entry["Host"], entry["Port"], entry["AllowEcho"]) == ("MINIPACS", "127.0.0.1", 11112, True)
    assert (registration.has_put, registration.replaced) == (True, "")
    assert registration.take_away()
    assert known(orthanc) == {}
    assert not registration.has_put
    assert not registration.take_away()


@needs_orthanc
def test_what_stood_there_stays_but_for_what_is_wrong_and_comes_back(orthanc: real.Orthanc) -> None:
    fields = {
        "AET": "minipacs",
        "Host": "10.0.0.8",
        "Port": 104,
        "Manufacturer": "GE",
        "Timeout": 7,
        "LocalAet": "HERE",
        "AllowEcho": False,
        "AllowStore": False,
        "UseDicomTls": True,
    }
    assert orthanc.put("/modalities/x", fields)[0] == 200
    orthanc.register("other", "OTHER", "10.0.0.9", 104)
    before = known(orthanc)
    registration = Registration(Orthanc(orthanc.url), US)
    assert registration.put() == "x"
    assert registration.replaced == "minipacs@10.0.0.8:104"
    changed = {"AET": "MINIPACS", "Host": "127.0.0.1", "Port": 11112, "AllowEcho": True, "UseDicomTls": False}
    assert known(orthanc) == before | {"x": before["x"] | changed}
    assert registration.take_away()
    assert known(orthanc) == before


@needs_orthanc
def test_what_is_right_is_left_alone(orthanc: real.Orthanc) -> None:
    orthanc.register("x", "MINIPACS", "127.0.0.1", 11112)
    before = known(orthanc)
    registration = Registration(Orthanc(orthanc.url), US)
    assert registration.put() == "x"
    assert (registration.has_put, registration.take_away(), known(orthanc)) == (False, False, before)


@needs_orthanc
def test_a_name_that_is_taken_is_replaced_only_when_told_and_comes_back(orthanc: real.Orthanc) -> None:
    orthanc.register("minipacs", "OTHER", "10.0.0.9", 104)
    before = known(orthanc)
    registration = Registration(Orthanc(orthanc.url), US)
    with pytest.raises(RegistrationError) as raised:
        registration.put()
    taken = f'"minipacs" at {orthanc.url} is OTHER@10.0.0.9:104'
    assert str(raised.value) == f"{taken}: choose another --name for MINIPACS, or --replace it"
    assert (registration.has_put, known(orthanc)) == (False, before)
    assert registration.put(replace=True) == "minipacs"
    assert registration.replaced == "OTHER@10.0.0.9:104"
    assert known(orthanc)["minipacs"]["AET"] == "MINIPACS"
    assert registration.take_away()
    assert known(orthanc) == before


@needs_orthanc
def test_of_all_entries_with_our_title_none_may_forbid_the_echo(orthanc: real.Orthanc) -> None:
    orthanc.register("minipacs", "MINIPACS", "127.0.0.1", 11112)
    fields = {"AET": "MINIPACS", "Host": "10.0.0.8", "Port": 104, "AllowEcho": False}
    assert orthanc.put("/modalities/x", fields)[0] == 200
    peer, client = Peer("", "ORTHANC", "127.0.0.1", orthanc.dicom_port), Orthanc(orthanc.url)
    assert compare(orthanc.url, US, client.modalities())[2].code == "registered.forbidden"
    assert echo(peer).outcome == "aborted"
    client.unregister("x")
    assert compare(orthanc.url, US, client.modalities())[1] is RegisteredOutcome.RIGHT
    assert echo(peer).is_success


@needs_orthanc
@pytest.mark.parametrize("first", ["a", "z"])
def test_where_hosts_are_checked_the_first_entry_with_our_title_counts(first: str, tmp_path: Path) -> None:
    with real.Orthanc(tmp_path, minipacs_port=11112, extra={"DicomCheckModalityHost": True}) as orthanc:
        orthanc.register(first, "MINIPACS", "10.0.0.8", 104)
        peer = Peer("", "ORTHANC", "127.0.0.1", orthanc.dicom_port)
        assert echo(peer).outcome == ("rejected" if first < "minipacs" else "success")
        words = compare(orthanc.url, US, Orthanc(orthanc.url).modalities())[2]
        assert f'"{first}" has our AE title, too: with DicomCheckModalityHost Orthanc goes by the first' in words.reason


def test_an_entry_that_somebody_else_edits_meanwhile_is_told() -> None:
    def behave(request: Request) -> None:
        request.body()
        request.answer(200, b'{"minipacs": {"AET": "OTHER", "Host": "h", "Port": 1}}' if is_there else b"{}")

    is_there = False
    with web(behave) as other:
        registration = Registration(Orthanc(other.url), US)
        registration.put()
        is_there = True
        with pytest.raises(OrthancError) as raised:
            registration.take_away()
        assert str(raised.value) == f'{other.url}: "minipacs" is not as it was: somebody else edits it'
        assert registration.has_put


# --- the leg ----------------------------------------------------------------------------------------------------------


def called(orthanc: real.Orthanc) -> Peer:
    return Peer("orthanc", "ORTHANC", "127.0.0.1", orthanc.dicom_port)


@needs_orthanc
def test_the_leg_tells_what_it_has_and_what_was_put(orthanc: real.Orthanc) -> None:
    client = Orthanc(orthanc.url)
    found = look(client, called(orthanc), US, None)
    assert (found.leg.outcome, found.leg.standing, found.entry) == ("missing", Standing.FAILED, None)
    assert found.titles == ("ORTHANC", "ORTHANC")
    registration = Registration(client, US)
    found = look(client, called(orthanc), US, registration)
    assert (found.leg.leg, found.leg.outcome, found.leg.standing) == ("registered", "right", Standing.PASSED)
    assert found.leg.reason == (
        f'put: {orthanc.url} has MINIPACS@127.0.0.1:11112 as "minipacs"; every service is allowed; '
        "Orthanc forgets it at its restart, unless DicomModalitiesInDatabase is true"
    )
    assert found.entry == "minipacs"
    assert found.is_known
    assert registration.take_away()


@needs_orthanc
def test_the_leg_tells_the_title_that_orthanc_calls_under(orthanc: real.Orthanc) -> None:
    fields = {"AET": "MINIPACS", "Host": "127.0.0.1", "Port": 11112, "LocalAet": "HERE"}
    assert orthanc.put("/modalities/minipacs", fields)[0] == 200
    assert look(Orthanc(orthanc.url), called(orthanc), US, None).titles == ("ORTHANC", "HERE")


@needs_orthanc
def test_the_leg_tells_that_we_call_another_port_than_its_own(orthanc: real.Orthanc) -> None:
    orthanc.register("minipacs", "MINIPACS", "127.0.0.1", 11112)
    found = look(Orthanc(orthanc.url), Peer("orthanc", "ORTHANC", "127.0.0.1", 104), US, None)
    assert (found.leg.outcome, found.leg.standing) == ("right", Standing.PASSED)  # ports may be mapped between
    told = f"; its DicomPort is {orthanc.dicom_port}, and we call 104: right only where ports are mapped between"
    assert found.leg.reason.endswith(told)


@needs_orthanc
def test_the_leg_does_not_replace_somebody_else(orthanc: real.Orthanc) -> None:
    orthanc.register("minipacs", "OTHER", "10.0.0.9", 104)
    before, registration = known(orthanc), Registration(Orthanc(orthanc.url), US)
    found = look(Orthanc(orthanc.url), called(orthanc), US, registration)
    assert (found.leg.outcome, found.leg.code, found.entry) == ("missing", "registered.taken", None)
    assert (registration.has_put, known(orthanc)) == (False, before)


def test_the_leg_tells_why_orthanc_cannot_be_asked() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    found = look(Orthanc(url), Peer("orthanc", "ORTHANC", "127.0.0.1", 4242), US, None)
    assert (found.leg.outcome, found.leg.code, found.leg.standing) == ("unknown", "registered.unknown", Standing.FAILED)
    why = f"{url} cannot be reached: Connection refused: check host and port, and that Orthanc runs"
    assert found.leg.reason == f"what Orthanc has for us cannot be read: {why}"
    assert found.leg.fix == f"minipacs orthanc check --orthanc {url} tells when that is mended"
    assert not found.is_known
