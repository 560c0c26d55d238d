"""`minipacs orthanc` as users meet it: real processes beside a real Orthanc."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from minipacs import Peer, PeerTable, VerificationSCP

from .peers.node import run_minipacs
from .peers.orthanc import ORTHANC, SAMPLE, Orthanc
from .peers.ports import free_port
from .peers.required import required
from .peers.web import answering, web

FORGOTTEN = "Orthanc forgets it at its restart, unless DicomModalitiesInDatabase is true"
COMES_BACK = "where its configuration has it, it is there again at Orthanc's restart"
SYSTEM = b'{"DicomAet":"%s","DicomPort":4242,"Version":"1.0","Name":"\\u001b[2J","More":{"a":[1,null]}}'

Done = CompletedProcess[str]

needs_orthanc = required(ORTHANC)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the machine's own."""
    for name in ("MINIPACS_ORTHANC_URL", "MINIPACS_ORTHANC_USERNAME", "MINIPACS_ORTHANC_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with Orthanc(tmp_path_factory.mktemp("orthanc"), minipacs_port=11112) as orthanc:
        yield orthanc


@pytest.fixture
def orthanc(started: Orthanc, monkeypatch: pytest.MonkeyPatch) -> Orthanc:
    """It knows nobody, and is the one that is asked."""
    for name in json.loads(started.get("/modalities")[1]):
        started.unregister(name)
    monkeypatch.setenv("MINIPACS_ORTHANC_URL", started.url)
    return started


def assert_done(done: Done, output: str) -> None:
    assert (done.stdout, done.stderr, done.returncode) == (f"{output}\n", "", 0)


def assert_fails(done: Done, code: int, *lines: str) -> None:
    """It says exactly that on standard error, and nothing on standard output."""
    assert (done.stdout, done.stderr.splitlines(), done.returncode) == ("", list(lines), code)


def known(orthanc: Orthanc) -> dict[str, str]:
    entries = json.loads(orthanc.get("/modalities?expand")[1])
    return {name: f"{entry['AET']}@{entry['Host']}:{entry['Port']}" for name, entry in entries.items()}


# --- help -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", "snippet", "register", "unregister", "check", "import"])
def test_every_help_shows_examples(command: str, tmp_path: Path) -> None:
    done = run_minipacs(tmp_path, "orthanc", *command.split(), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(rf"Examples:\s+minipacs orthanc {command}", done.stdout)


def test_the_help_names_every_command_and_exit_code(tmp_path: Path) -> None:
    text = run_minipacs(tmp_path, "orthanc", "--help").stdout
    commands = text.split("Commands:")[1].split("Examples:")[0]
    assert re.findall(r"^  (\w+)  ", commands, re.MULTILINE) == ["check", "import", "register", "snippet", "unregister"]
    assert "Exit code: 0 done or right, 1 not, 2 usage or configuration." in text


# --- snippet ----------------------------------------------------------------------------------------------------------

SNIPPET = """\
// One of these two goes into Orthanc's configuration, behind its first brace.
// Where it has "DicomModalities" already, that takes the inner line alone; a comma parts it from others.
"DicomModalities" : {
  "minipacs" : [ "MINIPACS", "127.0.0.1", 11112 ]
},

// The longer form (Orthanc 1.5.0 and later), for whoever has more to say:
"DicomModalities" : {
  "minipacs" : { "AET" : "MINIPACS", "Host" : "127.0.0.1", "Port" : 11112, "AllowEcho" : true, "UseDicomTls" : false }
},"""


def test_the_snippet_is_of_us(tmp_path: Path) -> None:
    assert_done(run_minipacs(tmp_path, "orthanc", "snippet"), SNIPPET)


def test_the_snippet_follows_the_settings_and_options(tmp_path: Path) -> None:
    options = ["--ae-title", 'A "B', "--port", "104", "--host", "0.0.0.0", "--our-address", "10.0.0.7", "--name", "us"]
    text = run_minipacs(tmp_path, "orthanc", "snippet", *options).stdout
    assert '  "us" : [ "A \\"B", "10.0.0.7", 104 ]\n' in text


@needs_orthanc
@pytest.mark.parametrize("form", ["array", "object"])
@pytest.mark.parametrize("place", ["whole", "inner line"])
def test_an_orthanc_with_the_snippet_in_its_configuration_echoes_us(form: str, place: str, tmp_path: Path) -> None:
    with VerificationSCP([Peer("orthanc", "ORTHANC")], port=0) as node:
        text = run_minipacs(tmp_path, "orthanc", "snippet", "--port", str(node.port)).stdout
        section = text.split("\n\n")[form == "object"]
        sample = SAMPLE.read_text()
        theirs = re.search(r'  "DicomModalities" : \{\n(.*?)\n  \},\n', sample, re.DOTALL)
        assert theirs is not None
        if place == "whole":
            config = sample.replace(theirs[0], "").replace("\n{\n", f"\n{{\n{section}\n", 1)
        else:
            config = sample.replace(theirs[1], next(line for line in section.splitlines() if '"minipacs"' in line))
        path = tmp_path / "pasted.json"
        path.write_text(config)
        with Orthanc(tmp_path / "o", config=path, minipacs_port=1) as orthanc:
            assert known(orthanc) == {"minipacs": f"MINIPACS@127.0.0.1:{node.port}"}
            assert orthanc.echo("minipacs") == (200, "{}")
            assert node.wait_for_associations(1)[-1].echoes == 1


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ("--host 0.0.0.0", "0.0.0.0 is every address of this machine: name one by --our-address"),
        ("--port 0", "Orthanc takes a port of 1 to 65534, not 0: choose one by --port"),
        (
            "--host ::1",
            "Orthanc takes an IPv4 address or a host name, not ::1: name one that it reaches by --our-address",
        ),
        ("--name a/b", "a name among Orthanc's modalities must be letters, digits, - and _, not a/b"),
    ],
)
def test_what_orthanc_cannot_know_is_a_fault_of_the_configuration(options: str, error: str, tmp_path: Path) -> None:
    assert_fails(run_minipacs(tmp_path, "orthanc", "snippet", *options.split()), 2, f"minipacs: {error}")


# --- register, unregister ---------------------------------------------------------------------------------------------


@needs_orthanc
def test_we_are_registered_put_right_and_taken_away(orthanc: Orthanc, tmp_path: Path) -> None:
    url = orthanc.url
    is_now = f'{url}: "minipacs" is MINIPACS@127.0.0.1'
    assert_done(run_minipacs(tmp_path, "orthanc", "register"), f"{is_now}:11112 now; {FORGOTTEN}")
    assert_done(run_minipacs(tmp_path, "orthanc", "register"), f"{is_now}:11112 already")
    moved = f"{is_now}:104 now (it was MINIPACS@127.0.0.1:11112); {FORGOTTEN}"
    assert_done(run_minipacs(tmp_path, "orthanc", "register", "--port", "104"), moved)
    assert known(orthanc) == {"minipacs": "MINIPACS@127.0.0.1:104"}
    away = f'{url}: "minipacs" (MINIPACS@127.0.0.1:104) is taken away; {COMES_BACK}'
    assert_done(run_minipacs(tmp_path, "orthanc", "unregister"), away)
    nobody = f"{url}: nobody is called MINIPACS; nothing was taken away"
    assert_done(run_minipacs(tmp_path, "orthanc", "unregister"), nobody)
    assert known(orthanc) == {}


@needs_orthanc
def test_somebody_else_is_neither_replaced_nor_taken_away(orthanc: Orthanc, tmp_path: Path) -> None:
    orthanc.register("minipacs", "OTHER", "10.0.0.9", 104)
    taken = f'"minipacs" at {orthanc.url} is OTHER@10.0.0.9:104'
    how = "choose another --name for MINIPACS, or --replace it"
    assert_fails(run_minipacs(tmp_path, "orthanc", "register"), 2, f"minipacs: {taken}: {how}")
    nobody = f"{orthanc.url}: nobody is called MINIPACS; nothing was taken away"
    assert_done(run_minipacs(tmp_path, "orthanc", "unregister"), nobody)
    not_ours = 'minipacs: "minipacs" is OTHER@10.0.0.9:104, and we are MINIPACS: it is not ours'
    assert_fails(run_minipacs(tmp_path, "orthanc", "unregister", "--name", "minipacs"), 2, not_ours)
    assert known(orthanc) == {"minipacs": "OTHER@10.0.0.9:104"}

    beside = run_minipacs(tmp_path, "orthanc", "register", "--name", "mine")
    assert_done(beside, f'{orthanc.url}: "mine" is MINIPACS@127.0.0.1:11112 now; {FORGOTTEN}')
    assert known(orthanc) == {"mine": "MINIPACS@127.0.0.1:11112", "minipacs": "OTHER@10.0.0.9:104"}
    assert run_minipacs(tmp_path, "orthanc", "unregister").returncode == 0

    replaced = run_minipacs(tmp_path, "orthanc", "register", "--replace")
    before = "(it was OTHER@10.0.0.9:104)"
    assert_done(replaced, f'{orthanc.url}: "minipacs" is MINIPACS@127.0.0.1:11112 now {before}; {FORGOTTEN}')


@needs_orthanc
def test_a_name_that_is_not_there_cannot_be_taken_away(orthanc: Orthanc, tmp_path: Path) -> None:
    done = run_minipacs(tmp_path, "orthanc", "unregister", "--name", "gone", "--host", "::1")
    assert_done(done, f'{orthanc.url}: nobody is "gone"; nothing was taken away')


@needs_orthanc
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "localhost"])
def test_a_node_on_every_address_is_registered_where_orthanc_reaches_it(
    host: str, orthanc: Orthanc, tmp_path: Path
) -> None:
    assert run_minipacs(tmp_path, "orthanc", "register", "--host", host).returncode == 0
    assert known(orthanc) == {"minipacs": "MINIPACS@127.0.0.1:11112"}


@needs_orthanc
def test_our_address_is_what_we_say_it_is(orthanc: Orthanc, tmp_path: Path) -> None:
    done = run_minipacs(tmp_path, "orthanc", "register", "--our-address", "host.docker.internal")
    assert done.returncode == 0
    assert known(orthanc) == {"minipacs": "MINIPACS@host.docker.internal:11112"}


# --- check ------------------------------------------------------------------------------------------------------------

SETTINGS = """\
Orthanc beside minipacs: ORTHANC on DICOM port {0.dicom_port}
  ApiVersion             16
  CheckRevisions         false
  DatabaseBackendPlugin  null
  DatabaseVersion        6
  DicomAet               ORTHANC
  DicomPort              {0.dicom_port}
  HttpPort               {0.http_port}
  IsHttpServerSecure     true
  Name                   Orthanc beside minipacs
  PluginsEnabled         true
  StorageAreaPlugin      null
  Version                1.10.1
  not shown by REST: DicomAlwaysAllowEcho, DicomCheckCalledAet, DicomCheckModalityHost, RemoteAccessAllowed
"""


def is_as_measured(orthanc: Orthanc) -> bool:
    return bool(json.loads(orthanc.get("/system")[1])["Version"] == "1.10.1")


@needs_orthanc
def test_the_check_shows_its_settings_and_whether_it_has_us_right(orthanc: Orthanc, tmp_path: Path) -> None:
    done = run_minipacs(tmp_path, "orthanc", "check")
    settings, missing = re.split("^(?=missing)", done.stdout, flags=re.MULTILINE)
    if is_as_measured(orthanc):
        assert settings == SETTINGS.format(orthanc)
    in_its_configuration = '"DicomModalities": { "minipacs": ["MINIPACS", "127.0.0.1", 11112] }'
    assert missing == (
        f"missing: {orthanc.url} has nobody called MINIPACS\n"
        f"fix: minipacs orthanc register --orthanc {orthanc.url}; or in its configuration: {in_its_configuration}\n"
    )
    assert (done.stderr, done.returncode) == ("", 1)

    orthanc.register("x", "MINIPACS", "127.0.0.1", 11112)
    done = run_minipacs(tmp_path, "orthanc", "check")
    has = f'{orthanc.url} has MINIPACS@127.0.0.1:11112 as "x"; every service is allowed'
    assert done.stdout == f"{settings}right: {has}\n"
    assert (done.stderr, done.returncode) == ("", 0)


@needs_orthanc
def test_the_check_is_to_be_had_as_json(orthanc: Orthanc, tmp_path: Path) -> None:
    orthanc.register("minipacs", "MINIPACS", "127.0.0.1", 104)
    done = run_minipacs(tmp_path, "orthanc", "check", "--json")
    assert (done.stderr, done.returncode, done.stdout.count("\n")) == ("", 1, 1)
    said: dict[str, Any] = json.loads(done.stdout)
    assert said.pop("settings") == json.loads(orthanc.get("/system")[1])
    assert said.pop("fix").startswith(f"minipacs orthanc register --orthanc {orthanc.url}; or in its configuration: ")
    assert said == {
        "url": orthanc.url,
        "name": "minipacs",
        "outcome": "wrong",
        "code": "registered.wrong",
        "reason": f'{orthanc.url} has MINIPACS@127.0.0.1:104 as "minipacs": port is 104, not 11112',
    }
    done = run_minipacs(tmp_path, "orthanc", "check", "--json", "--port", "104")
    assert (json.loads(done.stdout)["outcome"], json.loads(done.stdout)["fix"], done.returncode) == ("right", None, 0)


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_what_it_sends_is_made_safe(option: list[str], tmp_path: Path) -> None:
    body = SYSTEM.replace(b"1.0", "\u009b2J\u202e".encode())
    system = body[:-1] % b"\\u0007" + b',"x\\u001b":1}'
    modalities = b'{"minipacs":{"AET":"minipacs","Host":"\\u001b[2J","Port":11112}}'
    with web(lambda request: request.answer(200, system if "system" in request.path else modalities)) as other:
        done = run_minipacs(tmp_path, "orthanc", "check", "--orthanc", other.url, *option)
    assert done.returncode == 1
    assert done.stdout.replace("\n", "").isprintable()
    assert done.stdout.isascii()
    assert not done.stderr
    if not option:
        assert done.stdout.startswith(r"\x1b[2J: \x07 on DICOM port 4242")
        assert '  More       {"a": [1, null]}\n' in done.stdout
        assert "host is \\x1b[2J, not 127.0.0.1" in done.stdout.replace("\\\\", "\\")


@pytest.mark.parametrize("command", ["register", "unregister", "check", "check --json", "import"])
def test_an_orthanc_that_cannot_be_asked_is_exit_code_1(command: str, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    how = "check host and port, and that Orthanc runs"
    error = f"minipacs: {url} cannot be reached: Connection refused: {how}"
    assert_fails(run_minipacs(tmp_path, "orthanc", *command.split(), "--orthanc", url), 1, error)


@pytest.mark.parametrize("command", ["register", "unregister", "check", "import"])
def test_a_url_that_is_none_is_exit_code_2(command: str, tmp_path: Path) -> None:
    rule = "Orthanc's URL must be http://HOST:PORT or https://HOST:PORT, with a path if it has one"
    error = f"minipacs: {rule}, not localhost:8042; did you mean http://localhost:8042?"
    assert_fails(run_minipacs(tmp_path, "orthanc", command, "--orthanc", "localhost:8042"), 2, error)


# --- import -----------------------------------------------------------------------------------------------------------


def save(folder: Path, text: str) -> None:
    (folder / "conf").mkdir()
    (folder / "conf" / "peers.toml").write_text(text)


def table(folder: Path) -> list[str]:
    return [f"{name} {peer}" for name, peer in PeerTable.read(folder / "conf" / "peers.toml").items()]


@needs_orthanc
def test_orthanc_becomes_a_peer_with_the_title_and_port_that_it_tells(orthanc: Orthanc, tmp_path: Path) -> None:
    done = run_minipacs(tmp_path, "orthanc", "import")
    assert_done(done, f"conf/peers.toml: added orthanc, ORTHANC@127.0.0.1:{orthanc.dicom_port}")
    done = run_minipacs(tmp_path, "orthanc", "import")
    assert_done(done, f"conf/peers.toml: orthanc is ORTHANC@127.0.0.1:{orthanc.dicom_port} already")
    orthanc.register("minipacs", "MINIPACS", "127.0.0.1", 11112)
    assert run_minipacs(tmp_path, "echo", "orthanc").returncode == 0


@needs_orthanc
def test_whom_it_knows_is_taken_and_what_cannot_be_is_told_one_by_one(orthanc: Orthanc, tmp_path: Path) -> None:
    orthanc.register("us", "minipacs", "127.0.0.1", 11112)
    orthanc.register("ct1", "CT1", "10.0.0.5", 104)
    orthanc.register("ct2", "CT1", "10.0.0.6", 104)
    orthanc.register("-bad", "BAD", "10.0.0.7", 104)
    orthanc.register("long", "SEVENTEEN_LETTERS", "10.0.0.8", 104)
    orthanc.register("nowhere", "NOWHERE", "a b", 104)
    orthanc.register("ws", "WS", "10.0.0.9", 104)
    orthanc.put("/modalities/tls", {"AET": "TLS", "Host": "h", "Port": 2762, "UseDicomTls": True})
    save(tmp_path, '[peers.ws]\nae_title = "OLD"\n')
    done = run_minipacs(tmp_path, "orthanc", "import", "--modalities")
    assert done.stdout.splitlines() == [
        f"conf/peers.toml: added orthanc, ORTHANC@127.0.0.1:{orthanc.dicom_port}",
        "conf/peers.toml: added ct1, CT1@10.0.0.5:104",
        "conf/peers.toml: added tls, TLS@h:2762",
    ]
    name_rule = "must be a name of 1 to 64 letters, digits, '_', '-' and '.', not beginning with '-' or '.'"
    assert done.stderr.splitlines() == [
        f"-bad: not taken: name: {name_rule}, not '-bad'",
        "ct2: not taken: in conf/peers.toml ct1 is CT1@10.0.0.5:104, not CT1@10.0.0.6:104; to change that: "
        "minipacs peers remove ct1 && minipacs peers add ct2 CT1@10.0.0.6:104",
        "long: not taken: ae_title: must be at most 16 characters, not 'SEVENTEEN_LETTERS'",
        "nowhere: not taken: host: must be an IP address or a host name, not 'a b'",
        "ws: not taken: in conf/peers.toml ws is OLD, not WS@10.0.0.9:104; under another name: "
        "minipacs peers add NAME WS@10.0.0.9:104",
    ]
    assert done.returncode == 1
    assert table(tmp_path) == [
        "ws OLD",
        f"orthanc ORTHANC@127.0.0.1:{orthanc.dicom_port}",
        "ct1 CT1@10.0.0.5:104",
        "tls TLS@h:2762",
    ]


@needs_orthanc
def test_the_commands_name_the_table_that_they_are_for(orthanc: Orthanc, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text('[peers.old]\nae_title = "ORTHANC"\nhost = "h"\nport = 1\n')
    done = run_minipacs(tmp_path, "orthanc", "import", "--peers", "other.toml")
    place = f"ORTHANC@127.0.0.1:{orthanc.dicom_port}"
    assert done.stderr == (
        f"orthanc: not taken: in other.toml old is ORTHANC@h:1, not {place}; to change that: minipacs peers remove old "
        f"--peers {other} && minipacs peers add orthanc {place} --peers {other}\n"
    )
    assert done.returncode == 1


@needs_orthanc
def test_a_peer_that_moved_is_told_with_the_commands_that_follow_it(orthanc: Orthanc, tmp_path: Path) -> None:
    save(
        tmp_path, '[peers.old]\nae_title = "ORTHANC"\nhost = "h"\nport = 1\nallow_from = ["127.0.0.1", "10.0.0.0/8"]\n'
    )
    done = run_minipacs(tmp_path, "orthanc", "import")
    remove, add = "minipacs peers remove old", f"minipacs peers add orthanc ORTHANC@127.0.0.1:{orthanc.dicom_port}"
    allowed = " --allow-from 127.0.0.1 --allow-from 10.0.0.0/8"
    differs = f"old is ORTHANC@h:1, not ORTHANC@127.0.0.1:{orthanc.dicom_port}"
    assert_fails(
        done,
        1,
        f"orthanc: not taken: in conf/peers.toml {differs}; to change that: {remove} && {add}{allowed}",
    )
    for command in (remove, add + allowed):
        assert run_minipacs(tmp_path, *command.split()[1:]).returncode == 0
    assert run_minipacs(tmp_path, "orthanc", "import").returncode == 0


def test_a_title_that_no_peer_can_have_is_told(tmp_path: Path) -> None:
    with web(answering(200, SYSTEM % b"SEVENTEEN_LETTERS")) as other:
        done = run_minipacs(tmp_path, "orthanc", "import", "--orthanc", other.url)
    error = "ae_title: must be at most 16 characters, not 'SEVENTEEN_LETTERS'"
    assert_fails(done, 1, f"seventeen_letters: not taken: {error}")
    assert not (tmp_path / "conf").exists()


def test_a_table_with_faults_is_told_and_left_alone(tmp_path: Path) -> None:
    save(tmp_path, "peers = 1\n")
    with web(answering(200, SYSTEM % b"ORTHANC")) as other:
        done = run_minipacs(tmp_path, "orthanc", "import", "--orthanc", other.url)
    assert_fails(done, 2, "conf/peers.toml: peers: must be a table, not 1")
