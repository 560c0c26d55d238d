"""A command as a whole process, from its start to its end, and ended with all its children whatever happens."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..peers.node import environment

_LONGEST = 120.0  # seconds


def seconds_of(command: Sequence[str], folder: Path, more: Mapping[str, str] | None = None) -> float:
    """Seconds that it takes, run in *folder*, with *more* in its environment; it has to succeed."""
    started = time.perf_counter()
    with begun(command, folder, more) as process:
        code = process.wait()  # with a timeout it would look every 50 ms
        elapsed = time.perf_counter() - started
    assert code == 0, f"{' '.join(command)}: exit code {code}"
    return elapsed


@contextmanager
def begun(
    command: Sequence[str], folder: Path, more: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run it, and end it with all its children whatever happens."""
    nothing = subprocess.DEVNULL
    process = subprocess.Popen(
        command,
        stdin=nothing,
        stdout=nothing,
        stderr=nothing,
        env={**environment(), **(more or {})},
        cwd=folder,
        start_new_session=True,
    )

    def end() -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    watchdog = threading.Timer(_LONGEST, end)
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()
        end()
        process.wait()
