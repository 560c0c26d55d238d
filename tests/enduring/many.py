"""Many small objects: stored, found, fetched and moved, and memory does not grow with them."""

from pathlib import Path

from ..peers.storage_node import digest, files, uid_of
from .account import Account
from .archive import archive
from .memory import Done, judge_growth

_SIZE = 500  # bytes of pixel data of each
_STUDY, _SERIES = "StudyInstanceUID=1.2.3.1", "SeriesInstanceUID=1.2.3.1.1"


def many(folder: Path, account: Account, count: int) -> None:
    """Have so many stored by minipacs in a node, found, fetched by C-GET, and moved to another node."""
    account.tell(f"writing {count} small objects")
    sent = {uid_of(file): digest(file) for file in files(folder / "sent", count, size=_SIZE)}
    with archive(folder) as running:
        done = running.minipacs("store", folder / "sent", "--jobs", 4)
        _judge(account, "store", done, "node")
        _judge_objects(account, "stored", running.kept, sent)

        done = running.minipacs("find", "--level", "image", _STUDY, _SERIES)
        _judge(account, "find", done, "node")
        found = sum('"SOPInstanceUID"' in line for line in done.output.splitlines())
        account.figure("objects found", found)
        account.promise(found == count, f"find told of {found} objects, not {count}")

        received = folder / "received"
        done = running.minipacs("get", _STUDY, "--output", received)
        _judge(account, "get", done, "node")
        _judge_objects(account, "fetched", {path.stem: path for path in received.glob("*.dcm")}, sent)

        done = running.minipacs("move", _STUDY)
        _judge(account, "move", done, "node", "viewer")
        _judge_objects(account, "moved", running.seen, sent)


def _judge(account: Account, what: str, done: Done, *nodes: str) -> None:
    account.promise(done.exit_code == 0, f"{what}: exit code {done.exit_code}: {done.output[-500:]}")
    judge_growth(account, f"minipacs {what}", done.client)
    for name, memory in zip(nodes, done.nodes, strict=False):
        judge_growth(account, f"the {name} during minipacs {what}", memory)


def _judge_objects(account: Account, what: str, files: dict[str, Path], sent: dict[str, str]) -> None:
    same = sum(uid in files and digest(files[uid]) == wanted for uid, wanted in sent.items())
    account.figure(f"objects {what}, byte by byte in the data set", same)
    account.promise(
        same == len(sent) == len(files),
        f"{len(files)} objects were {what}, {same} of them as the {len(sent)} that were sent",
    )
