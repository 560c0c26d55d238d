"""The soak passes where the node does what it should, and fails where it does not; and its judgement is right."""

import csv
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from .peers.dcmtk import ECHOSCU, STORESCP
from .peers.orthanc import ORTHANC
from .peers.required import required
from .soaking.attempts import Attempt, Book, Client, Saw
from .soaking.follow import Follower, NodeLog
from .soaking.ledger import Ledger
from .soaking.samples import MOST_DESCRIPTORS, MOST_GROWTH, Growth, Sample, growth

SOAK = Path(__file__).parent / "soak"
SECONDS = 60
ADMITTED = {
    "DCMTK",
    "DCMTK TLS",
    "log not read",
    "Orthanc",
    "Orthanc TLS",
    "minipacs",
    "minipacs TLS",
    "minipacs held open",
    "minipacs tied",
    "pynetdicom",
    "we call DCMTK",
    "we call Orthanc TLS",
    "we call pynetdicom",
}


def run_soak(seconds: int, folder: Path, timeout: float) -> tuple[int, dict[str, Any], str]:
    """Its exit code, its summary, and what it wrote to standard error."""
    run = subprocess.run(
        [SOAK, str(seconds), "--output", str(folder), "--json"],
        env=os.environ | {"MINIPACS_PYTHON": sys.executable},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert run.stdout, run.stderr
    return run.returncode, json.loads(run.stdout), run.stderr


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@required(ORTHANC, ECHOSCU, STORESCP)
@pytest.mark.timeout(300)
def test_a_minute_among_real_peers_strangers_and_attackers(tmp_path: Path) -> None:
    exit_code, summary, told = run_soak(SECONDS, tmp_path / "soak", timeout=280)
    assert (exit_code, summary["failures"], summary["passed"]) == (0, [], True), told
    clients = summary["clients"]
    assert set(clients) == ADMITTED | {"guests", "strangers", "endless answers"}
    assert all(clients[name]["right"] >= 5 and not clients[name]["refused"] for name in ADMITTED)
    assert clients["guests"]["right"] > clients["guests"]["refused"] > 0
    assert clients["strangers"]["refused"] == clients["strangers"]["right"] > 50
    assert not any(client["failed"] for client in clients.values())
    assert summary["table"]["changes"] >= 20
    assert min(summary["table"]["broken"], summary["table"]["hangups"]) >= 5
    assert summary["certificates"]["seen"] >= 5
    assert summary["certificates"]["broken"] >= 1
    assert len(summary["attacks"]["waves"]) >= 2
    assert min(summary["attacks"]["connections"].values()) > 0
    assert None not in summary["growth"].values()
    assert all(re.match(r" +\d+ s: \d+ echoes", line) for line in told.splitlines()[1:])
    assert_written(tmp_path / "soak", clients)


def assert_written(folder: Path, clients: dict[str, dict[str, int]]) -> None:
    """The files hold what the summary sums up."""
    assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "plot.png").stat().st_size > 50_000
    samples = rows(folder / "samples.csv")
    assert len(samples) > SECONDS
    assert float(samples[-1]["elapsed_s"]) - float(samples[0]["elapsed_s"]) > SECONDS - 10
    assert {sample["is_attacked"] for sample in samples} == {"0", "1"}
    most = max(int(sample["descriptors"]) for sample in samples)
    assert most > 100 > min(int(sample["descriptors"]) for sample in samples)
    echoes = rows(folder / "echoes.csv")
    for name, client in clients.items():
        assert sum(echo["client"] == name for echo in echoes) == client["right"] + client["unjudged"]
    assert all(echo["wanted"] in {echo["saw"], "-"} for echo in echoes)
    assert '"stopped"' in (folder / "node" / "node.log").read_text()


@contextmanager
def sabotage(table: Path) -> Iterator[None]:
    """Behind the soak's back: SCU is taken out of the table again and again, and NEVER is put in."""
    ended = threading.Event()

    def spoil() -> None:
        while not ended.wait(0.2):
            text = table.read_text() if table.exists() else ""
            if "[peers.scu]" in text and "[peers.never]" not in text:
                spoilt = re.sub(r"\[peers\.scu\]\n.*\n", '[peers.never]\nae_title = "NEVER"\n', text)
                new = table.with_name("sabotage.toml")
                new.write_text(spoilt)
                new.replace(table)

    thread = threading.Thread(target=spoil)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@required(ORTHANC, ECHOSCU, STORESCP)
@pytest.mark.timeout(180)
def test_who_is_taken_out_of_the_table_or_put_in_behind_its_back_fails_the_soak(tmp_path: Path) -> None:
    with sabotage(tmp_path / "node" / "conf" / "peers.toml"):
        exit_code, summary, _ = run_soak(8, tmp_path, timeout=170)
    assert (exit_code, summary["passed"]) == (1, False)
    failures = "\n".join(summary["failures"])
    assert re.search(r"minipacs: SCU is admitted, and its echo failed after \d+ ms: rejected: .*1/1/3", failures)
    assert "strangers: NEVER of a broken table is a stranger, and got in" in failures
    assert "the node's log: a stranger got in: " in failures
    assert summary["clients"]["Orthanc"]["failed"] == 0


def test_it_says_what_it_wants() -> None:
    run = subprocess.run(
        [SOAK, "soon"],
        env=os.environ | {"MINIPACS_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 2
    assert "SECONDS: invalid float value: 'soon'" in run.stderr


# --- its judgement ---------------------------------------------------------------------------------------------------


def book() -> Book:
    return Book(StringIO(), time.monotonic())


@pytest.mark.parametrize(
    ("wanted", "saw", "failure"),
    [
        (Saw.ECHOED, Saw.ECHOED, None),
        (Saw.REFUSED, Saw.REFUSED, None),
        (None, Saw.NEITHER, None),
        (Saw.ECHOED, Saw.REFUSED, "one: ONE is admitted, and its echo failed after 500 ms: why"),
        (Saw.ECHOED, Saw.NEITHER, "one: ONE is admitted, and its echo failed after 500 ms: why"),
        (Saw.REFUSED, Saw.ECHOED, "one: ONE is a stranger, and got in"),
        (Saw.REFUSED, Saw.NEITHER, "one: ONE is a stranger, and was not refused as it should be: why"),
    ],
)
def test_an_attempt_is_judged(wanted: Saw | None, saw: Saw, failure: str | None) -> None:
    judged = book()
    judged.enter(Attempt("one", "ONE", judged.started + 2, judged.started + 2.5, wanted, saw, "why"))
    assert judged.failures == ([f"2.0 s: {failure}"] if failure else [])
    assert judged.failure_count == len(judged.failures)


def test_many_failures_of_one_kind_do_not_hide_another() -> None:
    judged = book()
    for _ in range(1000):
        judged.fail("one:", "again")
    judged.fail("two:", "once")
    assert judged.failure_count == 1001
    assert judged.failures[-1].endswith("two: once")
    assert len(judged.failures) < 10


def test_a_client_that_breaks_fails_the_soak() -> None:
    judged, is_done = book(), threading.Event()

    def attempt() -> Attempt:
        is_done.set()
        raise LookupError("here")

    client = Client("one", 0.01, attempt, judged)
    client.start()
    assert is_done.wait(30)
    client.stop()
    client.join(30)
    assert judged.failures[0].endswith("one: LookupError: here")


def test_nothing_is_expected_while_the_table_changes() -> None:
    ledger = Ledger(["GUEST"])
    begun = time.monotonic()
    assert ledger.wanted("GUEST", begun) is Saw.REFUSED
    ledger.change(["GUEST"], None)
    assert ledger.wanted("GUEST", begun) is None
    assert ledger.wanted("GUEST", time.monotonic()) is None
    ledger.change(["GUEST"], Saw.ECHOED)
    assert ledger.wanted("GUEST", begun) is None
    assert ledger.wanted("GUEST", time.monotonic()) is Saw.ECHOED


ADMISSION = {
    "event": "association",
    "level": "info",
    "outcome": "released",
    "peer": "one",
    "echoes": 1,
    "calling_ae_title": "ONE",
    "address": "127.0.0.1",
    "fix": None,
}


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("minipacs: MINIPACS listening on 127.0.0.1:1, 1 peer from peers.toml", None),
        (ADMISSION, None),
        (ADMISSION | {"peer": None, "outcome": "rejected", "echoes": 0}, None),
        ({"event": "peers-invalid", "level": "error"}, None),
        ("Traceback (most recent call last):", "a line that is none of its own"),
        ({"event": "message", "level": "error", "message": "accepting pauses"}, "an error"),
        ({"event": "message", "level": "warning", "message": "", "exception": "…"}, "a traceback"),
        (ADMISSION | {"fix": "this is a defect of minipacs: please report it"}, "an internal error"),
        (ADMISSION | {"peer": None}, "a stranger got in"),
        (ADMISSION | {"calling_ae_title": "FENCED"}, "a stranger got in"),
    ],
)
def test_the_log_of_the_node_is_judged(line: str | dict[str, object], fault: str | None) -> None:
    judged = book()
    log = NodeLog(lambda title, _: title == "FENCED", judged.fail)
    text = line if isinstance(line, str) else json.dumps(line)
    log.take(text)
    assert judged.failures == ([f"0.0 s: the node's log: {fault}: {text}"] if fault else [])


def test_a_file_is_followed_by_whole_lines(tmp_path: Path) -> None:
    lines: list[str] = []
    path = tmp_path / "log"
    with path.open("w", buffering=1) as file:
        follower = Follower(path, lines.append)
        follower.start()
        file.write("one\ntw")
        file.flush()
        file.write("o\nthr")
    follower.stop()
    assert lines == ["one", "two"]


def samples(rss: list[int], descriptors: list[int], attacked: tuple[int, ...] = ()) -> list[Sample]:
    """One a second, from the first second on."""
    pairs = enumerate(zip(rss, descriptors, strict=True))
    return [Sample(float(at), kib, files, 7, 0.0, int(at in attacked)) for at, (kib, files) in pairs]


def test_what_stays_flat_after_the_warm_up_has_not_grown() -> None:
    flat = samples([*range(10_000, 30_000, 2000), *[40_000] * 50], [*[50] * 10, *[12] * 50])
    assert growth(flat) == Growth(0, 0)
    assert growth(flat).faults() == []


def test_what_grows_is_a_fault() -> None:
    grown = growth(samples([30_000 + 200 * at for at in range(60)], [12 + at // 6 for at in range(60)]))
    assert grown.faults() == [
        f"memory grew by 6600 KiB, more than {MOST_GROWTH}",
        f"open descriptors grew by {grown.descriptors:g}, more than {MOST_DESCRIPTORS}",
    ]


def test_what_attackers_hold_is_not_counted() -> None:
    attacked = tuple(at for at in range(60) if at % 10 < 5 and at > 40)
    spiky = samples([30_000] * 60, [500 if at in attacked else 12 for at in range(60)], attacked)
    assert growth(spiky) == Growth(0, 0)


def test_of_a_short_time_nothing_is_said() -> None:
    assert growth(samples([30_000] * 15, [12] * 15)) == Growth(None, None)
    assert growth([]).faults() == []
