"""Every sample is run as its reader runs it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from .peers.node import environment, run_minipacs, serving, table
from .peers.orthanc import ORTHANC, Orthanc
from .peers.ports import free_port
from .peers.process import running, wait_until
from .peers.required import required

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """The environment of a reader who has activated the virtual environment, on ports that are free here."""
    names = ("ORTHANC_DICOM_PORT", "ORTHANC_HTTP_PORT", "MINIPACS_PORT", "MINIPACS_TLS_PORT")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return environment() | {name: str(free_port()) for name in names} | {"PATH": path, "TMPDIR": str(tmp_path)}


def run(command: list[str], folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=90, check=False)


@required(ORTHANC)
def test_the_round_trip_proves_what_it_started(tmp_path: Path, shell: dict[str, str]) -> None:
    done = run([str(SAMPLES / "round-trip.sh"), "--json"], tmp_path, shell)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["verdict"], result["enforced"]) == ("mutual", True)
    assert list(tmp_path.glob("tmp.*")) == []


@required(ORTHANC)
def test_the_round_trip_by_mutual_tls_proves_what_it_started(tmp_path: Path, shell: dict[str, str]) -> None:
    done = run([str(SAMPLES / "mutual-tls.sh"), "--json"], tmp_path, shell)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["verdict"], result["enforced"]) == ("mutual", True)
    registered = next(leg["reason"] for leg in result["legs"] if leg["leg"] == "registered")
    assert f"MINIPACS@127.0.0.1:{shell['MINIPACS_TLS_PORT']}" in registered
    assert list(tmp_path.glob("tmp.*")) == []


@required(ORTHANC)
def test_orthanc_by_tls_takes_the_files_from_where_it_is_started(tmp_path: Path) -> None:
    """As the sample says at its top: and each side refuses whoever shows no certificate of the CA."""
    assert run_minipacs(tmp_path, "tls", "init", "--peer", "orthanc").returncode == 0
    port = free_port()
    config = SAMPLES / "orthanc-tls.json"
    (tmp_path / "conf" / "minipacs.toml").write_text(
        '[tls]\ncertificate = "tls/node.pem"\nkey = "tls/node-key.pem"\ntrusted = "tls/ca.pem"\n'
        f"port = {port}\nonly = true\n"
    )
    variables = {"MINIPACS_TLS_PORT": str(port)}
    with Orthanc(tmp_path / "o", config=config, minipacs_port=0, cwd=tmp_path, variables=variables) as orthanc:
        peer = {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.dicom_port, "tls": True}
        with serving(
            tmp_path, table({"name": "orthanc"} | peer), "--config", "conf/minipacs.toml", "--port", str(port)
        ) as node:
            assert node.echo("orthanc")["outcome"] == "success"
            assert orthanc.echo("minipacs") == (200, "{}")
            assert node.wait_for("association", 1)["outcome"] == "released"
            (tmp_path / "conf" / "minipacs.toml").write_text('[tls]\ntrusted = "tls/ca.pem"\n')
            assert node.echo("orthanc")["reason"] == "ORTHANC requires a certificate of ours"


@required(ORTHANC)
@pytest.mark.parametrize("script", ["round-trip.sh", "mutual-tls.sh"])
def test_the_round_trip_leaves_nothing_behind_when_it_is_interrupted(
    script: str, tmp_path: Path, shell: dict[str, str]
) -> None:
    command = [str(SAMPLES / script), "--wait-inbound", "60", "--orthanc", "http://127.0.0.1:1"]
    ready = "press Test Echo on the peer now"
    with running(command, log=tmp_path / "log", ready=lambda child: ready in child.log, env=shell, cwd=tmp_path) as c:
        os.killpg(c.pid, signal.SIGINT)  # as a terminal does
        assert c.wait(20) == 130
        wait_until(lambda: not list(tmp_path.glob("tmp.*")), within=30, what="nothing left")


@required(ORTHANC)
@pytest.mark.parametrize(
    ("script", "name"),
    [
        ("round-trip.sh", "ORTHANC_DICOM_PORT"),
        ("round-trip.sh", "MINIPACS_PORT"),
        ("mutual-tls.sh", "ORTHANC_DICOM_PORT"),
        ("mutual-tls.sh", "MINIPACS_TLS_PORT"),
    ],
)
def test_the_round_trip_says_at_once_what_does_not_start(
    script: str, name: str, tmp_path: Path, shell: dict[str, str]
) -> None:
    """Somebody else has the port: what was to listen there ends, and its log is shown."""
    with socket.create_server(("0.0.0.0", int(shell[name]))):
        done = run([str(SAMPLES / script)], tmp_path, shell)
    assert done.returncode == 1
    assert "this does not succeed: minipacs " in done.stderr
    assert ("the port is in use" if name.startswith("MINIPACS") else "already in use") in done.stderr
    assert list(tmp_path.glob("tmp.*")) == []


def test_the_pytest_with_a_peer_passes(tmp_path: Path, shell: dict[str, str]) -> None:
    shutil.copy(SAMPLES / "test_with_a_peer.py", tmp_path)
    done = run([sys.executable, "-m", "pytest", "-q", "test_with_a_peer.py"], tmp_path, shell)
    assert (done.returncode, "3 passed" in done.stdout) == (0, True), done.stdout


def test_the_pytest_with_a_peer_fails_where_the_application_does(tmp_path: Path, shell: dict[str, str]) -> None:
    text = (SAMPLES / "test_with_a_peer.py").read_text()
    wrong = text.replace('AE(ae_title="MY_APP")', 'AE(ae_title="OTHER")')
    assert wrong != text
    (tmp_path / "test_with_a_peer.py").write_text(wrong)
    done = run([sys.executable, "-m", "pytest", "-q", "test_with_a_peer.py"], tmp_path, shell)
    assert (done.returncode, "2 failed" in done.stdout or "3 failed" in done.stdout) == (1, True), done.stdout
