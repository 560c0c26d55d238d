"""`minipacs status` as its user meets it, and the status of a node in words."""

import json
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from minipacs import AssociationOutcome, __version__
from minipacs.node_status import (
    AssociationsStatus,
    EndedAssociation,
    ListedPeer,
    NodeStatus,
    OpenAssociation,
    TableReload,
    TableStatus,
)
from minipacs.status_report import status_as_text
from minipacs.timestamp import rfc3339

from .peers.dcmtk import ECHOSCU, echoscu
from .peers.node import Node, run_minipacs, serving, table
from .peers.ports import free_port
from .peers.process import wait_until
from .peers.required import required

CT1 = {"name": "ct1", "ae_title": "CT1"}

PATIENCE = 10.0


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place for control sockets and temporary files of this test's own, with a short path."""
    folder = Path(tempfile.mkdtemp(prefix="mp-", dir="/tmp"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with serving(tmp_path, table(CT1)) as node:
        yield node


def text(node: Node) -> list[str]:
    done = node.minipacs("status", "--port", str(node.port))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def ended(node: Node) -> int:
    return sum(as_json(node)["associations"]["counts"].values())


def as_json(node: Node) -> dict[str, Any]:
    done = node.minipacs("status", "--port", str(node.port), "--json")
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


# --- the command -----------------------------------------------------------------------------------------------------


@required(ECHOSCU)
def test_the_status_of_a_node_is_told_in_text(node: Node) -> None:
    echoscu("-aet", "CT1", "-aec", "MINIPACS", "127.0.0.1", node.port)
    echoscu("-aet", "STRANGER", "-aec", "MINIPACS", "127.0.0.1", node.port)
    wait_until(lambda: ended(node) == 2, within=PATIENCE, what="two ends")
    lines = [re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", line) for line in text(node)]
    lines = [re.sub(r"\d+\.\d ms", "# ms", re.sub(r"\d+ s\b", "# s", line)) for line in lines]
    assert lines == [
        f"MINIPACS listening on 127.0.0.1:{node.port}, up # s (pid {node.child.pid}, minipacs {__version__})",
        "peers: 1 peer from conf/peers.toml",
        "  read at the start (TIME, # s ago)",
        "open: 0 associations, 0 connections",
        "ended: 1 released, 1 rejected, 0 aborted, 0 timed-out, 0 invalid, 0 closed",
        "  TIME  STRANGER@127.0.0.1 -> MINIPACS: rejected 1/1/3, # ms: STRANGER is not in the peer table "
        "[admission.calling-ae-title]",
        "    fix: minipacs peers add stranger STRANGER@127.0.0.1:PORT, with the port where it listens",
        "  TIME  ct1 (CT1@127.0.0.1) -> MINIPACS: released, 1 echo, # ms",
    ]


def test_a_table_with_faults_is_told_with_each_of_them(node: Node) -> None:
    node.peers.write_text('[peers.ct1]\nae_title = ""\nport = 0\n')
    node.wait_for("peers-invalid", 1)
    lines = text(node)
    assert lines[1] == "peers: 1 peer from conf/peers.toml"
    assert lines[2].startswith("  INVALID: the last good table stays in force (")
    faults = node.events("peers-invalid")[-1]["errors"]
    assert len(faults) > 1
    assert lines[3 : 3 + len(faults)] == [f"  {fault}" for fault in faults]


def test_the_status_is_to_be_had_as_json(node: Node) -> None:
    told = as_json(node)
    assert list(told) == [
        "ae_title",
        "host",
        "addresses",
        "port",
        "tls_port",
        "pid",
        "version",
        "started",
        "peers",
        "associations",
        "tls",
        "storage",
    ]
    assert list(told["peers"]) == ["file", "count", "last_reload", "watch_error", "table"]
    assert list(told["associations"]) == [
        "open",
        "counts",
        "silent_connections",
        "refused_connections",
        "connections",
        "last",
    ]
    assert list(told["associations"]["counts"]) == [outcome.value for outcome in AssociationOutcome]
    assert told["peers"]["table"] == [json.loads(node.minipacs("peers", "--json").stdout)]


def test_a_table_in_a_file_whose_name_is_no_text_is_told(tmp_path: Path) -> None:
    file = tmp_path / os.fsdecode(b"p\xff.toml")
    file.write_text(table(CT1))
    with serving(tmp_path, "", "--peers", str(file)) as node:
        assert text(node)[1] == r"peers: 1 peer from p\udcff.toml"
        file.write_text("[peers.a]\n")
        node.wait_for("peers-invalid", 1)
        told = as_json(node)["peers"]
    assert told["file"] == rf"{tmp_path}/p\udcff.toml"
    assert told["last_reload"]["faults"] == [rf"{tmp_path}/p\udcff.toml: peers.a.ae_title: must be given, not left out"]


def test_the_node_is_the_one_of_the_settings(node: Node) -> None:
    (node.folder / "conf" / "minipacs.toml").write_text(f'[node]\nhost = "localhost"\nport = {node.port}\n')
    done = node.minipacs("status")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"MINIPACS listening on 127.0.0.1:{node.port}")


def test_where_none_runs_that_is_told_with_how_to_begin(tmp_path: Path) -> None:
    port = free_port()
    done = run_minipacs(tmp_path, "status", "--port", str(port))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"minipacs: no node of yours runs on 127.0.0.1 port {port}\nstart one: minipacs serve\n"


def test_where_none_runs_the_others_are_told_with_the_command_to_ask_them(node: Node, tmp_path: Path) -> None:
    with serving(tmp_path / "second", "", "--host", "127.0.0.2", "--ae-title", "SECOND") as second:
        done = node.minipacs("status", "--port", str(free_port()))
    assert (done.returncode, done.stdout) == (1, "")
    assert sorted(done.stderr.splitlines()[1:]) == [
        f"MINIPACS runs on 127.0.0.1 port {node.port}: minipacs status --port {node.port}",
        f"SECOND runs on 127.0.0.2 port {second.port}: minipacs status --host 127.0.0.2 --port {second.port}",
    ]


def test_the_command_that_is_told_asks_that_node(node: Node) -> None:
    told = node.minipacs("status", "--port", str(free_port())).stderr.splitlines()[1]
    command = told.partition(": minipacs ")[2].split()
    assert node.minipacs(*command).stdout.startswith(f"MINIPACS listening on 127.0.0.1:{node.port}")


def test_a_node_that_was_killed_is_not_there(node: Node) -> None:
    os.kill(node.child.pid, signal.SIGKILL)
    node.child.wait(PATIENCE)
    done = node.minipacs("status", "--port", str(node.port))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"no node of yours runs on 127.0.0.1 port {node.port}" in done.stderr


def test_a_node_that_hangs_is_told(node: Node) -> None:
    os.kill(node.child.pid, signal.SIGSTOP)
    try:
        done = node.minipacs("status", "--port", str(node.port))
    finally:
        os.kill(node.child.pid, signal.SIGCONT)
    assert (done.returncode, done.stdout) == (1, "")
    assert "does not answer within 2 s" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_folder_of_another_user_is_not_trusted(node: Node, runtime: Path) -> None:
    os.chown(runtime / "minipacs", 65534, 65534)
    done = node.minipacs("status", "--port", str(node.port))
    assert (done.returncode, done.stdout) == (1, "")


def test_usage_is_exit_code_2(tmp_path: Path) -> None:
    assert run_minipacs(tmp_path, "status", "--port", "70000").returncode == 2
    assert run_minipacs(tmp_path, "status", "--config", "none.toml").returncode == 2


# --- the words -------------------------------------------------------------------------------------------------------

NOW = datetime(2024, 5, 1, 2, 12, 44, tzinfo=UTC)


def ago(**time: float) -> str:
    return rfc3339((NOW - timedelta(**time)).timestamp())


def local(**time: float) -> str:
    return f"{(NOW - timedelta(**time)).astimezone():%Y-%m-%d %H:%M:%S}"


LOADED = TableReload(time=ago(days=2, hours=3, minutes=4), result="loaded")
STATUS = NodeStatus(
    ae_title="MINIPACS",
    host="::1",
    addresses=("::1",),
    port=11112,
    tls_port=None,
    pid=4711,
    version="0.1.0",
    started=ago(days=2, hours=3, minutes=4),
    peers=TableStatus(
        file="/etc/minipacs/peers.toml",
        count=1,
        last_reload=LOADED,
        watch_error=None,
        table=(ListedPeer("ct1", "CT1", None, None, (), tls=False, tls_name=None),),
    ),
    associations=AssociationsStatus(
        open=(),
        counts={outcome.value: 0 for outcome in AssociationOutcome},
        silent_connections=0,
        refused_connections=0,
        connections=0,
        last=(),
    ),
)
ENDED = EndedAssociation(
    calling_ae_title="CT1",
    called_ae_title="MINIPACS",
    address="10.0.0.5",
    peer="ct1",
    outcome=AssociationOutcome.RELEASED,
    echoes=2,
    duration_ms=1.25,
    time=ago(minutes=3),
)


def lines(status: NodeStatus) -> list[str]:
    return status_as_text(status, NOW).splitlines()


def with_reload(**fields: Any) -> NodeStatus:
    return replace(STATUS, peers=replace(STATUS.peers, last_reload=TableReload(time=ago(seconds=61), **fields)))


def test_who_and_where_comes_first() -> None:
    assert lines(STATUS)[0] == "MINIPACS listening on [::1]:11112, up 2 d 3 h (pid 4711, minipacs 0.1.0)"
    assert lines(STATUS)[1] == "peers: 1 peer from /etc/minipacs/peers.toml"


@pytest.mark.parametrize(
    ("time", "words"),
    [
        ({"seconds": 0.5}, "0 s"),
        ({"seconds": -5}, "0 s"),  # a clock that was put back
        ({"seconds": 59.9}, "59 s"),
        ({"seconds": 60}, "1 min 0 s"),
        ({"minutes": 59, "seconds": 59}, "59 min 59 s"),
        ({"hours": 1}, "1 h 0 min"),
        ({"hours": 23, "minutes": 59, "seconds": 59}, "23 h 59 min"),
        ({"days": 400, "hours": 1}, "400 d 1 h"),
    ],
)
def test_the_time_since_the_start_is_told_in_two_units(time: dict[str, float], words: str) -> None:
    assert f", up {words} (pid" in lines(replace(STATUS, started=ago(**time)))[0]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"result": "loaded"}, "read at the start"),
        ({"result": "reloaded", "added": ("a",), "removed": ("b",), "changed": ("c",)}, "reloaded: +a -b ~c"),
        (
            {"result": "reloaded", "added": tuple(f"p{n}" for n in range(22))},
            f"reloaded: {' '.join(f'+p{n}' for n in range(20))} and 2 more",
        ),
        ({"result": "valid-again"}, "valid again, and as it was"),
        ({"result": "invalid", "faults": ("x",)}, "INVALID: the last good table stays in force"),
        ({"result": "missing", "faults": ("x",)}, "NOT THERE: the last good table stays in force"),
    ],
)
def test_how_the_table_was_last_read_is_told(fields: dict[str, Any], words: str) -> None:
    told = lines(with_reload(**fields))
    assert told[2] == f"  {words} ({local(seconds=61)}, 1 min 1 s ago)"
    assert told[3] == ("  x" if "faults" in fields else "open: 0 associations, 0 connections")


def test_a_table_that_is_not_watched_or_has_nobody_says_what_to_do() -> None:
    told = lines(replace(STATUS, peers=replace(STATUS.peers, count=0, watch_error="no more watches", table=())))
    assert told[3:5] == [
        "  changes are not seen by themselves (no more watches): kill -HUP 4711 to have it read",
        "  nobody is admitted; begin with: minipacs peers add NAME TITLE@HOST:PORT",
    ]


def test_what_is_open_is_told() -> None:
    fields = {"called_ae_title": "MINIPACS", "address": "10.0.0.5", "duration_ms": 1.0}
    one = OpenAssociation(calling_ae_title="CT1", peer="ct1", since=ago(seconds=5), echoes=1, **fields)  # type: ignore[arg-type]
    two = replace(one, calling_ae_title="MR2", peer=None, since=ago(hours=2), echoes=0)
    told = lines(replace(STATUS, associations=replace(STATUS.associations, open=(one, two), connections=3)))
    assert told[3:6] == [
        "open: 2 associations, 3 connections",
        "  ct1 (CT1@10.0.0.5) -> MINIPACS: 1 echo, for 5 s",
        "  MR2@10.0.0.5 -> MINIPACS: 0 echoes, for 2 h 0 min",
    ]


def test_what_ended_is_told_newest_first_with_its_time_and_fix() -> None:
    rejected = replace(
        ENDED,
        peer=None,
        outcome=AssociationOutcome.REJECTED,
        echoes=0,
        reject="1/1/3",
        reason="why",
        fix="what",
        time=ago(seconds=1),
    )
    counts = {**STATUS.associations.counts, "released": 12}
    told = lines(
        replace(
            STATUS,
            associations=replace(
                STATUS.associations, counts=counts, silent_connections=1, connections=1, last=(ENDED, rejected)
            ),
        )
    )
    assert told[3:] == [
        "open: 0 associations, 1 connection",
        "ended: 12 released, 0 rejected, 0 aborted, 0 timed-out, 0 invalid, 0 closed; 1 connection without a byte",
        f"  {local(seconds=1)}  CT1@10.0.0.5 -> MINIPACS: rejected 1/1/3, 1.2 ms: why",
        "    fix: what",
        f"  {local(minutes=3)}  ct1 (CT1@10.0.0.5) -> MINIPACS: released, 2 echoes, 1.2 ms",
    ]


def test_a_file_below_the_working_folder_is_told_as_it_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = replace(STATUS, peers=replace(STATUS.peers, file=str(tmp_path / "conf" / "peers.toml")))
    monkeypatch.chdir(tmp_path)
    assert lines(status)[1] == "peers: 1 peer from conf/peers.toml"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert lines(status)[1] == f"peers: 1 peer from {tmp_path}/conf/peers.toml"
