"""Files that grow are followed line by line: the node's log, and what our own processes print."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_POLL = 0.02
_PATIENCE = 30.0


class Follower:
    """A thread that hands over each whole line that is written to a file."""

    def __init__(self, path: Path, take: Callable[[str], None]) -> None:
        self._path = path
        self._take = take
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"follow {path.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Read what is there, and end."""
        self._stop.set()
        self._thread.join(_PATIENCE)

    def _run(self) -> None:
        rest = b""
        with self._path.open("rb") as file:
            while True:
                is_last = self._stop.wait(_POLL)
                *lines, rest = (rest + file.read()).split(b"\n")
                for line in lines:
                    self._take(line.decode(errors="replace"))
                if is_last:
                    return


class NodeLog:
    """What the node says of itself, and what it must never say.

    Args:
        is_stranger: whether a calling title must never be admitted from an address, though the node may know it.
        fail: told of each line that must not be.
    """

    def __init__(self, is_stranger: Callable[[str, str], bool], fail: Callable[[str, str], None]) -> None:
        self.counts: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self._is_stranger = is_stranger
        self._fail = fail
        self._changed = threading.Condition()

    def take(self, line: str) -> None:
        """Judge a line of the log."""
        if line.startswith("minipacs: ") and "listening on" in line:
            return
        try:
            event = json.loads(line)
        except ValueError:
            self._fail("the node's log:", f"a line that is none of its own: {line}")
            return
        fault = self._fault(event)
        if fault:
            self._fail("the node's log:", f"{fault}: {line}")
        with self._changed:
            self.counts[event["event"]] += 1
            if event["event"] == "association":
                self.outcomes[event["outcome"]] += 1
            self._changed.notify_all()

    def wait_for(self, event: str, count: int, within: float) -> bool:
        """Whether there are that many such events, or will be within so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self.counts[event] >= count, within)

    def _fault(self, event: Mapping[str, Any]) -> str | None:
        if "exception" in event or "Traceback" in str(event):
            return "a traceback"
        if event["event"] == "message" and event["level"] == "error":
            return "an error"
        if event["event"] != "association":
            return None
        if "defect of minipacs" in str(event.get("fix")):
            return "an internal error"
        if event["outcome"] != "rejected" and event["echoes"] and self._is_stranger_of(event):
            return "a stranger got in"
        return None

    def _is_stranger_of(self, event: Mapping[str, Any]) -> bool:
        return event["peer"] is None or self._is_stranger(event["calling_ae_title"], event["address"])
