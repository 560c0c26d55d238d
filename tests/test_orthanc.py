"""The node and a real Orthanc, each pinging the other, with the registration right and wrong on either side."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .peers.dcmtk import ECHOSCU, STORESCP, echoscu, storescp
from .peers.explorer import browser, press_test_echo
from .peers.node import Node, serving, table
from .peers.orthanc import ORTHANC, Orthanc
from .peers.required import required
from .test_pynetdicom import calling
from .test_pynetdicom import serving as pynetdicom_scp

if TYPE_CHECKING:
    from selenium.webdriver.remote.webdriver import WebDriver

pytestmark = required(ORTHANC)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with serving(tmp_path_factory.mktemp("node")) as node:
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
    """Mutually registered with the node."""
    started_orthanc.register("minipacs", "MINIPACS", "127.0.0.1", node.port)
    if node.peers.read_text() != entry(started_orthanc):
        node.save(entry(started_orthanc))
    return started_orthanc


def entry(orthanc: Orthanc, **changes: object) -> str:
    peer = {"name": "orthanc", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.dicom_port}
    return table(peer | {"allow_from": ["127.0.0.1"]} | changes)


def test_we_echo_orthanc(node: Node, orthanc: Orthanc) -> None:
    result = node.echo("orthanc")
    assert (result["outcome"], result["status"], result["echoes"]) == ("success", "0x0000", 1)
    assert result["observations"] == []


def test_a_hundred_echoes_share_one_association(node: Node, orthanc: Orthanc) -> None:
    assert node.echo("orthanc", "--count", "100")["echoes"] == 100


def test_orthanc_echoes_us_by_rest(node: Node, orthanc: Orthanc) -> None:
    count = len(node.events())
    assert orthanc.echo("minipacs") == (200, "{}")
    event = node.wait_for("association", count + 1)
    assert event["calling_ae_title"] == "ORTHANC"
    assert event["called_ae_title"] == "MINIPACS"
    assert (event["address"], event["peer"]) == ("127.0.0.1", "orthanc")
    assert (event["outcome"], event["echoes"], event["reject"]) == ("released", 1, None)
    assert event["implementation_version"].startswith("OFFIS_DCMTK")


@required("/usr/bin/chromium", "/usr/bin/chromedriver")
def test_orthanc_echoes_us_by_a_click_in_explorer(node: Node, orthanc: Orthanc, driver: "WebDriver") -> None:
    count = len(node.events())
    assert press_test_echo(driver, orthanc.url, "minipacs") == "The C-Echo has succeeded!"
    assert node.wait_for("association", count + 1)["echoes"] == 1


@required("/usr/bin/chromium", "/usr/bin/chromedriver")
def test_explorer_says_only_that_it_failed_and_our_log_says_why(
    node: Node, orthanc: Orthanc, driver: "WebDriver"
) -> None:
    node.save("")
    count = len(node.events())
    assert press_test_echo(driver, orthanc.url, "minipacs") == "Error: The C-Echo has failed!"
    event = node.wait_for("association", count + 1)
    assert (event["outcome"], event["reject"], event["peer"]) == ("rejected", "1/1/3", None)
    assert event["reason"] == "ORTHANC is not in the peer table"


def test_an_orthanc_that_we_do_not_know_is_refused_with_the_line_that_would_admit_it(
    node: Node, orthanc: Orthanc
) -> None:
    node.save("")
    count = len(node.events())
    status, text = orthanc.echo("minipacs")
    assert status == 500
    assert "DUL Association Rejected" in json.loads(text)["Details"]
    event = node.wait_for("association", count + 1)
    assert (event["outcome"], event["reject"]) == ("rejected", "1/1/3")
    assert event["fix"].startswith("minipacs peers add orthanc ORTHANC@127.0.0.1:PORT")

    reloads = len(node.events("peers-reloaded"))
    command = event["fix"].split(",")[0].replace("PORT", str(orthanc.dicom_port)).split()[1:]
    assert node.minipacs(*command).returncode == 0
    assert node.wait_for("peers-reloaded", reloads + 1)["added"] == ["orthanc"]
    assert orthanc.echo("minipacs") == (200, "{}")


def test_an_orthanc_from_an_address_that_is_not_allowed_is_refused_for_its_address(
    node: Node, orthanc: Orthanc
) -> None:
    node.save(entry(orthanc, allow_from=["10.1.2.0/24", "::1"]))
    count = len(node.events())
    assert orthanc.echo("minipacs")[0] == 500
    event = node.wait_for("association", count + 1)
    assert (event["reject"], event["peer"]) == ("1/1/3", "orthanc")
    assert event["reason"] == "ORTHANC calls from 127.0.0.1, and peer orthanc may call from 10.1.2.0/24, ::1 only"


def test_an_orthanc_that_calls_us_by_a_wrong_title_is_told_ours(node: Node, orthanc: Orthanc) -> None:
    orthanc.register("minipacs", "MiniPACS", "127.0.0.1", node.port)
    count = len(node.events())
    assert orthanc.echo("minipacs")[0] == 500
    event = node.wait_for("association", count + 1)
    assert event["reject"] == "1/1/7"
    assert event["reason"] == (
        "ORTHANC calls us MiniPACS, but we are MINIPACS; it differs from MINIPACS in capitals only"
    )


def test_an_orthanc_that_does_not_know_us_refuses_us_and_we_say_what_to_register(node: Node, orthanc: Orthanc) -> None:
    orthanc.unregister("minipacs")
    result = node.echo("orthanc", "--port", str(node.port))
    assert result["outcome"] == "rejected"
    assert result["reason"] == (
        "ORTHANC does not know our AE title MINIPACS, or not from this address (rejected 1/1/3)"
    )
    assert f'"DicomModalities": {{ "minipacs": ["MINIPACS", "127.0.0.1", {node.port}] }}' in result["fix"]

    orthanc.register("minipacs", "MINIPACS", "127.0.0.1", node.port)
    assert node.echo("orthanc")["outcome"] == "success"


def test_a_stranger_is_refused_by_orthanc(node: Node, orthanc: Orthanc) -> None:
    assert node.echo("orthanc", "--calling", "STRANGER")["outcome"] == "rejected"


def test_orthancs_web_port_is_told_from_its_dicom_port(node: Node, orthanc: Orthanc) -> None:
    result = node.echo(f"ORTHANC@127.0.0.1:{orthanc.http_port}")
    assert result["outcome"] == "no-association"


def test_a_stopped_orthanc_is_unreachable(node: Node, tmp_path: Path) -> None:
    with Orthanc(tmp_path, minipacs_port=node.port) as orthanc:
        target = f"ORTHANC@127.0.0.1:{orthanc.dicom_port}"
        assert node.echo(target)["outcome"] == "success"
    result = node.echo(target)
    assert result["outcome"] == "unreachable"
    assert result["reason"] == f"nothing listens on 127.0.0.1 port {orthanc.dicom_port}: connection refused"


def test_an_orthanc_that_admits_strangers_to_store_aborts_their_echo(node: Node, tmp_path: Path) -> None:
    with Orthanc(tmp_path, minipacs_port=node.port, extra={"DicomAlwaysAllowStore": True}) as orthanc:
        result = node.echo(f"ORTHANC@127.0.0.1:{orthanc.dicom_port}", "--calling", "STRANGER")
    assert result["outcome"] == "aborted"
    assert result["reason"].startswith("ORTHANC accepts the association and answers the C-ECHO by A-ABORT")
    assert "AllowEcho" in result["fix"]


@required(ECHOSCU, STORESCP)
def test_the_table_is_edited_while_all_talk(node: Node, orthanc: Orthanc, tmp_path: Path) -> None:
    """Other peers come and go; no echo of those that stay fails, in either direction."""
    stays = entry(orthanc) + table(
        {"name": "dcmtk", "ae_title": "DCMTK"}, {"name": "pynetdicom", "ae_title": "PYNETDICOM"}
    )
    node.save(stays)
    with ThreadPoolExecutor(8) as pool, storescp(tmp_path, ae_title="STORESCP") as scp, pynetdicom_scp() as theirs:
        targets = ["orthanc", f"STORESCP@127.0.0.1:{scp.port}", str(theirs)]
        out = [pool.submit(node.echo, target, "--count", "300", "--interval", "0.005") for target in targets]
        into = pool.submit(lambda: [orthanc.echo("minipacs") for _ in range(60)])
        dcmtk = pool.submit(echoscu, "--repeat", 200, "-aet", "DCMTK", "-aec", "MINIPACS", "127.0.0.1", node.port)
        pynetdicom = pool.submit(_echoes_of_pynetdicom, node, 30)
        for number in range(20):
            node.save(stays + table({"name": f"ct{number}", "ae_title": f"CT{number}"}))
        assert [result.result()["echoes"] for result in out] == [300] * 3
        assert set(into.result()) == {(200, "{}")}
        assert dcmtk.result().returncode == 0
        assert pynetdicom.result() == [0x0000] * 30


def _echoes_of_pynetdicom(node: Node, count: int) -> list[int]:
    with calling(node) as association:
        return [association.send_c_echo().Status for _ in range(count)]
