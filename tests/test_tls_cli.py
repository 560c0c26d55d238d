"""TLS on the command line: the node with both ports or one, and what a user who calls by TLS reads."""

import json
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from minipacs import Peer, PeerTable, VerificationSCP, echo
from minipacs.settings import Timeouts
from minipacs.tls import client_context, server_context

from .certificates import Authority, Identity
from .peers.node import Node, run_minipacs, serving, table
from .peers.ports import free_port
from .raw import asking, raw_peer


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


def conf(folder: Path, authority: Authority, identity: Identity, *lines: str) -> Path:
    """Settings with [tls], beside the peer table."""
    path = folder / "conf" / "minipacs.toml"
    path.parent.mkdir(exist_ok=True)
    files = {"certificate": identity.certificate, "key": identity.key, "trusted": authority.certificate}
    text = "".join(f"{name} = {json.dumps(str(file))}\n" for name, file in files.items())
    path.write_text("[tls]\n" + text + "\n".join(lines) + "\n")
    return path


TABLE = table({"name": "us", "ae_title": "MINIPACS", "host": "127.0.0.1", "port": 1})


@contextmanager
def node_with(folder: Path, authority: Authority, *lines: str) -> Iterator[Node]:
    settings = conf(folder, authority, authority.issue(), *lines)
    with serving(folder, TABLE, "--config", str(settings)) as node:
        yield node


def start_line(node: Node) -> str:
    return next(line for line in node.child.log.splitlines() if "listening on" in line)


def echoes(port: int, context: ssl.SSLContext | None = None) -> bool:
    return echo(Peer("", "MINIPACS", "127.0.0.1", port), tls=context).is_success


# --- the node --------------------------------------------------------------------------------------------------------


def test_a_node_speaks_both_on_two_ports(tmp_path: Path, authority: Authority) -> None:
    context = client_context(authority.settings(authority.issue()))
    with node_with(tmp_path, authority, "port = 0") as node:
        tls_port = node.wait_for("listening", 1)["tls_port"]
        assert start_line(node) == (
            f"minipacs: MINIPACS listening on 127.0.0.1:{node.port}, TLS on port {tls_port}, "
            f"1 peer from {tmp_path}/conf/peers.toml"
        )
        assert echoes(node.port)
        assert echoes(tls_port, context)
        with raw_peer(tls_port) as peer:
            peer.send(asking())
            assert peer.receive_all()[:1] == b"\x15"
        event = node.wait_for("association", 3)
        assert event["reason"] == "plain DICOM on the port for TLS"
        assert event["fix"] == (
            f"on the peer: switch TLS on for this node, or let it call port {node.port}, where we speak plain DICOM"
        )
        assert not echoes(node.port, context)
        event = node.wait_for("association", 4)
        assert event["reason"] == "TLS on the plain DICOM port"
        assert event["fix"] == (
            "on the peer: switch TLS off for this node (Orthanc: UseDicomTls), "
            f"or let it call port {tls_port}, where we speak TLS"
        )
        assert (event["outcome"], event["calling_ae_title"]) == ("invalid", None)


def test_a_node_may_speak_tls_alone(tmp_path: Path, authority: Authority) -> None:
    with node_with(tmp_path, authority, "port = 0", "only = true") as node:
        assert start_line(node) == (
            f"minipacs: MINIPACS listening on 127.0.0.1:{node.port}, by TLS alone, "
            f"1 peer from {tmp_path}/conf/peers.toml"
        )
        event = node.wait_for("listening", 1)
        assert (event["port"], event["tls_port"]) == (node.port, node.port)
        assert echoes(node.port, client_context(authority.settings(authority.issue())))
        assert echo(Peer("", "MINIPACS", "127.0.0.1", node.port)).code == "no-association.tls"
        assert node.minipacs("status", "--port", str(node.port)).stdout.startswith("MINIPACS listening on ")


def test_the_option_says_the_one_port_where_tls_is_alone(tmp_path: Path, authority: Authority) -> None:
    settings = conf(tmp_path, authority, authority.issue(), "port = 2762", "only = true")
    port = free_port()
    with serving(tmp_path, TABLE, "--config", str(settings), "--port", str(port)) as node:
        assert node.port == port


def test_without_a_port_for_tls_a_node_does_not_listen_for_it(tmp_path: Path, authority: Authority) -> None:
    with node_with(tmp_path, authority) as node:
        assert "TLS" not in start_line(node)
        assert "tls_port" not in node.wait_for("listening", 1)


def test_silent_clients_on_the_port_for_tls_hold_up_nobody_on_either(tmp_path: Path, authority: Authority) -> None:
    context = client_context(authority.settings(authority.issue()))
    with node_with(tmp_path, authority, "port = 0") as node, ExitStack() as stack:
        tls_port = node.wait_for("listening", 1)["tls_port"]
        for number in range(300):
            peer = stack.enter_context(raw_peer(tls_port))
            if number % 2:
                peer.send(b"\x16\x03\x01")
        for _ in range(20):
            assert echoes(node.port)
            assert echoes(tls_port, context)


def test_a_stopped_node_leaves_both_ports(tmp_path: Path, authority: Authority) -> None:
    with node_with(tmp_path, authority, "port = 0") as node, ExitStack() as stack:
        tls_port = node.wait_for("listening", 1)["tls_port"]
        stack.enter_context(raw_peer(tls_port)).send(b"\x16\x03\x01")
        stack.enter_context(raw_peer(node.port))
        subprocess.run(["kill", "-TERM", str(node.child.pid)], check=True)
        assert node.child.wait(within=10) == 0
    assert echo(Peer("", "MINIPACS", "127.0.0.1", tls_port)).code == "unreachable.refused"


# --- what cannot be --------------------------------------------------------------------------------------------------


def refused(folder: Path, settings: Path, *command: str) -> str:
    done = run_minipacs(folder, *command, "--config", str(settings))
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


@pytest.mark.parametrize("command", [("serve",), ("echo", "A@127.0.0.1:1", "--tls")], ids=lambda command: command[0])
def test_a_key_that_others_may_read_is_refused(command: Sequence[str], tmp_path: Path, authority: Authority) -> None:
    identity = authority.issue()
    settings = conf(tmp_path, authority, identity, "port = 0")
    identity.key.chmod(0o644)
    assert refused(tmp_path, settings, *command) == (
        f"{identity.key}: mode: must keep the key from others, not 0644; fix: chmod 600 {identity.key}\n"
    )


@pytest.mark.parametrize("command", [("serve",), ("echo", "A@127.0.0.1:1", "--tls")], ids=lambda command: command[0])
def test_a_pair_that_does_not_match_is_refused(command: Sequence[str], tmp_path: Path, authority: Authority) -> None:
    one, other = authority.issue(), authority.issue()
    settings = conf(tmp_path, authority, Identity(one.certificate, other.key), "port = 0")
    assert refused(tmp_path, settings, *command) == (
        f"{other.key}: file: must hold the key of {one.certificate}, not that of another\n"
    )


def test_a_broken_pair_does_not_matter_to_whom_speaks_no_tls(tmp_path: Path, authority: Authority) -> None:
    identity = authority.issue()
    settings = conf(tmp_path, authority, identity)
    identity.key.unlink()
    done = run_minipacs(tmp_path, "echo", "A@127.0.0.1:1", "--config", str(settings))
    assert (done.returncode, done.stderr) == (1, "")


def test_a_port_for_tls_that_is_in_use_is_told(tmp_path: Path, authority: Authority) -> None:
    with VerificationSCP(port=0) as other:
        settings = conf(tmp_path, authority, authority.issue(), f"port = {other.port}")
        done = run_minipacs(tmp_path, "serve", "--port", "0", "--config", str(settings))
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        f"minipacs: cannot listen on 127.0.0.1 port {other.port}: the port is in use; stop what listens there, or "
        "choose another with port under [tls]\n"
    )


# --- calling ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path, authority: Authority) -> Path:
    return conf(tmp_path, authority, authority.issue("node.test"))


@pytest.fixture
def port(authority: Authority) -> Iterator[int]:
    """Of a node that speaks TLS, and admits MINIPACS."""
    context = server_context(authority.settings(authority.issue("127.0.0.1", "pacs.test")))
    peers = [Peer("us", "MINIPACS")]
    with VerificationSCP(peers, port=0, timeouts=Timeouts(stop=0.2), tls=context) as node:
        yield node.port


def test_any_target_is_called_by_tls_when_told_so(tmp_path: Path, settings: Path, port: int) -> None:
    done = run_minipacs(tmp_path, "echo", f"MINIPACS@127.0.0.1:{port}", "--tls", "--json", "--config", str(settings))
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["outcome"], answer["fix"]) == (0, "success", None)
    assert "tls" not in answer


def test_a_peer_of_the_table_is_called_as_the_table_says(tmp_path: Path, settings: Path, port: int) -> None:
    peer = {"ae_title": "MINIPACS", "host": "localhost", "port": port, "tls": True, "tls_name": "pacs.test"}
    other = {"ae_title": "OTHER", "host": "127.0.0.1", "port": port}
    peers = settings.with_name("peers.toml")
    peers.write_text(table({"name": "pacs"} | peer, {"name": "plain"} | other))
    done = run_minipacs(tmp_path, "echo", "--all", "--json")
    first, second = map(json.loads, done.stdout.splitlines())
    assert (first["peer"], first["outcome"]) == ("pacs", "success")
    assert (second["peer"], second["outcome"]) == ("plain", "no-association")
    assert second["reason"] == f"port {port} speaks TLS, and we called it in plain"
    assert second["fix"] == (
        "set tls = true for the peer (minipacs echo --tls), or use its port for plain DICOM; Orthanc has one port, "
        "and DicomTlsEnabled says which"
    )


def test_a_refused_certificate_is_told_with_the_file_to_set(tmp_path: Path, port: int, authority: Authority) -> None:
    settings = conf(tmp_path, authority, Authority(tmp_path / "other", "Other CA").issue())
    done = run_minipacs(tmp_path, "echo", f"MINIPACS@127.0.0.1:{port}", "--tls", "--config", str(settings))
    assert done.returncode == 1
    said, fix = done.stdout.splitlines()
    assert said.endswith("  no-association  MINIPACS does not trust the CA of our certificate [tls.our-ca-unknown]")
    assert fix.startswith("fix: on MINIPACS: add the certificate of that CA to the trusted ones")


def test_a_peer_may_be_added_as_one_that_is_called_by_tls(tmp_path: Path) -> None:
    done = run_minipacs(tmp_path, "peers", "add", "pacs", "PACS@10.0.0.6:2762", "--tls")
    assert (done.returncode, done.stderr) == (0, "")
    assert PeerTable.read(tmp_path / "conf" / "peers.toml")["pacs"] == Peer("pacs", "PACS", "10.0.0.6", 2762, tls=True)
    assert run_minipacs(tmp_path, "peers").stdout == "pacs  PACS@10.0.0.6:2762  tls\n"
    listed = json.loads(run_minipacs(tmp_path, "peers", "--json").stdout)
    assert (listed["tls"], listed["tls_name"]) == (True, None)


def test_a_peer_that_we_do_not_call_is_not_called_by_tls(tmp_path: Path) -> None:
    done = run_minipacs(tmp_path, "peers", "add", "pacs", "PACS", "--tls")
    assert done.returncode == 2
    assert "must have host and port beside tls" in done.stderr
