"""The catalogue, row by row: for each a peer that fails in just that way, on a real socket, and all that is told.

A row that has no proof here fails, and so does one whose proof tells another code or another word. Where the words
stand in a table of test_scu.py or test_scp.py already, they are taken from there. The rows of TLS have their proofs in
test_tls_scu.py and test_tls_scp.py, those of a round trip in test_roundtrip_rows.py.
"""

import logging
import os
import re
import resource
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from string import Formatter

import pytest

from minipacs import AssociationRecord, EchoResult, Peer, PeerTable, PeerTableError, VerificationSCP, echo
from minipacs.diagnosis import (
    CATALOGUE,
    PARTS,
    WE_ARE_CALLED,
    WE_CALL,
    Diagnosis,
    diagnose,
    explain,
    find_rows,
)
from minipacs.settings import Limits, Timeouts

from . import fakes, test_scp, test_scu
from .peers.process import wait_until
from .raw import RawPeer, pdu, raw_peer, rejecting
from .storing import StoringNode, data_pdus, store_rq, storing
from .test_door import STORE, STUDY_ROOT_FIND
from .test_door import associated as storing_association
from .test_scp import ECHOSCU, OPEN, SLOW, Lines, associated, last_record, listener_of, scp
from .test_scu import TIMEOUT, in_these_words
from .wire.exchange import echo as echo_rq
from .wire.exchange import echo_answers

QUICK = Timeouts(request=SLOW, pdu=SLOW, idle=SLOW, close=0.05, stop=0.2)


@dataclass(frozen=True)
class Told:
    """What a peer brought about; `port` is its own, where the words name it."""

    code: str
    reason: str
    fix: str
    port: int | None = None


@dataclass(frozen=True)
class Proof:
    """How a row is brought about, and its words."""

    run: Callable[[], Told]
    reason: str
    fix: str


def by_us(result: EchoResult) -> Told:
    return Told(result.code, result.reason, result.fix, result.peer.port)


def by_the_node(record: AssociationRecord) -> Told:
    return Told(record.code, record.reason or "", record.fix or "")


# --- when we call --------------------------------------------------------------------------------------------------


def call(behave: fakes.Behaviour) -> Told:
    with fakes.faking(behave) as fake:
        return by_us(echo(fake.peer, timeout=TIMEOUT))


def call_nobody(nobody: test_scu.Nobody) -> Told:
    with nobody() as peer:
        return by_us(echo(peer, timeout=TIMEOUT))


def call_twice(behave: fakes.Behaviour) -> Told:
    with fakes.faking(behave) as fake:
        return by_us(echo(fake.peer, count=2, interval=TIMEOUT, timeout=TIMEOUT))


def propose_what_it_does_not_take() -> Told:
    with fakes.faking(fakes.refuses_verification(4)) as fake:
        return by_us(echo(fake.peer, transfer_syntaxes=("1.2.840.10008.1.2.4.50",), timeout=TIMEOUT))


def release(behave: fakes.Behaviour) -> Told:
    """A success, with the reason as its observation; the fix is that of `minipacs explain`."""
    with fakes.faking(behave) as fake:
        result = echo(fake.peer, timeout=TIMEOUT)
    assert result.is_success
    (seen,) = result.observations
    row = next(row for row in find_rows("observed") if fits(row.reason, seen))
    return Told(row.code, seen, explain(row.code).fix)


def fits(words: str, text: str) -> bool:
    """Whether *text* is what *words* make, whatever the facts."""
    pattern = "".join(re.escape(part) + (".+" if fact else "") for part, fact, _, _ in Formatter().parse(words))
    return re.fullmatch(pattern, text) is not None


CALLING = (
    {case.code: Proof(partial(call, case.behave), case.reason, case.fix) for case in test_scu.CASES.values()}
    | {
        f"unreachable.{name}": Proof(partial(call_nobody, nobody), reason, fix)
        for name, (nobody, reason, fix) in test_scu.UNREACHABLE.items()
    }
    | {
        "no-context.proposal": Proof(
            propose_what_it_does_not_take,
            "FAKE offers Verification, but in no transfer syntax that we propose (result 4)",
            "propose Implicit VR Little Endian too, which every node has to take: --propose implicit",
        ),
        "aborted.between-echoes": Proof(
            partial(call_twice, fakes.aborts_between_echoes),
            "FAKE ended the association between two echoes by A-ABORT",
            "the peer does not keep an association open for that long without an echo: choose a shorter --interval, or "
            "raise its timeout there (Orthanc: DicomScpTimeout)",
        ),
        "observed.release-unanswered": Proof(
            partial(release, fakes.never_answers_the_release),
            "the release was not answered: it works, but the peer keeps its associations",
            "see the peer's log, and report this to its vendor: it may run out of associations",
        ),
        "observed.release-otherwise": Proof(
            partial(release, fakes.closes_at_the_release),
            "a close of the connection came in place of an answer to the release",
            "it works; some peers end every association that way: if this one should not, see its log",
        ),
    }
)


# --- when we are called --------------------------------------------------------------------------------------------


def send(data: bytes) -> Told:
    with scp() as node, raw_peer(node.port) as peer:
        peer.send(data)
        peer.receive_all()
        return by_the_node(last_record(node))


def leave(how: Callable[[RawPeer], None]) -> Told:
    with scp() as node, associated(node) as peer:
        assert peer.exchange(echo_rq()) == echo_answers(1)
        how(peer)
        return by_the_node(last_record(node))


def wait_for_the_deadline(*sent: bytes) -> Told:
    with scp(QUICK) as node, raw_peer(node.port) as peer:
        peer.send(*sent)
        return by_the_node(last_record(node))


def do_not_read() -> Told:
    with scp(QUICK) as node, test_scp.not_reading(node):
        return by_the_node(last_record(node))


def close_inside_the_request() -> Told:
    with scp() as node, raw_peer(node.port) as peer:
        test_scp.half_sent(node, peer)
        peer.close()
        return by_the_node(last_record(node))


def close_without_a_byte() -> Told:
    """It is no association, but a line of the log."""
    logger, lines = logging.getLogger("minipacs"), Lines()
    logger.addHandler(lines)
    logger.setLevel(logging.DEBUG)
    try:
        with scp() as node:
            RawPeer(node.port).close()
            line = lines.wait_for(None).getMessage()
    finally:
        logger.removeHandler(lines)
        logger.setLevel(logging.NOTSET)
    found = re.fullmatch(r"(.*) \(1 such so far\) \[(.*)\]", line)
    assert found is not None
    return Told(found[2], found[1], "")


def come_as_one_too_many() -> Told:
    with scp(limits=Limits(associations=1)) as node, associated(node), raw_peer(node.port) as second:
        second.exchange(OPEN)
        return by_the_node(last_record(node))


def hold_too_many() -> Told:
    limits = Limits(associations_per_peer=1)
    with scp(limits=limits) as node, associated(node), raw_peer(node.port) as second:
        second.exchange(OPEN)
        return by_the_node(last_record(node))


def told_in_the_log(line: str) -> Told:
    """A line of the log that is of no association."""
    found = re.fullmatch(r"(.*) \[(.*)\]; fix: (.*)", line)
    assert found is not None
    return Told(found[2], found[1], found[3])


def come_from_elsewhere() -> Told:
    with test_scp.heard() as lines, VerificationSCP([ECHOSCU], port=0, allow_from=["10.1.2.0/24"]) as node:
        with suppress(ConnectionResetError):
            RawPeer(node.port).close()
        return told_in_the_log(lines.wait_for(None).getMessage())


def use_up_the_descriptors() -> Told:
    with tempfile.TemporaryDirectory() as folder, test_scp.out_of_files(Path(folder)) as (child, _):
        [line] = [line for line in child.log.splitlines() if "accepting pauses" in line]
        return told_in_the_log(line.removeprefix("ERROR "))


def crowd() -> Told:
    with scp(limits=Limits(connections=1)) as node, raw_peer(node.port) as first:
        test_scp.half_sent(node, first)
        with raw_peer(node.port):
            return by_the_node(last_record(node))


def hoard() -> Told:
    with scp(limits=Limits(unfinished=2048)) as node, raw_peer(node.port) as peer:
        peer.send(test_scp.LONG_REQUEST[:3000])
        return by_the_node(last_record(node))


def ask_a_broken_table() -> Told:
    with scp() as node:
        node.peers = test_scp.BrokenTable([ECHOSCU])
        with raw_peer(node.port) as peer:
            peer.exchange(OPEN)
            return by_the_node(last_record(node))


def be_removed() -> Told:
    with scp() as node, associated(node):
        node.peers = PeerTable()
        return by_the_node(last_record(node))


@contextmanager
def node_that_stores() -> Iterator[StoringNode]:
    with tempfile.TemporaryDirectory() as folder, storing(Path(folder), [ECHOSCU]) as node:
        yield node


def find_where_it_may_only_store() -> Told:
    with node_that_stores() as node, storing_association(node) as peer:
        peer.exchange(store_rq(b"1.2.3", field=0x0020, sop_class=STUDY_ROOT_FIND) + data_pdus(b"")[0])
        return by_the_node(last_record(node.scp))


def lose_a_service() -> Told:
    with node_that_stores() as node, storing_association(node):
        node.scp.peers = PeerTable([Peer("echoscu", "ECHOSCU", services=("echo",))])
        return by_the_node(last_record(node.scp))


def store_where_nothing_is_kept() -> Told:
    with scp() as node, raw_peer(node.port) as peer:
        peer.exchange(STORE)
        peer.send(pdu(0x05, bytes(4)))
        return by_the_node(last_record(node))


def store_where_it_may_only_echo() -> Told:
    with node_that_stores() as node:
        node.scp.peers = PeerTable([Peer("echoscu", "ECHOSCU", services=("echo", "find"))])
        with raw_peer(node.port) as peer:
            peer.exchange(STORE)
            peer.send(pdu(0x05, bytes(4)))
            return by_the_node(last_record(node.scp))


def store_what_cannot_be_read() -> Told:
    with node_that_stores() as node, storing_association(node) as peer:
        peer.exchange(store_rq(b"1.2.3") + data_pdus(b"")[0])
        peer.send(pdu(0x05, bytes(4)))
        return by_the_node(last_record(node.scp))


def find_no_descriptor_left() -> Told:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with node_that_stores() as node, raw_peer(node.port) as peer:
        wait_until(lambda: bool(listener_of(node.scp)._connections), within=30, what="the connection")
        next_one = os.dup(0)
        os.close(next_one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (next_one, hard))
        try:
            assert peer.exchange(STORE) == rejecting(2, 3, 1)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return by_the_node(last_record(node.scp))


def be_there_when_it_stops() -> Told:
    with scp() as node, associated(node):
        wait_until(lambda: bool(listener_of(node)._associations), within=30, what="the association")
        node.stop()
        return by_the_node(last_record(node))


def share_a_title() -> Told:
    """The fault of the table is the reason; the fix is that of `minipacs explain`."""
    with pytest.raises(PeerTableError) as caught:
        PeerTable.parse(b'[peers.ct1]\nae_title = "CT"\n[peers.ct2]\nae_title = "CT"\n')
    found = re.fullmatch(r'peers\.toml: peers\.ct2\.ae_title: (.*), not "CT"', str(caught.value))
    assert found is not None
    with pytest.raises(ValueError, match=f"^peers.ct2.ae_title: {re.escape(found[1])}, not"):
        PeerTable([Peer("ct1", "CT"), Peer("ct2", "CT")])
    return Told("table.title-twice", found[1], explain("table.title-twice").fix)


CALLED = (
    {
        row.code: Proof(partial(send, row.sent), row.reason or "", row.fix or "")
        for row in test_scp.ABUSE.values()
        if row.code
    }
    | {
        code: Proof(partial(leave, how), reason or "", fix or "")
        for how, _, code, reason, fix in test_scp.LEAVE.values()
        if code
    }
    | {
        "admission.limit": Proof(
            come_as_one_too_many,
            "as many associations are open as this node takes",
            "look for peers that do not end their associations; raise associations under [limits]",
        ),
        "admission.peer-limit": Proof(
            hold_too_many,
            "ECHOSCU holds as many associations as one peer may: 1",
            "see on ECHOSCU why it does not end them; or raise associations_per_peer under [limits]",
        ),
        "inbound.address": Proof(
            come_from_elsewhere,
            "connections from 127.0.0.1 are closed unread: this node takes those from 10.1.2.0/24 only",
            "if that is where a peer should call from: "
            'allow_from = ["10.1.2.0/24", "127.0.0.1"] under [node] in minipacs.toml',
        ),
        "inbound.no-descriptors": Proof(
            use_up_the_descriptors,
            "accepting pauses: of 48 file descriptors, the limit of this process, few are left",
            "raise that limit (ulimit -n; LimitNOFILE= in a unit of systemd), or lower connections under [limits]",
        ),
        "admission.internal-error": Proof(
            ask_a_broken_table,
            "an admission rule failed, so that nobody is admitted: no lookup",
            "this is a defect of minipacs: please report it",
        ),
        "table.title-twice": Proof(
            share_a_title,
            "must be unlike the title of peers.ct1",
            "give one of the two another ae_title, or remove one: which of them calls could not be told",
        ),
        "inbound.empty": Proof(close_without_a_byte, "127.0.0.1 connected and sent nothing", ""),
        "inbound.cut-short": Proof(
            close_inside_the_request,
            "the connection closed before its association request was whole",
            "see what runs at 127.0.0.1: a port scan or a health check, or a network that cuts connections",
        ),
        "inbound.silence": Proof(
            partial(wait_for_the_deadline, OPEN[:9]),
            "no whole association request within 0.4 s",
            "see what runs at 127.0.0.1: it opens connections and does not use them",
        ),
        "inbound.crowded": Proof(
            crowd,
            "too many connections were open, and this was the oldest without an association",
            "look for what opens connections and does not use them; raise connections under [limits]",
        ),
        "inbound.hoarding": Proof(
            hoard,
            "requests that are not whole took too much memory, and this was the longest of them",
            "see what runs at 127.0.0.1: it sends long requests and does not end them; or raise unfinished under "
            "[limits]",
        ),
        "inbound.unfinished": Proof(
            partial(wait_for_the_deadline, OPEN, echo_rq()[:9]),
            "a PDU or message was not finished within 0.4 s",
            "see the peer's log and the network between: it stopped in the middle",
        ),
        "inbound.unread": Proof(
            do_not_read,
            "the peer has not read our answers for 0.4 s",
            "see the peer's log: it hangs, or asks faster than it reads",
        ),
        "inbound.idle": Proof(
            partial(wait_for_the_deadline, OPEN),
            "nothing came on the association for 0.4 s",
            "have the peer release its associations; or raise idle under [timeouts]",
        ),
        "inbound.services": Proof(lose_a_service, "the peer table no longer lets ECHOSCU use store", ""),
        "inbound.no-storage": Proof(
            store_where_nothing_is_kept,
            "ECHOSCU asks for store, and this node answers echoes alone",
            "start it by minipacs serve --storage FOLDER, or set folder under [storage] in minipacs.toml",
        ),
        "inbound.not-allowed": Proof(
            store_where_it_may_only_echo,
            "ECHOSCU asks for store, and the peer table lets echoscu use echo find alone",
            'under [peers.echoscu]: services = ["echo", "store", "find"]',
        ),
        "inbound.failures": Proof(
            store_what_cannot_be_read,
            "C-STORE answered with 0xC000, the data set is empty",
            "see the lines before this one; where we answered 0xA700, make room, or change the limits under [storage]",
        ),
        "inbound.given-up": Proof(
            find_where_it_may_only_store,
            "the server of services beyond Verification gave ECHOSCU up: A-ABORT 0/0",
            "see with serve -vv what it sends: most likely a message that is malformed or out of place",
        ),
        "admission.no-server": Proof(
            find_no_descriptor_left,
            "ECHOSCU cannot be served now: Too many open files",
            "raise the limit of open files or of threads (ulimit -n, -u; in a unit of systemd LimitNOFILE=, TasksMax=),"
            " or lower those under [limits]",
        ),
        "inbound.removed": Proof(be_removed, "the peer table no longer admits ECHOSCU", ""),
        "inbound.stopped": Proof(be_there_when_it_stops, "the node was stopped", ""),
    }
)

PROOFS = CALLING | CALLED


@pytest.mark.parametrize("code", [row.code for row in (*WE_CALL, *WE_ARE_CALLED)])
def test_each_row_is_told_of_a_peer_that_fails_in_just_that_way(code: str) -> None:
    assert code in PROOFS, "no test brings this row about: add how to PROOFS"
    proof = PROOFS[code]
    told = proof.run()
    assert told.code == code
    assert told.reason == in_these_words(proof.reason, told.port)
    assert told.fix == in_these_words(proof.fix, told.port)


def test_there_is_no_proof_without_a_row() -> None:
    assert set(PROOFS) == {row.code for row in (*WE_CALL, *WE_ARE_CALLED)}


def test_every_row_stands_on_the_side_where_it_is_told() -> None:
    assert {row.code for row in WE_CALL} == set(CALLING)
    assert {row.code for row in WE_ARE_CALLED} == set(CALLED)


# --- the table itself ----------------------------------------------------------------------------------------------


def test_a_code_is_given_once() -> None:
    assert len(CATALOGUE) == sum(map(len, PARTS.values()))


@pytest.mark.parametrize("code", CATALOGUE)
def test_each_row_can_be_read(code: str) -> None:
    row = CATALOGUE[code]
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*\.[a-z]+(-[a-z]+)*", code)
    assert row.seen
    assert row.reason
    assert len(row.seen) < 80
    told = explain(code)
    for text in (row.seen, told.reason, told.fix):
        assert text.isascii()
        assert text.isprintable()
        assert text == text.strip()
        assert not text.endswith(".")


@pytest.mark.parametrize(
    "code", ["rejected.calling-ae-title", "unreachable.refused", "no-association.http", "no-association.tls"]
)
def test_the_codes_that_others_rely_on_stay(code: str) -> None:
    assert code in CATALOGUE


def test_a_row_is_filled_in() -> None:
    assert diagnose("admission.limit") == Diagnosis(
        "admission.limit",
        "as many associations are open as this node takes",
        "look for peers that do not end their associations; raise associations under [limits]",
    )


def test_a_fact_that_is_not_given_is_an_error() -> None:
    with pytest.raises(KeyError, match="host"):
        diagnose("unreachable.refused", port=104)


def test_what_is_explained_names_its_facts() -> None:
    assert (
        explain("unreachable.timeout").reason == "no answer to the connection to <host> port <port> within <seconds> s"
    )
    assert explain("admission.address").fix == (
        "if that is where it should call from, under [peers.<name>]: "
        'allow_from = ["<what is allowed>", "<address of the peer>"]'
    )


@pytest.mark.parametrize(
    ("code", "codes"),
    [
        ("inbound.tls", ["inbound.tls"]),
        ("table", ["table.title-twice"]),
        ("observed", ["observed.release-unanswered", "observed.release-otherwise"]),
        ("admission.c", []),
        ("adm", []),
        ("", []),
    ],
)
def test_rows_are_found_by_code_or_by_kind(code: str, codes: list[str]) -> None:
    assert [row.code for row in find_rows(code)] == codes
