"""What a benchmark measures: figures of contestants that take turns, round by round, and what ours have to reach."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median

OURS = "minipacs"


@dataclass(frozen=True)
class Bound:
    """What a figure has to reach: at most, or at least, *limit*, or so many times the figure of *against*."""

    limit: float
    against: str | None = None
    is_least: bool = False
    who: str = OURS

    def text(self, unit: str) -> str:
        """What is asked, in words."""
        sign = "≥" if self.is_least else "≤"
        who = "" if self.who == OURS else f"{self.who} "
        if self.against is None:
            return f"{who}{sign} {self.limit:g} {unit}".rstrip()
        return f"{who}{sign} {_factor(self.limit)} {self.against}"


@dataclass(frozen=True)
class Figure:
    """One figure: its name, its unit, what it has to reach, and whether less of it is better."""

    name: str
    unit: str
    bounds: tuple[Bound, ...] = ()
    is_less_better: bool = True


@dataclass(frozen=True)
class Trial:
    """Something that each contestant does in each round, and that gives one value for each figure.

    *at_once*: the contestants do it side by side, where that changes nothing; else one after the other.
    *is_cold*: each time begins with a process of its own, so that there is nothing to warm up.
    """

    figures: tuple[Figure, ...]
    contestants: Mapping[str, Callable[[], Sequence[float]]]
    at_once: bool = False
    is_cold: bool = False


@dataclass(frozen=True)
class Verdict:
    """Whether a bound was reached, by the median."""

    bound: str
    value: float
    is_reached: bool


@dataclass
class Outcome:
    """The values of a figure, for each contestant one a round."""

    figure: Figure
    values: dict[str, list[float]] = field(default_factory=dict)

    def ratios(self, who: str, against: str) -> list[float]:
        """Round by round, who / against."""
        return [mine / theirs for mine, theirs in zip(self.values[who], self.values[against], strict=True)]

    def verdicts(self) -> Iterator[Verdict]:
        for bound in self.figure.bounds:
            against = bound.against
            value = median(self.values[bound.who] if against is None else self.ratios(bound.who, against))
            is_reached = value >= bound.limit if bound.is_least else value <= bound.limit
            yield Verdict(bound.text(self.figure.unit), value, is_reached)


def run(trial: Trial, rounds: int, tell: Callable[[str], None], *, is_warmed_up: bool = True) -> list[Outcome]:
    """Measure round by round, the contestants in turn.

    Args:
        tell: is told what is done now.
        is_warmed_up: whether one round more goes before, which does not count, where there is anything to warm up.
    """
    outcomes = [Outcome(figure, {name: [] for name in trial.contestants}) for figure in trial.figures]
    for number in range(0 if is_warmed_up and not trial.is_cold else 1, rounds + 1):
        words = f"{trial.figures[0].name}: " + (f"round {number} of {rounds}" if number else "warming up")
        for name, values in _round(trial, words, tell):
            assert len(values) == len(outcomes), name
            for outcome, value in zip(outcomes, values, strict=True):
                outcome.values[name] += [value] if number else []
    return outcomes


def _round(trial: Trial, words: str, tell: Callable[[str], None]) -> Iterator[tuple[str, Sequence[float]]]:
    if trial.at_once:
        tell(f"{words}, all at once")
        with ThreadPoolExecutor(len(trial.contestants)) as pool:
            yield from zip(trial.contestants, pool.map(lambda do: do(), trial.contestants.values()), strict=True)
        return
    for name, do in trial.contestants.items():
        tell(f"{words}, {name}")
        yield name, do()


def _factor(limit: float) -> str:
    return f"1/{1 / limit:g} of" if limit < 0.5 else f"{limit:g} ×"
