"""The soak itself: starts everything, tells how it goes, stops everything, and judges."""

import os
import resource
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ..peers.process import wait_until
from .attempts import Book, Tally
from .samples import Growth, Sample, growth, read_sample
from .world import World, prepare

PROGRESS = 5.0
"""Seconds between two lines that tell how it goes."""

_LAST_ATTEMPT = 100.0  # seconds
_CLEAR = 30.0  # seconds in which the node has to be as it was before the first client came
_OF_SQLITE = 8  # descriptors that SQLite keeps for the next readers, of as many as read at once


@dataclass
class Result:
    """What came of a soak."""

    seconds: float
    folder: Path
    failures: list[str]
    failure_count: int
    tallies: dict[str, Tally]
    samples: list[Sample]
    growth: Growth
    idle: tuple[Sample, Sample]  # before the first client, and after the last
    table_delays: list[float]
    broken_tables: int
    hangups: int
    renewals: int
    broken_pairs: int
    renewal_delays: list[float]
    waves: list[tuple[float, float]]
    attackers: dict[str, int]
    outcomes: dict[str, int]  # associations by the node's log


def soak(seconds: float, folder: Path, tell: Callable[[str], None]) -> Result:
    """Run it for so many seconds.

    Args:
        folder: for all that is written.
        tell: is told each few seconds how it goes.
    """
    _allow_many_files()
    with ExitStack() as stack:
        # What is needed at the end outlives the processes: the node is stopped in the midst of the stack.
        started = time.monotonic()
        book = Book(stack.enter_context((folder / "echoes.csv").open("w")), started)
        world = prepare(stack, folder, book)
        world.attacks.rehearse()
        _run(world, seconds, tell)
        after = _wind_up(world)
        _end(world)
    grown = growth(world.sampler.samples)
    for fault in grown.faults():
        book.fail("the node:", fault)
    return Result(
        seconds=time.monotonic() - started,
        folder=folder,
        failures=book.failures,
        failure_count=book.failure_count,
        tallies=book.tallies,
        samples=world.sampler.samples,
        growth=grown,
        idle=(world.before, after),
        table_delays=world.changes.delays,
        broken_tables=world.changes.broken,
        hangups=world.changes.hangups,
        renewals=world.renewal.count,
        broken_pairs=world.renewal.broken,
        renewal_delays=world.renewal.delays(),
        waves=world.attacks.waves,
        attackers=dict(world.attacks.opened),
        outcomes=dict(world.log.outcomes),
    )


def _allow_many_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(8192, hard)), hard))


# --- go on -----------------------------------------------------------------------------------------------------------


def _run(world: World, seconds: float, tell: Callable[[str], None]) -> None:
    for client in world.callers:
        client.start()
    for part in (world.sampler, world.changes, world.attacks):
        part.start()
    world.renewal.start(world.log)
    until = time.monotonic() + seconds
    try:
        while (remaining := until - time.monotonic()) > 0:
            time.sleep(min(PROGRESS, remaining))
            if world.node.child.exit_code is not None:
                world.book.fail("the node:", f"it ended by itself, with {world.node.child.exit_code}")
                break
            tell(_progress(world))
    finally:
        for changing in (world.changes, world.renewal, world.attacks):
            changing.stop()
        for client in world.callers:
            client.stop()
        for client in world.callers:
            client.join(_LAST_ATTEMPT)
        world.others.close()


def _progress(world: World) -> str:
    echoes, refused, failures = world.book.counts()
    last = world.sampler.samples[-1:]
    node = "".join(f", {sample.rss_kib / 1024:.1f} MiB, {sample.descriptors} descriptors" for sample in last)
    attacked = ", attacked" if world.attacks.is_attacked() else ""
    return (
        f"{time.monotonic() - world.book.started:5.0f} s: {echoes} echoes, {refused} strangers refused, "
        f"{failures} failures, {sum(world.attacks.opened.values())} hostile connections{node}{attacked}"
    )


# --- end -------------------------------------------------------------------------------------------------------------


def _wind_up(world: World) -> Sample:
    """Wait until the node is as it was before all this, as far as descriptors go."""
    pid, started, before = world.node.child.pid, world.book.started, world.before

    def look() -> Sample:
        return read_sample(pid, time.monotonic() - started, False)

    world.sampler.stop()
    if world.node.child.exit_code is not None:
        return before
    try:
        most = before.descriptors + _OF_SQLITE
        wait_until(lambda: look().descriptors <= most, within=_CLEAR, what="descriptors as before")
    except TimeoutError:
        open_files = sorted(os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir())
        world.book.fail(
            "the node:",
            f"{look().descriptors} descriptors are open when everybody has gone, "
            f"{before.descriptors} before anybody came: {', '.join(open_files)}",
        )
    return look()


def _end(world: World) -> None:
    """Stop the node in order."""
    node = world.node
    if node.child.exit_code is not None:
        return
    os.kill(node.child.pid, signal.SIGTERM)
    try:
        exit_code = node.child.wait(_CLEAR)
    except TimeoutError:
        world.book.fail("the node:", f"it did not stop within {_CLEAR:g} s")
        return
    if exit_code != 0:
        world.book.fail("the node:", f"it stopped with exit code {exit_code}")
    elif not world.log.wait_for("stopped", 1, _CLEAR):
        world.book.fail("the node:", "it did not say that it stopped")
