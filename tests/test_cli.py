"""The command line as users meet it: real processes in a folder of their own."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

import pytest

from minipacs import Peer, PeerTable, VerificationSCP, __version__, log
from minipacs.cli import main, serve
from minipacs.reload import LivePeerTable, Reload
from minipacs.wire.verification import request

from .peers.node import MINIPACS, environment
from .peers.ports import free_port, has_ipv6
from .peers.process import Child, running, wait_until
from .wire.exchange import RELEASE_RP, RELEASE_RQ, echo

SHIPPED = Path(__file__).parents[1] / "conf"

PATIENCE = 5.0
LOCAL_TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"
UTC = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"

ASSOCIATE_AC, ABORT = 0x02, 0x07

PLAIN: dict[str, object] = {"tls": False, "tls_name": None, "certificate": []}

Done = subprocess.CompletedProcess[str]


def minipacs(folder: Path, *arguments: str, **variables: str) -> Done:
    """Run a command to its end."""
    return subprocess.run(
        [*MINIPACS, *arguments],
        cwd=folder,
        env=environment() | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def assert_fails(done: Done, code: int, *lines: str) -> None:
    """It says exactly that on standard error, and nothing on standard output."""
    assert (done.stdout, done.stderr.splitlines(), done.returncode) == ("", list(lines), code)


def save(folder: Path, text: str, name: str = "peers.toml") -> Path:
    path = folder / "conf" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def text_of(*names: str) -> str:
    return "".join(f'[peers.{name}]\nae_title = "{name.upper()}"\n' for name in names)


# --- help ------------------------------------------------------------------------------------------------------------

COMMANDS = [
    "",
    "serve",
    "status",
    "echo",
    "roundtrip",
    "explain",
    "peers",
    "peers check",
    "peers add",
    "peers remove",
    "orthanc",
    "orthanc snippet",
    "orthanc register",
    "orthanc unregister",
    "orthanc check",
    "orthanc import",
    "tls",
    "tls init",
    "init",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_shows_examples(command: str, tmp_path: Path) -> None:
    done = minipacs(tmp_path, *command.split(), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(rf"Examples?:\s+minipacs {command}", done.stdout)
    assert "\x1b" not in done.stdout


def test_help_has_a_short_name(tmp_path: Path) -> None:
    assert minipacs(tmp_path, "-h").stdout == minipacs(tmp_path, "--help").stdout


def test_the_help_names_every_command(tmp_path: Path) -> None:
    text = minipacs(tmp_path, "--help").stdout
    assert re.findall(r"^  (\w+)  ", text.split("Commands:")[1].split("Examples:")[0], re.MULTILINE) == [
        "serve",
        "status",
        "echo",
        "store",
        "find",
        "move",
        "get",
        "roundtrip",
        "explain",
        "peers",
        "orthanc",
        "storage",
        "tls",
        "init",
    ]


def test_without_a_command_the_help_is_an_error(tmp_path: Path) -> None:
    done = minipacs(tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Examples:" in done.stderr


def test_the_version_is_told(tmp_path: Path) -> None:
    done = minipacs(tmp_path, "--version")
    assert (done.stdout, done.stderr, done.returncode) == (f"minipacs {__version__}\n", "", 0)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("ech orthanc", "No such command 'ech'. Did you mean 'echo'?"),
        ("serv", "No such command 'serv'. Did you mean 'serve'?"),
        ("peers ad ct1 CT1", "No such command 'ad'. Did you mean 'add'?"),
        ("serve --prot 104", "No such option '--prot'."),
        ("serve --log-format xml", "Invalid value for '--log-format': 'xml' is not one of 'text', 'json'."),
        ("serve more", "Got unexpected extra argument (more)"),
        ("serve --port x", "Invalid value for '--port': must be a number, not x"),
        ("serve --port 65536", "Invalid value for '--port': must be 0 to 65535, not 65536"),
        ("serve --host a..b", "Invalid value for '--host': must be an IP address or a host name, not a..b"),
        (
            "serve --ae-title SEVENTEEN_LETTERS",
            "Invalid value for '--ae-title': must be at most 16 characters, not SEVENTEEN_LETTERS",
        ),
        (r"serve --ae-title A\B", r"Invalid value for '--ae-title': must not contain a backslash, not A\\B"),
        ("echo", "no target: name a peer of the table, TITLE@HOST:PORT, or --all"),
        ("echo --all orthanc", "targets or --all, not both"),
        ("echo A@h", 'target must be TITLE@HOST:PORT, not "A@h"'),
        ("echo A@::1:104", 'target must have its IPv6 address in brackets, not "A@::1:104"'),
        ("echo A@h:0", "port: must be 1 to 65535, not 0"),
        ("echo A@h:1 --count 0", "Invalid value for '--count': 0 is not in the range x>=1."),
        ("echo A@h:1 --interval -1", "Invalid value for '--interval': -1.0 is not in the range x>=0."),
        ("echo A@h:1 --interval inf", "Invalid value for '--interval': must be at most 86400 seconds, not inf"),
        ("echo A@h:1 --wait nan", "Invalid value for '--wait': must be at most 86400 seconds, not nan"),
        ("echo A@h:1 --timeout 86401", "Invalid value for '--timeout': must be at most 86400 seconds, not 86401"),
        ("echo A@h:1 --timeout 0", "Invalid value for '--timeout': 0.0 is not in the range x>0."),
        ("echo A@h:1 --wait x", "Invalid value for '--wait': 'x' is not a valid float"),
        ("echo A@h:1 --calling é", "Invalid value for '--calling': must be printable ASCII"),
        ("peers add", "Missing argument 'NAME'."),
        ("peers add ct1", "Missing argument 'TITLE[@HOST:PORT]'."),
        ("peers add ct1 CT1@h", 'target must be TITLE@HOST:PORT, not "CT1@h"'),
        ("peers add @ CT1", "Invalid value for 'NAME': must be a name of 1 to 64 letters"),
        ("peers add ct1 CT1 --allow-from 10.1.2.3/24", "Invalid value for '--allow-from': must be an IP address or"),
    ],
)
def test_a_usage_error_says_what_is_wrong(arguments: str, error: str, tmp_path: Path) -> None:
    done = minipacs(tmp_path, *arguments.split())
    assert (done.stdout, done.returncode) == ("", 2)
    assert done.stderr.startswith("Usage: ")
    assert done.stderr.splitlines()[-1].startswith(f"Error: {error}")


def test_the_nearest_option_is_suggested(tmp_path: Path) -> None:
    assert "'--port'" in minipacs(tmp_path, "serve", "--prot", "104").stderr


def test_an_option_without_its_value_is_a_usage_error(tmp_path: Path) -> None:
    assert_fails(minipacs(tmp_path, "serve", "--port"), 2, "Error: Option '--port' requires an argument.")


def test_what_a_user_typed_is_escaped(tmp_path: Path) -> None:
    for arguments in (["echo", "\x1b[2J@h"], ["echo", "\x1b[2J"], ["serve", "--host", "\x1b[2J"]):
        done = minipacs(tmp_path, *arguments)
        assert done.returncode == 2
        assert "\x1b" not in done.stderr


# --- settings --------------------------------------------------------------------------------------------------------

NOT_OURS, NOR_THIS = "198.51.100.1", "203.0.113.1"  # addresses that no machine has (RFC 5737)


def cannot_listen(host: str, port: int) -> str:
    return (
        f"minipacs: cannot listen on {host} port {port}: that is not an address of this machine; "
        "choose one with --host (0.0.0.0: all of them)"
    )


def settings_text(port: int) -> str:
    return f'[node]\nhost = "{NOT_OURS}"\nport = {port}\n'


def test_the_settings_are_found_by_option_then_environment_then_working_folder(tmp_path: Path) -> None:
    save(tmp_path, settings_text(1001), "minipacs.toml")
    (tmp_path / "environment.toml").write_text(settings_text(1002))
    (tmp_path / "option.toml").write_text(settings_text(1003))
    assert_fails(minipacs(tmp_path, "serve"), 3, cannot_listen(NOT_OURS, 1001))
    environment = {"MINIPACS_CONFIG": "environment.toml"}
    assert_fails(minipacs(tmp_path, "serve", **environment), 3, cannot_listen(NOT_OURS, 1002))
    done = minipacs(tmp_path, "serve", "--config", "option.toml", **environment)
    assert_fails(done, 3, cannot_listen(NOT_OURS, 1003))


def test_options_override_the_settings(tmp_path: Path) -> None:
    save(tmp_path, settings_text(1001), "minipacs.toml")
    assert_fails(minipacs(tmp_path, "serve", "--port", "1004"), 3, cannot_listen(NOT_OURS, 1004))
    assert_fails(minipacs(tmp_path, "serve", "--host", NOR_THIS), 3, cannot_listen(NOR_THIS, 1001))


@pytest.mark.parametrize(
    ("command", "table"),
    [
        ("peers", "conf/peers.toml"),
        ("peers --config other/minipacs.toml", "other/from other.toml"),
        ("peers --peers option.toml", "option.toml"),
        ("peers --config other/minipacs.toml --peers option.toml", "option.toml"),
        ("peers --config other/minipacs.toml check", "other/from other.toml"),
        ("peers check --config other/minipacs.toml", "other/from other.toml"),
        ("peers remove x --peers option.toml", "option.toml"),
        ("peers --peers other.toml remove x --peers option.toml", "option.toml"),
        ("echo x --config other/minipacs.toml", "other/from other.toml"),
        ("serve --peers option.toml --config other/minipacs.toml", "option.toml"),
    ],
)
def test_the_peer_table_is_beside_the_settings_unless_named(command: str, table: str, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "minipacs.toml").write_text('[node]\npeers = "from other.toml"\n')
    (tmp_path / table).parent.mkdir(exist_ok=True)
    (tmp_path / table).write_text("peers = 1\n")
    assert_fails(minipacs(tmp_path, *command.split()), 2, f"{table}: peers: must be a table, not 1")


@pytest.mark.parametrize("command", ["serve", "echo", "peers", "peers check"])
def test_faults_of_the_settings_are_all_told(command: str, tmp_path: Path) -> None:
    save(tmp_path, '[node]\nport = -1\nhots = "h"\n', "minipacs.toml")
    assert_fails(
        minipacs(tmp_path, *command.split()),
        2,
        "conf/minipacs.toml: node.port: must be 0 to 65535, not -1",
        'conf/minipacs.toml: node.hots: must be a known key (nearest: host), not "hots"',
    )


@pytest.mark.parametrize("where", ["option", "environment"])
def test_a_settings_file_that_was_named_has_to_be_there(where: str, tmp_path: Path) -> None:
    save(tmp_path, "", "minipacs.toml")
    option = ["--config", "no.toml"] if where == "option" else []
    variables = {"MINIPACS_CONFIG": "no.toml"} if where == "environment" else {}
    done = minipacs(tmp_path, "peers", *option, **variables)
    assert_fails(done, 2, 'no.toml: file: must be readable, not "No such file or directory"')


# --- init ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["conf", "etc/minipacs"])
def test_init_writes_the_shipped_files(folder: str, tmp_path: Path) -> None:
    done = minipacs(tmp_path, "init", *([] if folder == "conf" else [folder]))
    assert (done.stdout, done.stderr, done.returncode) == (
        f"wrote {folder}/minipacs.toml\nwrote {folder}/peers.toml\n",
        "",
        0,
    )
    for name in ("minipacs.toml", "peers.toml"):
        assert (tmp_path / folder / name).read_bytes() == (SHIPPED / name).read_bytes()
    assert len(list((tmp_path / folder).iterdir())) == 2


@pytest.mark.parametrize(
    ("there", "names"),
    [
        (["peers.toml"], "conf/peers.toml"),
        (["minipacs.toml"], "conf/minipacs.toml"),
        (["minipacs.toml", "peers.toml"], "conf/minipacs.toml and conf/peers.toml"),
    ],
)
def test_init_overwrites_nothing(there: list[str], names: str, tmp_path: Path) -> None:
    for name in there:
        save(tmp_path, "# mine\n", name)
    assert_fails(minipacs(tmp_path, "init"), 2, f"minipacs: {names}: there already; nothing was written")
    assert {path.name: path.read_text() for path in (tmp_path / "conf").iterdir()} == dict.fromkeys(there, "# mine\n")


@pytest.mark.parametrize(
    ("folder", "reason"),
    [("file", "File exists"), ("file/conf", "Not a directory"), ("/proc/x", "No such file or directory")],
)
def test_init_says_where_it_cannot_write(folder: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert_fails(minipacs(tmp_path, "init", folder), 2, f"minipacs: cannot write {folder}/minipacs.toml: {reason}")


# --- peers -----------------------------------------------------------------------------------------------------------

TABLE = """\
[peers.orthanc]
ae_title = "ORTHANC"
host = "127.0.0.1"
port = 4242

[peers.six]
ae_title = "SIX"
host = "::1"
port = 104
allow_from = ["::1", "fd00::/8"]

[peers.ws]
ae_title = "WS"
"""


@pytest.mark.parametrize("command", [[], ["--peers", "conf/peers.toml"]])
def test_a_bare_peers_lists_the_table(command: list[str], tmp_path: Path) -> None:
    save(tmp_path, TABLE)
    done = minipacs(tmp_path, "peers", *command)
    assert done.stdout == ("orthanc  ORTHANC@127.0.0.1:4242\nsix      SIX@[::1]:104  from ::1, fd00::/8\nws       WS\n")
    assert (done.stderr, done.returncode) == ("", 0)


def test_the_list_is_to_be_had_as_json(tmp_path: Path) -> None:
    save(tmp_path, TABLE)
    done = minipacs(tmp_path, "peers", "--json")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"name": "orthanc", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": 4242, "allow_from": []} | PLAIN,
        {"name": "six", "ae_title": "SIX", "host": "::1", "port": 104, "allow_from": ["::1", "fd00::/8"]} | PLAIN,
        {"name": "ws", "ae_title": "WS", "host": None, "port": None, "allow_from": []} | PLAIN,
    ]


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_an_empty_list_says_so_beside_the_output(option: list[str], tmp_path: Path) -> None:
    save(tmp_path, "")
    done = minipacs(tmp_path, "peers", *option)
    assert (done.stdout, done.stderr, done.returncode) == (
        "",
        "conf/peers.toml has no peers: nobody is admitted\n",
        0,
    )


@pytest.mark.parametrize(("text", "count"), [("", "0 peers"), (text_of("a"), "1 peer"), (TABLE, "3 peers")])
def test_a_valid_file_is_told_so(text: str, count: str, tmp_path: Path) -> None:
    save(tmp_path, text)
    done = minipacs(tmp_path, "peers", "check")
    assert (done.stdout, done.stderr, done.returncode) == (f"conf/peers.toml: valid, {count}\n", "", 0)


def test_a_file_with_faults_is_told_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "faulty.toml").write_text(
        '[peers.a]\nae_title = ""\nport = 99999\n[peers.b]\nae_title = "B"\nhots = 1\n'
    )
    assert_fails(
        minipacs(tmp_path, "peers", "check", "faulty.toml"),
        2,
        "faulty.toml: peers.a: must have host beside port, or neither, not a table",
        'faulty.toml: peers.a.ae_title: must not be empty, not ""',
        "faulty.toml: peers.a.port: must be 1 to 65535, not 99999",
        'faulty.toml: peers.b.hots: must be a known key (nearest: host), not "hots"',
    )


def test_a_peer_is_added_and_removed(tmp_path: Path) -> None:
    before = save(tmp_path, f"# ours\n{TABLE}").read_text()
    done = minipacs(
        tmp_path, "peers", "add", "ct1", "CT 1@10.0.0.5:104", "--allow-from", "10.0.0.5", "--allow-from", "::/0"
    )
    assert (done.stdout, done.stderr, done.returncode) == ("conf/peers.toml: added ct1, CT 1@10.0.0.5:104\n", "", 0)
    added = Peer("ct1", "CT 1", "10.0.0.5", 104, ("10.0.0.5", "::/0"))  # type: ignore[arg-type]
    assert PeerTable.read(tmp_path / "conf" / "peers.toml")["ct1"] == added
    done = minipacs(tmp_path, "peers", "remove", "ct1")
    assert (done.stdout, done.stderr, done.returncode) == ("conf/peers.toml: removed ct1\n", "", 0)
    assert (tmp_path / "conf" / "peers.toml").read_text() == before


def test_the_first_peer_makes_the_file(tmp_path: Path) -> None:
    assert minipacs(tmp_path, "peers", "add", "ct1", "CT1").returncode == 0
    assert (tmp_path / "conf" / "peers.toml").read_text() == text_of("ct1")


@pytest.mark.parametrize("order", ["before", "after"])
def test_options_may_stand_before_the_subcommand_too(order: str, tmp_path: Path) -> None:
    save(tmp_path, text_of("a"))
    option = ["--peers", "other.toml"]
    command = ["peers", *option, "add"] if order == "before" else ["peers", "add", *option]
    assert minipacs(tmp_path, *command, "ct1", "CT1").stdout == "other.toml: added ct1, CT1\n"
    assert (tmp_path / "conf" / "peers.toml").read_text() == text_of("a")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("add orthanc X", "conf/peers.toml: peers.orthanc: must be a name of its own, not one that is in the table"),
        (
            "add x ORTHANC",
            'conf/peers.toml: peers.x.ae_title: must be unlike the title of peers.orthanc, not "ORTHANC"',
        ),
        ("remove orthnac", "minipacs: no peer is called orthnac in conf/peers.toml; did you mean orthanc?"),
        ("remove mr2", "minipacs: no peer is called mr2 in conf/peers.toml; it has orthanc, six, ws"),
    ],
)
def test_what_cannot_be_added_or_removed_is_refused(arguments: str, error: str, tmp_path: Path) -> None:
    path = save(tmp_path, TABLE)
    assert_fails(minipacs(tmp_path, "peers", *arguments.split()), 2, error)
    assert path.read_text() == TABLE


def test_a_table_that_cannot_be_edited_by_program_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 'peers = { a = { ae_title = "A" } }\n')
    assert_fails(
        minipacs(tmp_path, "peers", "add", "b", "B"),
        2,
        "conf/peers.toml: file: must be plain enough to be edited by program, not so: edit it by hand",
    )


# --- echo ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scp() -> Iterator[VerificationSCP]:
    """A node that knows MINIPACS and nobody else."""
    with VerificationSCP([Peer("us", "MINIPACS")], ae_title="NODE", port=0) as node:
        yield node


@pytest.fixture
def folder(tmp_path: Path, scp: VerificationSCP) -> Path:
    """With a table that knows that node, one that does not answer, and one that is not called."""
    nobody = free_port()
    save(
        tmp_path,
        f'[peers.node]\nae_title = "NODE"\nhost = "127.0.0.1"\nport = {scp.port}\n'
        f'[peers.nobody]\nae_title = "NOBODY"\nhost = "127.0.0.1"\nport = {nobody}\n'
        '[peers.ws]\nae_title = "WS"\n',
    )
    return tmp_path


TIMES = r"\d+\.\d ms \(connect \d+\.\d, associate \d+\.\d, echo \d+\.\d, release \d+\.\d\)"
KEYS = (
    "peer ae_title host port outcome status reason fix observations "
    "connect_ms associate_ms echo_ms release_ms total_ms echoes"
)


def test_an_echo_is_one_line_and_exit_code_0(folder: Path, scp: VerificationSCP) -> None:
    done = minipacs(folder, "echo", "node")
    assert re.fullmatch(rf"node  NODE@127\.0\.0\.1:{scp.port}  success  {TIMES}\n", done.stdout)
    assert (done.stderr, done.returncode) == ("", 0)


def test_any_ae_can_be_echoed_without_a_table(tmp_path: Path, scp: VerificationSCP) -> None:
    done = minipacs(tmp_path, "echo", f"NODE@127.0.0.1:{scp.port}")
    assert re.fullmatch(rf"NODE@127\.0\.0\.1:{scp.port}  success  {TIMES}\n", done.stdout)
    assert done.returncode == 0


def test_a_failure_is_reason_and_fix_and_exit_code_1(folder: Path) -> None:
    done = minipacs(folder, "echo", "nobody")
    port = PeerTable.read(folder / "conf" / "peers.toml")["nobody"].port
    first, second = done.stdout.splitlines()
    assert first == (
        f"nobody  NOBODY@127.0.0.1:{port}  unreachable  nothing listens on 127.0.0.1 port {port}: connection refused "
        "[unreachable.refused]"
    )
    assert second.startswith("fix: ")
    assert (done.stderr, done.returncode) == ("", 1)


def test_many_targets_are_told_in_order_in_columns(folder: Path) -> None:
    done = minipacs(folder, "echo", "nobody", "node", "node")
    lines = [line for line in done.stdout.splitlines() if not line.startswith("fix: ")]
    assert [line.split()[0] for line in lines] == ["nobody", "node", "node"]
    assert len({re.search("success|unreachable", line).start() for line in lines}) == 1  # type: ignore[union-attr]
    assert done.returncode == 1


def test_all_are_those_that_have_a_host(folder: Path) -> None:
    done = minipacs(folder, "echo", "--all", "--json")
    assert [json.loads(line)["peer"] for line in done.stdout.splitlines()] == ["node", "nobody"]
    assert done.returncode == 1


def test_json_is_one_object_a_line(folder: Path) -> None:
    done = minipacs(folder, "echo", "node", "nobody", "--json")
    success, failure = (json.loads(line) for line in done.stdout.splitlines())
    assert list(success) == list(failure) == KEYS.split()
    assert (success["outcome"], success["status"], success["fix"]) == ("success", "0x0000", None)
    assert (failure["outcome"], failure["status"], failure["echo_ms"]) == ("unreachable", None, None)


def test_many_echoes_are_told_with_their_loss(folder: Path) -> None:
    done = minipacs(folder, "echo", "node", "--count", "3")
    assert re.search(
        r"; 3 of 3 answered, 0% lost, \d+\.\d\d / \d+\.\d\d / \d+\.\d\d ms \(minimum / median / maximum\)\n",
        done.stdout,
    )
    assert json.loads(minipacs(folder, "echo", "node", "--count", "3", "--json").stdout)["echoes"] == 3


@pytest.mark.parametrize("option", ["--calling", "--ae-title"])
def test_we_call_as_whom_we_are_told(option: str, folder: Path, scp: VerificationSCP) -> None:
    done = minipacs(folder, "echo", "node", option, "STRANGER")
    assert done.returncode == 1
    assert scp.associations[-1].calling_ae_title == "STRANGER"
    assert '"stranger": ["STRANGER", "127.0.0.1", 11112]' in done.stdout


def test_the_advice_names_the_port_of_our_settings(folder: Path) -> None:
    done = minipacs(folder, "echo", "node", "--calling", "STRANGER", "--port", "2104")
    assert '"stranger": ["STRANGER", "127.0.0.1", 2104]' in done.stdout


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("nod", "no peer is called nod in conf/peers.toml; did you mean node?"),
        ("xyz", "no peer is called xyz in conf/peers.toml; it has nobody, node, ws"),
        ("ws", "peer ws has no host and port in conf/peers.toml: it only calls us"),
        ("node ws", "peer ws has no host and port in conf/peers.toml: it only calls us"),
    ],
)
def test_a_name_that_cannot_be_called_is_refused(arguments: str, error: str, folder: Path) -> None:
    assert_fails(minipacs(folder, "echo", *arguments.split()), 2, f"minipacs: {error}")


@pytest.mark.parametrize("text", [None, "", text_of("ws")])
def test_without_peers_a_name_or_all_says_how_to_begin(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        save(tmp_path, text)
    how = "it has ws" if text else ("it has no peers: minipacs peers add NAME TITLE@HOST:PORT, or call TITLE@HOST:PORT")
    assert_fails(minipacs(tmp_path, "echo", "x"), 2, f"minipacs: no peer is called x in conf/peers.toml; {how}")
    done = minipacs(tmp_path, "echo", "--all")
    assert_fails(done, 2, "minipacs: conf/peers.toml has no peer with a host and a port")


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """A shell starts what runs in its background deaf to Ctrl-C, and children inherit that."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize("targets", [1, 3])
def test_ctrl_c_ends_an_echo_at_once_with_130(targets: int, tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        silent.settimeout(PATIENCE)
        target = f"SILENT@127.0.0.1:{silent.getsockname()[1]}"
        calling = Child([*MINIPACS, "echo", *[target] * targets], tmp_path / "log", environment(), tmp_path)
        try:
            connections = [silent.accept()[0] for _ in range(targets)]
            os.kill(calling.pid, signal.SIGINT)
            assert calling.wait(within=2) == 130
            assert calling.log.strip() == ""
        finally:
            calling.end()
        for connection in connections:
            connection.close()


# --- output that nobody takes ----------------------------------------------------------------------------------------


def shell(folder: Path, command: str) -> Done:
    """A line of shell, in which minipacs is this one."""
    script = f'minipacs() {{ {" ".join(MINIPACS)} "$@"; }}; {command}'
    return subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment(), capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("command", ["peers", "peers --json", "--help"])
def test_a_reader_that_goes_away_leaves_no_traceback(command: str, tmp_path: Path) -> None:
    save(tmp_path, "".join(text_of(f"p{n}") for n in range(3000)))
    done = shell(tmp_path, f"minipacs {command} | head -1")
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_an_echo_succeeds_where_standard_error_is_closed(folder: Path) -> None:
    done = shell(folder, "minipacs echo node 2>&-")
    assert (done.stdout.split()[2], done.returncode) == ("success", 0)


def test_the_node_runs_where_standard_error_is_closed(tmp_path: Path) -> None:
    save(tmp_path, text_of("a"))
    command = ["/bin/sh", "-c", 'exec "$@" 2>&-', "sh", *MINIPACS, "serve", "--port", "0"]
    with running(
        command, log=tmp_path / "log", ready=lambda child: "\n" in child.log, env=environment(), cwd=tmp_path
    ) as node:
        os.kill(node.pid, signal.SIGTERM)
        assert node.wait(within=2) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("command", ["peers", "--help", "serve --port 0"])
def test_a_full_disk_is_one_line_and_no_success(command: str, tmp_path: Path) -> None:
    save(tmp_path, text_of("a"))
    done = shell(tmp_path, f"minipacs {command} > /dev/full")
    assert_fails(done, 1, "minipacs: [Errno 28] No space left on device")


# --- serve -----------------------------------------------------------------------------------------------------------


class Node:
    """A running `minipacs serve`; its output apart from its log."""

    def __init__(self, child: Child, errors: Path) -> None:
        self._child = child
        self._errors = errors
        self.output = child.log
        self.port = int(self.output.split(",")[0].rpartition(":")[2])

    @property
    def log(self) -> list[str]:
        return self._errors.read_text().splitlines()

    def events(self, event: str) -> list[dict[str, Any]]:
        lines = (json.loads(line) for line in self.log)
        return [line for line in lines if line["event"] == event]

    def wait_for(self, pattern: str) -> str:
        """The first line of the log in which that is found."""
        wait_until(lambda: any(re.search(pattern, line) for line in self.log), within=PATIENCE, what=pattern)
        return next(line for line in self.log if re.search(pattern, line))

    def send(self, number: signal.Signals) -> None:
        os.kill(self._child.pid, number)

    def stop(self, number: signal.Signals = signal.SIGTERM, within: float = 2.0) -> int:
        self.send(number)
        return self._child.wait(within)


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Node]:
    """Run the node on a port of the system's choice, from when it says that it listens."""
    errors = folder / "errors"
    command = ["/bin/sh", "-c", 'exec "$@" 2>"$0"', str(errors), *MINIPACS, "serve", "--port", "0", *options]
    with running(
        command, log=folder / "output", ready=lambda child: "\n" in child.log, env=environment(), cwd=folder
    ) as child:
        yield Node(child, errors)


@contextmanager
def connected(node: Node, host: str = "127.0.0.1") -> Iterator[socket.socket]:
    with socket.create_connection((host, node.port), timeout=PATIENCE) as connection:
        yield connection


@contextmanager
def associated(node: Node, calling: str, called: str = "MINIPACS") -> Iterator[socket.socket]:
    """An association that is open."""
    with connected(node) as connection:
        assert asked(connection, calling, called) == ASSOCIATE_AC
        yield connection


def asked(connection: socket.socket, calling: str, called: str = "MINIPACS") -> int:
    """The type of the PDU that answers an A-ASSOCIATE-RQ."""
    connection.sendall(request(calling, called).encode())
    return received(connection)[0]


def received(connection: socket.socket) -> bytes:
    """The next PDU, or nothing at the end."""
    header = exactly(connection, 6)
    return header + exactly(connection, int.from_bytes(header[2:], "big")) if header else b""


def exactly(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length and (chunk := connection.recv(length - len(data))):
        data += chunk
    return data


def one_echo(node: Node, calling: str) -> None:
    with associated(node, calling) as connection:
        connection.sendall(echo() + RELEASE_RQ)
        assert received(connection)
        assert received(connection) == RELEASE_RP


@pytest.mark.parametrize(
    ("options", "text", "line"),
    [
        ([], text_of("a"), "minipacs: MINIPACS listening on 127.0.0.1:{port}, 1 peer from conf/peers.toml\n"),
        ([], text_of("a", "b"), "minipacs: MINIPACS listening on 127.0.0.1:{port}, 2 peers from conf/peers.toml\n"),
        ([], "", "minipacs: MINIPACS listening on 127.0.0.1:{port}, 0 peers from conf/peers.toml\n"),
        (
            ["--ae-title", "TEST 1", "--host", "localhost", "--peers", "conf/../conf/peers.toml"],
            text_of("a"),
            "minipacs: TEST 1 listening on localhost:{port}, 1 peer from conf/../conf/peers.toml\n",
        ),
        (
            ["--host", "0.0.0.0", "--log-format", "json"],
            text_of("a"),
            "minipacs: MINIPACS listening on 0.0.0.0:{port}, 1 peer from conf/peers.toml\n",
        ),
    ],
)
def test_the_start_line_tells_who_listens_where_for_whom(
    options: list[str], text: str, line: str, tmp_path: Path
) -> None:
    save(tmp_path, text)
    with serving(tmp_path, *options) as node:
        assert node.output == line.format(port=node.port)
        with connected(node):
            assert node.port not in {0, 11112}


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6")
def test_an_ipv6_address_is_told_in_brackets(tmp_path: Path) -> None:
    save(tmp_path, text_of("a"))
    with serving(tmp_path, "--host", "::1") as node, connected(node, "::1"):
        assert node.output == f"minipacs: MINIPACS listening on [::1]:{node.port}, 1 peer from conf/peers.toml\n"


def test_who_reads_the_start_line_from_a_pipe_can_connect_at_once(tmp_path: Path) -> None:
    save(tmp_path, text_of("a"))
    node = subprocess.Popen(
        [*MINIPACS, "serve", "--port", "0"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with node:
        try:
            assert node.stdout is not None
            port = int(node.stdout.readline().split(",")[0].rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
                assert asked(connection, "A") == ASSOCIATE_AC
        finally:
            node.kill()


def test_a_port_in_use_is_exit_code_3(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        assert_fails(
            minipacs(tmp_path, "serve", "--port", str(port)),
            3,
            f"minipacs: cannot listen on 127.0.0.1 port {port}: the port is in use; "
            "stop what listens there, or choose another with --port",
        )


def test_a_name_that_does_not_resolve_is_exit_code_3(tmp_path: Path) -> None:
    assert_fails(
        minipacs(tmp_path, "serve", "--host", "no.such.invalid", "--port", "0"),
        3,
        "minipacs: cannot listen on no.such.invalid port 0: the name does not resolve; "
        "choose an address of this machine with --host",
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may listen there")
def test_a_port_that_needs_privileges_is_exit_code_3(tmp_path: Path) -> None:
    done = minipacs(tmp_path, "serve", "--port", "1")
    assert done.returncode == 3
    assert "port 1: ports below 1024 need privileges; choose another with --port" in done.stderr


@pytest.mark.parametrize("missing", ["file", "folder", "peers in it"])
def test_without_peers_the_node_starts_and_says_how_to_begin(missing: str, tmp_path: Path) -> None:
    if missing != "folder":
        (tmp_path / "conf").mkdir()
    if missing == "peers in it":
        save(tmp_path, "# nobody yet\n")
    with serving(tmp_path) as node:
        assert node.output.endswith(", 0 peers from conf/peers.toml\n")
        add = "minipacs peers add NAME TITLE@HOST:PORT"
        why = f"has no peers; begin with: {add}"
        if missing != "peers in it":
            why = f"is not there; begin with: minipacs init, or {add}"
        line = node.wait_for("nobody is admitted")
        assert line.endswith(f"nobody is admitted: conf/peers.toml {why}")
        assert minipacs(tmp_path, "peers", "add", "ct1", "CT1").returncode == 0
        node.wait_for(r"INFO    peers: \+ct1 \(1 peer\)$")
        one_echo(node, "CT1")


def test_init_while_the_node_runs_is_taken_up(tmp_path: Path) -> None:
    with serving(tmp_path) as node:
        assert minipacs(tmp_path, "init").returncode == 0
        node.wait_for(r"INFO    peers: \+orthanc \(1 peer\)$")
        one_echo(node, "ORTHANC")


def test_a_table_with_faults_does_not_start_and_is_told_all_of_them(tmp_path: Path) -> None:
    save(tmp_path, '[peers.a]\nae_title = ""\nport = 99999\n')
    assert_fails(
        minipacs(tmp_path, "serve", "--port", "0"),
        2,
        "conf/peers.toml: peers.a: must have host beside port, or neither, not a table",
        'conf/peers.toml: peers.a.ae_title: must not be empty, not ""',
        "conf/peers.toml: peers.a.port: must be 1 to 65535, not 99999",
    )


def test_a_folder_instead_of_a_table_does_not_start(tmp_path: Path) -> None:
    fault = "conf: file: must be a regular file, not a folder or device"
    (tmp_path / "conf").mkdir()
    assert_fails(minipacs(tmp_path, "serve", "--port", "0", "--peers", "conf"), 2, fault)


class Hasty(LivePeerTable):
    """The file changes as soon as it is followed."""

    def __init__(self, path: Path, told: Callable[[Reload], None]) -> None:
        super().__init__(path, told)
        self._tell = told

    def __enter__(self) -> Self:
        self._tell(Reload(source="x"))
        return super().__enter__()


@pytest.fixture
def signals_come_back() -> Iterator[None]:
    """At its end a node ignores them, for the rest of its process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    hook = sys.unraisablehook
    yield
    sys.unraisablehook = hook
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals_come_back")
def test_a_change_at_the_very_start_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(serve, "LivePeerTable", Hasty)
    monkeypatch.setattr(log, "configure", lambda *_, **__: None)
    monkeypatch.setattr(sys, "argv", ["minipacs", "serve", "--host", NOT_OURS])
    with pytest.raises(SystemExit) as raised:
        main()
    assert raised.value.code == 3


# --- stopping it -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("state", ["idle", "connected", "half a request", "associated"])
def test_a_signal_stops_the_node_within_two_seconds(number: signal.Signals, state: str, tmp_path: Path) -> None:
    save(tmp_path, text_of("a"))
    with serving(tmp_path) as node, connected(node) as connection:
        if state == "half a request":
            connection.sendall(request("A", "MINIPACS").encode()[:80])
        elif state == "associated":
            assert asked(connection, "A") == ASSOCIATE_AC
        elif state == "idle":
            connection.close()
        assert node.stop(number) == 0
        assert re.fullmatch(rf"{LOCAL_TIME} INFO    stopped", node.log[-1])
        if state == "associated":
            assert received(connection)[:1] == bytes([ABORT])


def test_after_the_stop_the_port_is_free(tmp_path: Path) -> None:
    save(tmp_path, text_of("a"))
    with serving(tmp_path) as node:
        one_echo(node, "A")
        assert node.stop() == 0
    with serving(tmp_path, "--port", str(node.port)) as again:
        assert again.port == node.port


# --- the log ---------------------------------------------------------------------------------------------------------

ASSOCIATION = (
    "time level event calling_ae_title called_ae_title address peer outcome echoes reject reason fix observations "
    "duration_ms implementation_version"
)


def test_json_lines_carry_what_each_event_has(tmp_path: Path) -> None:
    path = save(tmp_path, text_of("a"))
    with serving(tmp_path, "--log-format", "json") as node:
        one_echo(node, "A")
        node.wait_for('"event":"association"')
        with connected(node) as connection:
            asked(connection, "\x1b[2J")
        node.wait_for('"rejected"')
        path.write_text('[peers.a]\nae_title = ""\n')
        node.wait_for("peers-invalid")
        path.write_text(text_of("b", "c"))
        node.wait_for("peers-reloaded")
        assert node.stop() == 0
    lines = [json.loads(line) for line in node.log]
    assert all(re.fullmatch(UTC, line.pop("time")) for line in lines)
    listening, released, rejected, invalid, reloaded, stopped = lines
    assert listening == {
        "level": "info",
        "event": "listening",
        "ae_title": "MINIPACS",
        "host": "127.0.0.1",
        "port": node.port,
        "count": 1,
    }
    assert ["time", *released] == ["time", *rejected] == ASSOCIATION.split()
    assert released.pop("duration_ms") > 0
    assert released == {
        "level": "info",
        "event": "association",
        "calling_ae_title": "A",
        "called_ae_title": "MINIPACS",
        "address": "127.0.0.1",
        "peer": "a",
        "outcome": "released",
        "echoes": 1,
        "reject": None,
        "reason": None,
        "fix": None,
        "observations": [],
        "implementation_version": f"MINIPACS_{__version__}",
    }
    assert (rejected["level"], rejected["outcome"], rejected["reject"]) == ("warning", "rejected", "1/1/3")
    assert (rejected["peer"], rejected["calling_ae_title"]) == (None, r"\x1b[2J")
    assert rejected["reason"]
    assert rejected["fix"]
    assert invalid == {
        "level": "error",
        "event": "peers-invalid",
        "errors": ['conf/peers.toml: peers.a.ae_title: must not be empty, not ""'],
    }
    assert reloaded == {
        "level": "info",
        "event": "peers-reloaded",
        "added": ["b", "c"],
        "removed": ["a"],
        "changed": [],
        "count": 2,
    }
    assert stopped == {"level": "info", "event": "stopped"}


def test_text_lines_say_the_same_without_colours(tmp_path: Path) -> None:
    path = save(tmp_path, text_of("a"))
    with serving(tmp_path) as node:
        one_echo(node, "A")
        node.wait_for("released")
        with connected(node) as connection:
            asked(connection, "\x1b[2J")
        node.wait_for("rejected")
        path.write_text('[peers.a]\nae_title = ""\n')
        node.wait_for("stays in force")
        path.write_text(text_of("b", "c"))
        node.wait_for(r"\+b")
        assert node.stop() == 0
    patterns = [
        r"INFO    a \(A@127\.0\.0\.1\) -> MINIPACS: released, 1 echo, \d+\.\d ms",
        r"WARNING \\x1b\[2J@127\.0\.0\.1 -> MINIPACS: rejected 1/1/3, \d+\.\d ms: "
        r"\\x1b\[2J cannot be in a peer table: .* \[admission\.unusable-ae-title\]; fix: .*",
        r"ERROR   peers: the last good table stays in force \(1 peer\): "
        r'conf/peers\.toml: peers\.a\.ae_title: must not be empty, not ""',
        r"INFO    peers: \+b \+c -a \(2 peers\)",
        "INFO    stopped",
    ]
    assert len(node.log) == len(patterns)
    for line, pattern in zip(node.log, patterns, strict=True):
        assert re.fullmatch(rf"{LOCAL_TIME} {pattern}", line)
        assert line.isascii()
        assert line.isprintable()


def test_debug_lines_come_when_asked_for(tmp_path: Path) -> None:
    save(tmp_path, text_of("a"))
    with serving(tmp_path, "-v") as node:
        with connected(node):
            pass
        assert node.wait_for("sent nothing").endswith(
            "DEBUG   127.0.0.1 connected and sent nothing (1 such so far) [inbound.empty]"
        )


# --- the table while it runs -----------------------------------------------------------------------------------------


def test_a_peer_that_is_removed_loses_its_open_association(tmp_path: Path) -> None:
    save(tmp_path, text_of("a", "b"))
    with serving(tmp_path) as node, associated(node, "A") as of_a, associated(node, "B") as of_b:
        assert minipacs(tmp_path, "peers", "remove", "a").returncode == 0
        assert received(of_a)[:1] == bytes([ABORT])
        assert exactly(of_a, 1) == b""
        of_b.sendall(echo() + RELEASE_RQ)
        assert received(of_b)
        assert received(of_b) == RELEASE_RP
        assert "a (A@127.0.0.1) -> MINIPACS: aborted" in node.wait_for("aborted")


@pytest.mark.parametrize("change", ['ae_title = "OTHER"', 'ae_title = "A"\nallow_from = ["192.0.2.1"]'])
def test_a_peer_that_would_no_longer_be_admitted_loses_its_open_association(change: str, tmp_path: Path) -> None:
    path = save(tmp_path, text_of("a"))
    with serving(tmp_path) as node, associated(node, "A") as connection:
        path.write_text(f"[peers.a]\n{change}\n")
        assert received(connection)[:1] == bytes([ABORT])
        node.wait_for(r"peers: ~a \(1 peer\)")


def test_a_peer_that_changes_otherwise_keeps_its_open_association(tmp_path: Path) -> None:
    path = save(tmp_path, text_of("a"))
    with serving(tmp_path) as node, associated(node, "A") as connection:
        path.write_text('[peers.renamed]\nae_title = "A"\nhost = "h"\nport = 1\nallow_from = ["127.0.0.0/8"]\n')
        node.wait_for(r"peers: \+renamed -a \(1 peer\)")
        connection.sendall(echo() + RELEASE_RQ)
        assert received(connection)
        assert received(connection) == RELEASE_RP


def test_sighup_reads_a_change_that_no_watcher_sees(tmp_path: Path) -> None:
    path = save(tmp_path, text_of("a"))
    os.link(path, tmp_path / "same file")
    with serving(tmp_path) as node:
        (tmp_path / "same file").write_text(text_of("b"))  # of which its other folder is not told
        node.send(signal.SIGHUP)
        node.wait_for(r"peers: \+b -a \(1 peer\)")
        one_echo(node, "B")


def test_sighup_tells_a_fault_and_the_node_stays(tmp_path: Path) -> None:
    path = save(tmp_path, text_of("a"))
    os.link(path, tmp_path / "same file")
    with serving(tmp_path) as node:
        (tmp_path / "same file").write_text("x")
        node.send(signal.SIGHUP)
        node.wait_for("the last good table stays in force")
        one_echo(node, "A")


def test_the_module_and_the_program_are_the_same(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("minipacs")
    if not program.exists() or not program.stat().st_mode & stat.S_IXUSR:
        pytest.skip("not installed")
    done = subprocess.run([program, "--version"], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == minipacs(tmp_path, "--version").stdout
