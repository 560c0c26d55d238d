"""All trials, one after the other, with the servers that they need."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from . import image_trials, node_trials, scp_trials, scu_trials
from .figures import Trial, run
from .report import Results, in_short
from .scale import Scale
from .servers import BY_DEFAULT, LIMITS, ORTHANC, SERVERS, allow_many_files, started
from .telling import Telling


def measure(scale: Scale, only: str, telling: Telling) -> Results:
    """Run the trials of which a figure has *only* in its name.

    Args:
        scale: how much is measured.
        only: a part of a name; empty: all trials.
        telling: is told how it goes.
    """
    results = Results.begun(scale)
    allow_many_files()
    with tempfile.TemporaryDirectory(prefix="minipacs-bench-") as folder:
        for trials in _stages(scale, Path(folder)):
            for trial in trials:
                if any(only in figure.name for figure in trial.figures):
                    outcomes = run(trial, scale.rounds, telling.now, is_warmed_up=scale.is_warmed_up)
                    results.outcomes += outcomes
                    for outcome in outcomes:
                        telling.line(in_short(outcome))
    return results


def _stages(scale: Scale, folder: Path) -> Iterator[Iterator[Trial]]:
    """The trials by what they need: servers run as long as those that need them."""
    for stage in (_servers, _idle, _calls, _processes, _images):
        yield stage(scale, folder / stage.__name__)


def _servers(scale: Scale, folder: Path) -> Iterator[Trial]:
    with started(SERVERS, folder / "servers") as servers, started(LIMITS, folder / "limits") as limits:
        yield from scp_trials.trials(servers, limits, scale)


def _idle(scale: Scale, folder: Path) -> Iterator[Trial]:
    folder.mkdir()
    yield scp_trials.idle_trial(scale, folder)


def _calls(scale: Scale, folder: Path) -> Iterator[Trial]:
    with started({ORTHANC: SERVERS[ORTHANC]}, folder) as servers, scu_trials.silent_port() as silent:
        yield scu_trials.echo_trial(servers[ORTHANC], 1, scu_trials.COLD, folder)
        yield scu_trials.echo_trial(servers[ORTHANC], scale.echoes, scu_trials.REPEATED, folder)
        yield scu_trials.everybody_trial(servers[ORTHANC], silent, scale, folder)


def _processes(scale: Scale, folder: Path) -> Iterator[Trial]:
    folder.mkdir()
    yield node_trials.start_trial(folder)
    yield node_trials.reload_trial(scale, folder)
    with started(BY_DEFAULT, folder) as servers:
        yield node_trials.rest_trial(servers, scale)


def _images(scale: Scale, folder: Path) -> Iterator[Trial]:
    folder.mkdir()
    yield from image_trials.trials(scale, folder)
