"""pynetdicom in both roles: its application entity calls our node, and is called by our echo."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pynetdicom.acse
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, StoragePresentationContexts, VerificationPresentationContexts, evt
from pynetdicom.association import Association
from pynetdicom.pdu import A_ASSOCIATE_RJ
from pynetdicom.sop_class import CTImageStorage, Verification  # type: ignore[attr-defined]

from minipacs import AssociationOutcome, EchoResult, Outcome, Peer, VerificationSCP, echo
from minipacs.settings import Limits, Timeouts

from .peers.node import Node
from .peers.pynetdicom import Checkpoint

TIMEOUT = 5.0  # of either side: what hangs fails


@pytest.fixture
def node() -> Iterator[VerificationSCP]:
    peers = (
        Peer("pynetdicom", "PYNETDICOM"),
        Peer("far", "FAR_AWAY", allow_from=("192.0.2.0/24",)),  # type: ignore[arg-type]
    )
    with VerificationSCP(peers, port=0, timeouts=Timeouts(stop=0.2), limits=Limits(associations=1)) as node:
        yield node


def application_entity(ae_title: str) -> AE:
    ae = AE(ae_title)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = TIMEOUT
    return ae


# --- it calls us ---------------------------------------------------------------------------------------------------


@contextmanager
def calling(
    node: VerificationSCP | Node,
    ae_title: str = "PYNETDICOM",
    called: str = "MINIPACS",
    *,
    ae: AE | None = None,
    take: Callable[[evt.Event], None] = lambda _: None,
) -> Iterator[Association]:
    """An association that it has asked us for, whatever became of it; *take* is told of each PDU that it receives."""
    if ae is None:
        ae = application_entity(ae_title)
        ae.add_requested_context(Verification)
    handlers = [(evt.EVT_PDU_RECV, take)]
    association = ae.associate("127.0.0.1", node.port, ae_title=called, evt_handlers=handlers)  # type: ignore[arg-type]
    association._reactor_checkpoint = Checkpoint()
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        ae.shutdown()


def test_it_is_admitted_and_its_echoes_are_answered(node: VerificationSCP) -> None:
    with calling(node) as association:
        assert association.is_established
        assert [association.send_c_echo(number).Status for number in (1, 2, 3)] == [0x0000] * 3
    [record] = node.wait_for_associations(1)
    assert (record.outcome, record.peer, record.echoes) == (AssociationOutcome.RELEASED, "pynetdicom", 3)
    assert (record.calling_ae_title, record.called_ae_title) == ("PYNETDICOM", "MINIPACS")
    assert record.observations == ()
    assert str(record.implementation_version).startswith("PYNETDICOM_")


REJECTIONS = {
    "calling AE title": (
        "STRANGER",
        "MINIPACS",
        (1, 1, 3),
        "Calling AE title not recognised",
        "admission.calling-ae-title",
    ),
    "address": ("FAR_AWAY", "MINIPACS", (1, 1, 3), "Calling AE title not recognised", "admission.address"),
    "called AE title": (
        "PYNETDICOM",
        "ARCHIVE",
        (1, 1, 7),
        "Called AE title not recognised",
        "admission.called-ae-title",
    ),
}


def assert_rejected(
    node: VerificationSCP,
    codes: tuple[int, int, int],
    reason: str,
    ae_title: str = "PYNETDICOM",
    called: str = "MINIPACS",
) -> None:
    """It reads from our A-ASSOCIATE-RJ what we mean.

    From the PDU, since in a race of its own threads it may forget the rejection and tell of an abort.
    """
    received: list[evt.Event] = []
    with calling(node, ae_title, called, take=received.append) as association:
        assert not association.is_established
    [event] = received
    rejection = event.pdu
    assert isinstance(rejection, A_ASSOCIATE_RJ)
    assert (rejection.result, rejection.source, rejection.reason_diagnostic) == codes
    assert rejection.reason_str == reason


@pytest.mark.parametrize("name", REJECTIONS)
def test_it_reports_the_reason_for_which_we_reject_it(name: str, node: VerificationSCP) -> None:
    ae_title, called, codes, reason, code = REJECTIONS[name]
    assert_rejected(node, codes, reason, ae_title, called)
    assert node.wait_for_associations(1)[0].code == code


def test_it_reports_that_we_are_full(node: VerificationSCP) -> None:
    with calling(node) as first:
        assert first.is_established
        assert_rejected(node, (2, 3, 2), "Local limit exceeded")
    assert node.wait_for_associations(1)[0].code == "admission.limit"


def test_it_reports_that_its_application_context_is_unknown(
    node: VerificationSCP, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pynetdicom.acse, "APPLICATION_CONTEXT_NAME", "1.2.3.4")
    assert_rejected(node, (1, 1, 2), "Application context name not supported")


def test_of_many_contexts_verification_is_accepted_and_storage_is_not(node: VerificationSCP) -> None:
    ae = application_entity("PYNETDICOM")
    ae.requested_contexts = VerificationPresentationContexts + StoragePresentationContexts[:120]
    with calling(node, ae=ae) as association:
        assert [context.abstract_syntax for context in association.accepted_contexts] == [Verification]
        assert {context.result for context in association.rejected_contexts} == {3}
        assert len(association.rejected_contexts) == 120
        assert association.send_c_echo().Status == 0x0000


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_verification_is_accepted_in_the_transfer_syntax_that_it_asks_for(syntax: str, node: VerificationSCP) -> None:
    ae = application_entity("PYNETDICOM")
    ae.add_requested_context(Verification, syntax)
    with calling(node, ae=ae) as association:
        [context] = association.accepted_contexts
        assert context.transfer_syntax == [syntax]
        assert association.send_c_echo().Status == 0x0000


def ct_image() -> Dataset:
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = generate_uid()
    image.BitsAllocated = 8
    image.PixelData = bytes(200_000)
    return image


def test_a_store_is_not_possible_where_storage_was_refused(node: VerificationSCP) -> None:
    ae = application_entity("PYNETDICOM")
    ae.add_requested_context(Verification)
    ae.add_requested_context(CTImageStorage, ImplicitVRLittleEndian)
    with calling(node, ae=ae) as association:
        with pytest.raises(ValueError, match="No presentation context"):
            association.send_c_store(ct_image())
        assert association.send_c_echo().Status == 0x0000


def test_a_store_on_the_verification_context_is_not_recognized_and_the_association_stays(
    node: VerificationSCP, monkeypatch: pytest.MonkeyPatch
) -> None:
    ae = application_entity("PYNETDICOM")
    ae.add_requested_context(Verification, ImplicitVRLittleEndian)
    with calling(node, ae=ae) as association:
        [context] = association.accepted_contexts
        with monkeypatch.context() as patch:
            patch.setattr(association, "_get_valid_context", lambda *_, **__: context)
            assert association.send_c_store(ct_image()).Status == 0x0211
        assert association.send_c_echo().Status == 0x0000
    [record] = node.wait_for_associations(1)
    assert (record.outcome, record.echoes) == (AssociationOutcome.RELEASED, 1)


def test_it_may_abort(node: VerificationSCP) -> None:
    with calling(node) as association:
        association.abort()
        [record] = node.wait_for_associations(1)
    assert (record.outcome, record.code) == (AssociationOutcome.ABORTED, "inbound.aborted")
    assert record.reason == "PYNETDICOM aborted the association (A-ABORT 0/0)"


def test_it_sees_that_it_was_removed(node: VerificationSCP) -> None:
    with calling(node) as association:
        node.peers = []
        node.wait_for_associations(1)
        association.join(TIMEOUT)
        assert association.is_aborted


# --- we call it ----------------------------------------------------------------------------------------------------


@contextmanager
def serving(
    answer: Callable[[evt.Event], int] | None = None, prepare: Callable[[AE], None] = lambda _: None
) -> Iterator[Peer]:
    """Its SCP; *answer* gives the status of each C-ECHO-RSP."""
    ae = application_entity("PYNETDICOM")
    ae.add_supported_context(Verification)
    prepare(ae)
    handlers = [] if answer is None else [(evt.EVT_C_ECHO, answer)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)  # type: ignore[arg-type]
    assert server is not None
    assert server.socket is not None
    try:
        yield Peer("pynetdicom", "PYNETDICOM", "127.0.0.1", server.socket.getsockname()[1])
    finally:
        server.shutdown()
        for association in ae.active_associations:
            with suppress(RuntimeError):
                association.join(TIMEOUT)


def call(peer: Peer, count: int = 1) -> EchoResult:
    return echo(peer, count=count, timeout=TIMEOUT)


def test_it_answers_our_echoes() -> None:
    with serving() as peer:
        result = call(peer, count=20)
    assert (result.outcome, result.status, result.echoes, result.loss) == (Outcome.SUCCESS, 0, 20, 0.0)
    assert result.observations == ()
    assert result.release_ms is not None


def test_it_refuses_a_calling_title_that_it_does_not_require() -> None:
    def prepare(ae: AE) -> None:
        ae.require_calling_aet = ["SOMEBODY_ELSE"]

    with serving(prepare=prepare) as peer:
        result = call(peer)
    assert (result.outcome, result.code) == (Outcome.REJECTED, "rejected.calling-ae-title")
    assert result.reason == (
        "PYNETDICOM does not know our AE title MINIPACS, or not from this address (rejected 1/1/3)"
    )
    assert result.fix.startswith("on PYNETDICOM: register AE title MINIPACS at 127.0.0.1 port 11112; ")


def test_it_refuses_a_called_title_that_is_not_its_own() -> None:
    def prepare(ae: AE) -> None:
        ae.ae_title = "ARCHIVE"
        ae.require_called_aet = True

    with serving(prepare=prepare) as peer:
        result = call(peer)
    assert (result.outcome, result.code) == (Outcome.REJECTED, "rejected.called-ae-title")
    assert result.reason == "the peer is not called PYNETDICOM (rejected 1/1/7)"


def test_it_offers_no_verification() -> None:
    def prepare(ae: AE) -> None:
        ae.supported_contexts = []
        ae.add_supported_context(CTImageStorage)

    with serving(prepare=prepare) as peer:
        result = call(peer)
    assert (result.outcome, result.code) == (Outcome.NO_CONTEXT, "no-context.abstract-syntax")


def test_it_offers_verification_in_another_transfer_syntax() -> None:
    def prepare(ae: AE) -> None:
        ae.supported_contexts = []
        ae.add_supported_context(Verification, ExplicitVRLittleEndian)

    with serving(prepare=prepare) as peer:
        result = call(peer)
    assert (result.outcome, result.code) == (Outcome.NO_CONTEXT, "no-context.transfer-syntaxes")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (0x0122, "sop-class-not-supported"),
        (0x0210, "duplicate-invocation"),
        (0x0211, "unrecognized-operation"),
        (0x0212, "mistyped-argument"),
        (0xC000, "other"),
    ],
)
def test_each_status_that_it_answers_is_a_failure(status: int, code: str) -> None:
    with serving(lambda _: status) as peer:
        result = call(peer)
    assert (result.outcome, result.code) == (Outcome.FAILURE, f"failure.{code}")
    assert (result.status, result.echoes) == (status, 0)
    assert result.reason.startswith(f"PYNETDICOM answers the C-ECHO with status 0x{status:04X}")


def test_it_aborts_at_our_echo() -> None:
    def abort(event: evt.Event) -> int:
        event.assoc.abort()
        return 0x0000

    with serving(abort) as peer:
        result = call(peer)
    assert (result.outcome, result.code) == (Outcome.ABORTED, "aborted.at-echo")
    assert result.reason == "PYNETDICOM accepts the association and answers the C-ECHO by A-ABORT 0/0"
