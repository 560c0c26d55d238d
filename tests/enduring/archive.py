"""A node that stores, one that it may send to, and a client of both that is minipacs itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..peers.node import MINIPACS, Node, table
from ..peers.storage_node import CALLED, objects, storing
from .memory import Done, run

_CLIENT, _VIEWER = "CLIENT", "VIEWER"


@dataclass(frozen=True)
class Archive:
    """They run, and nobody else uses them."""

    node: Node
    viewer: Node
    folder: Path

    @property
    def kept(self) -> dict[str, Path]:
        """What the node has, by SOP Instance UID."""
        return objects(self.folder / "node" / "kept")

    @property
    def seen(self) -> dict[str, Path]:
        """What the viewer was sent."""
        return objects(self.folder / "viewer" / "kept")

    def minipacs(self, command: str, *arguments: object) -> Done:
        """Run `minipacs command NODE arguments`, and look at its memory and at that of the nodes."""
        target = f"{CALLED}@127.0.0.1:{self.node.port}"
        options = ["--calling", _CLIENT, *(["--to", _VIEWER] if command == "move" else []), "--json"]
        return self.run([*MINIPACS, command, target, *options, *map(str, arguments)])

    def run(self, command: list[str]) -> Done:
        return run(command, self.folder / "client", self.node.child.pid, self.viewer.child.pid)


@contextmanager
def archive(folder: Path) -> Iterator[Archive]:
    """Run them, each in a folder of its own."""
    client = {"name": "client", "ae_title": _CLIENT}
    dcmtk = {"name": "dcmtk", "ae_title": "STORESCU"}
    with storing(folder / "viewer", table({"name": "node", "ae_title": CALLED}), "--ae-title", _VIEWER) as (viewer, _):
        destination = {"name": "viewer", "ae_title": _VIEWER, "host": "127.0.0.1", "port": viewer.port}
        with storing(folder / "node", table(client, dcmtk, destination)) as (node, _):
            yield Archive(node, viewer, folder)
