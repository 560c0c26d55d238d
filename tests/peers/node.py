"""The node as users run it: `minipacs serve` in a process of its own, with a peer table that the test edits."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .process import Child, running, wait_until

MINIPACS = [sys.executable, "-m", "minipacs"]


def environment() -> dict[str, str]:
    """That of the tests, without what would change where settings are found."""
    return {name: value for name, value in os.environ.items() if name != "MINIPACS_CONFIG"}


def table(*peers: Mapping[str, object]) -> str:
    """The text of a peer table; each peer has a name, and what its section holds."""
    return "\n".join(
        f"[peers.{peer['name']}]\n"
        + "".join(f"{key} = {json.dumps(value)}\n" for key, value in peer.items() if key != "name")
        for peer in peers
    )


class Node:
    """A running node. Its folder has conf/peers.toml."""

    def __init__(self, folder: Path, child: Child) -> None:
        self.folder = folder
        self.peers = folder / "conf" / "peers.toml"
        self.child = child
        self.port = int(_start_line(child).split(",")[0].rpartition(":")[2])

    def events(self, event: str = "association") -> list[dict[str, Any]]:
        """What it has logged of that kind so far, oldest first."""
        lines = (json.loads(line) for line in self.child.log.splitlines() if line.startswith("{"))
        return [line for line in lines if line["event"] == event]

    def wait_for(self, event: str, count: int, within: float = 30.0) -> dict[str, Any]:
        """The last of that kind, once there are `count` of them."""
        wait_until(lambda: len(self.events(event)) >= count, within=within, what=f"{count} events {event}")
        return self.events(event)[-1]

    def save(self, text: str) -> None:
        """Save the peer table as an editor does, and wait until it is in force."""
        count = len(self.events("peers-reloaded"))
        temporary = self.peers.with_name("peers.toml.new")
        temporary.write_text(text)
        temporary.replace(self.peers)
        self.wait_for("peers-reloaded", count + 1)

    def minipacs(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a minipacs command in its folder, as its user would beside it."""
        return run_minipacs(self.folder, *arguments)

    def echo(self, *arguments: str) -> dict[str, Any]:
        """`minipacs echo … --json`: what came of the one target."""
        echo: dict[str, Any] = json.loads(self.minipacs("echo", *arguments, "--json").stdout)
        return echo


def run_minipacs(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a minipacs command in a folder."""
    return subprocess.run(
        [*MINIPACS, *arguments],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def serving(folder: Path, peers: str = "", *options: str) -> Iterator[Node]:
    """Run `minipacs serve --port 0` with that peer table."""
    (folder / "conf").mkdir(parents=True, exist_ok=True)
    (folder / "conf" / "peers.toml").write_text(peers)
    command = [*MINIPACS, "serve", "--port", "0", "--log-format", "json"]
    command += options
    ready = lambda child: bool(_start_line(child))  # noqa: E731
    with running(command, log=folder / "node.log", ready=ready, env=environment(), cwd=folder) as c:
        yield Node(folder, c)


def _start_line(child: Child) -> str:
    lines = (line for line in child.log.splitlines(keepends=True) if "listening on" in line and line.endswith("\n"))
    return next(lines, "")
