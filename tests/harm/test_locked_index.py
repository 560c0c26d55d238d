"""An index that another process locks: what is stored fails within a second, by 0xA700 and a line, and is not kept."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ..peers.node import run_minipacs
from ..peers.storage_node import objects, storing
from ..storing import encoded, image
from .stored import sender, store

SENDERS = 6
SOON = 6.0
"""Seconds. A second is promised; a machine that is busy has some more, and six that wait in turn would need as many."""


@contextmanager
def locked(index: Path) -> Iterator[None]:
    connection = sqlite3.connect(index, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.close()


def test_all_who_store_meanwhile_are_refused_at_once_and_taken_afterwards(tmp_path: Path) -> None:
    with storing(tmp_path) as (node, folder):
        answers: dict[str, tuple[int, float]] = {}

        def send(number: int) -> None:
            with sender(node.port) as peer:
                for one in range(2):
                    uid = f"1.2.{number}.{one}"
                    began = time.monotonic()
                    answers[uid] = store(peer, uid, encoded(image(uid))), time.monotonic() - began

        def at_once() -> None:
            answers.clear()
            threads = [threading.Thread(target=send, args=(number,)) for number in range(1, SENDERS + 1)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)

        with locked(folder / "index.sqlite"):
            at_once()
            assert [status for status, _ in answers.values()] == [0xA700] * 2 * SENDERS
            assert max(seconds for _, seconds in answers.values()) < SOON
            assert objects(folder) == {}
            assert list((folder / "incoming").iterdir()) == []
            lines = [event["message"] for event in node.events("message")]
            why = "the index cannot be written: database is locked: an object was refused with 0xA700"
            assert lines[0] == f"storage: {folder}/index.sqlite: {why}"
        at_once()
        assert [status for status, _ in answers.values()] == [0] * 2 * SENDERS
        assert len(objects(folder)) == 2 * SENDERS


@pytest.mark.parametrize("settings", [{"overwrite": True}, {"keep": "newest", "objects": 1}])
def test_what_is_there_stays_and_stays_listed(settings: dict[str, Any], tmp_path: Path) -> None:
    with storing(tmp_path, **settings) as (node, folder), sender(node.port) as peer:
        assert store(peer, "1.2.3", encoded(image("1.2.3", PatientID="FIRST"))) == 0
        before = objects(folder)["1.2.3"].read_bytes()
        uid = "1.2.3" if "overwrite" in settings else "1.2.4"
        with locked(folder / "index.sqlite"):
            assert store(peer, uid, encoded(image(uid, PatientID="SECOND"))) == 0xA700
            assert {one: path.read_bytes() for one, path in objects(folder).items()} == {"1.2.3": before}
            listed = node.minipacs("storage", "list", "--storage", "kept", "--json").stdout
            assert '"PatientID":"FIRST"' in listed
        assert store(peer, uid, encoded(image(uid, PatientID="SECOND"))) == 0
        assert '"PatientID":"SECOND"' in node.minipacs("storage", "list", "--storage", "kept", "--json").stdout


def test_a_node_begins_meanwhile_where_there_is_nothing_to_list(tmp_path: Path) -> None:
    with storing(tmp_path) as (node, folder), sender(node.port) as peer:
        assert store(peer, "1.2.3", encoded(image("1.2.3"))) == 0
    with locked(folder / "index.sqlite"), storing(tmp_path) as (node, _), sender(node.port) as peer:
        assert store(peer, "1.2.3", encoded(image("1.2.3"))) == 0, "it is there, and listed"


def test_a_node_that_cannot_list_what_is_there_says_so_and_ends(tmp_path: Path) -> None:
    with storing(tmp_path) as (node, folder), sender(node.port) as peer:
        for uid in ("1.2.3", "1.2.4"):
            assert store(peer, uid, encoded(image(uid))) == 0
    objects(folder)["1.2.3"].unlink()
    with locked(folder / "index.sqlite"):
        began = time.monotonic()
        done = run_minipacs(tmp_path, "serve", "--port", "0", "--storage", "kept")
        assert time.monotonic() - began < 30
    rule = "file: must be usable as an index, not so: database is locked"
    assert (done.returncode, done.stderr) == (2, f"{folder}/index.sqlite: {rule}\n")
