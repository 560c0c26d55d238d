"""A node as a process: how soon it listens, how soon a table counts, what it takes at rest."""

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from ..peers.dcmtk import STORESCP as STORESCP_PROGRAM
from ..peers.node import MINIPACS, Node, environment, serving, table
from ..peers.orthanc import Orthanc
from ..peers.ports import free_port
from ..peers.process import Child, running
from .client import CALLED, CALLING, HOST, Client, associate_rq
from .figures import OURS, Bound, Figure, Trial
from .scale import Scale
from .servers import ORTHANC, PYNETDICOM, ROOT, STORESCP, Server, pynetdicom_command

_PATIENCE = 30.0  # seconds

# As little as a server in Python can be: the limit for the time to its start.
_BARE = """
import asyncio, sys
async def serve():
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()
asyncio.run(serve())
"""


# --- from exec to listening ------------------------------------------------------------------------------------------


def start_trial(folder: Path) -> Trial:
    """From the start of the process until its port takes a connection."""
    return Trial(
        (Figure("from exec to listening", "s", (Bound(0.3), Bound(1 / 3, ORTHANC))),),
        {
            OURS: partial(_start, folder, lambda port: [*MINIPACS, "serve", "--port", str(port)]),
            PYNETDICOM: partial(_start, folder, pynetdicom_command),
            STORESCP: partial(_start, folder, lambda port: [STORESCP_PROGRAM, "--aetitle", CALLED, str(port)]),
            ORTHANC: partial(_start_orthanc, folder),
            "bare asyncio server": partial(_start, folder, lambda port: [sys.executable, "-c", _BARE, str(port)]),
        },
    )


def _start(folder: Path, command: Callable[[int], Sequence[str]]) -> tuple[float]:
    port = free_port()
    return (_seconds_until_it_listens(command(port), environment(), folder, port),)


def _start_orthanc(folder: Path) -> tuple[float]:
    with TemporaryDirectory(dir=folder) as own:
        orthanc = Orthanc(Path(own), minipacs_port=1)
        return (_seconds_until_it_listens(orthanc.command, orthanc.env, folder, orthanc.dicom_port),)


def _seconds_until_it_listens(command: Sequence[str], env: Mapping[str, str], folder: Path, port: int) -> float:
    started = time.perf_counter()
    child = Child(command, folder / "start.log", env, folder)
    try:
        while time.perf_counter() - started < _PATIENCE:
            with socket.socket() as probe:
                if probe.connect_ex((HOST, port)) == 0:
                    return time.perf_counter() - started
            time.sleep(0.001)
        raise TimeoutError(f"{command[0]} does not listen: {child.log}")
    finally:
        child.kill()
        child.end()


# --- a table that changes --------------------------------------------------------------------------------------------

_PROBE = "PROBE"
_PROBE_RQ = associate_rq(_PROBE)
_PROBE_PAUSE = 0.002  # seconds between two probes
_CALM = 0.5  # seconds between two changes


def reload_trial(scale: Scale, folder: Path) -> Trial:
    """A table renamed into place, until a peer that it admits, or admits no more, sees that; and echoes meanwhile."""
    small, large = (f"{count:,} peers".replace(",", " ") for count in (10, scale.table))
    return Trial(
        (
            Figure("from rename to in force", "ms", (Bound(50, who=small), Bound(300, who=large))),
            Figure("longer an echo takes meanwhile, at most", "ms", (Bound(20, who=small), Bound(20, who=large))),
        ),
        {
            small: partial(_reloads, 10, scale.reloads, folder),
            large: partial(_reloads, scale.table, scale.reloads, folder),
        },
    )


def _reloads(count: int, reloads: int, folder: Path) -> tuple[float, float]:
    """Milliseconds until such a change counts, in the median; and how much longer the longest echo took than usual."""
    without = table({"name": "bench", "ae_title": CALLING}, *map(_peer, range(count - 2)))
    texts = without + "\n" + table({"name": "probe", "ae_title": _PROBE}), without
    delays, spans = [], []
    with TemporaryDirectory(dir=folder) as own, serving(Path(own), without) as node:
        with _echoing(node.port, Path(own)) as echoes:
            time.sleep(_CALM)
            for number in range(reloads):
                began = time.perf_counter()
                delays.append(_seconds_until_in_force(node, texts[number % 2], is_admitted=number % 2 == 0) * 1000)
                spans.append((began, time.perf_counter() + 0.1))
                time.sleep(_CALM)
        times = echoes()
    usual = median(ms for at, ms in times if at < spans[0][0])
    return median(delays), max(ms for at, ms in times if any(a <= at <= b for a, b in spans)) - usual


def _peer(number: int) -> Mapping[str, object]:
    network = f"10.{number // 250}.{number % 250}"
    return {
        "name": f"p{number}",
        "ae_title": f"AE{number}",
        "host": f"{network}.7",
        "port": 104,
        "allow_from": [f"{network}.0/24"],
    }


def _seconds_until_in_force(node: Node, text: str, *, is_admitted: bool) -> float:
    new = node.peers.with_name("peers.toml.new")
    new.write_text(text)
    started = time.perf_counter()
    os.replace(new, node.peers)
    while time.perf_counter() - started < _PATIENCE:
        client = Client(node.port, is_tuned=True)
        with client.socket:
            if client.associate(_PROBE_RQ) == is_admitted:
                return time.perf_counter() - started
        time.sleep(_PROBE_PAUSE)
    raise TimeoutError(f"the table does not count: {node.child.log}")


@contextmanager
def _echoing(port: int, folder: Path) -> Iterator[Callable[[], list[tuple[float, float]]]]:
    """Echo meanwhile, on an association of its own; afterwards: when each echo began, and its milliseconds."""
    command = [sys.executable, "-m", "tests.bench.echoing", str(port)]
    log = folder / "echoing.log"
    with running(command, log=log, ready=lambda child: "echoing" in child.log, env=environment(), cwd=ROOT) as child:
        yield lambda: json.loads(log.read_text().splitlines()[-1])
        child.terminate()
        child.wait(_PATIENCE)


# --- at rest ---------------------------------------------------------------------------------------------------------


def rest_trial(servers: Mapping[str, Server], scale: Scale) -> Trial:
    """What they take while nobody calls."""
    return Trial(
        (
            Figure("memory at rest", "MB", (Bound(40),)),
            Figure("processor at rest", "% of a core", (Bound(0.0),)),
            Figure("context switches at rest", "/s", (Bound(0.0),)),
        ),
        {name: partial(_at_rest, server, scale.rest) for name, server in servers.items()},
        at_once=True,
        is_cold=True,
    )


def _at_rest(server: Server, seconds: float) -> tuple[float, float, float]:
    process = server.process
    cpu, switches, started = process.cpu_seconds, process.context_switches, time.perf_counter()
    time.sleep(seconds)
    elapsed = time.perf_counter() - started
    load = (process.cpu_seconds - cpu) / elapsed * 100
    return process.resident_kib * 1.024 / 1000, load, (process.context_switches - switches) / elapsed
