"""A child process for a test: in a session of its own, its output in a file, and always ended.

Ended by the id of its process group, never by a program's name: another of that name may be somebody's own.
The child is not reaped before its group has been killed, so that its id cannot have passed to a stranger.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

_POLL = 0.02
_TAIL = 2000
_PATIENCE = 30.0  # an Orthanc takes 3 s to stop


class StartError(RuntimeError):
    """A child that ended, or was not ready in time. The message carries the end of its log."""


def wait_until(predicate: Callable[[], bool], *, within: float, what: str) -> None:
    """The one place that polls. Raises TimeoutError, naming `what` was waited for."""
    deadline = time.monotonic() + within
    while not predicate():
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{what}: not within {within:g} s")
        time.sleep(_POLL)


class Child:
    """A process that runs, or has run, beside the test. `running` starts one."""

    def __init__(
        self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=env,
                cwd=cwd,
            )
        self.pid = self._process.pid  # of the process, of its group and of its session

    @property
    def log(self) -> str:
        """What it has written to stdout and stderr so far."""
        return self._log.read_text(errors="replace")

    @property
    def exit_code(self) -> int | None:
        """None while it runs, -N if signal N ended it. Looks without reaping."""
        if self._process.returncode is not None:
            return self._process.returncode
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def wait(self, within: float) -> int:
        """Its exit code, once it has ended of its own accord or by a signal from the test."""
        wait_until(lambda: self.exit_code is not None, within=within, what=f"end of {self._process.args!r}")
        assert self.exit_code is not None
        return self.exit_code

    def wait_until_ready(self, ready: Callable[[Self], bool], within: float) -> None:
        # Ended is asked first: if it could not have its port, whoever has it would answer in its place.
        with suppress(TimeoutError):
            wait_until(lambda: self.exit_code is not None or ready(self), within=within, what="ready")
            if self.exit_code is None:
                return
        what = "not ready in time" if self.exit_code is None else f"ended with {self.exit_code}"
        raise StartError(f"{self._process.args!r}: {what}; its log ends:\n{self.log[-_TAIL:]}")

    def terminate(self) -> None:
        """SIGTERM to the process alone, for one that has something to say at its end; `wait` for it."""
        os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to the group, for a child whose orderly end nobody needs."""
        os.killpg(self.pid, signal.SIGKILL)

    def end(self) -> None:
        """SIGTERM, then SIGKILL to all that is left of the group: it may hang, or leave others behind."""
        try:
            os.killpg(self.pid, signal.SIGTERM)
            with suppress(TimeoutError):
                self.wait(_PATIENCE)
        finally:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()


@contextmanager
def running(
    command: Sequence[str],
    *,
    log: Path,
    ready: Callable[[Child], bool],
    within: float = 60.0,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[Child]:
    """Start `command`, wait until it is `ready`, and end it whatever happens."""
    child = Child(command, log, env, cwd)
    try:
        child.wait_until_ready(ready, within)
        yield child
    finally:
        child.end()
