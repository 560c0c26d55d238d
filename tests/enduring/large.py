"""One large object: it streams in by C-STORE, and out by C-GET and C-MOVE, and nobody holds it in memory."""

from collections.abc import Mapping
from pathlib import Path

from ..peers.dcmtk import STORESCU
from ..peers.storage_node import CALLED, digest, large_file
from .account import Account
from .archive import archive
from .memory import Done

MOST = 16.0
"""MiB that each process may take for it more than for a small object."""

_SMALL_SIZE = 1000  # bytes of pixel data
_SERIES = ("StudyInstanceUID=1.2.3.1", "SeriesInstanceUID=1.2.3.1.1")
_SMALL, _LARGE, _BY_DCMTK = "1.2.3.1", "1.2.3.2", "1.2.3.3"


def large(folder: Path, account: Account, size: int) -> None:
    """Do so with *size* bytes of pixel data, each time after a small object: what a process takes in any case."""
    sent = {
        _SMALL: large_file(folder / "small.dcm", _SMALL, _SMALL_SIZE),
        _LARGE: large_file(folder / "large.dcm", _LARGE, size),
        _BY_DCMTK: large_file(folder / "dcmtk.dcm", _BY_DCMTK, size),
    }
    account.figure("bytes of the object", sent[_LARGE].stat().st_size)
    received = folder / "received"
    with archive(folder) as running:
        storescu = [STORESCU, "--call", CALLED, "127.0.0.1", str(running.node.port)]
        _judge(account, "minipacs store", [running.minipacs("store", sent[uid]) for uid in (_SMALL, _LARGE)], "node")
        by_dcmtk = [running.run([*storescu, str(sent[uid])]) for uid in (_SMALL, _BY_DCMTK)]
        _judge(account, "storescu of DCMTK", by_dcmtk, "node", is_ours=False)
        _judge_same(account, "stored", running.kept, sent, _SMALL, _LARGE, _BY_DCMTK)

        keys = [(*_SERIES, f"SOPInstanceUID={uid}") for uid in (_SMALL, _LARGE)]
        _judge(account, "minipacs get", [running.minipacs("get", *key, "--output", received) for key in keys], "node")
        _judge_same(account, "fetched", {path.stem: path for path in received.glob("*.dcm")}, sent, _SMALL, _LARGE)

        _judge(account, "minipacs move", [running.minipacs("move", *key) for key in keys], "node", "viewer")
        _judge_same(account, "moved", running.seen, sent, _SMALL, _LARGE)


def _judge(account: Account, what: str, done: list[Done], *nodes: str, is_ours: bool = True) -> None:
    """The memory of the client and of the nodes; DCMTK's own is put down, and no promise of ours."""
    for one in done:
        account.promise(one.exit_code == 0, f"{what}: exit code {one.exit_code}: {one.output[-500:]}")
    small, big = done
    judge_memory(account, what, small.client.peak, big.client.peak, is_promised=is_ours)
    for name, before, memory in zip(nodes, small.nodes, big.nodes, strict=False):
        judge_memory(account, f"the {name} during {what}", before.peak, memory.peak)


def judge_memory(account: Account, what: str, before: float, peak: float, *, is_promised: bool = True) -> None:
    """Put down what it took at most *before*, for a small object, and what for the large one."""
    account.figure(f"memory of {what}", f"{peak:.1f} MiB at most, {before:.1f} for a small object")
    account.promise(
        not is_promised or peak - before <= MOST,
        f"{what} took {peak - before:.1f} MiB more for a large object than for a small one, not at most {MOST:g}",
    )


def _judge_same(account: Account, what: str, files: Mapping[str, Path], sent: Mapping[str, Path], *uids: str) -> None:
    for uid in uids:
        is_same = uid in files and digest(files[uid]) == digest(sent[uid])
        account.promise(is_same, f"object {uid} was not {what} as it was sent")
    account.promise(set(files) == set(uids), f"{sorted(files)} were {what}, not {sorted(uids)}")
