"""minipacs storage: what a person and a script are shown of what is stored."""

import json
import sys
from pathlib import Path

import pytest
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from tests.peers.node import run_minipacs

from .objects import MR, ROOT, data_set, write

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value", "ignore:The value length")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A study of two CT images and an MR image, and a study of somebody else."""
    for data in (
        data_set(1, SpecificCharacterSet="ISO_IR 192", PatientName="Müller^Jörg"),
        data_set(2, SpecificCharacterSet="ISO_IR 192", PatientName="Müller^Jörg"),
        data_set(
            3,
            SOPClassUID=MR,
            Modality="MR",
            SeriesInstanceUID=f"{ROOT}.2.2",
            SeriesNumber="2",
            SpecificCharacterSet="ISO_IR 192",
            PatientName="Müller^Jörg",
        ),
        data_set(
            4,
            PatientID="P2",
            PatientName="Evil\x1b[2J^\u202eEve",
            SpecificCharacterSet="ISO_IR 192",
            StudyInstanceUID="1.2.3",
            SeriesInstanceUID="1.2.4",
            StudyDate="20240301",
            Modality="CT",
        ),
    ):
        write(tmp_path / "store" / "objects" / "00" / f"{data.SOPInstanceUID}.dcm", data)
    return tmp_path


def listed(folder: Path, *arguments: str) -> list[dict[str, object]]:
    done = run_minipacs(folder, "storage", "list", "--storage", "store", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_studies_are_listed_as_a_table(folder: Path) -> None:
    done = run_minipacs(folder, "storage", "list", "--storage", "store")
    assert (done.returncode, done.stderr) == (0, "")
    head, first, second = done.stdout.splitlines()
    assert head.split("  ")[0] == "PATIENT ID"
    assert "P1          Müller^Jörg" in first
    assert first.split()[2:8] == ["2024-01-15", "10:30", "A1", "CT,MR", "Head", "2"]
    assert "Evil\\x1b[2J^\\u202eEve" in second
    starts = {line.index(f" {value}") for line, value in ((head, "DATE"), (first, "2024-01"), (second, "2024-03"))}
    assert len(starts) == 1, "columns stand below each other"


@pytest.mark.parametrize(("level", "count"), [("patient", 2), ("study", 2), ("series", 3), ("image", 4)])
def test_every_level_is_listed_as_json(folder: Path, level: str, count: int) -> None:
    rows = listed(folder, "--level", level)
    assert len(rows) == count
    assert all(row["PatientID"] in {"P1", "P2"} for row in rows)


def test_counts_are_numbers_and_objects_have_their_files(folder: Path) -> None:
    assert [row["NumberOfStudyRelatedInstances"] for row in listed(folder)] == [3, 1]
    [row] = listed(folder, "--level", "image", "Modality=MR")
    path = Path(str(row["path"]))
    assert path == folder / "store" / "objects" / "00" / f"{ROOT}.3.3.dcm"
    assert row["size"] == path.stat().st_size


@pytest.mark.parametrize(
    ("keys", "count"),
    [
        (["PatientName=müller*"], 1),
        (["StudyDate=20240201-"], 1),
        (["ModalitiesInStudy=CT"], 2),
        (["ModalitiesInStudy=CT", "PatientID=P1"], 1),
        (["PatientID=' OR 1=1 --"], 0),
    ],
)
def test_keys_match_as_in_a_query(folder: Path, keys: list[str], count: int) -> None:
    assert len(listed(folder, *keys)) == count


NO_KEYWORD = "must be the keyword of an attribute that is kept, such as PatientName"
BELOW = "must be an attribute of a study or of what it belongs to"
LIST = ["list", "--storage", "store"]
FILE = f"store/objects/00/{ROOT}.3.1.dcm"

REFUSED = {
    "no such folder": (["list", "--storage", "nowhere"], "nowhere: no such folder; minipacs serve --storage nowhere "),
    "no folder": (
        ["list"],
        "no folder to look in: give --storage FOLDER, or set folder under [storage] in minipacs.toml",
    ),
    "keyword": ([*LIST, "Foo=1"], f"Foo=1: {NO_KEYWORD}"),
    "keyword, nearly": ([*LIST, "studydte=2024"], f"studydte=2024: {NO_KEYWORD}; did you mean StudyDate?"),
    "sequence": ([*LIST, "ProcedureCodeSequence=1"], f"ProcedureCodeSequence=1: {NO_KEYWORD}"),
    "below": ([*LIST, "Rows=1"], f"Rows=1: {BELOW}; Rows is one of an object"),
    "of a series": ([*LIST, "Modality=CT"], f"Modality=CT: {BELOW}; Modality is one of a series"),
    "date": ([*LIST, "StudyDate=May"], "StudyDate=May: must be YYYYMMDD, or a range of it"),
    "no value": ([*LIST, "PatientID"], "must be KEY=VALUE such as PatientID=P1, not PatientID"),
    "window": (["show", FILE, "--window", "40"], "--window: must be CENTRE/WIDTH such as 40/400, not 40"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_meant_is_refused_with_the_rule(folder: Path, name: str) -> None:
    arguments, message = REFUSED[name]
    done = run_minipacs(folder, "storage", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize("command", ["list", "reindex"])
def test_an_index_that_cannot_be_opened_is_said(folder: Path, command: str) -> None:
    (folder / "store" / "index.sqlite").mkdir()
    done = run_minipacs(folder, "storage", command, "--storage", "store")
    assert done.returncode == 2
    rule = "must be of the index that minipacs made, not a link, a folder or a device"
    fix = "move it away, and the index is made again from the objects"
    assert done.stderr == f"{folder}/store/index.sqlite: file: {rule}: {fix}\n"


def test_an_index_is_made_again_and_says_what_cannot_be_listed(folder: Path) -> None:
    (folder / "store" / "objects" / "00" / "noise.dcm").write_bytes(b"noise")
    done = run_minipacs(folder, "storage", "reindex", "--storage", "store")
    assert done.returncode == 1
    assert done.stdout == f"{folder}/store: 4 objects listed, 1 cannot be\n"
    assert done.stderr == f"minipacs: {folder}/store/objects/00/noise.dcm: not a DICOM file (PS3.10 §7.1)\n"
    (folder / "store" / "objects" / "00" / "noise.dcm").unlink()
    damage(folder / "store" / "index.sqlite")
    assert run_minipacs(folder, "storage", "reindex", "--storage", "store").returncode == 0
    assert len(listed(folder)) == 2


def test_what_is_left_out_of_a_new_index_is_said(folder: Path) -> None:
    (folder / "store" / "objects" / "00" / "noise.dcm").write_bytes(b"noise")
    done = run_minipacs(folder, "storage", "list", "--storage", "store")
    assert done.returncode == 0
    assert done.stderr == "minipacs: 1 file cannot be listed: minipacs storage reindex says why\n"
    assert len(done.stdout.splitlines()) == 3


def test_a_damaged_index_is_not_believed(folder: Path) -> None:
    assert run_minipacs(folder, "storage", "reindex", "--storage", "store").returncode == 0
    damage(folder / "store" / "index.sqlite")
    assert len(listed(folder)) == 2


def damage(index: Path) -> None:
    """All of it but the header, by which it is known as ours."""
    index.write_bytes(index.read_bytes()[:100] + b"damaged" * 1000)


# --- show -------------------------------------------------------------------------------------------------------------


def shown(folder: Path, *arguments: str) -> str:
    done = run_minipacs(folder, "storage", "show", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_header_is_a_table(folder: Path) -> None:
    lines = shown(folder, f"store/objects/00/{ROOT}.3.1.dcm").splitlines()
    assert "(0002,0010)  UI  Transfer Syntax UID" in lines[4]
    assert any(line.startswith("(0010,0010)  PN  Patient's Name") and line.endswith("Müller^Jörg") for line in lines)
    assert lines[-1].endswith("16 × 16, 1 sample(s) of 8 bits, 1 frame(s), MONOCHROME2, 256 bytes")
    assert "▀" not in "".join(lines), "the picture is for terminals"


def test_what_a_peer_sent_moves_no_cursor(folder: Path) -> None:
    text = shown(folder, f"store/objects/00/{ROOT}.3.4.dcm")
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "Evil\\x1b[2J^\\u202eEve" in text


def test_the_header_is_json_without_pixel_data(folder: Path) -> None:
    header = json.loads(shown(folder, f"store/objects/00/{ROOT}.3.1.dcm", "--json"))
    assert header["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Müller^Jörg"}]}


@pytest.mark.parametrize("colours", [[], ["--window", "127.5/255"]])
def test_the_picture_has_the_pixels_of_the_file(folder: Path, colours: list[str]) -> None:
    from PIL import Image

    shown(folder, f"store/objects/00/{ROOT}.3.1.dcm", "--png", "out.png", *colours)
    with Image.open(folder / "out.png") as image:
        assert (image.size, image.mode, image.tobytes()) == ((16, 16), "L", bytes(range(256)))


def test_the_window_of_the_file_is_applied(folder: Path) -> None:
    from PIL import Image

    write(folder / "w.dcm", data_set(1, WindowCenter="128", WindowWidth="2", PhotometricInterpretation="MONOCHROME1"))
    shown(folder, "w.dcm", "--png", "out.png")
    with Image.open(folder / "out.png") as image:
        assert (image.getpixel((0, 0)), image.getpixel((15, 15))) == (255, 0), "MONOCHROME1: the least is white"


def test_a_picture_is_drawn_with_half_blocks(folder: Path) -> None:
    lines = [line for line in shown(folder, FILE, "--picture").splitlines() if "▀" in line]
    assert len(lines) == 8
    assert all(line.count("▀") == 16 for line in lines)
    assert lines[0].startswith("\x1b[38;2;0;0;0m\x1b[48;2;16;16;16m▀")


FAILING: dict[str, tuple[dict[str, object], list[str], str]] = {
    "no pixel data": ({"PixelData": None}, [], "it has no pixel data"),
    "no such frame": ({}, ["--frame", "2"], "it has 1 frame, and no frame 2"),
    "cut short": ({"PixelData": b"12"}, [], "it has 2 bytes of pixel data, and needs 256 for frame 1"),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_picture_that_there_is_not_is_a_failure_when_it_was_asked_for(tmp_path: Path, name: str) -> None:
    attributes, options, reason = FAILING[name]
    write(tmp_path / "file.dcm", data_set(1, **attributes))
    done = run_minipacs(tmp_path, "storage", "show", "file.dcm", "--png", "out.png", *options)
    assert done.returncode == 1
    assert done.stderr.startswith(f"minipacs: file.dcm: {reason}")
    assert not (tmp_path / "out.png").exists()
    assert "Patient's Name" in done.stdout, "the header is shown all the same"


@pytest.mark.parametrize("transfer_syntax", [JPEGBaseline8Bit, JPEG2000Lossless, RLELossless])
def test_pixel_data_that_are_none_are_said_to_be_that(tmp_path: Path, transfer_syntax: object) -> None:
    write(tmp_path / "file.dcm", data_set(1), transfer_syntax)  # type: ignore[arg-type]
    done = run_minipacs(tmp_path, "storage", "show", "file.dcm", "--png", "out.png")
    assert done.returncode == 1
    assert "cannot be decoded" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("content", [b"", b"text", bytes(128) + b"DICM", bytes(range(256)) * 10])
def test_what_is_no_dicom_file_is_a_failure(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.dcm").write_bytes(content)
    done = run_minipacs(tmp_path, "storage", "show", "file.dcm")
    assert done.returncode == 1
    assert done.stderr.startswith("minipacs: file.dcm: ")
    assert "Traceback" not in done.stderr


def test_without_the_libraries_it_is_said_how_to_install_them(tmp_path: Path) -> None:
    import subprocess

    write(tmp_path / "file.dcm", data_set(1))
    code = "import sys; sys.modules['numpy'] = None; sys.argv[0] = 'minipacs'; from minipacs.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "storage", "show", "file.dcm", "--png", "out.png"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "minipacs: file.dcm: pictures need numpy: pip install 'minipacs[pictures]'\n"
    assert "Patient's Name" in done.stdout
