"""Ctrl-C while a real peer works for us: C-CANCEL is sent, the peer ends its work, and the exit code says so."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from minipacs.services.object_files import place_of

from .harm.test_unread_standard_error import pipe
from .peers.dcmtk import DCMQRSCP, STORESCP, dcmqrscp, storescp
from .peers.node import MINIPACS, environment, serving, table
from .peers.ports import free_port
from .peers.process import Child, running, wait_until
from .peers.required import required
from .services.objects import ROOT, data_set, write

OBJECTS = 1500
SERIES = (f"StudyInstanceUID={ROOT}.1.1", f"SeriesInstanceUID={ROOT}.2.1")
DCMQRIDX = "/usr/bin/dcmqridx"

pytestmark = required(DCMQRSCP, STORESCP)


@dataclass(frozen=True)
class Archive:
    """A peer with a series of OBJECTS images, which knows MINIPACS at *destination*."""

    target: str
    destination: int
    ended: Callable[[], list[str]]  # how its associations ended so far, as its log tells it


def write_objects(place: Callable[[str], Path]) -> list[Path]:
    return [write(place(f"{ROOT}.3.{number}"), data_set(number)) for number in range(1, OBJECTS + 1)]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    folder = tmp_path_factory.mktemp("node")
    write_objects(lambda uid: place_of(folder / "objects", uid))
    port = free_port()
    us = table({"name": "us", "ae_title": "MINIPACS", "host": "127.0.0.1", "port": port})
    with serving(folder, us, "--ae-title", "NODE", "--storage", str(folder / "objects")) as node:

        def ended() -> list[str]:
            return [event["outcome"] for event in node.events()]

        yield Archive(f"NODE@127.0.0.1:{node.port}", port, ended)


@pytest.fixture(scope="module")
def dcmtk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    folder, port = tmp_path_factory.mktemp("dcmqrscp"), free_port()
    hosts = {"MINIPACS": ("127.0.0.1", port)}
    with dcmqrscp(folder, ae_title="DCMQRSCP", hosts=hosts, args=["--verbose"]) as scp:
        files = write_objects(lambda uid: scp.folder / f"{uid}.dcm")
        subprocess.run([DCMQRIDX, scp.folder, *files], check=True, capture_output=True, timeout=100)

        def ended() -> list[str]:
            return ["released" if "Release" in line else "aborted" for line in scp.log.splitlines() if _ends(line)]

        yield Archive(f"DCMQRSCP@127.0.0.1:{scp.port}", port, ended)


def _ends(line: str) -> bool:
    return "Association Release" in line or "Association Abort" in line


@pytest.fixture(params=["node", "dcmtk"])
def archive(request: pytest.FixtureRequest) -> Archive:
    archive: Archive = request.getfixturevalue(request.param)
    return archive


def interrupted(folder: Path, archive: Archive, ready: Callable[[Child], bool], *arguments: str) -> str:
    """Press Ctrl-C when it is *ready*; what it printed."""
    before = len(archive.ended())
    command = [*MINIPACS, *arguments, *SERIES, "--json"]
    with running(command, log=folder / "log", ready=ready, env=environment(), cwd=folder) as child:
        os.kill(child.pid, signal.SIGINT)
        assert child.wait(20) == 130
    wait_until(lambda: len(archive.ended()) > before, within=10, what="the end of the association in the log")
    assert set(archive.ended()[before:]) == {"released"}  # for it has answered
    return child.log


def test_a_query_is_cancelled(archive: Archive, tmp_path: Path) -> None:
    """It prints into a small pipe, and so waits for us with what it has not taken yet, however late we are."""
    before = len(archive.ended())
    command = [*MINIPACS, "find", archive.target, "--level", "image", *SERIES, "--json"]
    with pipe() as out:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out.writing,
            stderr=subprocess.DEVNULL,
            env=environment(),
            cwd=tmp_path,
            start_new_session=True,
        )
        try:
            os.close(out.writing)
            first = os.read(out.reading, 1)
            os.kill(child.pid, signal.SIGINT)
            text = (first + out.read()).decode()
            assert child.wait(20) == 130
        finally:
            child.kill()
            child.wait()
    wait_until(lambda: len(archive.ended()) > before, within=10, what="the end of the association in the log")
    assert set(archive.ended()[before:]) == {"released"}
    matches = [json.loads(line) for line in text.splitlines()]
    assert 0 < len(matches) < OBJECTS


def test_a_c_get_is_cancelled(archive: Archive, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("get", archive.target, "--output", str(out))
    result = json.loads(interrupted(tmp_path, archive, lambda _: any(out.glob("*.dcm")), *arguments))
    assert (result["cancelled"], result["code"]) == (True, "query.cancelled")  # it has answered with 0xFE00
    assert 0 < result["completed"] < OBJECTS
    assert sorted(map(str, out.iterdir())) == sorted(result["files"])


def test_a_c_move_is_cancelled(archive: Archive, tmp_path: Path) -> None:
    with storescp(tmp_path / "scp", ae_title="MINIPACS", port=archive.destination) as scp:
        arguments = ("move", archive.target)
        result = json.loads(interrupted(tmp_path, archive, lambda _: any(scp.folder.iterdir()), *arguments))
        assert (result["cancelled"], result["code"]) == (True, "query.cancelled")  # it has answered with 0xFE00
        assert 0 < result["completed"] < OBJECTS
