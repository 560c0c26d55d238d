"""Whatever a peer sends is shown as printable ASCII, in every channel; and nothing is named after it.

A new channel is a new row of NODE_CHANNELS or COMMANDS.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

from minipacs import PeerTable
from minipacs.certificate import fingerprint, of_pem
from minipacs.tls import client_context

from .certificates import Authority
from .fakes import Fake, faking
from .hostile_text import (
    CALLS,
    PEERS,
    SHOWN,
    STRANGER,
    TEXT,
    TIED,
    as_json,
    as_one_line,
    as_terminal,
    as_text_log,
    as_xml,
    call,
    forbidden,
    orthancs,
    texts_in,
    xml_texts,
)
from .peers.node import MINIPACS, Node, environment, run_minipacs, serving, table
from .peers.ports import free_port
from .peers.process import running, wait_until
from .peers.web import Web, web

Judge = Callable[[str], list[str]]

OTHER = "sha256:" + "0123456789abcdef" * 4
NODES = {
    "text": ["--log-format", "text"],
    "text-vv": ["--log-format", "text", "-vv"],
    "json-vv": ["-vv"],
}
OWNER = r"(CN=EVIL\r\n\x1b[2J\x9b\x7f"  # of a certificate, whose own way to write NUL is another
QUOTED = SHOWN.replace("\\", r"\\")  # by Python, and then escaped


class Ground(NamedTuple):
    """All that is hostile, and the folder where minipacs runs."""

    root: Path
    folder: Path
    logs: dict[str, str]
    status: dict[str, str]
    fakes: dict[str, Fake]
    webs: dict[str, Web]
    before: frozenset[str]
    during: frozenset[str]


def names_below(root: Path) -> frozenset[str]:
    return frozenset(name for _, folders, files in os.walk(root) for name in (*folders, *files))


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Nodes that were called by all that is hostile, and whatever is hostile when it is called."""
    root = tmp_path_factory.mktemp("hostile")
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for variable, name in (("XDG_RUNTIME_DIR", "run"), ("TMPDIR", "temporary"), ("HOME", "home")):
            (root / name).mkdir(mode=0o700)
            patch.setenv(variable, str(root / name))
        patch.setenv("NO_PROXY", "127.0.0.1")
        authority = Authority(root / "certificates")
        evil = authority.issue("127.0.0.1", subject=TEXT)
        told = authority.settings(evil)
        tls = f'[tls]\ncertificate = "{told.certificate}"\nkey = "{told.key}"\ntrusted = "{authority.certificate}"\n'
        fakes = {name: stack.enter_context(faking(behave)) for name, behave in PEERS.items()}
        webs = {name: stack.enter_context(web(b)) for name, b in orthancs(fakes["echoes"].peer.port or 0).items()}
        both = root / "both.pem"
        both.write_bytes(evil.key.read_bytes() + evil.certificate.read_bytes())
        looks = stack.enter_context(web(lambda _: None, tls=both))

        entries: list[dict[str, object]] = [
            {"name": name, "ae_title": f"F{number}", "host": "127.0.0.1", "port": fake.peer.port}
            for number, (name, fake) in enumerate(fakes.items())
        ]
        entries.append({"name": "look", "ae_title": "LOOK", "host": "127.0.0.1", "port": looks.port})
        secure = {"name": "secure", "ae_title": "SECURE", "host": "127.0.0.1", "port": looks.port, "tls": True}
        entries.append(secure | {"certificate": OTHER})
        folder = root / "work"
        (folder / "conf").mkdir(parents=True)
        (folder / "conf" / "minipacs.toml").write_text(tls)
        (folder / "conf" / "peers.toml").write_text(table(*entries))
        callers = table(
            {"name": "tied", "ae_title": "TIED", "certificate": OTHER}, {"name": "known", "ae_title": "KNOWN"}
        )
        for name in NODES:
            (root / name / "conf").mkdir(parents=True)
            (root / name / "conf" / "minipacs.toml").write_text(f"{tls}port = 0\n")
        before = names_below(root)
        status: dict[str, str] = {}
        with ExitStack() as nodes_stack:
            nodes = {name: nodes_stack.enter_context(serving(root / name, callers, *NODES[name])) for name in NODES}
            context = client_context(told)
            for node in nodes.values():
                _call_it_all(node, context)
            during = names_below(root)
            status["text"] = nodes["text"].minipacs("status", "--port", str(nodes["text"].port)).stdout
            status["json"] = nodes["json-vv"].minipacs("status", "--port", str(nodes["json-vv"].port), "--json").stdout
        logs = {name: (root / name / "node.log").read_bytes().decode() for name in NODES}
        yield Ground(root, folder, logs, status, fakes, webs, before, during)


def _call_it_all(node: Node, context: object) -> None:
    tls_port = int(re.findall(r"TLS on port (\d+)", node.child.log)[0])
    for number, pieces in enumerate(CALLS.values()):  # each from an address of its own: none is told off as a flood
        call(node.port, pieces, f"127.0.0.{10 + number}")
        call(tls_port, pieces, f"127.0.0.{40 + number}")
    for pieces in ([TIED], [STRANGER]):
        call(tls_port, pieces, "127.0.0.9", context)  # type: ignore[arg-type]
    asked = len(CALLS) * 2 + 2
    wait_until(lambda: node.child.log.count("127.0.0.9") >= 2, within=30, what=f"the last of {asked} calls in the log")


# --- the node --------------------------------------------------------------------------------------------------------

NODE_CHANNELS: dict[str, tuple[Callable[[Ground], str], Judge]] = {
    "log, text": (lambda ground: ground.logs["text"], as_text_log),
    "log, text, -vv": (lambda ground: ground.logs["text-vv"], as_text_log),
    "log, json, -vv": (lambda ground: ground.logs["json-vv"], as_json),
    "status, text": (lambda ground: ground.status["text"], as_terminal),
    "status, json": (lambda ground: ground.status["json"], as_json),
}


@pytest.mark.parametrize("channel", NODE_CHANNELS)
def test_what_calls_us_is_shown_escaped(ground: Ground, channel: str) -> None:
    read, judge = NODE_CHANNELS[channel]
    shown = read(ground)
    assert judge(shown) == []
    assert holds(shown, SHOWN, judge)


def holds(shown: str, text: str, judge: Judge) -> bool:
    """Whether the escaped *text* came through, as a reader of that channel gets it."""
    if judge is as_json:
        lines = (json.loads(line) for line in shown.splitlines() if line.startswith("{"))
        return any(text in one for line in lines for one in texts_in(line))
    if judge is as_xml:
        return any(text in one for one in xml_texts(ElementTree.fromstring(shown)))
    return text in shown


@pytest.mark.parametrize("name", ["text", "json-vv"])
def test_each_of_them_is_in_the_log(ground: Ground, name: str) -> None:
    """So that none is clean because it never came."""
    for number in range(len(CALLS)):
        for address in (f"127.0.0.{10 + number}", f"127.0.0.{40 + number}"):
            assert address in ground.logs[name], (address, list(CALLS)[number])
    assert "[admission.certificate]" in ground.logs["text"]
    assert OWNER in ground.logs["text"]


# --- the commands that call ------------------------------------------------------------------------------------------

CHECK = "orthanc check --orthanc {}"
IMPORT = "orthanc import --modalities --orthanc {}"
REGISTER = "orthanc register --our-address 127.0.0.1 --orthanc {}"
ROUND = "roundtrip FAKE@127.0.0.1:{dicom} --our-address 127.0.0.1 --port {free} --timeout 6 --orthanc {}"


class Row(NamedTuple):
    """A command, the web server that it asks, how it is judged, and what has to be seen of the peer's in it."""

    command: str
    web: str
    judge: Judge
    shown: str = SHOWN


COMMANDS = {
    "echo, text": Row("echo --all", "", as_terminal, OWNER),
    "echo, json": Row("echo --all --json", "", as_json, OWNER),
    "echo, junit": Row("echo --all --format junit", "", as_xml, OWNER),
    "echo, nagios": Row("echo --all --format nagios", "", as_one_line, OWNER),
    "echo, -v": Row("echo --all -v", "", as_terminal),
    "echo, -vv": Row("echo --all -vv", "", as_terminal),
    "check, text": Row(CHECK, "teller", as_terminal),
    "check, json": Row(f"{CHECK} --json", "teller", as_json),
    "check, another title": Row(CHECK, "liar", as_terminal),
    "check, names": Row(CHECK, "namer", as_terminal, "EVIL"),
    "check, refused": Row(CHECK, "refuser", as_terminal),
    "check, no JSON": Row(CHECK, "other", as_terminal),
    "check, sent on": Row(CHECK, "sender", as_terminal, r"EVIL\x1b[2J\x9b\x7f"),
    "check, no HTTP": Row(CHECK, "raw", as_terminal, r"EVIL"),
    "check, status line": Row(CHECK, "reason", as_terminal, r"EVIL\r\n\x1b[2J\ufffd\x7f"),
    "import": Row(IMPORT, "teller", as_terminal, QUOTED),
    "import, another title": Row(IMPORT, "liar", as_terminal, QUOTED),
    "import, names": Row(IMPORT, "namer", as_terminal, "EVIL"),
    "register": Row(REGISTER, "teller", as_terminal),
    "unregister": Row("orthanc unregister --name minipacs --orthanc {}", "teller", as_terminal),
    "roundtrip, text": Row(ROUND, "teller", as_terminal),
    "roundtrip, json": Row(f"{ROUND} --json", "teller", as_json),
    "roundtrip, junit": Row(f"{ROUND} --format junit", "liar", as_xml),
    "roundtrip, nagios": Row(f"{ROUND} --format nagios", "liar", as_one_line),
    "roundtrip, another title": Row(ROUND, "liar", as_terminal),
    "roundtrip, refused": Row(f"{ROUND} --register", "refuser", as_terminal),
}


@pytest.mark.parametrize("channel", COMMANDS)
def test_what_we_call_is_shown_escaped(ground: Ground, channel: str) -> None:
    row = COMMANDS[channel]
    url = ground.webs[row.web].url if row.web else ""
    words = row.command.format(url, dicom=ground.fakes["echoes"].peer.port, free=free_port())
    done = run_minipacs(ground.folder, *words.split())
    assert "Traceback" not in done.stderr
    assert row.judge(done.stdout) == [] if done.stdout else row.judge is as_terminal
    assert as_terminal(done.stderr) == []
    judged = done.stdout + done.stderr if row.judge is as_terminal else done.stdout
    assert holds(judged, row.shown, row.judge), judged


@pytest.mark.parametrize("form", ["text", "json"])
def test_who_calls_during_a_round_trip_is_shown_escaped(ground: Ground, tmp_path: Path, form: str) -> None:
    port = free_port()
    fake = f"FAKE@127.0.0.1:{ground.fakes['echoes'].peer.port}"
    command = [*MINIPACS, "roundtrip", fake, "--wait-inbound", "1", "--port", str(port), "--format", form]
    log = tmp_path / "roundtrip.log"
    ready = lambda child: "press Test Echo" in child.log  # noqa: E731
    with running(command, log=log, ready=ready, env=environment(), cwd=ground.folder) as child:
        call(port, [STRANGER], "127.0.0.1")
        assert child.wait(30.0) == 1
    told: list[str] = []
    shown: list[str] = []
    for line in log.read_bytes().decode().splitlines(keepends=True):
        (told if line.startswith("minipacs: ") else shown).append(line)
    judge = as_json if form == "json" else as_terminal
    assert judge("".join(shown)) == []
    assert as_terminal("".join(told)) == []
    assert SHOWN in "".join(told)
    assert holds("".join(shown), SHOWN, judge)


# --- names -----------------------------------------------------------------------------------------------------------


def test_nothing_is_named_after_what_a_peer_sent(ground: Ground) -> None:
    """Behind all of the above: the working folders, the run folder, the temporary folder and the home."""
    run_minipacs(ground.folder, *IMPORT.format(ground.webs["teller"].url).split())
    new = (names_below(ground.root) | ground.during) - ground.before
    assert sum(name.endswith(".sock") for name in new) == len(NODES)  # so that what comes and goes was seen
    kept = {
        name
        for name in new
        if not re.fullmatch(r"node\.log|\.?peers\.toml(\.lock)?|minipacs(-\d+)?|.*[.:-]\d+\.(sock|files)", name)
    }
    assert kept == set()
    assert not [name for name in new if "evil" in name.lower()]


def test_an_import_takes_into_the_table_what_the_rules_allow(ground: Ground) -> None:
    run_minipacs(ground.folder, *IMPORT.format(ground.webs["teller"].url).split())
    text = (ground.folder / "conf" / "peers.toml").read_bytes()
    assert forbidden(text.decode()) == []
    assert b"EVIL" not in text
    taken = PeerTable.parse(text)
    assert "fake" in taken
    assert not {"evil", "reached", "placed", "minipacs"} & set(taken)


# --- the judge -------------------------------------------------------------------------------------------------------

HARM = {
    **dict.fromkeys("\r\0\x1b\x08\t\x0b\x7f", "control"),
    **dict.fromkeys("\x80\x85\x9b\x9f", "C1 control"),
    **dict.fromkeys("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069", "bidi control"),
    **dict.fromkeys("\xa0\xad\xe9\u2028\u200b\ufeff\U0001f600", "not ASCII"),
}


@pytest.mark.parametrize("harm", HARM, ids=lambda harm: f"{ord(harm):04X}")
def test_the_judge_finds_it_in_each_channel(harm: str) -> None:
    assert [fault.startswith(HARM[harm]) for fault in forbidden(f"a{harm}b")] == [True]
    record = "2026-01-01 00:00:00,000 INFO    "
    assert as_terminal(f"a{harm}b\n")
    assert as_one_line(f"a{harm}b\n")
    assert as_text_log(f"{record}a{harm}b\n")
    assert as_json(json.dumps({"x": [f"a{harm}b"]}) + "\n")  # in ASCII: it is found once it is read
    assert as_json(json.dumps({f"a{harm}b": 1}, ensure_ascii=False) + "\n")
    reference = f"&#{ord(harm)};"
    assert as_xml(f"<a><b c='{reference}'/></a>")
    assert as_xml(f"<a>{harm}</a>")


def test_the_judge_finds_lines_that_a_peer_made() -> None:
    record = "2026-01-01 00:00:00,000 INFO    a"
    assert as_text_log(f"{record}\n  more\n") == []
    assert as_text_log(f"{record}\nforged\n") == ["no record: 'forged'"]
    assert as_json('{"a": "b"}\n{"a": "c"}\n') == []
    assert as_json('{"a": "b\\nforged"}\n') == ["control 000D"]
    assert as_json('{"a": "b\nforged"}\n')
    assert as_one_line("a\n") == []
    assert as_one_line("a\nforged\n") == ["not one line"]
    assert as_xml("<a>b</a>") == []
    assert as_xml("<a>b")


def test_the_judge_finds_what_is_missing() -> None:
    assert not holds("nothing", SHOWN, as_terminal)
    assert not holds('{"a": "b"}\n', SHOWN, as_json)
    assert not holds("<a>b</a>", SHOWN, as_xml)


def test_a_certificate_is_named_by_its_fingerprint_too(ground: Ground) -> None:
    certificate = of_pem((ground.root / "both.pem").read_bytes().partition(b"-----END PRIVATE KEY-----\n")[2])
    assert fingerprint(certificate) in ground.logs["text"]
