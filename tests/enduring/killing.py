"""`kill -9` of a node while several clients store: what was acknowledged is there afterwards, and nothing half."""

import json
import os
import random
import re
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from ..peers.dcmtk import STORESCU
from ..peers.node import MINIPACS, Node, environment, run_minipacs, table
from ..peers.process import running, wait_until
from ..peers.storage_node import CALLED, digest, files, objects, storing, uid_of
from .account import Account

_PEERS = table({"name": "dcmtk", "ae_title": "STORESCU"}, {"name": "client", "ae_title": "CLIENT"})
_SIZES = (500, 50_000)  # words of pixel data, at least and at most
_EACH = 150  # objects of a client in a life of the node
_LONGEST = 1.2  # seconds from the first acknowledged object to the kill
_TRIES = 3  # lives for each kill in the middle; where clients are done before, it does not count


@dataclass
class Ledger:
    """What was sent and what was acknowledged in all lives, by SOP Instance UID."""

    sent: dict[str, str]  # UID → digest of the data set
    acknowledged: set[str]


def killing(folder: Path, account: Account, kills: int, seed: int) -> None:
    """Kill it so often in the middle, at moments that *seed* gives, and look what the next life has."""
    account.figure("seed", seed)
    chance, ledger, in_the_middle, lives = random.Random(seed), Ledger({}, set()), 0, 0
    while in_the_middle < kills and lives < kills * _TRIES:
        lives += 1
        with storing(folder, _PEERS) as (node, kept):
            judge(account, kept, ledger, f"life {lives}")
            in_the_middle += _life(folder / f"life-{lives}", node, ledger, chance)
            account.tell(f"killed {in_the_middle} times in the middle, {len(ledger.acknowledged)} objects acknowledged")
    with storing(folder, _PEERS) as (_, kept):
        judge(account, kept, ledger, "the last life")
        account.figure("kills in the middle", f"{in_the_middle}, of {lives}")
        account.figure("objects sent", len(ledger.sent))
        account.figure("objects acknowledged", len(ledger.acknowledged))
        account.figure("objects kept", len(objects(kept)))
    account.promise(in_the_middle == kills, f"the clients were done before {kills - in_the_middle} of the kills")
    account.promise(bool(ledger.acknowledged), "no object was ever acknowledged")


def judge(account: Account, kept: Path, ledger: Ledger, when: str) -> None:
    """Whether a node that has just begun has what was acknowledged, and nothing that is not whole."""
    left = [path.name for path in (kept / "incoming").iterdir()]
    account.promise(not left, f"{when}: {len(left)} files of the life before are left in incoming")
    there = objects(kept)
    missing = ledger.acknowledged - set(there)
    account.promise(not missing, f"{when}: {len(missing)} acknowledged objects are not there: {sorted(missing)[:3]}")
    broken = [uid for uid, path in there.items() if ledger.sent.get(uid) != digest(path)]
    account.promise(not broken, f"{when}: {len(broken)} objects are not as they were sent: {sorted(broken)[:3]}")
    listed = listed_in(kept)
    account.promise(listed <= set(there), f"{when}: {len(listed - set(there))} objects are listed and not there")
    account.promise(listed >= set(there), f"{when}: {len(set(there) - listed)} objects are there and not listed")


def listed_in(kept: Path) -> set[str]:
    """What `minipacs storage list` tells."""
    done = run_minipacs(kept.parent, "storage", "list", "--storage", str(kept), "--level", "image", "--json")
    assert done.returncode == 0, done.stderr
    return {json.loads(line)["SOPInstanceUID"] for line in done.stdout.splitlines()}


# --- a life ----------------------------------------------------------------------------------------------------------


class _Client:
    """Somebody who stores objects of its own, and what it was told of them."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder = folder
        self.log = folder / "client.log"
        self.files = [path for number in range(_EACH) for path in files(folder / f"{number:03}", 1, size=_size(chance))]
        self.uids = [uid_of(file) for file in self.files]

    def command(self, port: int) -> list[str]:
        raise NotImplementedError

    def acknowledged(self) -> set[str]:
        raise NotImplementedError


class _DCMTK(_Client):
    """It sends one after the other, and says of each answer that it came, not to what."""

    def command(self, port: int) -> list[str]:
        return [STORESCU, "--verbose", "--call", CALLED, "127.0.0.1", str(port), *map(str, self.files)]

    def acknowledged(self) -> set[str]:
        count = len(re.findall(r"Store Response \(Success\)", self.log.read_text(errors="replace")))
        return set(self.uids[:count])


class _Minipacs(_Client):
    """Over two associations."""

    def command(self, port: int) -> list[str]:
        target = f"{CALLED}@127.0.0.1:{port}"
        return [*MINIPACS, "store", target, str(self.folder), "--calling", "CLIENT", "--jobs", "2", "--json"]

    def acknowledged(self) -> set[str]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("}\n")]
        return {line["sop_instance_uid"] for line in lines if line.get("status") == "0x0000"}


def _size(chance: random.Random) -> int:
    return 2 * chance.randint(*_SIZES)


def _life(folder: Path, node: Node, ledger: Ledger, chance: random.Random) -> bool:
    """Three clients store, and the node is killed; whether there was more to store."""
    clients = [kind(folder / str(number), chance) for number, kind in enumerate((_DCMTK, _DCMTK, _Minipacs))]
    ledger.sent |= {uid: digest(file) for one in clients for uid, file in zip(one.uids, one.files, strict=True)}
    with ExitStack() as stack:
        begun = [
            stack.enter_context(
                running(one.command(node.port), log=one.log, ready=lambda _: True, env=environment(), cwd=one.folder)
            )
            for one in clients
        ]
        wait_until(lambda: any(one.acknowledged() for one in clients), within=60, what="an acknowledged object")
        time.sleep(chance.uniform(0, _LONGEST))
        os.kill(node.child.pid, signal.SIGKILL)
        assert node.child.wait(10) == -signal.SIGKILL
        for child in begun:
            child.wait(120)
    told = [one.acknowledged() for one in clients]
    ledger.acknowledged.update(*told)
    rmtree(folder)
    return any(len(some) < _EACH for some in told)
