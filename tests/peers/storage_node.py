"""The node as users run it with --storage, objects to store, and what it has on its disk."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from pydicom import dcmread

from ..storing import as_file, image
from .dcmtk import STORESCU
from .node import Node, serving, table

CALLED = "MINIPACS"
PEERS = table({"name": "dcmtk", "ae_title": "STORESCU"}, {"name": "py", "ae_title": "PYNETDICOM"})

_HEADER = 140  # bytes before the length of the file meta information (PS3.10 §7.1)
_PIECE = 1 << 20


@contextmanager
def storing(folder: Path, peers: str = PEERS, *options: str, **settings: object) -> Iterator[tuple[Node, Path]]:
    """A node with these settings of [storage], and the folder of its objects."""
    (folder / "conf").mkdir(parents=True, exist_ok=True)
    lines = [f"{name} = {json.dumps(value)}" for name, value in {"free": 0, **settings}.items()]
    (folder / "conf" / "minipacs.toml").write_text("\n".join(["[storage]", *lines]))
    with serving(folder, peers, "--storage", "kept", *options) as node:
        yield node, folder / "kept"


def storescu(node: Node, *files: Path, aec: str = CALLED, args: tuple[str, ...] = ()) -> int:
    """Its exit code."""
    command = [STORESCU, *args, "--call", aec, "127.0.0.1", str(node.port), *map(str, files)]
    return subprocess.run(command, capture_output=True, timeout=600, check=False).returncode


def objects(folder: Path) -> dict[str, Path]:
    """What is kept, by SOP Instance UID."""
    return {path.stem: path for path in (folder / "objects").glob("*/*")}


def files(folder: Path, count: int, *, size: int = 2_000) -> list[Path]:
    """So many objects of that many bytes of pixel data."""
    folder.mkdir(parents=True, exist_ok=True)
    return [as_file(image(pixels=os.urandom(size)), folder / f"{number:05}.dcm") for number in range(count)]


def large_file(path: Path, uid: str, size: int) -> Path:
    """An object of *size* bytes of pixel data, which are zeros that take no room on the disk."""
    file = as_file(image(uid), path)
    with file.open("r+b") as content:  # the last element is the pixel data: 8 bytes behind their length
        content.seek(-12, os.SEEK_END)
        content.write(size.to_bytes(4, "little"))
        content.seek(0, os.SEEK_END)
        content.truncate(content.tell() - 8 + size)
    return file


def uid_of(file: Path) -> str:
    return str(dcmread(file, stop_before_pixels=True).SOPInstanceUID)


def digest(file: Path) -> str:
    """Of its data set: of all bytes behind the file meta information."""
    whole = sha256()
    with file.open("rb") as content:
        header = content.read(_HEADER + 4)
        content.seek(_HEADER + 4 + int.from_bytes(header[_HEADER:], "little"))
        while piece := content.read(_PIECE):
            whole.update(piece)
    return whole.hexdigest()
