"""How fast a server is, by a bare-socket client: with the socket options of the system, and tuned."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from .client import Client, associations_a_second, whole_association
from .figures import OURS, Bound, Figure, Trial
from .scale import Scale
from .servers import ASYNCIO, ORTHANC, PYNETDICOM, SERVERS, STORESCP, STORESCP_FORK, Server

_LEAST = 5  # of what is timed one by one, however long it takes


def trials(servers: Mapping[str, Server], limits: Mapping[str, Server], scale: Scale) -> Iterator[Trial]:
    """The trials of these servers, beside the limits of what a server in Python can do."""
    everybody = {**servers, **limits}
    for is_tuned in (False, True):
        client = "tuned client" if is_tuned else "default client"
        yield Trial(
            (Figure(f"association, echo, release; {client}", "ms", () if is_tuned else _ONE_ASSOCIATION),),
            _each(everybody, partial(_association_ms, seconds=scale.seconds, is_tuned=is_tuned)),
        )
        yield Trial(
            (
                Figure(
                    f"echoes on one association; {client}",
                    "/s",
                    _ECHOES if is_tuned else (),
                    is_less_better=False,
                ),
            ),
            _each(everybody, partial(_echoes_a_second, seconds=scale.seconds, is_tuned=is_tuned)),
        )
        for clients, words, seconds, bounds in (
            (1, "1 client", scale.seconds, ()),
            (32, "32 clients at once", scale.crowded_seconds, (Bound(10, PYNETDICOM, is_least=True),)),
        ):
            yield Trial(
                (Figure(f"associations, {words}; {client}", "/s", bounds, is_less_better=False),),
                _each(everybody, partial(_associations, clients=clients, seconds=seconds, is_tuned=is_tuned)),
            )


_ONE_ASSOCIATION = (
    Bound(1 / 8, PYNETDICOM),
    Bound(1 / 30, STORESCP),
    Bound(1 / 30, STORESCP_FORK),
    Bound(1 / 30, ORTHANC),
)
_ECHOES = (Bound(15, PYNETDICOM, is_least=True), Bound(0.5, ASYNCIO, is_least=True))


def idle_trial(scale: Scale, folder: Path) -> Trial:
    """Associations that are open and idle: what they take, and what an echo takes beside them.

    Each time with a server that has just begun, for memory once taken is kept for the next ones.
    """
    counts = {OURS: scale.idle, PYNETDICOM: min(scale.idle, 100)}
    names = {name: f"{name}, {count} idle" for name, count in counts.items()}
    ours = names[OURS]
    return Trial(
        (
            Figure("idle associations: processor", "% of a core", (Bound(1, who=ours),)),
            Figure("idle associations: memory of each", "KB", (Bound(50, who=ours),)),
            Figure("an echo beside idle associations", "× alone", (Bound(1.5, who=ours),)),
        ),
        {names[name]: partial(_beside_idle_ones, name, count, folder, scale.seconds) for name, count in counts.items()},
        is_cold=True,
    )


def _each(servers: Mapping[str, Server], measure: Callable[[int], float]) -> dict[str, Callable[[], Sequence[float]]]:
    return {name: lambda port=server.port: (measure(port),) for name, server in servers.items()}  # type: ignore[misc]


def _timed_ms(do: Callable[[], object], seconds: float) -> float:
    """Milliseconds that it takes, in the median."""
    times: list[float] = []
    until = time.perf_counter() + seconds
    while len(times) < _LEAST or time.perf_counter() < until:
        started = time.perf_counter()
        do()
        times.append((time.perf_counter() - started) * 1000)
    return median(times)


def _association_ms(port: int, seconds: float, is_tuned: bool) -> float:
    return _timed_ms(partial(whole_association, port, is_tuned=is_tuned), seconds)


def _echoes_a_second(port: int, seconds: float, is_tuned: bool) -> float:
    client = Client(port, is_tuned=is_tuned)
    assert client.associate()
    started, echoes = time.perf_counter(), 0
    while echoes < _LEAST or time.perf_counter() - started < seconds:
        client.echo()
        echoes += 1
    rate = echoes / (time.perf_counter() - started)
    client.release()
    return rate


def _associations(port: int, clients: int, seconds: float, is_tuned: bool) -> float:
    return associations_a_second(port, clients, seconds, is_tuned=is_tuned)


def _beside_idle_ones(name: str, count: int, folder: Path, seconds: float) -> tuple[float, float, float]:
    """Per cent of a core and KB of memory that so many take, and how many times longer an echo takes beside them."""
    with ExitStack() as stack:
        own = Path(stack.enter_context(TemporaryDirectory(dir=folder)))
        server = stack.enter_context(SERVERS[name](own))
        client = Client(server.port, is_tuned=True)
        stack.callback(client.socket.close)
        assert client.associate()
        alone = _timed_ms(client.echo, seconds)
        memory = server.process.resident_kib
        for _ in range(count):
            idle = Client(server.port)
            stack.callback(idle.socket.close)
            assert idle.associate()
        grown = server.process.resident_kib - memory
        cpu, started = server.process.cpu_seconds, time.perf_counter()
        time.sleep(max(1.0, 5 * seconds))
        load = (server.process.cpu_seconds - cpu) / (time.perf_counter() - started) * 100
        beside = _timed_ms(client.echo, seconds)
    return load, grown * 1.024 / count, beside / alone
