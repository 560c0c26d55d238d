"""The answers to the C-STORE sub-operations of a C-MOVE reach whoever waits for them, however the threads are timed."""

import time
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom.dimse import DIMSEServiceProvider

from minipacs import Peer
from minipacs.services.promptness import PromptAssociation
from minipacs.services.sop_classes import MOVE
from tests.peers.pynetdicom import Checkpoint
from tests.peers.scp import AE_TITLE, answering, contexts, storing

from .archive import application_entity, archive
from .objects import ROOT, data_set

_OBJECTS = 8


class LateToRun:
    """A reactor of pynetdicom that says for a while yet that it is paused, when it runs again."""

    def __set__(self, association: Any, is_paused: bool) -> None:
        if not is_paused:
            time.sleep(0.05)
        association.__dict__["_is_paused"] = is_paused

    def __get__(self, association: Any, _: object) -> bool:
        return bool(association.__dict__["_is_paused"])


take = DIMSEServiceProvider.get_msg


def late_to_take(provider: DIMSEServiceProvider, block: bool = False) -> Any:
    """Who waits for an answer takes it only when it has been there for a while."""
    if block:
        time.sleep(0.1)
    return take(provider, block)


def test_each_answer_is_seen_by_who_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the move waits for one that came, until its time is over."""
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyInstanceUID = f"{ROOT}.1.1"
    entity = application_entity()
    entity.add_requested_context(MOVE[1])
    with archive(tmp_path, map(data_set, range(1, _OBJECTS + 1))) as node, answering(storing(0), contexts()) as scp:
        node.know(Peer("scp", AE_TITLE, scp.host, scp.port))
        association = entity.associate("127.0.0.1", node.port)
        assert association.is_established
        association._reactor_checkpoint = Checkpoint()
        monkeypatch.setattr(PromptAssociation, "_is_paused", LateToRun(), raising=False)
        monkeypatch.setattr(DIMSEServiceProvider, "get_msg", late_to_take)
        answers = [status for status, _ in association.send_c_move(query, AE_TITLE, MOVE[1])]
        monkeypatch.undo()
        association.release()
    assert (answers[-1].Status, answers[-1].NumberOfCompletedSuboperations) == (0x0000, _OBJECTS), node.told
