"""With `overwrite = true`, the file of an object and what the index says of it are of one sender, who was last."""

import json
import threading
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import CTImageStorage, StudyRootQueryRetrieveInformationModelGet  # type: ignore[attr-defined]

from ..peers.node import Node
from ..peers.storage_node import objects, storing
from ..services.objects import identifier
from ..storing import encoded, image
from .stored import as_it_is, sender, store

SENDERS, ROUNDS, UIDS = 8, 6, 5
IMPLICIT_CONTEXT, EXPLICIT_CONTEXT = 3, 1


def data(uid: str, who: int, context_id: int) -> bytes:
    """Of one sender: its number is in each level, and in the length."""
    one = image(uid, pixels=bytes(8 + 2 * who), PatientID=f"P{who}", InstanceNumber=str(who), Rows=who + 1)
    one.StudyInstanceUID, one.SeriesInstanceUID = f"1.2.3.{who}", f"1.2.3.{who}.1"
    if context_id == EXPLICIT_CONTEXT:
        return encoded(one)
    from io import BytesIO

    from pydicom.filebase import DicomFileLike
    from pydicom.filewriter import write_dataset

    buffer = BytesIO()
    file = DicomFileLike(buffer)
    file.is_implicit_VR, file.is_little_endian = True, True
    write_dataset(file, one)
    return buffer.getvalue()


def send(node: Node, who: int, start: threading.Barrier, wrong: list[object]) -> None:
    context_id = EXPLICIT_CONTEXT if who % 2 else IMPLICIT_CONTEXT
    try:
        with sender(node.port) as peer:
            for _ in range(ROUNDS):
                for number in range(UIDS):
                    start.wait(30)
                    status = store(peer, f"1.2.{number}", data(f"1.2.{number}", who, context_id), context_id)
                    if status:
                        wrong.append(hex(status))
    except BaseException as error:  # noqa: BLE001 - for the thread of the test
        wrong.append(error)
        start.abort()


def overwrite(node: Node) -> None:
    start, wrong = threading.Barrier(SENDERS), list[object]()
    threads = [threading.Thread(target=send, args=(node, who, start, wrong)) for who in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert wrong == []


def assert_that_they_agree(node: Node, folder: Path) -> None:
    done = node.minipacs("storage", "list", "--storage", "kept", "--level", "image", "--json")
    rows = {row["SOPInstanceUID"]: row for row in map(json.loads, done.stdout.splitlines())}
    kept = objects(folder)
    assert rows.keys() == kept.keys() == {f"1.2.{number}" for number in range(UIDS)}
    for uid, path in kept.items():
        one, row = dcmread(path), rows[uid]
        assert (row["PatientID"], row["InstanceNumber"], row["SeriesInstanceUID"], row["size"]) == (
            one.PatientID,
            str(one.InstanceNumber),
            one.SeriesInstanceUID,
            path.stat().st_size,
        )
        assert row["AvailableTransferSyntaxUID"] == one.file_meta.TransferSyntaxUID


def fetch(node: Node) -> dict[str, object]:
    """All that is there, by C-GET in either transfer syntax, each as its context says that it is encoded."""
    fetched: dict[str, object] = {}

    def keep(event: evt.Event) -> int:
        fetched[str(event.dataset.SOPInstanceUID)] = event.dataset
        return 0

    ae = AE("PYNETDICOM")
    ae.add_requested_context(StudyRootQueryRetrieveInformationModelGet)
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    ae.add_requested_context(CTImageStorage, ImplicitVRLittleEndian)
    association = ae.associate(
        "127.0.0.1",
        node.port,
        ae_title="MINIPACS",
        ext_neg=[build_role(CTImageStorage, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, keep)],
    )
    assert association.is_established
    studies = [f"1.2.3.{who}" for who in range(SENDERS)]
    keys = identifier("STUDY", StudyInstanceUID=studies)
    for status, _ in association.send_c_get(keys, StudyRootQueryRetrieveInformationModelGet):
        assert status.Status in {0x0000, 0xFF00}
    association.release()
    return fetched


def test_of_eight_senders_of_one_uid_the_last_has_file_and_index(tmp_path: Path) -> None:
    with storing(tmp_path, overwrite=True) as (node, folder):
        overwrite(node)
        assert_that_they_agree(node, folder)
        fetched = fetch(node)
        assert fetched.keys() == objects(folder).keys()
        for uid, path in objects(folder).items():
            assert fetched[uid] == dcmread(path), "what is sent is in the transfer syntax that it is sent by"
    with storing(tmp_path, overwrite=True) as (node, folder):
        assert_that_they_agree(node, folder)
        assert "brought up to date" not in node.child.log, "there was nothing to mend"
        assert not list((folder / "incoming").iterdir())


@pytest.mark.parametrize("how", ["damaged", "deleted"])
def test_no_other_index_is_made_under_a_node_that_runs(how: str, tmp_path: Path) -> None:
    with storing(tmp_path) as (node, folder), sender(node.port) as peer:
        assert store(peer, "1.2.1", data("1.2.1", 1, EXPLICIT_CONTEXT)) == 0
        index = folder / "index.sqlite"
        if how == "damaged":
            with index.open("r+b") as file:
                file.seek(100)
                file.write(b"damaged" * 500)
        else:
            for path in folder.glob("index.sqlite*"):
                path.unlink()
        before = as_it_is(folder)
        done = node.minipacs("storage", "reindex", "--storage", "kept")
        fix = "stop the node, and start it again: it makes the index again"
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"minipacs: {folder}/index.sqlite: a node uses it, and it cannot be trusted: {fix}\n"
        assert {*as_it_is(folder)} == {*before}
        assert as_it_is(folder).get("index.sqlite") == before.get("index.sqlite")
    with storing(tmp_path) as (node, _):
        listed = node.minipacs("storage", "list", "--storage", "kept", "--level", "image", "--json").stdout
        assert '"SOPInstanceUID":"1.2.1"' in listed
