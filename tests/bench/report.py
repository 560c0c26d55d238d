"""What was measured, for people, for machines, and for the README."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from statistics import median

import msgspec

from .figures import OURS, Outcome
from .machine import described
from .scale import Scale

RECORD = Path(__file__).parent / "record" / "results.json"
"""The run that the README shows."""

_README = Path(__file__).parents[2] / "README.md"
_BEGIN, _END = "<!-- the benchmark: made from tests/bench/record/results.json -->\n", "<!-- end of the benchmark -->"


@dataclass
class Results:
    """Of one run."""

    machine: dict[str, str]
    scale: Scale
    outcomes: list[Outcome] = field(default_factory=list)

    @classmethod
    def begun(cls, scale: Scale) -> "Results":
        return cls(described(), scale)


def write(results: Results, folder: Path) -> None:
    """Write results.json, which holds everything, and results.csv, a line a value."""
    (folder / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")
    with (folder / "results.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["figure", "unit", "contestant", "round", "value"])
        for outcome in results.outcomes:
            for name, values in outcome.values.items():
                for count, value in enumerate(values, 1):
                    rows.writerow([outcome.figure.name, outcome.figure.unit, name, count, f"{value:.6g}"])


def read(path: Path) -> Results:
    """Read results.json."""
    return msgspec.json.decode(path.read_bytes(), type=Results)


# --- in words --------------------------------------------------------------------------------------------------------


def in_short(outcome: Outcome) -> str:
    """A line: the medians."""
    shown = ", ".join(f"{name} {number(median(values))}" for name, values in outcome.values.items())
    return f"{outcome.figure.name} ({outcome.figure.unit}): {shown}"


def as_text(results: Results) -> str:
    """A block a figure: median, minimum and maximum of each, the ratio to ours, and whether it is what it has to be."""
    lines = [_machine(results)]
    lines.append(f"{results.scale.rounds} rounds; median (minimum to maximum), and so of the ratio round by round")
    for outcome in results.outcomes:
        lines += ["", f"{outcome.figure.name}, {outcome.figure.unit}", *_rows(outcome), *_judged(outcome)]
    missed = sum(not verdict.is_reached for outcome in results.outcomes for verdict in outcome.verdicts())
    asked = sum(len(outcome.figure.bounds) for outcome in results.outcomes)
    return "\n".join([*lines, "", f"{asked - missed} of {asked} bounds reached"]) + "\n"


def _machine(results: Results) -> str:
    return ", ".join(f"{what} {said}" for what, said in results.machine.items())


def _rows(outcome: Outcome) -> Iterator[str]:
    for name, values in outcome.values.items():
        gains = _gains(outcome, name) if name != OURS and OURS in outcome.values else []
        ratio = f"   ours is {_spread(gains)} × better" if gains else ""
        yield f"  {name:<24} {_spread(values):<34}{ratio}".rstrip()


def _judged(outcome: Outcome) -> Iterator[str]:
    for verdict in outcome.verdicts():
        yield f"  {'reached' if verdict.is_reached else 'MISSED'}: {verdict.bound}: {number(verdict.value)}"


def _gains(outcome: Outcome, name: str) -> list[float]:
    """Round by round, how many times better ours is, where neither is nothing at all."""
    pairs = list(zip(outcome.values[name], outcome.values[OURS], strict=True))
    if not all(theirs and ours for theirs, ours in pairs):
        return []
    return [theirs / ours if outcome.figure.is_less_better else ours / theirs for theirs, ours in pairs]


def _spread(values: Sequence[float]) -> str:
    return f"{number(median(values))} ({number(min(values))} to {number(max(values))})"


def number(value: float) -> str:
    """Three digits that count."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def recorded_in(readme: str) -> str:
    """What stands between the marks of the README."""
    return readme.partition(_BEGIN)[2].partition(_END)[0]


def record(results: Results) -> None:
    """Put them on record, and show them in the README."""
    RECORD.parent.mkdir(exist_ok=True)
    write(results, RECORD.parent)
    readme = _README.read_text()
    _README.write_text(readme.replace(f"{_BEGIN}{recorded_in(readme)}{_END}", f"{_BEGIN}{as_markdown(results)}{_END}"))


# --- for the README --------------------------------------------------------------------------------------------------


def as_markdown(results: Results) -> str:
    """The machine, and tables: figures of the same contestants share one."""
    tables = [f"{results.scale.rounds} rounds; {_machine(results)}.\n"]
    for names, outcomes in groupby(results.outcomes, lambda outcome: tuple(outcome.values)):
        lines = [f"| | {' | '.join(names)} | has to be |", f"|---|{'---|' * len(names)}---|"]
        lines += [_markdown_row(outcome) for outcome in outcomes]
        tables.append("\n".join(lines) + "\n")
    return "\n".join(tables)


def _markdown_row(outcome: Outcome) -> str:
    cells = [f"{outcome.figure.name}, {outcome.figure.unit}"]
    for name, values in outcome.values.items():
        gains = _gains(outcome, name) if OURS in outcome.values and name != OURS else []
        cells.append(f"{number(median(values))} ({number(median(gains))} ×)" if gains else _spread(values))
    verdicts = (f"{verdict.bound}{'' if verdict.is_reached else ' (missed)'}" for verdict in outcome.verdicts())
    return f"| {' | '.join([*cells, '; '.join(verdicts)])} |"
