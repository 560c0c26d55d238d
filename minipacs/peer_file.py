"""Edits of the peer table's file that keep its comments and its order, and are valid or not made at all."""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import tomlkit
from tomlkit.exceptions import TOMLKitError

from minipacs.errors import PeerTableError
from minipacs.new_files import LockedError, alone_at
from minipacs.peers import Peer, PeerTable
from minipacs.rules import network_text
from minipacs.toml_file import check_size, is_there, read_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

_BOM = "\ufeff"


class GrowingTable(PeerTable):
    """The table in a file, and what is to be added to it.

    Attributes:
        added: the peers that are to be added.
    """

    def __init__(self, table: PeerTable) -> None:
        super().__init__(table.values())
        self.added: list[Peer] = []

    def add(self, peer: Peer) -> None:
        """Add *peer*.

        Raises:
            ValueError: it has the name or the AE title of another.
        """
        self._add(peer)
        self.added.append(peer)


@contextmanager
def growing(path: Path) -> Iterator[GrowingTable]:
    """Add peers at the end of the file at *path*, which is made if it is not there: all at once, behind the block.

    No other writer of ours edits the file meanwhile.

    Returns:
        The table as it is, to which they are added.

    Raises:
        PeerTableError: the file is not valid, or would not be with them, or cannot be written; it stays as it is.
    """
    with _alone_at(path) as place:
        text, there = _read(path) if is_there(path) else ("", PeerTable())
        table = GrowingTable(there)
        yield table
        if table.added:
            _replace(place, _edited(path, text, partial(_with, table.added), table))


def add_peer(path: Path, peer: Peer) -> None:
    """Add *peer* at the end of the file at *path*, which is made if it is not there.

    Raises:
        PeerTableError: the file is not valid, or would not be with that peer, or cannot be written; it stays as it is.
    """
    with growing(path) as table:
        try:
            table.add(peer)
        except ValueError as error:
            raise PeerTableError([f"{path}: {error}"]) from None


def remove_peer(path: Path, name: str) -> None:
    """Remove the peer called *name* from the file at *path*.

    Raises:
        PeerTableError: the file is not valid, or cannot be written; it stays as it is.
        KeyError: there is no such peer.
    """
    read_bytes(path, PeerTableError)  # where it is not there, there is nothing to lock
    with _alone_at(path) as place:
        text, table = _read(path)
        gone = table[name]
        wanted = PeerTable(peer for peer in table.values() if peer is not gone)
        _replace(place, _edited(path, text, partial(_without, name), wanted))


@contextmanager
def _alone_at(path: Path) -> Iterator[Path]:
    """Keep other writers of ours from the file, and say of it what keeps us from it."""
    if is_there(path):
        read_bytes(path, PeerTableError)  # that we may not read it tells more than that we may not lock it
    try:
        with alone_at(path) as place:
            yield place
    except LockedError as error:
        raise PeerTableError([f"{path}: file: must be edited by one command at a time, and {error}"]) from None
    except OSError as fault:
        raise PeerTableError([f'{path}: file: must be writable, not "{fault.strerror}"']) from None


def _read(path: Path) -> tuple[str, PeerTable]:
    data = read_bytes(path, PeerTableError)
    table = PeerTable.parse(data, str(path))
    return data.decode(), table


def _edited(path: Path, text: str, edit: Callable[[str], str], wanted: PeerTable) -> bytes:
    """Return what *edit* makes of *text*, which has to read as *wanted*."""
    data, table = b"", None
    bom = _BOM if text.startswith(_BOM) else ""
    with suppress(PeerTableError, TOMLKitError, ValueError):  # tomlkit does not master every way to write a table
        data = (bom + edit(text.removeprefix(bom))).encode()
        table = PeerTable.parse(data)
    check_size(len(data), str(path), PeerTableError)
    if table != wanted:
        raise PeerTableError([f"{path}: file: must be plain enough to be edited by program, not so: edit it by hand"])
    return data


def _with(peers: Sequence[Peer], text: str) -> str:
    """Append the sections of *peers*: to parse all and write it anew would take some ms for each that is there."""
    end = "\r\n" if text.count("\n") == text.count("\r\n") > 0 else "\n"  # written on Windows
    sections = "\n".join(map(_section, peers)).replace("\n", end)
    return f"{text}{end}{sections}" if text else sections


def _section(peer: Peer) -> str:
    entry = tomlkit.table()
    entry["ae_title"] = peer.ae_title
    if peer.host is not None and peer.port is not None:
        entry["host"] = peer.host
        entry["port"] = peer.port
    if peer.allow_from:
        entry["allow_from"] = [network_text(network) for network in peer.allow_from]
    if peer.tls:
        entry["tls"] = True
    if peer.tls_name is not None:
        entry["tls_name"] = peer.tls_name
    if peer.certificate:
        entry["certificate"] = list(peer.certificate) if peer.certificate[1:] else peer.certificate[0]
    if peer.services is not None:
        entry["services"] = list(peer.services)
    peers = tomlkit.table(is_super_table=True)
    peers[peer.name] = entry
    return tomlkit.dumps({"peers": peers})


def _without(name: str, text: str) -> str:
    """Take away the section of *name*, but not the comments behind its last key: they belong to what follows."""
    header = re.compile(rf"""\s*\[\s*(peers|"peers"|'peers')\s*\.\s*(["']?){re.escape(name)}\2\s*\]""")
    lines = text.split("\n")
    first = next((number for number, line in enumerate(lines) if header.match(line)), None)
    if first is None:  # an inline table, or dotted keys
        document = tomlkit.parse(text)
        del document["peers"][name]
        return tomlkit.dumps(document)
    end = next((n for n in range(first + 1, len(lines)) if lines[n].lstrip().startswith("[")), len(lines))
    while lines[end - 1].strip() == "" or lines[end - 1].lstrip().startswith("#"):
        end -= 1
    if first and lines[first - 1].strip() == "":  # the blank line that set it apart
        first -= 1
    return "\n".join(lines[:first] + (lines[end:] or [""]))


def _replace(place: Path, data: bytes) -> None:
    """Put *data* in the place of the file in one step, so that no reader ever sees half of it."""
    descriptor, temporary = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        _keep_owner_and_mode(place, temporary)
        os.replace(temporary, place)
    except BaseException:
        os.unlink(temporary)
        raise


def _keep_owner_and_mode(place: Path, temporary: str) -> None:
    if not place.exists():
        os.chmod(temporary, 0o644)
        return
    status = place.stat()
    with suppress(PermissionError):  # root edits the file of the user that the node runs as
        os.chown(temporary, status.st_uid, status.st_gid)
    os.chmod(temporary, status.st_mode & 0o777)
