"""A peer that stores byte by byte, and a folder as it is, to be held against what it becomes."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..raw import CT_IMAGE_STORAGE, IMPLICIT, RawPeer, asking, proposing, raw_peer
from ..storing import EXPLICIT, data_pdus, status_of, store_rq

WITHIN = 20.0
"""Seconds in which a node of a busy machine answers."""


@contextmanager
def sender(port: int) -> Iterator[RawPeer]:
    """An association for CT images: explicit in context 1, implicit in context 3."""
    contexts = proposing(1, CT_IMAGE_STORAGE, EXPLICIT), proposing(3, CT_IMAGE_STORAGE, IMPLICIT)
    with raw_peer(port) as peer:
        peer.send(asking(*contexts, calling=b"STORESCU"))
        assert peer.receive_pdu(WITHIN)[0] == 0x02
        yield peer


def store(peer: RawPeer, uid: str, data: bytes, context_id: int = 1) -> int:
    """The status that comes back."""
    peer.send(store_rq(uid.encode(), context_id=context_id), *data_pdus(data, context_id=context_id))
    return status_of(peer.receive_pdu(WITHIN))


def as_it_is(folder: Path) -> dict[str, object]:
    """Everything in it: kind, content and time of change; links are not followed."""
    return {str(path.relative_to(folder)): _one(path) for path in [folder, *folder.rglob("*")]}


def _one(path: Path) -> object:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(path)
    content = path.read_bytes() if stat.S_ISREG(status.st_mode) else stat.S_IFMT(status.st_mode)
    return content, status.st_mtime_ns
