"""What is stored endures, by the same code as tests/endure on a smaller scale; and that tells when it does not."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .enduring.account import Account
from .enduring.full_disk import full_disk
from .enduring.killing import Ledger, judge, killing
from .enduring.large import MOST, judge_memory, large
from .enduring.many import many
from .enduring.memory import MOST_GROWTH, Memory, judge_growth, run
from .peers.dcmtk import STORESCU
from .peers.required import required
from .peers.storage_node import digest, files, objects, storescu, storing, uid_of

ENDURE = Path(__file__).parent / "endure"


def endure(*arguments: object) -> tuple[int, str, str]:
    """Its exit code, what it prints, and what it tells meanwhile."""
    done = subprocess.run(
        [ENDURE, *map(str, arguments)],
        env=os.environ | {"MINIPACS_PYTHON": sys.executable},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


# --- it endures ------------------------------------------------------------------------------------------------------


@required(STORESCU)
@pytest.mark.timeout(180)
def test_memory_does_not_grow_with_objects(tmp_path: Path) -> None:
    account = Account()
    many(tmp_path, account, 300)
    assert account.broken == []
    assert account.figures["objects moved, byte by byte in the data set"] == "300"
    grown = account.figures["memory of the node during minipacs store"]
    assert re.fullmatch(r"\d+\.\d MiB at most, [+-]\d+\.\d from the second quarter to the last", grown)


@required(STORESCU)
@pytest.mark.timeout(180)
def test_memory_does_not_grow_with_the_size_of_an_object(tmp_path: Path) -> None:
    account = Account()
    large(tmp_path, account, 64 << 20)
    assert account.broken == []
    assert int(account.figures["bytes of the object"]) > 64 << 20


@required(STORESCU)
@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [1, 2])
def test_what_was_acknowledged_survives_kill_9(seed: int, tmp_path: Path) -> None:
    account = Account()
    killing(tmp_path, account, 3, seed)
    assert account.broken == []
    assert account.figures["kills in the middle"].startswith("3, of ")
    assert int(account.figures["objects kept"]) >= int(account.figures["objects acknowledged"]) > 3


@required(STORESCU)
@pytest.mark.parametrize(
    "may_mount", [pytest.param(True, marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")), False]
)
def test_a_disk_that_is_full_is_told_and_nothing_half_is_kept(may_mount: bool, tmp_path: Path) -> None:
    account = Account()
    full_disk(tmp_path, account, may_mount=may_mount)
    assert account.broken == []
    assert 0 < int(account.figures["objects refused while it was full"].split()[0]) <= 20
    if not may_mount:
        assert account.figures["disk"] == "a limit of 200 kB on each file that the node writes"


# --- the command -----------------------------------------------------------------------------------------------------


@required(STORESCU)
def test_the_command_tells_its_figures(tmp_path: Path) -> None:
    code, out, told = endure("full", "--json", "--output", tmp_path)
    assert code == 0, told
    summary: dict[str, Any] = json.loads(out)
    assert (summary["passed"], list(summary["parts"])) == (True, ["full"])
    assert summary["parts"]["full"]["broken"] == []
    assert summary["parts"]["full"]["figures"]["objects stored once there was room"] == "20"
    assert re.search(r"^ +\d+ s  full: objects refused while it was full: \d+ of 20$", told, re.MULTILINE)
    assert (tmp_path / "full" / "node" / "node.log").is_file()


@contextmanager
def sabotage(folder: Path) -> Iterator[None]:
    """Behind its back, the first object that is kept there is taken away."""
    ended = threading.Event()

    def spoil() -> None:
        while not ended.wait(0.02):
            there = sorted(objects(folder).values(), key=lambda path: path.stat().st_mtime_ns)
            if len(there) > 5:
                there[0].unlink()
                return

    thread = threading.Thread(target=spoil)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@required(STORESCU)
@pytest.mark.timeout(180)
def test_a_broken_promise_fails_it(tmp_path: Path) -> None:
    with sabotage(tmp_path / "kill" / "kept"):
        code, out, told = endure("kill", "--kills", 1, "--output", tmp_path, "--seed", 3)
    assert code == 1, told
    assert re.search(
        r"^  BROKEN: the last life: 1 acknowledged objects are not there: \['[\d.]+'\]$", out, re.MULTILINE
    )
    assert out.splitlines()[-1].startswith("FAILED, in ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["everything"], "'everything' is no part: many, large, kill, full"),
        (["--kills", "0"], "--kills: must be 1 to 1000000, not 0"),
        (["--objects", "lots"], "--objects: invalid _count value: 'lots'"),
    ],
)
def test_what_it_cannot_do_is_told(arguments: list[str], words: str) -> None:
    code, _, told = endure(*arguments)
    assert code == 2
    assert words in told


def test_the_files_of_an_earlier_run_stay(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    code, _, told = endure("full", "--output", tmp_path)
    assert code == 2
    assert f"{tmp_path}/full is there already: name another folder" in told


def test_its_help_has_examples() -> None:
    code, out, _ = endure("--help")
    assert code == 0
    assert "tests/endure kill --kills 200 " in out


# --- its judgement ---------------------------------------------------------------------------------------------------


def spoil_nothing(kept: Path, uid: str) -> None:
    """All is as it should be."""


def remove(kept: Path, uid: str) -> None:
    objects(kept)[uid].unlink()


def cut(kept: Path, uid: str) -> None:
    path = objects(kept)[uid]
    os.truncate(path, path.stat().st_size - 100)


def leave(kept: Path, uid: str) -> None:
    (kept / "incoming" / "half").write_bytes(b"half")


def copy(kept: Path, uid: str) -> None:
    path = objects(kept)[uid]
    path.with_name("1.2.3.dcm").write_bytes(path.read_bytes())


@required(STORESCU)
@pytest.mark.parametrize(
    ("spoil", "broken"),
    [
        (spoil_nothing, []),
        (remove, ["1 acknowledged objects are not there", "1 objects are listed and not there"]),
        (cut, ["1 objects are not as they were sent"]),
        (leave, ["1 files of the life before are left in incoming"]),
        (copy, ["1 objects are not as they were sent", "1 objects are there and not listed"]),
    ],
)
def test_what_a_life_has_is_judged(spoil: Callable[[Path, str], None], broken: list[str], tmp_path: Path) -> None:
    sending = files(tmp_path / "sent", 3)
    sent = {uid_of(file): digest(file) for file in sending}
    account = Account()
    with storing(tmp_path) as (node, kept):
        assert storescu(node, *sending) == 0
        spoil(kept, next(iter(sent)))
        judge(account, kept, Ledger(sent, set(sent)), "now")
    assert len(account.broken) == len(broken)
    for told, words in zip(account.broken, broken, strict=True):
        assert told.startswith(f"now: {words}")


@pytest.mark.parametrize(("step", "is_broken"), [(0, False), (1 << 20, True)])
def test_a_process_that_grows_is_told(step: int, is_broken: bool, tmp_path: Path) -> None:
    code = f"import time\nheld = []\nfor _ in range(70):\n    held.append(b'x' * {step})\n    time.sleep(0.1)"
    done = run([sys.executable, "-c", code], tmp_path)
    account = Account()
    judge_growth(account, "it", done.client)
    assert bool(account.broken) is is_broken, account.figures
    assert (done.client.peak > 60) is is_broken


def test_of_a_short_time_nothing_is_said() -> None:
    assert Memory(samples=[10.0] * 19).growth is None
    assert Memory(samples=[*range(5), *[10.0] * 10, *[12.0] * 5]).growth == 2
    assert Memory(is_new=True, samples=[10.0] * 299).growth is None
    assert Memory(is_new=True, samples=[*range(100), *[10.0] * 150, *[20.0] * 50]).growth == 10
    account = Account()
    judge_growth(account, "it", Memory())
    assert account.figures == {"memory of it": "0.0 MiB at most, too short to say whether it grows"}
    assert (account.broken, MOST_GROWTH) == ([], 4)


def test_a_process_that_holds_a_large_object_is_told() -> None:
    account = Account()
    judge_memory(account, "a client", 60.0, 60.0 + MOST)
    assert account.broken == []
    judge_memory(account, "a client", 60.0, 1084.0)
    assert account.broken == ["a client took 1024.0 MiB more for a large object than for a small one, not at most 16"]
