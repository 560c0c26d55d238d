"""A picture is never written over a file: `storage show --png` takes a new one, or --force, and an object never.

Nor does any other command of ours write a file that an operator names over one that is there.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ..peers.node import run_minipacs
from ..services.objects import data_set, write
from .stored import as_it_is

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "x.dcm", data_set(1))
    write(tmp_path / "other.dcm", data_set(2))
    (tmp_path / "letter.txt").write_text("dear")
    return tmp_path


def show(folder: Path, png: str, *options: str) -> tuple[int, str]:
    done = run_minipacs(folder, "storage", "show", "x.dcm", "--no-picture", "--png", png, *options)
    return done.returncode, done.stderr


def itself(_: Path) -> str:
    return "x.dcm"


def itself_by_another_way(folder: Path) -> str:
    return f"{folder}/../{folder.name}/x.dcm"


def another_object(_: Path) -> str:
    return "other.dcm"


def a_letter(_: Path) -> str:
    return "letter.txt"


def a_link_to_itself(folder: Path) -> str:
    (folder / "link.png").symlink_to("x.dcm")
    return "link.png"


def another_name_of_itself(folder: Path) -> str:
    os.link(folder / "x.dcm", folder / "copy.png")
    return "copy.png"


def a_link_to_nothing(folder: Path) -> str:
    (folder / "link.png").symlink_to("new.png")
    return "link.png"


def a_pipe(folder: Path) -> str:
    os.mkfifo(folder / "pipe.png")
    return "pipe.png"


def a_folder(folder: Path) -> str:
    (folder / "pictures").mkdir()
    return "pictures"


NEVER = (itself, itself_by_another_way, another_object, a_link_to_itself, another_name_of_itself, a_pipe, a_folder)


@pytest.mark.parametrize("target", [*NEVER, a_letter, a_link_to_nothing], ids=lambda target: target.__name__)
def test_what_is_there_stays(target: Callable[[Path], str], folder: Path) -> None:
    png = target(folder)
    before = as_it_is(folder)
    rule = "there already, and stays; --force writes over any file but DICOM"
    assert show(folder, png) == (2, f"minipacs: {png}: {rule}\n")
    assert as_it_is(folder) == before


@pytest.mark.parametrize("target", NEVER, ids=lambda target: target.__name__)
def test_an_object_stays_by_force_and_what_is_no_file(target: Callable[[Path], str], folder: Path) -> None:
    png = target(folder)
    before = as_it_is(folder)
    code, said = show(folder, png, "--force")
    assert code == 2
    assert said in {f"minipacs: {png}: a DICOM file, and stays\n", f"minipacs: {png}: not a regular file\n"}
    assert as_it_is(folder) == before


def test_a_new_file_is_written_and_by_force_any_other(folder: Path) -> None:
    (folder / "link.png").symlink_to("letter.txt")
    assert show(folder, "new.png")[0] == 0
    assert show(folder, "letter.txt", "--force")[0] == 0
    assert (folder / "letter.txt").read_bytes() == (folder / "new.png").read_bytes()
    assert show(folder, "newer.png", "--force")[0] == 0
    (folder / "letter.txt").write_text("dear")
    assert show(folder, "link.png", "--force")[0] == 0
    assert (folder / "link.png").is_symlink()
    assert (folder / "letter.txt").read_bytes().startswith(PNG)
    assert not list(folder.glob(".*")), "nothing is left beside them"


def test_where_there_is_no_picture_nothing_is_lost(folder: Path) -> None:
    write(folder / "x.dcm", data_set(1, PixelData=None))
    assert show(folder, "letter.txt", "--force")[0] == 1
    assert (folder / "letter.txt").read_text() == "dear"
    assert show(folder, "new.png")[0] == 1
    assert not (folder / "new.png").exists()
    assert show(folder, "nowhere/new.png") == (1, show(folder, "new.png")[1]), "the picture is asked for first"


def test_the_first_settings_are_written_over_nothing_and_through_no_link(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "peers.toml").symlink_to(tmp_path / "elsewhere.toml")
    done = run_minipacs(tmp_path, "init")
    assert (done.returncode, "conf/peers.toml" in done.stderr) == (2, True)
    assert not (tmp_path / "elsewhere.toml").exists()
