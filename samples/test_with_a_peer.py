"""A pytest that uses the node as its peer: what your application does when it is admitted, and when it is not.

pip install pytest minipacs && pytest test_with_a_peer.py
"""

from collections.abc import Iterator

import pytest
from pynetdicom import AE

from minipacs import Peer, VerificationSCP

VERIFICATION = "1.2.840.10008.1.1"


def my_application_echoes(host: str, port: int, called_ae_title: str) -> bool:
    """Stands for your application: put its own call here."""
    ae = AE(ae_title="MY_APP")
    ae.add_requested_context(VERIFICATION)
    association = ae.associate(host, port, ae_title=called_ae_title)
    if not association.is_established:
        return False
    status = association.send_c_echo()
    association.release()
    return "Status" in status and status.Status == 0x0000


@pytest.fixture
def node() -> Iterator[VerificationSCP]:
    """A node on a free port that knows your application, and nobody else."""
    with VerificationSCP([Peer("sut", "MY_APP")], port=0) as node:
        yield node


def test_it_echoes(node: VerificationSCP) -> None:
    assert my_application_echoes("127.0.0.1", node.port, "MINIPACS")
    [association] = node.wait_for_associations(1)
    assert (association.peer, association.outcome, association.echoes) == ("sut", "released", 1)
    assert association.observations == ()  # it did everything by the book


def test_it_notices_when_it_is_not_registered(node: VerificationSCP) -> None:
    node.peers = []
    assert not my_application_echoes("127.0.0.1", node.port, "MINIPACS")
    [association] = node.wait_for_associations(1)
    assert (association.reject, association.reason) == ("1/1/3", "MY_APP is not in the peer table")


def test_it_notices_a_wrong_title(node: VerificationSCP) -> None:
    assert not my_application_echoes("127.0.0.1", node.port, "WRONG")
    [association] = node.wait_for_associations(1)
    assert association.fix == "on MY_APP: set our AE title to MINIPACS; or give this node the title WRONG (--ae-title)"
