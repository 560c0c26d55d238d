"""The round trip of an image, as its users run it: with Orthanc, DCMTK's dcmqrscp, and another node that stores."""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import build_context, evt

from minipacs import Peer
from minipacs.services.sample_image import sample_in

from .peers.dcmtk import DCMQRSCP, STORESCP, dcmqrscp, storescp
from .peers.node import MINIPACS, environment, run_minipacs, serving, table
from .peers.orthanc import ORTHANC, Orthanc
from .peers.ports import free_port
from .peers.process import Child, running, wait_until
from .peers.required import required
from .peers.scp import AE_TITLE, answering, contexts
from .peers.web import Request, passing_on, web
from .proxy import holding_back
from .test_roundtrip import Result, knows, modalities, peer, round_trip

pytestmark = required(ORTHANC, DCMQRSCP, STORESCP)

LEGS = ["out", "stranger", "registered", "in", "store", "find", "move", "compare", "remove"]
ALWAYS = {f"DicomAlwaysAllow{service}": True for service in ("Echo", "Store", "Find", "Move", "Get")}
NOTHING = (200, "[]")


@pytest.fixture(scope="module")
def port() -> int:
    """Where our SCP is to listen, and where its peers have it."""
    return free_port()


@pytest.fixture(scope="module")
def started_orthanc(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Orthanc]:
    with Orthanc(tmp_path_factory.mktemp("strict"), minipacs_port=port) as orthanc:
        yield orthanc


@pytest.fixture
def orthanc(started_orthanc: Orthanc, port: int) -> Orthanc:
    """An Orthanc that refuses whom it does not know; it knows us."""
    started_orthanc.register("minipacs", "MINIPACS", "127.0.0.1", port)
    return started_orthanc


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "conf").mkdir()
    return tmp_path


@pytest.fixture
def knowing(folder: Path, orthanc: Orthanc) -> Path:
    knows(folder, peer(orthanc))
    return folder


def travelled(result: Result) -> list[str]:
    """The outcomes of the legs of the image."""
    return [result.legs[name]["outcome"] for name in LEGS[4:]]


def objects_in(folder: Path) -> list[Path]:
    """What the node there keeps."""
    return list((folder / "objects").rglob("*.dcm"))


def with_image(folder: Path, target: str, port: int, *arguments: object) -> Result:
    return round_trip(folder, target, "--image", "--port", port, *arguments)


# --- each knows the other ---------------------------------------------------------------------------------------------


def test_an_image_goes_to_orthanc_and_comes_back_and_nothing_is_left(
    knowing: Path, orthanc: Orthanc, port: int
) -> None:
    result = with_image(knowing, "orthanc", port, "--orthanc", orthanc.url)
    assert (result.verdict, result.enforced, result.stderr) == ("mutual", True, "")
    assert [leg["leg"] for leg in result.fields["legs"]] == LEGS
    assert travelled(result) == ["stored", "found", "returned", "same", "removed"]
    for leg in result.fields["legs"]:
        assert list(leg) == ["leg", "outcome", "reason", "fix", "ms"]
        assert (leg["fix"], leg["ms"] > 0) == (None, True)
    assert result.legs["store"]["reason"] == "ORTHANC stored the sample, 3.3 kB in Explicit VR Little Endian"
    assert result.legs["move"]["reason"] == "ORTHANC looked MINIPACS up in its table, and sent it here"
    assert result.legs["compare"]["reason"] == (
        "the data set is the same, byte by byte: 2.9 kB in Explicit VR Little Endian"
    )
    assert orthanc.get("/instances") == NOTHING


def test_what_was_there_is_not_touched(knowing: Path, orthanc: Orthanc, port: int, tmp_path: Path) -> None:
    """Not even the sample itself, if somebody has uploaded it: what travels has UIDs of its own."""
    status, _ = orthanc.post("/instances", sample_in(tmp_path, is_new=False).file.path.read_bytes())
    before = orthanc.get("/instances")
    assert (status, before != NOTHING) == (200, True)
    try:
        assert with_image(knowing, "orthanc", port, "--orthanc", orthanc.url).verdict == "mutual"
        assert orthanc.get("/instances") == before
    finally:
        for one in json.loads(before[1]):
            orthanc.delete(f"/instances/{one}")


def test_it_is_registered_for_the_moment_and_the_port_is_any(knowing: Path, orthanc: Orthanc) -> None:
    orthanc.unregister("minipacs")
    result = with_image(knowing, "orthanc", 0, "--orthanc", orthanc.url, "--register", "--unregister")
    assert result.verdict == "mutual"
    assert (modalities(orthanc), orthanc.get("/instances")) == ({}, NOTHING)


def test_the_other_formats_have_these_legs_too(knowing: Path, orthanc: Orthanc, port: int) -> None:
    arguments = ("roundtrip", "orthanc", "--image", "--port", str(port), "--orthanc", orthanc.url, "--format")
    text, junit, nagios = (run_minipacs(knowing, *arguments, name).stdout for name in ("text", "junit", "nagios"))
    assert [line.split()[0] for line in text.splitlines()[1:10]] == LEGS
    assert text.splitlines()[-1] == "mutual"
    assert all(f'<testcase name="{name}"' in junit for name in LEGS)
    assert 'failures="0"' in junit
    assert nagios.startswith("ROUNDTRIP OK - orthanc: mutual | ")
    assert all(f"'{name}'=" in nagios for name in LEGS)


def test_dcmqrscp_is_proved_to_know_us_by_what_it_sends(folder: Path, port: int) -> None:
    """It lets anybody in, and cannot be asked: only the image that came back shows that it has us in its table."""
    with dcmqrscp(folder / "q", ae_title="DCMQRSCP", hosts={"MINIPACS": ("127.0.0.1", port)}) as scp:
        knows(folder, {"name": "archive", "ae_title": "DCMQRSCP", "host": "127.0.0.1", "port": scp.port})
        echoes = round_trip(folder, "archive")
        for _ in range(2):  # the same object each time
            result = with_image(folder, "archive", port)
            assert (result.verdict, result.enforced) == ("mutual", False)
            assert travelled(result) == ["stored", "found", "returned", "same", "skipped"]
        text = run_minipacs(folder, "roundtrip", "archive", "--image", "--port", str(port)).stdout
        assert len(list(scp.folder.glob("*.dcm"))) == 1
    assert echoes.verdict == "open: the peer admits anybody"
    assert result.legs["remove"]["reason"] == (
        "there is no REST API to take it away by: it stays at DCMQRSCP, the same one each time: "
        "Patient ID PHANTOM-ROUNDTRIP"
    )
    assert text.splitlines()[-2:] == [
        "mutual",
        "warning: DCMQRSCP lets anybody echo; that it knows us is shown by the image that it sent us",
    ]


def test_another_node_that_stores_is_a_peer_like_any(folder: Path, port: int, tmp_path: Path) -> None:
    us = {"name": "us", "ae_title": "MINIPACS", "host": "127.0.0.1", "port": port}
    other = tmp_path / "other"
    options = ("--ae-title", "OTHER", "--storage", "objects")
    with serving(other, table(us), *options) as node:
        knows(folder, {"name": "other", "ae_title": "OTHER", "host": "127.0.0.1", "port": node.port})
        result = with_image(folder, "other", port)
        assert (result.verdict, result.enforced) == ("mutual", True)
        assert travelled(result) == ["stored", "found", "returned", "same", "skipped"]
        node.save(table({"name": "us", "ae_title": "MINIPACS"}))
        astray = with_image(folder, "other", port)
    assert astray.verdict == "one-way: they do not know us"
    assert travelled(astray) == ["stored", "found", "unlisted", "skipped", "skipped"]
    assert "status 0xA801" in astray.legs["move"]["reason"]
    assert astray.legs["move"]["fix"].endswith(f"minipacs: minipacs peers add minipacs MINIPACS@127.0.0.1:{port}")


# --- our node ---------------------------------------------------------------------------------------------------------


def test_the_node_that_runs_takes_it_and_forgets_it(folder: Path, orthanc: Orthanc) -> None:
    with serving(folder, table(peer(orthanc)), "--storage", "objects") as node:
        orthanc.register("minipacs", "MINIPACS", "127.0.0.1", node.port)
        for _ in range(2):
            result = with_image(folder, "orthanc", node.port, "--orthanc", orthanc.url)
            assert result.verdict == "mutual"
            assert travelled(result) == ["stored", "found", "returned", "same", "removed"]
        stored = [event for event in node.events() if "store" in event.get("services", ())]
        assert objects_in(folder) == []
        listed = node.minipacs("storage", "list", "--storage", "objects")
        assert "PHANTOM" not in listed.stdout + listed.stderr
    assert all(event["peer"] == "orthanc" for event in stored)


def test_the_node_that_runs_without_storage_is_told_how_it_has_some(folder: Path, orthanc: Orthanc) -> None:
    with serving(folder, table(peer(orthanc))) as node:
        orthanc.register("minipacs", "MINIPACS", "127.0.0.1", node.port)
        result = with_image(folder, "orthanc", node.port, "--orthanc", orthanc.url)
    assert result.verdict == "one-way: images do not come back"
    assert travelled(result) == ["stored", "found", "not-arrived", "skipped", "removed"]
    assert result.legs["move"]["reason"] == (
        f"the node that runs here (process {node.child.pid}) on port {node.port} has no storage, so that no image can "
        "be sent to it"
    )
    assert result.legs["move"]["fix"] == (
        f"stop it, and start it with storage: minipacs serve --storage FOLDER --port {node.port}; or set folder under "
        "[storage] in minipacs.toml"
    )
    assert orthanc.get("/instances") == NOTHING


def test_what_a_node_of_this_process_keeps_is_gone_with_it(
    knowing: Path, orthanc: Orthanc, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    assert with_image(knowing, "orthanc", port, "--orthanc", orthanc.url).verdict == "mutual"
    assert list(temporary.iterdir()) == []


# --- it goes astray ---------------------------------------------------------------------------------------------------


def test_0xa801_is_what_to_register_where(folder: Path, port: int) -> None:
    with dcmqrscp(folder / "q", ae_title="DCMQRSCP", hosts={}) as scp:
        knows(folder, {"name": "archive", "ae_title": "DCMQRSCP", "host": "127.0.0.1", "port": scp.port})
        result = with_image(folder, "archive", port)
        elsewhere = with_image(folder, "archive", port, "--our-address", "10.1.2.3")
    assert result.verdict == "one-way: they do not know us"
    assert travelled(result) == ["stored", "found", "unlisted", "skipped", "skipped"]
    assert result.legs["move"]["reason"] == (
        "DCMQRSCP does not know MINIPACS, to whom it is to send: status 0xA801, Move destination unknown"
    )
    assert result.legs["move"]["fix"] == (
        "on DCMQRSCP: register AE title MINIPACS with the address and port where it takes images; Orthanc: "
        f'"DicomModalities": {{ "minipacs": ["MINIPACS", "127.0.0.1", {port}] }}; minipacs: minipacs peers add '
        f"minipacs MINIPACS@127.0.0.1:{port}"
    )
    assert f'["MINIPACS", "10.1.2.3", {port}]' in elsewhere.legs["move"]["fix"]


def test_an_orthanc_that_has_not_us_is_told_by_the_line_to_paste(folder: Path, port: int, tmp_path: Path) -> None:
    """It lets anybody store, find and move, and says 0xC000 for whatever it cannot do."""
    with Orthanc(tmp_path / "o", minipacs_port=port, extra=ALWAYS) as orthanc:
        orthanc.unregister("minipacs")
        knows(folder, peer(orthanc))
        result = with_image(folder, "orthanc", port, "--orthanc", orthanc.url)
        assert orthanc.get("/instances") == NOTHING
        pasted = result.legs["move"]["fix"].partition(";")[0].removeprefix("minipacs ").split()
        assert run_minipacs(folder, *pasted).returncode == 0
        assert with_image(folder, "orthanc", port, "--orthanc", orthanc.url).verdict == "mutual"
    assert result.verdict == "one-way: they do not know us"
    assert travelled(result) == ["stored", "found", "unlisted", "skipped", "removed"]
    assert result.legs["move"]["reason"] == (
        "ORTHANC cannot process the C-MOVE to MINIPACS, status 0xC000, Unable to Process; "
        f"{orthanc.url} has nobody called MINIPACS"
    )
    assert result.legs["move"]["fix"] == (
        f"minipacs orthanc register --orthanc {orthanc.url} --port {port}; or in its configuration: "
        f'"DicomModalities": {{ "minipacs": ["MINIPACS", "127.0.0.1", {port}] }}'
    )


def test_an_orthanc_that_has_us_elsewhere_is_told_so(knowing: Path, orthanc: Orthanc, port: int) -> None:
    wrong = free_port()
    orthanc.register("minipacs", "MINIPACS", "127.0.0.1", wrong)
    result = with_image(knowing, "orthanc", port, "--orthanc", orthanc.url)
    assert result.verdict == "one-way: they do not reach us"
    assert travelled(result) == ["stored", "found", "not-arrived", "skipped", "removed"]
    assert (
        f"status 0xC000, Unable to Process; {orthanc.url} has MINIPACS@127.0.0.1:{wrong}"
        in (result.legs["move"]["reason"])
    )
    assert f"port is {wrong}, not {port}" in result.legs["move"]["reason"]
    assert f'["MINIPACS", "127.0.0.1", {port}]' in result.legs["move"]["fix"]
    assert orthanc.get("/instances") == NOTHING


def test_a_strict_orthanc_that_has_not_us_is_sent_nothing(knowing: Path, orthanc: Orthanc, port: int) -> None:
    orthanc.unregister("minipacs")
    result = with_image(knowing, "orthanc", port, "--orthanc", orthanc.url)
    assert result.verdict == "one-way: they do not know us"
    assert travelled(result) == ["skipped"] * 5
    assert {result.legs[name]["reason"] for name in LEGS[4:]} == {"our own echo fails"}


def test_somebody_else_has_it_sent_to(folder: Path, port: int, tmp_path: Path) -> None:
    with (
        storescp(tmp_path / "other", ae_title="MINIPACS") as other,
        dcmqrscp(folder / "q", ae_title="DCMQRSCP", hosts={"MINIPACS": ("127.0.0.1", other.port)}) as scp,
    ):
        result = with_image(folder, f"DCMQRSCP@127.0.0.1:{scp.port}", port)
    assert result.verdict == "one-way: images do not come back"
    assert result.legs["move"]["reason"] == (
        "DCMQRSCP says that it sent the image to MINIPACS, and it did not arrive here: something else takes it"
    )
    assert result.legs["move"]["fix"] == f"correct what DCMQRSCP has for MINIPACS: we are MINIPACS@127.0.0.1:{port}"


def test_we_do_not_admit_who_brings_it(folder: Path, port: int) -> None:
    with dcmqrscp(folder / "q", ae_title="DCMQRSCP", hosts={"MINIPACS": ("127.0.0.1", port)}) as scp:
        target = f"DCMQRSCP@127.0.0.1:{scp.port}"
        knows(folder)
        result = with_image(folder, target, port)
    assert result.verdict == "one-way: we do not admit them"
    assert travelled(result) == ["stored", "found", "rejected", "skipped", "skipped"]
    assert result.legs["move"]["reason"] == (
        "DCMQRSCP called MINIPACS from 127.0.0.1: rejected 1/1/3: DCMQRSCP is not in the peer table"
    )
    assert result.legs["move"]["fix"] == f"minipacs peers add dcmqrscp {target}"


def test_it_may_not_store_here(folder: Path, orthanc: Orthanc, port: int) -> None:
    knows(folder, peer(orthanc, services=["echo", "find"]))
    result = with_image(folder, "orthanc", port, "--orthanc", orthanc.url)
    assert result.verdict == "one-way: images do not come back"
    assert travelled(result) == ["stored", "found", "not-arrived", "skipped", "removed"]
    assert result.legs["move"]["reason"] == (
        "ORTHANC called MINIPACS from 127.0.0.1: released: ORTHANC asks for store, and the peer table lets orthanc use "
        "echo find alone"
    )
    assert result.legs["move"]["fix"] == 'under [peers.orthanc]: services = ["echo", "store", "find"]'


def test_an_orthanc_that_does_not_let_us_store(knowing: Path, orthanc: Orthanc, port: int) -> None:
    entry = {"AET": "MINIPACS", "Host": "127.0.0.1", "Port": port, "AllowStore": False}
    orthanc.put("/modalities/minipacs", entry)
    result = with_image(knowing, "orthanc", port, "--orthanc", orthanc.url)
    assert result.verdict == "no images: the peer does not take or does not find them"
    assert travelled(result) == ["refused", "skipped", "skipped", "skipped", "skipped"]
    assert "AllowStore" in result.legs["store"]["fix"]


# --- it cannot be taken away ------------------------------------------------------------------------------------------


def test_what_cannot_be_taken_away_is_told(knowing: Path, orthanc: Orthanc, port: int) -> None:
    def read_only(request: Request) -> None:
        if request.command == "DELETE":
            request.answer(403, b"no")
        else:
            passing_on(orthanc.http_port)(request)

    with web(read_only) as proxy:
        result = with_image(knowing, "orthanc", port, "--orthanc", proxy.url)
        arguments = ("roundtrip", "orthanc", "--image", "--port", str(port), "--orthanc", proxy.url)
        text = run_minipacs(knowing, *arguments).stdout
        junit = run_minipacs(knowing, *arguments, "--format", "junit").stdout
    for one in json.loads(orthanc.get("/instances")[1]):
        orthanc.delete(f"/instances/{one}")
    assert (result.verdict, result.legs["remove"]["outcome"]) == ("mutual", "left")
    assert result.legs["remove"]["reason"].startswith("the image could not be taken away again: ")
    assert "is forbidden (403)" in result.legs["remove"]["reason"]
    assert result.legs["remove"]["fix"] == "take it away from ORTHANC by hand: Patient ID PHANTOM-ROUNDTRIP"
    assert text.splitlines()[-1].startswith("warning: the image could not be taken away again: ")
    assert 'failures="1"' in junit


# --- a peer that changes it -------------------------------------------------------------------------------------------


class Archive:
    """A peer of pynetdicom, beside an Orthanc that has its title; what it is sent, it gives to that Orthanc.

    Args:
        at: the leg that it holds up, when what that asks is done.
        change: what it does to the image before it sends it back.
        forgets: whether it finds nothing.
        proposes: UID of the SOP class that it proposes when it sends the image back; empty: that of the image.
    """

    def __init__(
        self,
        port: int,
        orthanc: Orthanc | None,
        at: str,
        change: Callable[[Dataset], None],
        forgets: bool,
        proposes: str,
    ) -> None:
        self._port = port
        self._orthanc = orthanc
        self._at = at
        self._change = change
        self._forgets = forgets
        self._proposes = proposes
        self._image = Dataset()
        self.holds = threading.Event()
        self.is_over = threading.Event()
        self.peer = Peer("archive", AE_TITLE)

    def _hold(self, leg: str) -> None:
        if leg == self._at:
            self.holds.set()
            self.is_over.wait(30)

    def store(self, event: evt.Event) -> int:
        self._image = dcmread(event.dataset_path)
        if self._orthanc is not None:
            self._orthanc.post("/instances", event.dataset_path.read_bytes())
        self._hold("store")
        return 0

    def find(self, _: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        self._hold("find")
        match = Dataset()
        match.SOPInstanceUID = self._image.SOPInstanceUID
        if not self._forgets:
            yield 0xFF00, match

    def move(self, _: evt.Event) -> Iterator[Any]:
        context = build_context(self._proposes or self._image.SOPClassUID)
        yield "127.0.0.1", self._port, {"ae_title": "MINIPACS", "contexts": [context]}
        yield 1
        self._change(self._image)
        yield 0xFF00, self._image
        self._hold("move")


@contextmanager
def archive(
    port: int,
    orthanc: Orthanc | None = None,
    at: str = "",
    change: Callable[[Dataset], None] = lambda _: None,
    forgets: bool = False,
    proposes: str = "",
) -> Iterator[Archive]:
    made = Archive(port, orthanc, at, change, forgets, proposes)
    handlers = [(evt.EVT_C_STORE, made.store), (evt.EVT_C_FIND, made.find), (evt.EVT_C_MOVE, made.move)]
    try:
        with answering(handlers, [build_context("1.2.840.10008.1.1"), *contexts()]) as made.peer:
            yield made
            made.is_over.set()
    finally:
        made.is_over.set()


def test_another_encoding_of_the_same_is_the_same(folder: Path, port: int) -> None:
    with archive(port) as made:
        knows(folder, {"name": "archive", "ae_title": AE_TITLE})
        result = with_image(folder, str(made.peer), port)
    assert result.verdict == "mutual"
    assert result.legs["compare"]["reason"] == (
        "the data set is the same, byte by byte: 2.9 kB in Implicit VR Little Endian"
    )


def test_a_peer_that_changes_values_is_found_out(folder: Path, port: int) -> None:
    def change(image: Dataset) -> None:
        image.PatientName = "SOMEBODY^ELSE"
        image.InstitutionName = "Here"
        del image.StudyDescription

    with archive(port, change=change) as made:
        knows(folder, {"name": "archive", "ae_title": AE_TITLE})
        result = with_image(folder, str(made.peer), port)
    assert result.verdict == "changed: images do not come back as they were sent"
    assert travelled(result) == ["stored", "found", "returned", "changed", "skipped"]
    assert result.legs["compare"]["reason"] == (
        "the image comes back otherwise than it was sent: InstitutionName is new, StudyDescription is gone, "
        "PatientName is another"
    )


def test_a_peer_that_writes_the_same_values_otherwise_is_told(folder: Path, port: int) -> None:
    with archive(port, change=lambda image: setattr(image, "PatientName", "PHANTOM^ROUNDTRIP   ")) as made:
        knows(folder, {"name": "archive", "ae_title": AE_TITLE})
        result = with_image(folder, str(made.peer), port)
    assert (result.verdict, result.legs["compare"]["outcome"]) == ("mutual", "re-encoded")
    assert "every value is the same, and the bytes of the data set are not" in result.legs["compare"]["reason"]


def test_a_peer_that_does_not_find_what_it_stored(folder: Path, port: int) -> None:
    with archive(port, forgets=True) as made:
        knows(folder, {"name": "archive", "ae_title": AE_TITLE})
        result = with_image(folder, str(made.peer), port)
    assert result.verdict == "no images: the peer does not take or does not find them"
    assert travelled(result) == ["stored", "missing", "returned", "same", "skipped"]
    assert result.legs["find"]["reason"] == "PYNETDICOM has stored the sample, and does not find it within 3 s"


# --- interrupted ------------------------------------------------------------------------------------------------------


def travelling(folder: Path, port: int, target: str, url: str) -> Any:
    command = [*MINIPACS, "roundtrip", target, "--image", "--port", str(port), "--orthanc", url, "--skip-stranger"]
    return running(command, log=folder / "log", ready=lambda _: True, env=environment(), cwd=folder)


def stopped_by(child: Child, number: signal.Signals) -> int:
    os.kill(child.pid, number)
    return child.wait(60)


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Orthanc]:
    """The REST API of Archive."""
    extra = {"DicomAet": AE_TITLE}
    with Orthanc(tmp_path_factory.mktemp("beside"), minipacs_port=port, extra=extra) as orthanc:
        yield orthanc


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("leg", ["store", "find", "move"])
def test_interrupted_it_is_taken_away(
    folder: Path, beside: Orthanc, port: int, leg: str, number: signal.Signals
) -> None:
    """The peer has done what was asked, and has not said so."""
    knows(folder, {"name": "archive", "ae_title": AE_TITLE})
    with archive(port, beside, leg) as made, travelling(folder, port, str(made.peer), beside.url) as child:
        wait_until(made.holds.is_set, within=30, what=leg)
        assert beside.get("/instances") != NOTHING
        assert stopped_by(child, number) == 130
        log = child.log
    assert beside.get("/instances") == NOTHING
    assert f"minipacs: {beside.url}: the image is taken away again\n" in log


def test_interrupted_while_it_is_sent_back_the_node_that_runs_forgets_it(folder: Path, beside: Orthanc) -> None:
    with serving(folder, table({"name": "archive", "ae_title": AE_TITLE}), "--storage", "objects") as node:
        beside.register("minipacs", "MINIPACS", "127.0.0.1", node.port)
        with (
            archive(node.port, beside, "move") as made,
            travelling(folder, node.port, str(made.peer), beside.url) as child,
        ):
            wait_until(made.holds.is_set, within=30, what="move")
            assert len(objects_in(folder)) == 1
            assert stopped_by(child, signal.SIGINT) == 130
        assert objects_in(folder) == []
    assert beside.get("/instances") == NOTHING


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_it_is_taken_away(knowing: Path, orthanc: Orthanc, port: int, number: signal.Signals) -> None:
    with (
        holding_back(orthanc.url, "POST", "/tools/find", is_done=False) as proxy,
        travelling(knowing, port, "orthanc", proxy.url) as child,
    ):
        wait_until(proxy.is_holding, within=30, what="POST /tools/find")
        assert orthanc.get("/instances") != NOTHING
        assert stopped_by(child, number) == 130
        assert orthanc.get("/instances") == NOTHING
