"""Associations that pynetdicom carries on for us: they fail in the very words of an echo, for the very same peers."""

import ssl
import threading
from collections.abc import Callable

import pytest
from pydicom.dataset import Dataset

from minipacs import Peer, VerificationSCP, echo
from minipacs.diagnosis import Diagnosis
from minipacs.services.caller import Caller
from minipacs.services.find_scu import Find
from minipacs.services.sop_classes import FIND
from minipacs.settings import TLS
from minipacs.tls import client_context, server_context

from . import fakes, test_scu
from .certificates import Authority
from .fakes import faking
from .test_port_look import http_server
from .test_tls_scu import by_tls

TIMEOUT = 0.5

BEFORE_THE_ECHO = {
    name: case
    for name, case in test_scu.CASES.items()
    if case.code.startswith(("no-association.", "rejected.", "aborted.at-association"))
    or name in {"malformed acceptance", "release at association"}
}


def calls(peer: Peer, tls: ssl.SSLContext | None = None, timeout: float = TIMEOUT) -> Find:
    caller = Caller(peer=peer, calling_ae_title="MINIPACS", timeout=timeout, scp_port=11112, tls=tls)
    return Find(caller, FIND[1], Dataset())


def failure(find: Find) -> Diagnosis:
    assert list(find) == []
    assert find.failure is not None
    return find.failure


@pytest.mark.parametrize("case", BEFORE_THE_ECHO.values(), ids=BEFORE_THE_ECHO)
def test_a_request_that_is_not_accepted_fails_in_the_words_of_an_echo(case: test_scu.Case) -> None:
    with faking(case.behave) as fake:
        told = failure(calls(fake.peer))
        same = echo(fake.peer, timeout=TIMEOUT)
    assert told == Diagnosis(case.code, same.reason, same.fix)
    assert same.code == case.code


@pytest.mark.parametrize("name", test_scu.UNREACHABLE)
def test_a_peer_that_is_not_reached_fails_in_the_words_of_an_echo(name: str) -> None:
    with test_scu.UNREACHABLE[name][0]() as peer:
        told = failure(calls(peer))
        same = echo(peer, timeout=TIMEOUT)
    assert told == Diagnosis(f"unreachable.{name}", same.reason, same.fix)


def test_no_thread_and_no_file_is_left_of_a_call() -> None:
    with faking(fakes.rejects(1, 1, 3)) as fake:
        failure(calls(fake.peer))
        before = test_scu.open_files(), threading.active_count()
        for _ in range(10):
            failure(calls(fake.peer))
        assert (test_scu.open_files(), threading.active_count()) == before


def test_a_port_that_says_nothing_is_looked_at_once_as_by_an_echo() -> None:
    """An HTTP server waits for the end of a line that does not come."""
    with http_server() as port:
        told = failure(calls(Peer("", "ANY", "127.0.0.1", port)))
        same = echo(Peer("", "ANY", "127.0.0.1", port), timeout=TIMEOUT)
    assert same.observations == (f"port {port} speaks HTTP/1.0",)
    assert told == Diagnosis("no-association.silence", f"{same.reason}; observed: {same.observations[0]}", same.fix)


# --- by TLS ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


Failing = Callable[[Authority], tuple[TLS, TLS]]

TLS_FAILURES: dict[str, Failing] = {
    "tls.their-ca-unknown": lambda ours: (ours.settings(ours.issue()), TLS()),
    "tls.certificate-required": lambda ours: (
        ours.settings(ours.issue()),
        TLS(trusted=ours.settings(ours.issue()).trusted),
    ),
}


@pytest.mark.parametrize("code", TLS_FAILURES)
def test_a_handshake_fails_in_the_words_of_an_echo(code: str, authority: Authority) -> None:
    theirs, ours = TLS_FAILURES[code](authority)
    with faking(by_tls(server_context(theirs))) as fake:
        told = failure(calls(fake.peer, client_context(ours), 5.0))
        same = echo(fake.peer, timeout=5.0, tls=client_context(ours))
    assert same.code == code
    assert told == Diagnosis(code, same.reason, same.fix)


def test_tls_on_one_side_alone_fails_in_the_words_of_an_echo() -> None:
    with VerificationSCP(port=0) as node:
        peer = Peer("", "MINIPACS", "127.0.0.1", node.port)
        told = failure(calls(peer, client_context(TLS()), 5.0))
        same = echo(peer, timeout=5.0, tls=client_context(TLS()))
    assert told == Diagnosis("tls.plain", same.reason, same.fix)
