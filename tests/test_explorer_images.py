"""Images by Orthanc Explorer, in a real browser: upload, send to our node, query, retrieve; and what goes wrong."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydicom import dcmread

from .peers.explorer import browser, retrieve_study, search_studies, send_study, upload
from .peers.node import Node, serving, table
from .peers.orthanc import ORTHANC, Orthanc
from .peers.process import wait_until
from .peers.required import required

if TYPE_CHECKING:
    from selenium.webdriver.remote.webdriver import WebDriver

pytestmark = required(ORTHANC, "/usr/bin/chromium", "/usr/bin/chromedriver")

IMAGES = Path(__file__).parents[1] / "samples" / "images"
MR, US, CR = IMAGES / "mr-rle.dcm", IMAGES / "us-rgb.dcm", IMAGES / "cr-big-endian.dcm"
CT = (IMAGES / "ct-1-explicit.dcm", IMAGES / "ct-2-implicit.dcm")
HERE = {"name": "orthanc", "ae_title": "ORTHANC", "host": "127.0.0.1"}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with serving(tmp_path_factory.mktemp("node"), "", "--storage", "objects") as node:
        yield node


@pytest.fixture(scope="module")
def started_orthanc(tmp_path_factory: pytest.TempPathFactory, node: Node) -> Iterator[Orthanc]:
    with Orthanc(tmp_path_factory.mktemp("orthanc"), minipacs_port=node.port) as orthanc:
        yield orthanc


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[WebDriver]":
    with browser(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


@pytest.fixture
def orthanc(node: Node, started_orthanc: Orthanc) -> Orthanc:
    """Known to the node, which it may use for everything."""
    let(node, started_orthanc)
    return started_orthanc


def let(node: Node, orthanc: Orthanc, **changes: object) -> None:
    """Put Orthanc into the table of the node, with *changes*."""
    peer = HERE | {"port": orthanc.dicom_port} | changes
    text = table({key: value for key, value in peer.items() if value is not None})
    if node.peers.read_text() != text:
        node.save(text)


def ours(node: Node, *keys: str, level: str = "study") -> list[dict[str, Any]]:
    """What our node has of these keys."""
    done = node.minipacs("storage", "list", "--storage", "objects", "--level", level, "--json", *keys)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def theirs(orthanc: Orthanc, patient_id: str) -> list[str]:
    """The SOP Instance UIDs that Orthanc has of that patient."""
    query = {"Level": "Instance", "Query": {"PatientID": patient_id}, "Expand": True}
    status, text = orthanc.post("/tools/find", query)
    assert status == 200
    return sorted(one["MainDicomTags"]["SOPInstanceUID"] for one in json.loads(text))


def forget(orthanc: Orthanc, patient_id: str) -> None:
    """Have Orthanc delete what it has of that patient."""
    for study in json.loads(orthanc.post("/tools/find", {"Level": "Study", "Query": {"PatientID": patient_id}})[1]):
        assert orthanc.delete(f"/studies/{study}")[0] == 200
    assert theirs(orthanc, patient_id) == []


def ended(orthanc: Orthanc, job: str) -> dict[str, Any]:
    """A job of Orthanc, at its end."""
    jobs: list[dict[str, Any]] = []

    def has_ended() -> bool:
        jobs.append(json.loads(orthanc.get(f"/jobs/{job}")[1]))
        return jobs[-1]["State"] in {"Success", "Failure"}

    wait_until(has_ended, within=30, what="end of the job")
    return jobs[-1]


def uids(*files: Path) -> list[str]:
    return sorted(str(dcmread(file).SOPInstanceUID) for file in files)


def warnings(node: Node) -> list[str]:
    return [line["message"] for line in node.events("message") if line["level"] == "warning"]


def test_a_study_is_uploaded_sent_to_us_queried_and_retrieved(
    node: Node, orthanc: Orthanc, driver: "WebDriver"
) -> None:
    """The walk of the README, from a file on the disk to our node and back."""
    assert upload(driver, orthanc.url, *CT) == "Done"
    assert theirs(orthanc, "PHANTOM-CT") == uids(*CT)

    count = len(node.events())
    job = ended(orthanc, send_study(driver, orthanc.url, "PHANTOM-CT", "minipacs"))
    assert (job["State"], job["Content"]["InstancesCount"], job["Content"]["FailedInstancesCount"]) == ("Success", 2, 0)
    event = node.wait_for("association", count + 1)
    assert (event["peer"], event["outcome"], event["services"]) == ("orthanc", "released", ["store"])
    assert (event["objects"], event["failures"], event["reason"]) == (2, 0, None)
    (study,) = ours(node, "PatientID=PHANTOM-CT")
    assert (study["PatientName"], study["NumberOfStudyRelatedInstances"]) == ("PHANTOM^CT", 2)
    listed = ours(node, "PatientID=PHANTOM-CT", level="image")
    assert sorted(one["SOPInstanceUID"] for one in listed) == uids(*CT)
    for one in listed:
        (sent,) = [file for file in CT if uids(file) == [one["SOPInstanceUID"]]]
        assert dcmread(one["path"]).PixelData == dcmread(sent).PixelData

    forget(orthanc, "PHANTOM-CT")
    count = len(node.events())
    assert search_studies(driver, orthanc.url, "minipacs", "PHANTOM-CT") == ["PHANTOM-CT - PHANTOM^CT"]
    assert node.wait_for("association", count + 1)["services"] == ["find"]
    assert retrieve_study(driver) == ""
    assert theirs(orthanc, "PHANTOM-CT") == uids(*CT)
    event = node.wait_for("association", count + 2)
    assert (event["services"], event["objects"], event["failures"]) == (["move"], 2, 0)


def test_wildcards_and_small_letters_are_found_and_what_is_not_there_is_not(
    node: Node, orthanc: Orthanc, driver: "WebDriver"
) -> None:
    assert upload(driver, orthanc.url, MR, US) == "Done"
    for patient in ("PHANTOM-MR", "PHANTOM-US"):
        assert ended(orthanc, send_study(driver, orthanc.url, patient, "minipacs"))["State"] == "Success"
    found = search_studies(driver, orthanc.url, "minipacs", "phantom-?*")  # Explorer makes capitals of it
    assert {"PHANTOM-MR - PHANTOM^MR", "PHANTOM-US - PHANTOM^US"} <= set(found)
    assert search_studies(driver, orthanc.url, "minipacs", "NOBODY") == []


def test_who_may_not_store_is_told_by_our_log_for_explorer_says_only_that_it_failed(
    node: Node, orthanc: Orthanc, driver: "WebDriver"
) -> None:
    assert upload(driver, orthanc.url, CR) == "Done"
    let(node, orthanc, services=["echo", "find", "move"])
    count = len(node.events())
    job = ended(orthanc, send_study(driver, orthanc.url, "PHANTOM-CR", "minipacs"))
    assert job["State"] == "Failure"
    assert "No acceptable presentation context" in job["ErrorDescription"]
    event = node.wait_for("association", count + 1)
    assert (event["level"], event["peer"], event["outcome"]) == ("warning", "orthanc", "released")
    assert event["reason"] == "ORTHANC asks for store, and the peer table lets orthanc use echo find move alone"
    assert event["fix"] == 'under [peers.orthanc]: services = ["echo", "store", "find", "move"]'
    assert ours(node, "PatientID=PHANTOM-CR") == []

    node.save(f"{node.peers.read_text().partition('services')[0]}services = {event['fix'].partition('= ')[2]}\n")
    job = ended(orthanc, send_study(driver, orthanc.url, "PHANTOM-CR", "minipacs"))
    assert job["State"] == "Success"
    assert len(ours(node, "PatientID=PHANTOM-CR")) == 1


def test_who_may_not_query_is_told_by_our_log(node: Node, orthanc: Orthanc, driver: "WebDriver") -> None:
    let(node, orthanc, services=["echo", "store"])
    count = len(node.events())
    assert search_studies(driver, orthanc.url, "minipacs", "PHANTOM-CT") == ["Error during query (C-Find)"]
    event = node.wait_for("association", count + 1)
    asked = {"find and move", "find"}  # of Orthanc 1.10 and 1.12
    table = "and the peer table lets orthanc use echo store alone"
    assert event["reason"] in {f"ORTHANC asks for {services}, {table}" for services in asked}


@pytest.mark.parametrize(
    ("changes", "target", "words"),
    [
        (
            {"host": None, "port": None},
            None,
            "destination ORTHANC is peer orthanc, which only calls us: it has no host and port in the peer table; "
            "fix: set both under [peers.orthanc]",
        ),
        ({}, "VIEWER", "destination VIEWER is not in the peer table; fix: minipacs peers add NAME VIEWER@HOST:PORT"),
    ],
)
def test_a_destination_that_we_do_not_know_is_0xa801_and_our_log_says_what_to_add(
    changes: dict[str, Any], target: str | None, words: str, node: Node, orthanc: Orthanc, driver: "WebDriver"
) -> None:
    assert upload(driver, orthanc.url, US) == "Done"
    assert ended(orthanc, send_study(driver, orthanc.url, "PHANTOM-US", "minipacs"))["State"] == "Success"
    forget(orthanc, "PHANTOM-US")
    let(node, orthanc, **changes)
    assert search_studies(driver, orthanc.url, "minipacs", "PHANTOM-US") == ["PHANTOM-US - PHANTOM^US"]
    count = len(node.events())
    assert retrieve_study(driver, target) == "Error during retrieve"
    event = node.wait_for("association", count + 1)
    assert (event["level"], event["services"], event["failures"]) == ("warning", ["move"], 1)
    assert event["reason"] == "C-MOVE answered with 0xA801"
    assert warnings(node)[-1] == f"C-MOVE refused with 0xA801: {words}"
    assert "has failed with DIMSE status 0xA801" in orthanc.log
    assert theirs(orthanc, "PHANTOM-US") == []


def test_an_orthanc_that_does_not_let_us_store_gets_nothing_and_our_log_says_so(
    node: Node, orthanc: Orthanc, driver: "WebDriver"
) -> None:
    assert upload(driver, orthanc.url, US) == "Done"
    assert ended(orthanc, send_study(driver, orthanc.url, "PHANTOM-US", "minipacs"))["State"] == "Success"
    forget(orthanc, "PHANTOM-US")
    us = {"AET": "MINIPACS", "Host": "127.0.0.1", "Port": node.port}
    assert orthanc.put("/modalities/minipacs", us | {"AllowStore": False})[0] == 200
    try:
        assert search_studies(driver, orthanc.url, "minipacs", "PHANTOM-US") == ["PHANTOM-US - PHANTOM^US"]
        count = len(node.events())
        assert retrieve_study(driver) == "Error during retrieve"
        event = node.wait_for("association", count + 1)
        assert theirs(orthanc, "PHANTOM-US") == []
        assert (event["objects"], event["level"]) == (0, "warning")
        assert warnings(node)[-1] == (
            "C-MOVE: ORTHANC did not answer our C-STORE, or ended the association; fix: see its log, and let MINIPACS "
            "store there (Orthanc: AllowStore of that modality)"
        )
    finally:
        assert orthanc.put("/modalities/minipacs", us)[0] == 200
