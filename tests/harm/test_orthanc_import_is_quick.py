"""`orthanc import` takes many modalities in one edit, and whatever a web server answers takes little memory."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from minipacs import Peer, PeerTable
from minipacs.peer_file import growing
from tests.peers.node import environment
from tests.peers.web import Request, web

MANY = 20_000
SECONDS, MEGABYTES = 30.0, 300

SYSTEM = json.dumps({"DicomAet": "ORTHANC", "DicomPort": 4242, "Version": "1.10.1", "Name": "x"}).encode()
FLAGS = (
    "AllowEcho AllowFind AllowFindWorklist AllowGet AllowMove AllowNEventReport AllowStore AllowStorageCommitment "
    "AllowTranscoding"
)

# Not by getrusage(2): that counts what the parent had before the program began.
MEASURED = """
import sys, time
from minipacs.cli import cli
started = time.process_time()
try:
    code = cli.main(sys.argv[1:], standalone_mode=False)
except Exception as error:
    print(error, file=sys.stderr)
    code = 1
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(code, time.process_time() - started, int(status["VmHWM"].split()[0]) // 1024)
"""


def modality(number: int, **more: object) -> dict[str, object]:
    """As an Orthanc of today tells it."""
    host = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    fields = {"AET": f"AET{number}", "Host": host, "Port": 104, "Manufacturer": "Generic", "Timeout": 0}
    return {**fields, **dict.fromkeys(FLAGS.split(), True), "UseDicomTls": False, **more}


def run_import(folder: Path, modalities: bytes, status: int = 200) -> tuple[int, float, int, list[str], str]:
    """Exit code, seconds of a processor, megabytes at most, the lines of standard output, and standard error."""

    def behave(request: Request) -> None:
        if request.path == "/system":
            request.answer(200, SYSTEM)
        else:
            request.answer(status, modalities)

    with web(behave) as other:
        command = [sys.executable, "-c", MEASURED, "orthanc", "import", "--orthanc", other.url, "--modalities"]
        done = subprocess.run(
            command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=120, check=True
        )
    *lines, last = done.stdout.splitlines()
    code, seconds, megabytes = last.split()
    return int(code), float(seconds), int(megabytes), lines, done.stderr


def table(folder: Path) -> PeerTable:
    return PeerTable.read(folder / "conf" / "peers.toml")


# --- quick ------------------------------------------------------------------------------------------------------------


def test_many_modalities_are_added_at_once(tmp_path: Path) -> None:
    """15 MB of JSON."""
    body = json.dumps({f"m{number}": modality(number, Comment="x" * 400) for number in range(MANY)}).encode()
    assert len(body) > 14_000_000
    code, seconds, megabytes, lines, err = run_import(tmp_path, body)
    assert (code, err) == (0, "")
    assert len(lines) == len(table(tmp_path)) == MANY + 1
    assert lines[-1] == f"conf/peers.toml: added m{MANY - 1}, AET{MANY - 1}@10.0.78.31:104"
    assert seconds < SECONDS
    assert megabytes < MEGABYTES


def test_they_are_added_to_many_that_are_there(tmp_path: Path) -> None:
    with growing(tmp_path / "conf" / "peers.toml") as there:
        for number in range(5_000):
            there.add(Peer(f"p{number}", f"P{number}", "10.1.0.1", 104))
    body = json.dumps({f"m{number}": modality(number) for number in range(5_000)}).encode()
    code, seconds, _, lines, _ = run_import(tmp_path, body)
    assert (code, len(lines), len(table(tmp_path))) == (0, 5_001, 10_001)
    assert seconds < SECONDS
    code, seconds, _, lines, _ = run_import(tmp_path, body)  # and once more, when all are there
    assert (code, len(table(tmp_path))) == (0, 10_001)
    assert all(line.endswith(" already") for line in lines)
    assert seconds < SECONDS


# --- as before --------------------------------------------------------------------------------------------------------


def test_what_cannot_be_taken_is_told_and_the_others_are_added(tmp_path: Path) -> None:
    """Also where two of those that come stand in each other's way."""
    path = tmp_path / "conf" / "peers.toml"
    path.parent.mkdir()
    path.write_text('# ours\n[peers.ct1]  # the old one\nae_title = "CT1"\nhost = "10.9.9.9"\nport = 104\n')
    found: Mapping[str, Any] = {
        "one": modality(1),
        "title-of-one": modality(2, AET="AET1"),
        "ct1": modality(3),
        "title-of-ct1": modality(4, AET="CT1"),
        "broken": modality(5, AET="A" * 17),
        "two": modality(6),
    }
    code, _, _, lines, err = run_import(tmp_path, json.dumps(found).encode())
    assert code == 1
    assert [line.split(" added ")[1].split(",")[0] for line in lines] == ["orthanc", "one", "two"]
    assert [line.partition(":")[0] for line in err.splitlines()] == ["title-of-one", "ct1", "title-of-ct1", "broken"]
    assert "one is AET1@10.0.0.1:104, not AET1@10.0.0.2:104" in err
    assert path.read_text().startswith("# ours\n[peers.ct1]  # the old one\n")
    assert list(table(tmp_path)) == ["ct1", "orthanc", "one", "two"]


def test_all_are_added_or_none(tmp_path: Path) -> None:
    """A table that would be too long stays as it is."""
    body = json.dumps(
        {f"m{number}": modality(number, Host=".".join(["h" * 60] * 4)) for number in range(MANY)}
    ).encode()
    code, _, _, lines, err = run_import(tmp_path, body)
    assert (code, lines) == (1, [])
    assert "size: must be at most 4194304 bytes, not " in err
    assert not (tmp_path / "conf" / "peers.toml").exists()


# --- bounded ----------------------------------------------------------------------------------------------------------


def deep(size: int) -> bytes:
    piece = "[" * 100 + "]" * 100
    return ("{" + ",".join(f'"k{number}":{piece}' for number in range(size // 210)) + "}").encode()


def of_nothing(size: int) -> bytes:
    return ("{" + ",".join(f'"k{number}":{{}}' for number in range(size // 11)) + "}").encode()


def of_many_fields(size: int) -> bytes:
    fields = ",".join(f'"k{number}":1' for number in range(size // 11))
    return ('{"a":{"AET":"A","Host":"h","Port":1,' + fields + "}}").encode()


def of_lists(size: int) -> bytes:
    return b'{"a":["A","h",1' + b",[]" * (size // 3) + b"]}"


def of_one_text(size: int) -> bytes:
    return b'{"a":{"AET":"' + b"A" * size + b'","Host":"h","Port":1}}'


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("make", [deep, of_nothing, of_many_fields, of_lists, of_one_text])
def test_what_is_small_and_grows_takes_little_memory(make: Callable[[int], bytes], status: int, tmp_path: Path) -> None:
    """Just below the limit of what is read."""
    code, seconds, megabytes, _, err = run_import(tmp_path, make(15 << 20), status)
    assert code == 1
    assert len(err) < 2_000
    assert seconds < SECONDS
    assert megabytes < MEGABYTES


@pytest.mark.parametrize(("path", "most"), [("/system", 1), ("/modalities", 16)])
def test_what_has_no_end_is_read_up_to_a_limit(path: str, most: int, tmp_path: Path) -> None:
    def behave(request: Request) -> None:
        if not request.path.startswith(path):
            request.answer(200, SYSTEM)
            return
        request.send_response(200)
        request.end_headers()
        for _ in range(64):
            request.wfile.write(b" " * (1 << 20))

    with web(behave) as other:
        command = [sys.executable, "-m", "minipacs", "orthanc", "import", "--orthanc", other.url, "--modalities"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120, check=False
        )
    assert done.returncode == 1
    assert f"answers more than {most} MiB: is that an Orthanc?" in done.stderr
