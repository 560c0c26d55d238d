"""A full disk: objects are refused with 0xA700, those before stay as they are, and it goes on when there is room."""

import json
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..peers.node import MINIPACS, Node, table
from ..peers.storage_node import CALLED, digest, files, objects, storing, uid_of
from .account import Account
from .killing import listed_in
from .memory import run

_SIZE = 500_000  # bytes of pixel data of each
_FIT, _TOO_MANY = 5, 20  # objects: before the disk is full, and those of which not all can be taken
_OUT_OF_RESOURCES = "0xA700"


@dataclass(frozen=True)
class Disk:
    """Where a node keeps its objects, and how that gets full and empty again."""

    words: str
    place: Path
    fill: Callable[[Node], object]
    make_room: Callable[[Node], object]


def full_disk(folder: Path, account: Account, *, may_mount: bool = True) -> None:
    """On a small file system where this user may mount one, else with a limit on what the node may write."""
    few = {uid_of(file): digest(file) for file in files(folder / "few", _FIT, size=_SIZE)}
    more = {uid_of(file): digest(file) for file in files(folder / "more", _TOO_MANY, size=_SIZE)}
    peers = table({"name": "client", "ae_title": "CLIENT"})
    with _small(folder, may_mount=may_mount) as disk:
        account.figure("disk", disk.words)
        (folder / "node").mkdir()
        (folder / "node" / "kept").symlink_to(disk.place)
        with storing(folder / "node", peers) as (node, kept):
            stored, _ = _store(node, folder / "few")
            account.promise(stored == set(few), f"{len(stored)} objects of {_FIT} were stored before the disk was full")
            disk.fill(node)
            stored, refused = _store(node, folder / "more")
            account.figure("objects refused while it was full", f"{len(refused)} of {_TOO_MANY}")
            account.promise(bool(refused), "nothing was refused, so that the disk was not full")
            others = sorted(set(refused.values()) - {_OUT_OF_RESOURCES})
            account.promise(not others, f"refused with {others}, not with {_OUT_OF_RESOURCES} alone")
            _judge(account, kept, few | {uid: more[uid] for uid in stored}, "full")
            disk.make_room(node)
            stored, refused = _store(node, folder / "more")
            account.figure("objects stored once there was room", len(stored))
            account.promise(stored == set(more), f"with room again, {len(refused)} objects were refused")
            _judge(account, kept, few | more, "with room again")
            account.promise("Traceback" not in node.child.log, "the log of the node has a traceback")


def _store(node: Node, folder: Path) -> tuple[set[str], dict[str, str]]:
    """What is stored, and of what is not the status."""
    target = f"{CALLED}@127.0.0.1:{node.port}"
    done = run([*MINIPACS, "store", target, str(folder), "--calling", "CLIENT", "--json"], node.folder / "client")
    lines = [json.loads(line) for line in done.output.splitlines()[:-1]]
    status = {line["sop_instance_uid"]: str(line["status"]) for line in lines}
    return {uid for uid in status if status[uid] == "0x0000"}, {u: s for u, s in status.items() if s != "0x0000"}


def _judge(account: Account, kept: Path, wanted: dict[str, str], when: str) -> None:
    there = {uid: digest(path) for uid, path in objects(kept).items()}
    account.promise(
        there == wanted, f"{when}: {len(there)} objects are there, not the {len(wanted)} that were acknowledged"
    )
    account.promise(listed_in(kept) == set(wanted), f"{when}: other objects are listed than were acknowledged")
    account.promise(not list((kept / "incoming").iterdir()), f"{when}: a half object is left in incoming")


# --- a small disk ----------------------------------------------------------------------------------------------------


@contextmanager
def _small(folder: Path, *, may_mount: bool) -> Iterator[Disk]:
    place = folder / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o"]
    if may_mount and os.geteuid() == 0 and not _fails([*mount, "size=8m", "tmpfs", str(place)]):
        try:
            yield Disk(
                "a tmpfs of 8 MiB",
                place,
                fill=lambda _: None,  # by itself
                make_room=lambda _: subprocess.run([*mount, "remount,size=64m", "tmpfs", str(place)], check=True),
            )
        finally:
            subprocess.run(["umount", str(place)], check=True)
    else:
        yield Disk("a limit of 200 kB on each file that the node writes", place, fill=_limit, make_room=_unlimit)


def _fails(command: list[str]) -> bool:
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode != 0


def _limit(node: Node) -> None:
    resource.prlimit(node.child.pid, resource.RLIMIT_FSIZE, (200_000, _hard(node)))


def _unlimit(node: Node) -> None:
    resource.prlimit(node.child.pid, resource.RLIMIT_FSIZE, (_hard(node), _hard(node)))


def _hard(node: Node) -> int:
    return resource.prlimit(node.child.pid, resource.RLIMIT_FSIZE)[1]
