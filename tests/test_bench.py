"""The benchmark measures what it says, of whom it says, in turn; and the README shows the run that is on record."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from .bench.figures import OURS, Bound, Figure, Outcome, Trial, run
from .bench.image_servers import RETRIEVING, STORING
from .bench.image_trials import DCMTK_STORESCU, FOUR_JOBS, PYNETDICOM_STORESCU
from .bench.report import RECORD, as_markdown, as_text, read, recorded_in
from .bench.servers import ORTHANC, PYNETDICOM, STORESCP
from .bench.sink import sink
from .peers.dcmtk import ECHOSCU, STORESCU
from .peers.node import environment
from .peers.orthanc import ORTHANC as ORTHANC_PROGRAM
from .peers.required import required
from .peers.storage_node import files

SENDING = {OURS, FOUR_JOBS, DCMTK_STORESCU, PYNETDICOM_STORESCU, ORTHANC}
ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.bench", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=280, check=False
    )


@required(ORTHANC_PROGRAM, ECHOSCU)
@pytest.mark.timeout(300)
def test_a_quick_run_measures_everybody_and_writes_it_down(tmp_path: Path) -> None:
    done = bench("--quick", "--output", str(tmp_path))
    assert done.returncode in {0, 1}, done.stderr  # 1: this machine was slow just then
    results = read(tmp_path / "results.json")
    assert done.stdout == as_text(results)
    assert (done.returncode == 0) == ("MISSED" not in done.stdout)

    on_record = read(RECORD)
    assert [outcome.figure.unit for outcome in results.outcomes] == [
        outcome.figure.unit for outcome in on_record.outcomes
    ]
    by_name = {outcome.figure.name: outcome.values for outcome in results.outcomes}
    assert set(by_name["memory at rest"]) == {OURS, PYNETDICOM, STORESCP, ORTHANC}
    assert all(set(by_name[name]) == set(STORING) for name in by_name if name.startswith("SCP stores"))
    assert all(set(by_name[name]) == set(RETRIEVING) for name in by_name if name.startswith("SCP sends"))
    assert all(set(by_name[name]) == SENDING for name in by_name if name.startswith("SCU sends"))
    assert [name.split()[0] for name in by_name if " images of " in name] == ["SCP"] * 5 + ["SCU"] * 2
    values = [one for outcome in results.outcomes for one in outcome.values.values()]
    assert all(len(rounds) == 1 and rounds[0] >= 0 for rounds in values)
    with (tmp_path / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(values)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "no such thing"], "no figure has 'no such thing' in its name"),
        (["--frobnicate"], "unrecognized arguments: --frobnicate"),
    ],
)
@required(ORTHANC_PROGRAM, ECHOSCU)
def test_what_cannot_be_measured_is_told(arguments: list[str], words: str) -> None:
    done = bench(*arguments)
    assert done.returncode == 2
    assert words in done.stderr


@required(STORESCU)
def test_the_sink_takes_every_object_and_counts_its_pauses(tmp_path: Path) -> None:
    sent = files(tmp_path, 5, size=100_000)
    with sink() as taking:
        command = [STORESCU, "127.0.0.1", str(taking.port), *map(str, sent)]
        assert subprocess.run(command, timeout=60, check=False).returncode == 0
        assert (taking.objects, taking.paused) == (5, 0)
        taking.pause = 0.01
        assert subprocess.run(command, timeout=60, check=False).returncode == 0
        assert taking.objects == 10
        assert 0.05 <= taking.paused < 5
    assert subprocess.run(command, timeout=60, stderr=subprocess.DEVNULL, check=False).returncode != 0


# --- what is made of it ----------------------------------------------------------------------------------------------


def test_contestants_take_turns_and_warming_up_does_not_count() -> None:
    done: list[str] = []

    def contestant(name: str) -> tuple[float, float]:
        done.append(name)
        return float(len(done)), 0.0

    figures = (Figure("first", "ms"), Figure("second", "s"))
    trial = Trial(figures, {name: lambda name=name: contestant(name) for name in "AB"})  # type: ignore[misc]
    first, second = run(trial, 2, lambda _: None)
    assert done == ["A", "B"] * 3
    assert (first.values, second.values) == ({"A": [3.0, 5.0], "B": [4.0, 6.0]}, {"A": [0.0] * 2, "B": [0.0] * 2})


@pytest.mark.parametrize(
    ("bound", "is_reached", "words"),
    [
        (Bound(10), True, "≤ 10 ms"),
        (Bound(9.9), False, "≤ 9.9 ms"),
        (Bound(10, is_least=True), True, "≥ 10 ms"),
        (Bound(0.5, "other"), True, "≤ 0.5 × other"),  # 4/10, 10/20 and 12/8, round by round
        (Bound(1 / 3, "other"), False, "≤ 1/3 of other"),
        (Bound(0.6, "other", is_least=True), False, "≥ 0.6 × other"),
        (Bound(9, who="other"), False, "other ≤ 9 ms"),
    ],
)
def test_a_bound_is_judged_by_the_median_and_a_ratio_round_by_round(bound: Bound, is_reached: bool, words: str) -> None:
    outcome = Outcome(Figure("x", "ms", (bound,)), {OURS: [4.0, 10.0, 12.0], "other": [10.0, 20.0, 8.0]})
    [verdict] = outcome.verdicts()
    assert (verdict.is_reached, verdict.bound) == (is_reached, words)


# --- the run that is on record ---------------------------------------------------------------------------------------


def test_the_readme_shows_the_run_that_is_on_record() -> None:
    """`tests/bench/run --record` writes both."""
    assert recorded_in(README) == as_markdown(read(RECORD))
    assert "](tests/bench/record/plot.png)" in README
    assert RECORD.with_name("plot.png").read_bytes().startswith(b"\x89PNG")


def test_what_was_missed_is_told_in_the_readme() -> None:
    missed = [v.bound for outcome in read(RECORD).outcomes for v in outcome.verdicts() if not v.is_reached]
    shown = recorded_in(README)
    assert all(f"{bound} (missed)" in shown for bound in missed)
