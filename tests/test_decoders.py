"""Our commands import pydicom without the decoders that are installed here; whoever wants one has it."""

import subprocess
import sys
from pathlib import Path

import pytest

from .test_service_rows import IMAGES

ALL = {"PIL", "gdcm", "numpy", "pydicom", "requests"}
END = f"import atexit, sys; atexit.register(lambda: print(*sorted({ALL} & set(sys.modules)), file=sys.stderr)); "
RUN = END + "from minipacs.cli import main; main()"


def run(code: str, *arguments: str) -> tuple[int, str]:
    """Exit code, and what the process had imported at its end."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], check=False, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stderr


def test_who_decodes_nothing_imports_no_decoder() -> None:
    assert run(RUN, "storage", "show", str(IMAGES / "mr-rle.dcm")) == (0, "pydicom\n")


def test_a_picture_is_drawn_all_the_same(tmp_path: Path) -> None:
    picture = tmp_path / "mr.png"
    code, _ = run(RUN, "storage", "show", str(IMAGES / "mr-rle.dcm"), "--png", str(picture))
    assert code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("before", "has_numpy"),
    [("", False), ("import numpy; ", True), ("import pydicom; ", True)],
    ids=["ours", "has it already", "has pydicom already"],
)
def test_what_is_left_out_is_left_out_of_pydicom_alone(before: str, has_numpy: bool) -> None:
    later = (
        "from minipacs.cli.decoders import leave_out_decoders; leave_out_decoders(); import pydicom.config; "
        f"assert pydicom.config.have_numpy is {has_numpy}, pydicom.config.have_numpy; import numpy, requests, PIL, gdcm"
    )
    assert run(END + before + later) == (0, " ".join(sorted(ALL)) + "\n")
