"""Edits of the peer table's file that keep its comments and its order, and are valid or not made at all."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

import tomlkit

from minipacs.errors import PeerTableError
from minipacs.peers import Peer, PeerTable
from minipacs.rules import network_text
from minipacs.toml_file import read_bytes

if TYPE_CHECKING:
    from pathlib import Path


def add_peer(path: Path, peer: Peer) -> None:
    """Add *peer* at the end of the file at *path*, which is made if it is not there.

    Raises:
        PeerTableError: the file is not valid, or would not be with that peer; it stays as it is.
    """
    data, table = _read(path) if path.exists() else (b"", PeerTable())
    try:
        wanted = PeerTable([*table.values(), peer])
    except ValueError as error:
        raise PeerTableError([f"{path}: {error}"]) from None
    entry = tomlkit.table()
    entry["ae_title"] = peer.ae_title
    if peer.host is not None and peer.port is not None:
        entry["host"] = peer.host
        entry["port"] = peer.port
    if peer.allow_from:
        entry["allow_from"] = [network_text(network) for network in peer.allow_from]
    document = tomlkit.parse(data.decode("utf-8-sig"))
    if "peers" not in document:
        document["peers"] = tomlkit.table(is_super_table=True)
    document["peers"][peer.name] = entry
    _write(path, tomlkit.dumps(document), wanted)


def remove_peer(path: Path, name: str) -> None:
    """Remove the peer called *name* from the file at *path*.

    Raises:
        PeerTableError: the file is not valid; it stays as it is.
        KeyError: there is no such peer.
    """
    data, table = _read(path)
    wanted = PeerTable(peer for peer in table.values() if peer.name != table[name].name)
    document = tomlkit.parse(data.decode("utf-8-sig"))
    del document["peers"][name]
    _write(path, tomlkit.dumps(document), wanted)


def _read(path: Path) -> tuple[bytes, PeerTable]:
    data = read_bytes(path, PeerTableError)
    return data, PeerTable.parse(data, str(path))


def _write(path: Path, text: str, wanted: PeerTable) -> None:
    """Put *text* in the place of the file in one step, so that no reader ever sees half of it."""
    data = text.encode()
    if PeerTable.parse(data, str(path)) != wanted:
        raise PeerTableError([f"{path}: file: must be plain enough to be edited by program, not so: edit it by hand"])
    place = path.resolve()  # a link stays a link
    place.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.chmod(temporary, place.stat().st_mode & 0o777 if place.exists() else 0o644)
        os.replace(temporary, place)
    except BaseException:
        os.unlink(temporary)
        raise
