"""A node whose table several writers edit without pause: who is in all their tables gets in, nobody else ever does."""

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import sleep

from minipacs import Outcome, Peer, echo

from .peers.node import serving, table

SAVES = 14  # of each writer

ALWAYS = {"name": "always", "ae_title": "ALWAYS", "allow_from": ["127.0.0.1"]}


def text(number: int) -> str:
    """ALWAYS, and one who may call from elsewhere alone: what is cut before its last line would let it in from here."""
    elsewhere = {"name": f"elsewhere{number}", "ae_title": "ELSEWHERE", "allow_from": [f"192.0.2.{number}"]}
    return table(ALWAYS, elsewhere)


def writes_in_place(path: Path, number: int) -> None:
    """Line by line."""
    with path.open("w") as file:
        for line in text(number).splitlines(keepends=True):
            file.write(line)
            file.flush()
            sleep(0.01)
    sleep(0.21)


def renames_over(path: Path, number: int) -> None:
    temporary = path.with_name("peers.toml.new")
    temporary.write_text(text(100 + number))
    temporary.replace(path)
    sleep(0.32)


def breaks(path: Path, number: int) -> None:
    """With a fault, and with somebody who is in no valid table; or it takes the file away."""
    temporary = path.with_name("peers.toml.broken")
    temporary.write_text('[peers.stranger]\nae_title = "STRANGER"\n\n' + f'[peers.other{number}]\nae_title = ""\n')
    if number % 3:
        temporary.replace(path)
    else:
        path.unlink(missing_ok=True)
    sleep(0.55)


def test_a_node_admits_only_whom_a_valid_table_contained_while_several_write(tmp_path: Path) -> None:
    with serving(tmp_path, text(250)) as node:
        us = Peer("", "MINIPACS", "127.0.0.1", node.port)

        def save(how: Callable[[Path, int], None], count: int) -> None:
            for number in range(count):
                how(node.peers, number)

        plan = [(writes_in_place, SAVES), (renames_over, SAVES), (breaks, SAVES // 2)]
        writers = [threading.Thread(target=save, args=work, daemon=True) for work in plan]
        for writer in writers:
            writer.start()
        seen: Counter[tuple[str, Outcome]] = Counter()

        def call() -> None:
            for title in ("ALWAYS", "ELSEWHERE", "STRANGER"):
                seen[title, echo(us, calling_ae_title=title).outcome] += 1

        while any(writer.is_alive() for writer in writers):
            call()
        node.save(text(250))
        reloads, faults = len(node.events("peers-reloaded")), len(node.events("peers-invalid"))
        breaks(node.peers, SAVES)  # with a fault that is new, and nobody mends it
        node.wait_for("peers-invalid", faults + 1)
        call()
        node.save(text(251))
        call()
    assert set(seen) == {("ALWAYS", Outcome.SUCCESS), ("ELSEWHERE", Outcome.REJECTED), ("STRANGER", Outcome.REJECTED)}
    assert reloads > 0, "no table of the writers was taken up"
