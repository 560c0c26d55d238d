"""How fast images travel: to a server that stores them, from whoever sends them, and back out by C-GET."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..peers.dcmtk import GETSCU, STORESCU
from ..peers.node import MINIPACS
from ..peers.orthanc import Orthanc
from ..storing import as_file, image
from .client import CALLED, CALLING, HOST
from .command import seconds_of
from .figures import OURS, Bound, Figure, Trial
from .image_servers import PYNETDICOM_STORESCP, RETRIEVING, STORING, Start
from .scale import Scale
from .servers import ORTHANC, STORESCP
from .sink import Sink, sink

DCMTK_STORESCU, PYNETDICOM_STORESCU, FOUR_JOBS = "storescu", "pynetdicom storescu", "minipacs --jobs 4"

_SERVED = (Bound(0.8, PYNETDICOM_STORESCP, is_least=True), Bound(1, STORESCP, is_least=True))
_SENT = (Bound(0.8, PYNETDICOM_STORESCU, is_least=True),)
_TUNED = {"TCP_NODELAY": "1"}
_STUDY = "1.2.3.1"
_UNTIL_IT_WAITS = 0.01  # seconds


@dataclass(frozen=True)
class Load:
    """CT images in a folder: how many, and how their rate is told."""

    folder: Path
    first: Path  # that of one more, which goes before the others
    count: int
    words: str
    unit: str
    size: float  # of each, in the unit

    @classmethod
    def of(cls, folder: Path, count: int, side: int, unit: str) -> "Load":
        """So many, of *side* × *side* pixels of 16 bits."""
        (folder / "first").mkdir(parents=True)
        (folder / "images").mkdir()
        pixels = partial(os.urandom, side * side * 2)
        elements: dict[str, Any] = {"Rows": side, "Columns": side, "BitsAllocated": 16}
        for number in range(count):
            as_file(image(pixels=pixels(), **elements), folder / "images" / f"{number:05}.dcm")
        bytes_of_each = as_file(image(pixels=pixels(), **elements), folder / "first" / "first.dcm").stat().st_size
        words = f"{count} images of {bytes_of_each / 1024:.0f} KiB"
        return cls(
            folder / "images", folder / "first", count, words, unit, bytes_of_each / 1e6 if unit == "MB/s" else 1
        )

    def rate(self, seconds: float) -> float:
        return self.count * self.size / seconds


def trials(scale: Scale, folder: Path) -> Iterator[Trial]:
    """All of them."""
    small = Load.of(folder / "small", scale.objects, 32, "/s")
    large = Load.of(folder / "large", scale.images, 512, "MB/s")
    few_small = Load.of(folder / "few-small", max(2, scale.objects // 10), 32, "/s")
    few_large = Load.of(folder / "few-large", max(2, scale.images // 2), 512, "MB/s")
    yield _served_trial([(few_small, False), (few_large, False), (small, True), (large, True)], folder)
    yield _fetched_trial(few_large, folder)
    for load in (small, large):
        with sink() as taking, _orthanc(load, taking.port, folder / f"orthanc-{load.folder.parent.name}") as send:
            yield _sent_trial(load, taking, send, folder)


# --- to a server ------------------------------------------------------------------------------------------------------


def _served_trial(loads: Sequence[tuple[Load, bool]], folder: Path) -> Trial:
    """The same client sends the same images to each server, each load on one association; the second part: if tuned.

    To a server that has just begun and has nothing yet, but for the one image that went before on an association of its
    own: what a server does at its first image is not counted.

    DCMTK writes each P-DATA-TF in two sends, and whoever does not acknowledge the first at once has it wait for 40 ms
    before the second; a tuned client is DCMTK's, told not to (TCP_NODELAY in its environment).
    """
    clients = ("default client", "tuned client")
    names = [(f"SCP stores {load.words}; {clients[is_tuned]}", load.unit) for load, is_tuned in loads]
    return Trial(
        (
            *(Figure(name, unit, _SERVED, is_less_better=False) for name, unit in names),
            Figure("the most memory of an SCP that stores these images", "MB"),
        ),
        {name: partial(_served, start, loads, folder) for name, start in STORING.items()},
        is_cold=True,
    )


def _served(start: Start, loads: Sequence[tuple[Load, bool]], folder: Path) -> Sequence[float]:
    rates, count = [], 1
    with TemporaryDirectory(dir=folder) as own, start(Path(own)) as server:
        seconds_of(_storescu(server.port, loads[0][0].first), folder, _TUNED)
        for load, is_tuned in loads:
            seconds = seconds_of(_storescu(server.port, load.folder), folder, _TUNED if is_tuned else {})
            rates.append(load.rate(seconds))
            count += load.count
            assert server.stored() == count, f"{server.stored()} objects are there, not {count}"
        return (*rates, server.peak_megabytes)


def _fetched_trial(load: Load, folder: Path) -> Trial:
    return Trial(
        (Figure(f"SCP sends {load.words} by C-GET", load.unit, is_less_better=False),),
        {name: partial(_fetched, start, load, folder) for name, start in RETRIEVING.items()},
        is_cold=True,
    )


def _fetched(start: Start, load: Load, folder: Path) -> tuple[float]:
    with TemporaryDirectory(dir=folder) as own, start(Path(own)) as server:
        received = Path(own) / "fetched"
        received.mkdir()
        seconds_of(_storescu(server.port, load.folder), folder, _TUNED)
        assert server.stored() == load.count
        keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={_STUDY}"]
        titles = ["--aetitle", CALLING, "--call", CALLED]
        seconds = seconds_of(
            [GETSCU, "--study", *titles, *keys, "--output-directory", str(received), HOST, str(server.port)], folder
        )
        assert len(list(received.iterdir())) == load.count
        return (load.rate(seconds),)


def _storescu(port: int, images: Path) -> list[str]:
    return [STORESCU, "--aetitle", CALLING, "--call", CALLED, "--scan-directories", HOST, str(port), str(images)]


# --- from whoever sends -----------------------------------------------------------------------------------------------


def _sent_trial(load: Load, taking: Sink, orthanc: Callable[[], float], folder: Path) -> Trial:
    """Each client sends the same images to a server that does not hold it up, as a whole process.

    Orthanc runs already, has them in its storage, and is asked by REST.
    """
    ours = [*MINIPACS, "store", f"{CALLED}@{HOST}:{taking.port}", str(load.folder)]
    pynetdicom = [sys.executable, "-m", "pynetdicom", "storescu", HOST, str(taking.port), str(load.folder)]
    sending: Mapping[str, Callable[[], float]] = {
        OURS: partial(seconds_of, ours, folder),
        FOUR_JOBS: partial(seconds_of, [*ours, "--jobs", "4"], folder),
        DCMTK_STORESCU: partial(seconds_of, _storescu(taking.port, load.folder), folder),
        PYNETDICOM_STORESCU: partial(_answered_late, pynetdicom, taking, folder),
        ORTHANC: orthanc,
    }
    return Trial(
        (Figure(f"SCU sends {load.words}", load.unit, _SENT, is_less_better=False),),
        {name: partial(_sent, send, load, taking) for name, send in sending.items()},
    )


def _answered_late(command: Sequence[str], taking: Sink, folder: Path) -> float:
    """Seconds that it takes, without those in which it waits.

    pynetdicom now and then takes an answer that comes at once away from whoever waits for it, and stands still for the
    rest of its time; it is answered when it is sure to wait.
    """
    taking.pause, before = _UNTIL_IT_WAITS, taking.paused
    try:
        return seconds_of(command, folder) - (taking.paused - before)
    finally:
        taking.pause = 0.0


def _sent(send: Callable[[], float], load: Load, taking: Sink) -> Sequence[float]:
    before = taking.objects
    seconds = send()
    assert taking.objects == before + load.count, f"{taking.objects - before} objects were sent, not {load.count}"
    return (load.rate(seconds),)


@contextmanager
def _orthanc(load: Load, port: int, folder: Path) -> Iterator[Callable[[], float]]:
    """An Orthanc that has them, and what makes it send them: seconds that it takes."""
    with Orthanc(folder, minipacs_port=port, options=()) as server:
        ids = [
            json.loads(server.post("/instances", file.read_bytes())[1])["ID"] for file in sorted(load.folder.iterdir())
        ]

        def send() -> float:
            started = time.perf_counter()
            status, text = server.post("/modalities/minipacs/store", {"Resources": ids, "Synchronous": True})
            assert status == HTTPStatus.OK, text
            return time.perf_counter() - started

        yield send
