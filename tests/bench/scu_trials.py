"""How fast a call is, as a whole process: what is typed, from its start to its end."""

import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ..peers.dcmtk import ECHOSCU
from ..peers.node import table
from ..proc import children, peak_kib
from .client import HOST
from .command import begun, seconds_of
from .figures import OURS, Bound, Figure, Trial
from .scale import Scale
from .servers import Server

DCMTK, PARALLEL, PYNETDICOM_ECHOSCU = "echoscu", "xargs -P 32 echoscu", "pynetdicom echoscu"

_BIN = Path(sys.executable).parent
_MINIPACS = str(_BIN / "minipacs")
_CALLED = "ORTHANC"
_LOOK = 0.01  # seconds between two looks at the memory of a process
_PYNETDICOM = [sys.executable, str(_BIN / "echoscu")]


def echo_trial(orthanc: Server, count: int, bounds: tuple[Bound, ...], folder: Path) -> Trial:
    """So many echoes of Orthanc on one association, by a process that begins and ends with it.

    In a folder without settings of ours, as DCMTK has none.
    """
    what = "one echo" if count == 1 else f"{count} echoes"
    here = [HOST, str(orthanc.port)]
    repeat = [] if count == 1 else ["--repeat", str(count)]
    commands = {
        OURS: [_MINIPACS, "echo", f"{_CALLED}@{HOST}:{orthanc.port}", *(["--count", str(count)] if repeat else [])],
        DCMTK: [ECHOSCU, "--call", _CALLED, *repeat, *here],
        PYNETDICOM_ECHOSCU: [*_PYNETDICOM, *here, "--called-aet", _CALLED, *repeat],
    }
    return Trial(
        (Figure(f"{what} of Orthanc, whole process", "ms", bounds),),
        {name: partial(_milliseconds, command, folder) for name, command in commands.items()},
        is_cold=count > 1,  # of a single echo, the files of the programs are read from memory once they were read
    )


COLD = (Bound(0.7, DCMTK), Bound(1 / 3, PYNETDICOM_ECHOSCU))
REPEATED = (Bound(1 / 20, DCMTK),)


@contextmanager
def silent_port() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.create_server((HOST, 0), backlog=2048) as listener:
        yield listener.getsockname()[1]


def everybody_trial(alive: Server, silent: int, scale: Scale, folder: Path) -> Trial:
    """Many peers called side by side, a tenth of them dead."""
    dead = scale.peers // 10
    ports = [silent if number % 10 == 5 else alive.port for number in range(scale.peers)]
    peers = folder / "everybody.toml"
    peers.write_text(
        table(*({"name": f"p{i}", "ae_title": f"P{i}", "host": HOST, "port": port} for i, port in enumerate(ports)))
    )
    calls = folder / "everybody.txt"
    calls.write_text("".join(f"--timeout 2 -ta 2 -td 2 --call P{i} {HOST} {port}\n" for i, port in enumerate(ports)))
    ours = [_MINIPACS, "echo", "--all", "--timeout", "2", "--calling", "BENCH", "--peers", str(peers)]
    theirs = ["xargs", "-a", str(calls), "-P", "32", "-L", "1", ECHOSCU, "--aetitle", "BENCH"]
    return Trial(
        (
            Figure(f"{scale.peers} peers, {dead} of them silent, timeout 2 s", "s", (Bound(4),)),
            Figure("the most memory of a process for that", "MB", (Bound(150),)),
        ),
        {
            OURS: partial(_seconds_and_megabytes, ours, folder, 1),
            PARALLEL: partial(_seconds_and_megabytes, theirs, folder, 123),  # xargs: a command failed
        },
        is_cold=True,
    )


def _milliseconds(command: Sequence[str], folder: Path) -> tuple[float]:
    return (seconds_of(command, folder) * 1000,)


def _seconds_and_megabytes(command: Sequence[str], folder: Path, code: int) -> tuple[float, float]:
    """Seconds that a process takes, and the most memory that it itself had, or one of its children at a time."""
    started, most = time.perf_counter(), 0
    with begun(command, folder) as process:
        while process.poll() is None:
            most = max(most, *(peak_kib(pid) for pid in (process.pid, *children(process.pid))))
            time.sleep(_LOOK)
    assert process.returncode == code, f"{' '.join(command)}: exit code {process.returncode}, not {code}"
    return time.perf_counter() - started, most * 1.024 / 1000
