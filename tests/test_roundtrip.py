"""The round trip as its users run it, with a real Orthanc, DCMTK and peers that misbehave: every verdict, every leg."""

import json
import os
import re
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from minipacs.verdict import Verdict

from .fakes import (
    Behaviour,
    behaves,
    faking,
    in_turn,
    keeps_silent,
    refuses_verification,
    rejects,
)
from .peers.dcmtk import ECHOSCU, STORESCP, echoscu, storescp
from .peers.node import MINIPACS, environment, run_minipacs, serving, table
from .peers.orthanc import ORTHANC, Orthanc
from .peers.ports import free_port
from .peers.process import Child, running, wait_until
from .peers.required import required
from .proxy import holding_back

pytestmark = required(ORTHANC, ECHOSCU, STORESCP)

OPEN = {
    "DicomAlwaysAllowEcho": True,
    "DicomAlwaysAllowStore": True,
}


@pytest.fixture(scope="module")
def port() -> int:
    """Where our SCP is to listen, and where Orthanc has it."""
    return free_port()


@pytest.fixture(scope="module")
def started_strict(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Orthanc]:
    with Orthanc(tmp_path_factory.mktemp("strict"), minipacs_port=port) as orthanc:
        yield orthanc


@pytest.fixture(scope="module")
def started_open(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Orthanc]:
    with Orthanc(tmp_path_factory.mktemp("open"), minipacs_port=port, extra=OPEN) as orthanc:
        yield orthanc


@pytest.fixture
def strict(started_strict: Orthanc, port: int) -> Orthanc:
    """An Orthanc that refuses whom it does not know; it knows us."""
    started_strict.register("minipacs", "MINIPACS", "127.0.0.1", port)
    return started_strict


@pytest.fixture
def lax(started_open: Orthanc, port: int) -> Orthanc:
    """An Orthanc with its own defaults: anybody may echo. It knows us."""
    started_open.register("minipacs", "MINIPACS", "127.0.0.1", port)
    return started_open


class Result:
    """What `minipacs roundtrip … --json` printed."""

    def __init__(self, stdout: str, stderr: str, exit_code: int | None) -> None:
        assert stdout, stderr
        self.fields: dict[str, Any] = json.loads(stdout)
        self.stderr = stderr
        self.exit_code = exit_code
        self.verdict = self.fields["verdict"]
        self.enforced = self.fields["enforced"]
        self.legs = {leg["leg"]: leg for leg in self.fields["legs"]}
        assert (exit_code == 0) == (self.verdict == "mutual")

    def outcomes(self) -> list[str]:
        """Of out, stranger, registered and in."""
        return [self.legs[name]["outcome"] for name in ("out", "stranger", "registered", "in")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "conf").mkdir()
    return tmp_path


def knows(folder: Path, *peers: Mapping[str, object]) -> None:
    """Let our table have these peers."""
    (folder / "conf" / "peers.toml").write_text(table(*peers))


def peer(orthanc: Orthanc, **changes: object) -> dict[str, object]:
    return {"name": "orthanc", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.dicom_port} | changes


def round_trip(folder: Path, target: str, *arguments: object) -> Result:
    done = run_minipacs(folder, "roundtrip", target, "--json", *map(str, arguments))
    return Result(done.stdout, done.stderr, done.returncode)


@pytest.fixture
def knowing_strict(folder: Path, strict: Orthanc) -> Path:
    knows(folder, peer(strict))
    return folder


@pytest.fixture
def knowing_lax(folder: Path, lax: Orthanc) -> Path:
    knows(folder, peer(lax))
    return folder


# --- the verdicts ----------------------------------------------------------------------------------------------------


def test_each_knows_the_other(knowing_strict: Path, strict: Orthanc, port: int) -> None:
    result = round_trip(knowing_strict, "orthanc", "--port", port, "--orthanc", strict.url)
    assert (result.verdict, result.enforced, result.exit_code) == ("mutual", True, 0)
    assert result.outcomes() == ["success", "refused", "right", "success"]
    assert [leg["fix"] for leg in result.fields["legs"]] == [None] * 4
    assert [leg["leg"] for leg in result.fields["legs"]] == ["out", "stranger", "registered", "in"]
    assert result.legs["out"]["reason"] == "ORTHANC answered MINIPACS with success"
    assert re.fullmatch(
        "ORTHANC refuses NOBODY[0-9A-F]{10}, whom it cannot know: our own echo shows that it knows MINIPACS",
        result.legs["stranger"]["reason"],
    )
    assert f'MINIPACS@127.0.0.1:{port} as "minipacs"' in result.legs["registered"]["reason"]
    assert result.legs["in"]["reason"] == "ORTHANC called MINIPACS from 127.0.0.1: 1 echo, released"
    assert result.stderr == ""


def test_the_object_has_these_keys(knowing_strict: Path, strict: Orthanc, port: int) -> None:
    result = round_trip(knowing_strict, "orthanc", "--port", port, "--orthanc", strict.url)
    assert list(result.fields) == ["peer", "verdict", "enforced", "legs", "duration_ms"]
    assert result.fields["peer"] == "orthanc"
    for leg in result.fields["legs"]:
        assert list(leg) == ["leg", "outcome", "reason", "fix", "ms"]
        assert 0 < leg["ms"] < result.fields["duration_ms"]


def test_an_orthanc_that_lets_anybody_echo_and_has_us_right_is_mutual_with_a_warning(
    knowing_lax: Path, lax: Orthanc, port: int
) -> None:
    result = round_trip(knowing_lax, "orthanc", "--port", port, "--orthanc", lax.url)
    assert (result.verdict, result.enforced) == ("mutual", False)
    assert result.outcomes() == ["success", "admitted", "right", "success"]
    assert "our own echo does not show that it knows MINIPACS" in result.legs["stranger"]["reason"]
    text = run_minipacs(knowing_lax, "roundtrip", "orthanc", "--port", str(port), "--orthanc", lax.url).stdout
    assert text.splitlines()[-2:] == [
        "mutual",
        "warning: ORTHANC lets anybody echo; that it knows us is shown by what it has registered",
    ]


def test_a_peer_that_lets_anybody_echo_proves_nothing(knowing_lax: Path, lax: Orthanc) -> None:
    result = round_trip(knowing_lax, "orthanc")
    assert (result.verdict, result.enforced, result.exit_code) == ("open: the peer admits anybody", False, 1)
    assert result.outcomes() == ["success", "admitted", "skipped", "skipped"]
    assert '"DicomAlwaysAllowEcho": false' in result.legs["stranger"]["fix"]


def test_an_orthanc_that_lets_anybody_echo_and_has_not_us_does_not_know_us(
    knowing_lax: Path, lax: Orthanc, port: int
) -> None:
    lax.unregister("minipacs")
    result = round_trip(knowing_lax, "orthanc", "--port", port, "--orthanc", lax.url)
    assert (result.verdict, result.enforced) == ("one-way: they do not know us", False)
    assert result.outcomes() == ["success", "admitted", "missing", "success"]
    assert result.legs["registered"]["reason"] == f"{lax.url} has nobody called MINIPACS"
    line = f'"DicomModalities": {{ "minipacs": ["MINIPACS", "127.0.0.1", {port}] }}'
    assert line in result.legs["registered"]["fix"]


def test_a_strict_orthanc_that_has_not_us_does_not_know_us(knowing_strict: Path, strict: Orthanc, port: int) -> None:
    strict.unregister("minipacs")
    result = round_trip(knowing_strict, "orthanc", "--port", port, "--orthanc", strict.url)
    assert (result.verdict, result.enforced) == ("one-way: they do not know us", True)
    assert result.outcomes() == ["rejected", "skipped", "missing", "success"]  # it is told for once where we are
    assert "ORTHANC does not know our AE title MINIPACS" in result.legs["out"]["reason"]


def test_an_orthanc_that_aborts_the_echo_of_strangers_does_not_know_us(folder: Path, port: int, tmp_path: Path) -> None:
    with Orthanc(tmp_path / "o", minipacs_port=port, extra={"DicomAlwaysAllowStore": True}) as orthanc:
        knows(folder, peer(orthanc))
        known = round_trip(folder, "orthanc", "--port", port, "--orthanc", orthanc.url)
        assert (known.verdict, known.enforced) == ("mutual", True)
        orthanc.unregister("minipacs")
        unknown = round_trip(folder, "orthanc", "--port", port, "--orthanc", orthanc.url)
        assert (unknown.verdict, unknown.enforced) == ("one-way: they do not know us", None)
        assert unknown.outcomes() == ["aborted", "skipped", "missing", "success"]


def test_we_do_not_admit_them(folder: Path, strict: Orthanc, port: int) -> None:
    knows(folder)
    result = round_trip(folder, f"ORTHANC@127.0.0.1:{strict.dicom_port}", "--port", port, "--orthanc", strict.url)
    assert (result.verdict, result.enforced) == ("one-way: we do not admit them", True)
    assert result.outcomes() == ["success", "refused", "right", "rejected"]
    assert result.legs["in"]["reason"] == (
        "ORTHANC called MINIPACS from 127.0.0.1: rejected 1/1/3: ORTHANC is not in the peer table"
    )
    assert result.legs["in"]["fix"] == f"minipacs peers add orthanc ORTHANC@127.0.0.1:{strict.dicom_port}"


def test_we_do_not_admit_them_from_there(folder: Path, strict: Orthanc, port: int) -> None:
    knows(folder, peer(strict, allow_from=["10.0.0.0/8"]))
    result = round_trip(folder, "orthanc", "--port", port, "--orthanc", strict.url)
    assert result.verdict == "one-way: we do not admit them"
    assert "peer orthanc may call from 10.0.0.0/8 only" in result.legs["in"]["reason"]
    assert 'allow_from = ["10.0.0.0/8", "127.0.0.1"]' in result.legs["in"]["fix"]


def test_neither_knows_the_other(folder: Path, strict: Orthanc, port: int) -> None:
    strict.unregister("minipacs")
    knows(folder)
    result = round_trip(folder, f"ORTHANC@127.0.0.1:{strict.dicom_port}", "--port", port, "--orthanc", strict.url)
    assert result.verdict == "strangers: neither knows the other"
    assert result.outcomes() == ["rejected", "skipped", "missing", "rejected"]


def test_they_know_us_by_another_title(knowing_strict: Path, strict: Orthanc, port: int) -> None:
    strict.register("other", "MINI", "127.0.0.1", port)
    try:
        with waiting(knowing_strict, port, "orthanc", "--wait-inbound", "3") as child:
            assert strict.echo("other")[0] == 500
            result = result_of(child)
    finally:
        strict.unregister("other")
    assert result.verdict == "one-way: they know us by another title"
    assert result.outcomes() == ["success", "refused", "skipped", "miscalled"]
    assert "ORTHANC calls us MINI, but we are MINIPACS" in result.legs["in"]["reason"]


def test_they_have_a_port_where_nobody_listens(knowing_strict: Path, strict: Orthanc, port: int) -> None:
    wrong = free_port()
    strict.register("minipacs", "MINIPACS", "127.0.0.1", wrong)
    result = round_trip(knowing_strict, "orthanc", "--port", port, "--orthanc", strict.url)
    assert result.verdict == "one-way: they do not reach us"
    assert result.outcomes() == ["success", "refused", "wrong", "not-arrived"]
    assert f"port is {wrong}, not {port}" in result.legs["registered"]["reason"]
    assert result.legs["in"]["reason"].startswith('nothing listens where Orthanc has "minipacs": ')
    assert f"we are MINIPACS@127.0.0.1:{port}" in result.legs["in"]["fix"]


def test_they_echo_somebody_else(knowing_strict: Path, strict: Orthanc, port: int, tmp_path: Path) -> None:
    with storescp(tmp_path / "other", ae_title="MINIPACS") as other:
        strict.register("minipacs", "MINIPACS", "127.0.0.1", other.port)
        result = round_trip(knowing_strict, "orthanc", "--port", port, "--orthanc", strict.url)
    assert result.verdict == "one-way: they do not reach us"
    assert result.outcomes() == ["success", "refused", "wrong", "elsewhere"]
    assert result.legs["in"]["reason"] == (
        'Orthanc says that its echo of "minipacs" succeeded, and it did not arrive here: something else answers there'
    )


def test_nothing_shows_that_they_can_call_us(knowing_strict: Path, strict: Orthanc) -> None:
    result = round_trip(knowing_strict, "orthanc")
    assert (result.verdict, result.enforced) == ("unproven: nothing shows that they can call us", True)
    assert result.outcomes() == ["success", "refused", "skipped", "skipped"]


def test_the_peer_is_called_otherwise(folder: Path, port: int, tmp_path: Path) -> None:
    with Orthanc(tmp_path / "o", minipacs_port=port, extra={"DicomCheckCalledAet": True}) as orthanc:
        knows(folder, peer(orthanc, ae_title="OTHER"))
        result = round_trip(folder, "orthanc", "--port", port, "--orthanc", orthanc.url)
    assert result.verdict == "wrong title: the peer is not called so"
    assert result.legs["out"]["outcome"] == "rejected"


def test_the_web_port_is_no_dicom_peer(folder: Path, strict: Orthanc) -> None:
    knows(folder, peer(strict, port=strict.http_port))
    result = round_trip(folder, "orthanc")
    assert result.verdict == "unreachable: the port opens, and no DICOM peer answers"


def test_nobody_is_there(folder: Path, strict: Orthanc) -> None:
    knows(folder, peer(strict, port=free_port()))
    result = round_trip(folder, "orthanc")
    assert (result.verdict, result.enforced) == ("unreachable", None)
    assert result.outcomes() == ["unreachable", "skipped", "skipped", "skipped"]


@pytest.mark.parametrize(
    ("behaviours", "verdict", "stranger"),
    [
        ((rejects(2, 3, 2),), "busy: the peer takes no more associations", "skipped"),
        ((refuses_verification(3),), "no echo: the peer accepts us and does not answer the echo", "skipped"),
        ((behaves, rejects(2, 3, 2)), "unproven: nothing shows that they can call us", "unclear"),
        ((behaves, rejects(1, 1, 3)), "unproven: nothing shows that they can call us", "refused"),
        ((behaves, rejects(1, 1, 1)), "unproven: nothing shows that they can call us", "refused"),
        ((behaves, behaves), "open: the peer admits anybody", "admitted"),
    ],
)
def test_other_peers(folder: Path, behaviours: tuple[Behaviour, ...], verdict: str, stranger: str) -> None:
    knows(folder)
    with faking(in_turn(*behaviours)) as fake:
        result = round_trip(folder, str(fake.peer))
    assert (result.verdict, result.legs["stranger"]["outcome"]) == (verdict, stranger)


def test_nobody_calls_as_a_stranger_where_that_raises_an_alarm(folder: Path) -> None:
    knows(folder)
    with faking(behaves) as fake:
        result = round_trip(folder, str(fake.peer), "--skip-stranger")
    assert (result.verdict, result.enforced) == ("unproven: nothing shows that they can call us", None)
    assert (result.legs["stranger"]["outcome"], fake.connections) == ("skipped", 1)


def test_every_verdict_is_met_here() -> None:
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_roundtrip*.py"))
    assert [verdict for verdict in Verdict if f'"{verdict}"' not in text] == []


# --- the leg registered ----------------------------------------------------------------------------------------------


def test_it_is_put_right_and_taken_away(knowing_strict: Path, strict: Orthanc, port: int) -> None:
    strict.unregister("minipacs")
    arguments = ("--port", port, "--orthanc", strict.url, "--register", "--unregister")
    result = round_trip(knowing_strict, "orthanc", *arguments)
    assert (result.verdict, result.enforced) == ("mutual", True)
    assert [leg["leg"] for leg in result.fields["legs"]] == ["registered", "out", "stranger", "in"]
    assert result.legs["registered"]["reason"].startswith("put: ")
    assert "forgets it at its restart, unless DicomModalitiesInDatabase" in result.legs["registered"]["reason"]
    assert result.stderr == f"minipacs: {strict.url}: what was put is taken away again\n"
    assert modalities(strict) == {}


def test_it_stays_without_unregister(knowing_strict: Path, strict: Orthanc, port: int) -> None:
    strict.unregister("minipacs")
    assert round_trip(knowing_strict, "orthanc", "--port", port, "--orthanc", strict.url, "--register").exit_code == 0
    assert list(modalities(strict)) == ["minipacs"]


def test_what_was_wrong_before_is_so_again(knowing_strict: Path, strict: Orthanc, port: int) -> None:
    strict.put("/modalities/minipacs", {"AET": "MINIPACS", "Host": "10.1.2.3", "Port": 104, "Timeout": 7})
    before = modalities(strict)
    arguments = ("--port", port, "--orthanc", strict.url, "--register", "--unregister")
    assert round_trip(knowing_strict, "orthanc", *arguments).verdict == "mutual"
    assert modalities(strict) == before


def test_what_was_right_before_is_left_alone(knowing_strict: Path, strict: Orthanc, port: int) -> None:
    arguments = ("--port", port, "--orthanc", strict.url, "--register", "--unregister")
    result = round_trip(knowing_strict, "orthanc", *arguments)
    assert (result.verdict, result.stderr) == ("mutual", "")
    assert list(modalities(strict)) == ["minipacs"]


def test_it_is_taken_away_after_a_failure(folder: Path, strict: Orthanc, port: int) -> None:
    strict.unregister("minipacs")
    knows(folder)
    arguments = ("--port", port, "--orthanc", strict.url, "--register", "--unregister")
    result = round_trip(folder, f"ORTHANC@127.0.0.1:{strict.dicom_port}", *arguments)
    assert result.verdict == "one-way: we do not admit them"
    assert modalities(strict) == {}


def test_an_orthanc_that_cannot_be_asked_is_a_leg_that_failed(knowing_strict: Path, strict: Orthanc, port: int) -> None:
    result = round_trip(knowing_strict, "orthanc", "--port", port, "--orthanc", f"http://127.0.0.1:{free_port()}")
    assert result.outcomes() == ["success", "refused", "unknown", "skipped"]
    assert "Connection refused" in result.legs["registered"]["reason"]
    assert result.verdict == "unproven: nothing shows that they can call us"


def modalities(orthanc: Orthanc) -> dict[str, Any]:
    entries: dict[str, Any] = json.loads(orthanc.get("/modalities?expand")[1])
    return entries


def test_the_orthanc_of_another_peer_says_nothing_of_this_one(folder: Path, strict: Orthanc, port: int) -> None:
    """And nothing is put there."""
    strict.unregister("minipacs")
    knows(folder, peer(strict))
    with faking(in_turn(behaves, rejects(1, 1, 3))) as fake:
        arguments = ("--port", port, "--orthanc", strict.url, "--register")
        result = round_trip(folder, f"CT1@127.0.0.1:{fake.peer.port}", *arguments)
    assert result.outcomes() == ["success", "refused", "unknown", "skipped"]
    assert result.verdict == "unproven: nothing shows that they can call us"
    assert modalities(strict) == {}


# --- interrupted -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    "behaviours",
    [(keeps_silent,), (behaves, keeps_silent)],
    ids=["out", "stranger"],
)
def test_interrupted_while_we_call(
    folder: Path, strict: Orthanc, port: int, number: signal.Signals, behaviours: tuple[Behaviour, ...]
) -> None:
    strict.unregister("minipacs")
    knows(folder)
    with faking(in_turn(*behaviours)) as fake:
        arguments = (f"ORTHANC@127.0.0.1:{fake.peer.port}", "--orthanc", strict.url)
        with round_tripping(folder, port, *arguments) as child:
            wait_until(lambda: fake.connections == len(behaviours), within=30, what="call")
            assert list(modalities(strict)) == ["minipacs"]
            assert stopped_by(child, number) == 130
    assert modalities(strict) == {}


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/system"), ("PUT", "/modalities/minipacs"), ("POST", "/modalities/minipacs/echo")],
    ids=["before-registered", "registered", "in"],
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_orthanc_is_asked(
    knowing_strict: Path, strict: Orthanc, port: int, number: signal.Signals, method: str, path: str
) -> None:
    """The answer to one request is held back: what Orthanc did is done, and we do not know it."""
    strict.unregister("minipacs")
    with (
        holding_back(strict.url, method, path) as proxy,
        round_tripping(knowing_strict, port, "orthanc", "--orthanc", proxy.url) as child,
    ):
        wait_until(proxy.is_holding, within=30, what=f"{method} {path}")
        assert stopped_by(child, number) == 130
    assert modalities(strict) == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_it_is_taken_away(
    knowing_strict: Path, strict: Orthanc, port: int, number: signal.Signals
) -> None:
    """The request that takes it away does not reach Orthanc: there is another."""
    strict.unregister("minipacs")
    with (
        holding_back(strict.url, "DELETE", "/modalities/minipacs", is_done=False) as proxy,
        round_tripping(knowing_strict, port, "orthanc", "--orthanc", proxy.url) as child,
    ):
        wait_until(proxy.is_holding, within=30, what="DELETE")
        assert stopped_by(child, number) == 130
        assert modalities(strict) == {}


def test_a_hangup_that_it_was_started_to_ignore_does_not_stop_it(
    knowing_strict: Path, strict: Orthanc, port: int
) -> None:
    with waiting(knowing_strict, port, "orthanc", "--wait-inbound", "60", before=["/usr/bin/nohup"]) as child:
        os.kill(child.pid, signal.SIGHUP)
        assert strict.echo("minipacs") == (200, "{}")
        assert result_of(child).verdict == "mutual"


def round_tripping(folder: Path, port: int, *arguments: str) -> Any:
    command = [*MINIPACS, "roundtrip", *arguments, "--port", str(port), "--register", "--unregister"]
    return running(command, log=folder / "log", ready=lambda _: True, env=environment(), cwd=folder)


def stopped_by(child: Child, number: signal.Signals) -> int:
    os.kill(child.pid, number)
    return child.wait(60)


# --- the leg in ------------------------------------------------------------------------------------------------------


def test_the_node_that_runs_sees_it_arrive(folder: Path, strict: Orthanc) -> None:
    with serving(folder, table(peer(strict))) as node:
        strict.register("minipacs", "MINIPACS", "127.0.0.1", node.port)
        result = round_trip(folder, "orthanc", "--port", node.port, "--orthanc", strict.url)
        assert (result.verdict, result.enforced) == ("mutual", True)
        assert node.wait_for("association", 1)["calling_ae_title"] == "ORTHANC"
        node.save(table())
        refused = round_trip(
            folder, f"ORTHANC@127.0.0.1:{strict.dicom_port}", "--port", node.port, "--orthanc", strict.url
        )
        assert refused.verdict == "one-way: we do not admit them"
        assert refused.legs["in"]["fix"] == f"minipacs peers add orthanc ORTHANC@127.0.0.1:{strict.dicom_port}"


def test_the_node_that_runs_has_another_title(folder: Path, strict: Orthanc) -> None:
    with serving(folder, table(peer(strict)), "--ae-title", "OTHER") as node:
        done = run_minipacs(folder, "roundtrip", "orthanc", "--port", str(node.port), "--orthanc", strict.url)
    assert (done.returncode, done.stderr) == (
        2,
        f"minipacs: the node that runs here (process {node.child.pid}) on port {node.port} is OTHER, and we would "
        "call as MINIPACS: choose one of them with --ae-title\n",
    )


def test_who_called_before_the_peer_was_asked_to_is_not_taken_for_it(
    knowing_strict: Path, strict: Orthanc, port: int
) -> None:
    strict.register("minipacs", "MINIPACS", "127.0.0.1", free_port())
    with holding_back(strict.url, "GET", "/system") as proxy:
        command = [*MINIPACS, "roundtrip", "orthanc", "--port", str(port), "--orthanc", proxy.url, "--json"]
        with running(
            command, log=knowing_strict / "log", ready=lambda _: True, env=environment(), cwd=knowing_strict
        ) as child:
            wait_until(proxy.is_holding, within=30, what="GET /system")
            call(port, "STRANGER")
            proxy.is_over.set()
            result = result_of(child)
    assert result.legs["in"]["outcome"] == "not-arrived"
    assert "Connection refused" in result.legs["in"]["reason"]
    assert result.verdict == "one-way: they do not reach us"


def test_the_port_is_somebody_elses(knowing_strict: Path, strict: Orthanc) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run_minipacs(knowing_strict, "roundtrip", "orthanc", "--port", str(port), "--orthanc", strict.url)
    assert done.returncode == 2
    assert done.stderr == (
        f"minipacs: cannot listen on 127.0.0.1 port {port}: the port is in use; stop what listens there, or choose "
        "another with --port; no minipacs of this user listens there\n"
    )


def test_any_free_port_will_do_where_it_is_registered_for_the_moment(knowing_strict: Path, strict: Orthanc) -> None:
    arguments = ("--port", 0, "--orthanc", strict.url, "--register", "--unregister")
    assert round_trip(knowing_strict, "orthanc", *arguments).verdict == "mutual"


def waiting(folder: Path, port: int, *arguments: str, before: Sequence[str] = ()) -> Any:
    """A round trip that waits for the peer to call; *before* are words before its own."""
    command = [*before, *MINIPACS, "roundtrip", *arguments, "--port", str(port), "--json"]
    return running(
        command,
        log=folder / "log",
        ready=lambda child: "press Test Echo on the peer now" in child.log,
        env=environment(),
        cwd=folder,
    )


def result_of(child: Child) -> Result:
    exit_code = child.wait(30)
    said, line = [], ""
    for text in child.log.splitlines(keepends=True):
        if text.startswith("{"):
            line = text
        else:
            said.append(text)
    return Result(line, "".join(said), exit_code)


def call(port: int, calling: str = "ORTHANC", called: str = "MINIPACS") -> None:
    echoscu("-aet", calling, "-aec", called, "127.0.0.1", port)


def test_somebody_lets_the_peer_call(knowing_strict: Path, strict: Orthanc, port: int) -> None:
    with waiting(knowing_strict, port, "orthanc", "--wait-inbound", "60") as child:
        assert strict.echo("minipacs") == (200, "{}")
        result = result_of(child)
    assert (result.verdict, result.enforced) == ("mutual", True)
    assert result.outcomes() == ["success", "refused", "skipped", "success"]
    assert result.stderr == (
        f"minipacs: waiting 60 s for ORTHANC to call MINIPACS on port {port}: press Test Echo on the peer now\n"
    )


def test_a_peer_that_lets_anybody_echo_is_open_even_when_it_calls(knowing_lax: Path, lax: Orthanc, port: int) -> None:
    with waiting(knowing_lax, port, "orthanc", "--wait-inbound", "60") as child:
        assert lax.echo("minipacs") == (200, "{}")
        result = result_of(child)
    assert (result.verdict, result.enforced) == ("open: the peer admits anybody", False)


def test_the_stranger_who_calls_is_told_at_once_with_the_line_that_admits_it(
    folder: Path, strict: Orthanc, port: int
) -> None:
    """And when that line is followed, the next call is taken: the table is hot here too."""
    knows(folder)
    target = f"ORTHANC@127.0.0.1:{strict.dicom_port}"
    with waiting(folder, port, target, "--wait-inbound", "60") as child:
        call(port)
        told = f"ORTHANC is not in the peer table; fix: minipacs peers add orthanc {target}"
        wait_until(lambda: told in child.log, within=30, what="the line that admits it")
        assert run_minipacs(folder, "peers", "add", "orthanc", target).returncode == 0
        wait_until(lambda: "peers: +orthanc" in child.log, within=30, what="reload")
        call(port)
        result = result_of(child)
    assert result.verdict == "mutual"


def test_only_a_stranger_calls(knowing_strict: Path, strict: Orthanc, port: int) -> None:
    with waiting(knowing_strict, port, "orthanc", "--wait-inbound", "5") as child:
        call(port, "ORTHANC2")
        result = result_of(child)
    assert result.verdict == "one-way: we do not admit them"
    assert result.legs["in"]["fix"].startswith("minipacs peers add orthanc2 ORTHANC2@127.0.0.1:PORT")


def test_nobody_calls(knowing_strict: Path, strict: Orthanc, port: int) -> None:
    with waiting(knowing_strict, port, "orthanc", "--wait-inbound", "0.5") as child:
        result = result_of(child)
    assert "waiting 0.5 s for ORTHANC" in result.stderr
    assert result.verdict == "one-way: they do not reach us"
    assert result.legs["in"]["outcome"] == "not-arrived"
    assert result.legs["in"]["reason"] == "ORTHANC did not call within 0.5 s"
    assert result.legs["in"]["fix"].startswith(f"on ORTHANC: register AE title MINIPACS at 127.0.0.1 port {port}; ")


def test_two_calls_do_not_prove_that_it_knows_us_where_no_stranger_was_refused(
    knowing_strict: Path, strict: Orthanc, port: int
) -> None:
    with waiting(knowing_strict, port, "orthanc", "--wait-inbound", "60", "--skip-stranger") as child:
        assert strict.echo("minipacs") == (200, "{}")
        result = result_of(child)
    assert (result.verdict, result.enforced) == ("unproven: nothing shows that they know us", None)


def test_the_line_that_admits_a_stranger_names_the_table_that_is_in_force(folder: Path, strict: Orthanc) -> None:
    other = folder / "other.toml"
    other.write_text(table())
    target = f"ORTHANC@127.0.0.1:{strict.dicom_port}"
    arguments = ("--peers", other, "--port", 0, "--orthanc", strict.url, "--register", "--unregister")
    result = round_trip(folder, target, *arguments)
    assert result.verdict == "one-way: we do not admit them"
    assert result.legs["in"]["fix"] == f"minipacs peers add orthanc {target} --peers {other}"
    with serving(folder, "", "--peers", str(other)) as node:
        strict.register("minipacs", "MINIPACS", "127.0.0.1", node.port)
        strict.echo("minipacs")
        assert f"ORTHANC@127.0.0.1:PORT --peers {other}, with" in node.wait_for("association", 1)["fix"]


def test_the_call_of_another_peer_is_not_taken_for_it(knowing_strict: Path, strict: Orthanc, port: int) -> None:
    knows(knowing_strict, peer(strict), {"name": "ct1", "ae_title": "CT1"})
    with waiting(knowing_strict, port, "orthanc", "--wait-inbound", "2") as child:
        call(port, "CT1")
        result = result_of(child)
    assert result.legs["in"]["outcome"] == "not-arrived"


def test_two_nodes_ping_each_other(tmp_path: Path) -> None:
    """One runs, with the round trip on the other side; each has the other in its table."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    (ours / "conf").mkdir(parents=True)
    port = free_port()
    us = {"name": "a", "ae_title": "A", "host": "127.0.0.1", "port": port}
    with serving(theirs, table(us), "--ae-title", "B") as b:
        knows(ours, {"name": "b", "ae_title": "B", "host": "127.0.0.1", "port": b.port})
        with waiting(ours, port, "b", "--ae-title", "A", "--wait-inbound", "60") as child:
            assert b.echo("a", "--ae-title", "B")["outcome"] == "success"
            result = result_of(child)
        assert (result.verdict, result.enforced) == ("mutual", True)
        assert b.events()[0]["calling_ae_title"] == "A"


def test_the_orthanc_at_that_url_is_another_than_the_one_that_is_called(
    knowing_strict: Path, strict: Orthanc, lax: Orthanc, port: int
) -> None:
    """Both are ORTHANC. What the other one has, and its call, prove nothing of the peer."""
    lax.unregister("minipacs")
    result = round_trip(knowing_strict, "orthanc", "--port", port, "--orthanc", lax.url)
    assert (result.verdict, result.exit_code) == ("unproven: nothing shows that they can call us", 1)
    assert result.outcomes() == ["success", "refused", "missing", "success"]
    assert result.legs["registered"]["reason"] == (
        f"{lax.url} has nobody called MINIPACS; its DicomPort is {lax.dicom_port}, and we call {strict.dicom_port}: "
        "right only where ports are mapped between"
    )


# --- what Orthanc says -----------------------------------------------------------------------------------------------


def test_an_orthanc_that_wants_more_than_an_echo_is_told(folder: Path, port: int, tmp_path: Path) -> None:
    with Orthanc(tmp_path / "o", minipacs_port=port, extra={"DicomEchoChecksFind": True}) as orthanc:
        knows(folder, peer(orthanc))
        result = round_trip(folder, "orthanc", "--port", port, "--orthanc", orthanc.url)
    assert result.verdict == "mutual"
    assert result.legs["in"]["reason"] == (
        "ORTHANC called MINIPACS from 127.0.0.1: 1 echo, released; Orthanc calls it a failure all the same: "
        "DicomUserConnection: The C-FIND command is not supported by the remote SCP"
    )


# --- time and usage --------------------------------------------------------------------------------------------------


def test_the_timeout_bounds_all_of_it(folder: Path, strict: Orthanc, port: int) -> None:
    """Every leg meets a peer that is silent."""
    knows(folder)
    with faking(keeps_silent) as fake, socket.create_server(("127.0.0.1", 0)) as silent:
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        result = round_trip(folder, str(fake.peer), "--port", port, "--orthanc", url, "--timeout", 1)
    assert result.verdict == "unreachable: the port opens, and no DICOM peer answers"
    assert 250 < result.fields["duration_ms"] < 20_000


def test_a_rest_api_that_hangs_leaves_time_for_the_echo(knowing_strict: Path, strict: Orthanc, port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        arguments = ("--port", port, "--orthanc", url, "--register", "--unregister", "--timeout", 8)
        result = round_trip(knowing_strict, "orthanc", *arguments)
    assert "does not answer within 4 s" in result.legs["registered"]["reason"]
    assert result.legs["out"]["outcome"] == "success"
    assert result.verdict == "unproven: nothing shows that they can call us"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("orthanc --register", "--register needs --orthanc URL: only Orthanc can be told of us"),
        (
            "orthanc --orthanc http://h --unregister",
            "--unregister needs --register, and takes away what that puts; else: minipacs orthanc unregister",
        ),
        ("orthanc --timeout 0", "Invalid value for '--timeout': 0.0 is not in the range x>0."),
        ("orthanc --wait-inbound 0", "Invalid value for '--wait-inbound': 0.0 is not in the range x>0."),
        ("orthanc --timeout inf", "Invalid value for '--timeout': must be at most 86400 seconds, not inf"),
        ("orthanc --wait-inbound nan", "Invalid value for '--wait-inbound': must be at most 86400 seconds, not nan"),
        (
            "orthanc --format xml",
            "Invalid value for '--format': 'xml' is not one of 'text', 'json', 'junit', 'nagios'.",
        ),
        ("nobody", "no peer is called nobody in conf/peers.toml; it has orthanc, us"),
        ("us", "peer us has no host and port in conf/peers.toml: it only calls us"),
        ("A@h", 'target must be TITLE@HOST:PORT, not "A@h"'),
        ("", "Missing argument 'PEER'."),
    ],
)
def test_what_cannot_be_run_is_told(folder: Path, arguments: str, error: str) -> None:
    where = {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": 1}
    knows(folder, {"name": "orthanc"} | where, {"name": "us", "ae_title": "US"})
    done = run_minipacs(folder, "roundtrip", *arguments.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert error in " ".join(done.stderr.split())


def test_a_table_that_is_not_valid_is_told(folder: Path) -> None:
    (folder / "conf" / "peers.toml").write_text("[peers.a]\n")
    done = run_minipacs(folder, "roundtrip", "a")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "conf/peers.toml: peers.a.ae_title: must be given, not left out\n"
