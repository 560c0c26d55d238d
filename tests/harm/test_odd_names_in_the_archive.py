"""Pipes, loops of links and names that are no text hang nothing and end nothing: they are passed over, and told."""

import json
import os
import shutil
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian

from ..peers.node import run_minipacs
from ..peers.process import wait_until
from ..peers.scp import answering
from ..peers.scp import storing as peer_that_stores
from ..peers.storage_node import objects, storing
from ..services.objects import data_set, write
from ..storing import encoded, image
from ..test_service_rows import dicomdir
from .stored import WITHIN, as_it_is, sender, store

NOT_REGULAR = "not a regular file"


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_loop(path: Path) -> None:
    path.symlink_to(path.name)


def a_link_to_nothing(path: Path) -> None:
    path.symlink_to("nowhere")


def a_link_out(path: Path) -> None:
    path.symlink_to(write(path.parents[3] / "outside" / "1.2.3.dcm", data_set(7)))


def a_socket(path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        folder = os.getcwd()
        os.chdir(path.parent)  # the path of a socket has to be short
        try:
            listening.bind(path.name)
        finally:
            os.chdir(folder)


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_folder(path: Path) -> None:
    path.mkdir()


ODD = (a_pipe, a_loop, a_link_to_nothing, a_link_out, a_socket, a_device, a_folder)
NAMES = (b"1.2.77.dcm", b"1.2.\xff.dcm", b"1.2.\n\x1b[2J.dcm")


# --- in the folder of a node ----------------------------------------------------------------------------------------


def test_all_of_them_are_passed_over_and_told(tmp_path: Path) -> None:
    with storing(tmp_path) as (node, folder), sender(node.port) as peer:
        assert store(peer, "1.2.3", encoded(image("1.2.3"))) == 0
    for number, make in enumerate(ODD):
        make(folder / "objects" / f"{number:02x}" / f"1.2.{number}.dcm")
    for number, name in enumerate(NAMES):
        path = Path(os.fsdecode(bytes(folder / "objects" / f"0{number}" / "x")[:-1] + name))
        path.write_bytes(objects(folder)["1.2.3"].read_bytes()) if number else path.write_text("dear")
    a_loop(folder / "objects" / "loop.dcm")
    before = {name: one for name, one in as_it_is(folder / "objects").items() if name != "."}
    with storing(tmp_path) as (node, _), sender(node.port) as peer:
        told = [event["message"] for event in node.events("message")]
        assert store(peer, "1.2.4", encoded(image("1.2.4"))) == 0
        assert {"1.2.3", "1.2.4"} <= listed(tmp_path)
    lines = [line for line in told if "is not listed: " in line]
    assert len(lines) == len(ODD) + 2
    for number in range(len(ODD)):
        assert f"storage: {folder}/objects/{number:02x}/1.2.{number}.dcm is not listed: {NOT_REGULAR}" in lines
    assert f"storage: {folder}/objects/00/1.2.77.dcm is not listed: not a DICOM file (PS3.10 §7.1)" in lines
    assert f"storage: {folder}/objects/01/1.2.\\udcff.dcm is not listed: its name is not UTF-8" in lines
    (folder / "index.sqlite").unlink()
    assert {"1.2.3", "1.2.4"} <= listed(tmp_path)
    done = run_minipacs(tmp_path, "storage", "reindex", "--storage", "kept")
    assert (done.returncode, done.stdout) == (1, f"{folder}: 3 objects listed, {len(lines)} cannot be\n")
    assert len(done.stderr.splitlines()) == len(lines)
    assert done.stderr.count(f": {NOT_REGULAR}\n") == len(ODD)
    after = as_it_is(folder / "objects")
    assert {name: after[name] for name in before if "." in name} == {n: o for n, o in before.items() if "." in n}


def listed(folder: Path) -> set[str]:
    done = run_minipacs(folder, "storage", "list", "--storage", "kept", "--level", "image", "--json")
    assert done.returncode == 0, done.stderr
    return {json.loads(line)["SOPInstanceUID"] for line in done.stdout.splitlines()}


@pytest.mark.parametrize("make", ODD, ids=lambda make: make.__name__)
def test_in_the_place_of_an_object_they_are_neither_opened_nor_overwritten(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    with storing(tmp_path, overwrite=True) as (node, folder), sender(node.port) as peer:
        place = folder / "objects" / "c4" / "1.2.3.dcm"
        make(place)
        before = as_it_is(place.parent)
        assert store(peer, "1.2.3", encoded(image("1.2.3"))) == 0xA700
        assert as_it_is(place.parent) == before
        line = f"storage: {place}: {NOT_REGULAR}: an object was refused with 0xA700"
        wait_until(lambda: line in [one["message"] for one in node.events("message")], within=WITHIN, what="the line")
        assert store(peer, "1.2.4", encoded(image("1.2.4"))) == 0


@pytest.mark.parametrize("name", ["objects/c4", "objects", "incoming"])
def test_a_folder_that_becomes_a_link_is_not_followed(name: str, tmp_path: Path) -> None:
    with storing(tmp_path) as (node, folder), sender(node.port) as peer:
        shutil.copytree(folder / name, tmp_path / "outside")
        shutil.rmtree(folder / name)
        (folder / name).symlink_to(tmp_path / "outside")
        before = as_it_is(tmp_path / "outside")
        assert store(peer, "1.2.3", encoded(image("1.2.3"))) == 0xA700
        assert as_it_is(tmp_path / "outside") == before
        line = f"storage: {folder}/{name}: not a folder, but a link or a file: "
        wait_until(lambda: line in node.child.log, within=WITHIN, what="the line")


def test_a_folder_whose_name_is_no_text_is_served_and_listed(tmp_path: Path) -> None:
    name = os.fsdecode(b"k\xffpt")
    write(tmp_path / name / "objects" / "00" / "1.2.3.dcm", data_set(1))
    for command in (["list", "--level", "image"], ["list", "--level", "image", "--json"], ["reindex"]):
        done = run_minipacs(tmp_path, "storage", *command, "--storage", name)
        assert (done.returncode, done.stderr) == (0, ""), command


# --- named by the operator ------------------------------------------------------------------------------------------


NAMED = (a_pipe, a_loop, a_socket, a_device)


@pytest.mark.parametrize("make", NAMED, ids=lambda make: make.__name__)
def test_show_refuses_them_by_name(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "odd.dcm")
    done = run_minipacs(tmp_path, "storage", "show", "odd.dcm")
    assert done.returncode in {1, 2}
    assert "odd.dcm" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("make", [a_pipe, a_socket, a_device], ids=lambda make: make.__name__)
def test_store_refuses_them_by_name(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "odd.dcm")
    done = run_minipacs(tmp_path, "store", "ANY@127.0.0.1:9", "odd.dcm")
    assert (done.returncode, done.stderr) == (2, f"odd.dcm: file: must be readable, not so: {NOT_REGULAR}\n")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_store_passes_over_them_in_a_folder(options: list[str], tmp_path: Path) -> None:
    write(tmp_path / "sent" / "image.dcm", data_set(1), ExplicitVRLittleEndian)
    write(tmp_path / "sent" / os.fsdecode(b"\xff.dcm"), data_set(2), ExplicitVRLittleEndian)
    for make in NAMED:
        make(tmp_path / "sent" / f"{make.__name__}.dcm")
    with answering(peer_that_stores(0)) as peer:
        done = run_minipacs(tmp_path, "store", f"{peer.ae_title}@{peer.host}:{peer.port}", "sent", *options)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 objects stored" in done.stdout or '"stored":2' in done.stdout, done.stdout


def test_store_tells_of_them_in_a_dicomdir(tmp_path: Path) -> None:
    os.mkfifo(dicomdir(tmp_path / "disc", ["PIPE"]).with_name("PIPE"))
    with answering(peer_that_stores(0)) as peer:
        target = f"{peer.ae_title}@{peer.host}:{peer.port}"
        done = run_minipacs(tmp_path, "store", target, "disc/DICOMDIR")
    assert done.returncode == 1
    assert NOT_REGULAR in done.stdout + done.stderr
