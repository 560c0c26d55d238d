"""The plot of a benchmark: a panel a figure, a bar a contestant, on a logarithmic axis."""

from math import ceil
from pathlib import Path
from statistics import median

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import NullFormatter

from .figures import OURS, Outcome
from .report import Results, number

_COLUMNS = 3
_OURS, _THEIRS = "#1f77b4", "#b9c4cf"
_STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.axisbelow": True,
    "font.size": 8.5,
}


def draw(results: Results, path: Path) -> None:
    """Write it as PNG."""
    outcomes = [outcome for outcome in results.outcomes if len(outcome.values) > 1]
    rows = max(1, ceil(len(outcomes) / _COLUMNS))
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
        canvas = Canvas(figsize=(15, 2.4 * rows + 0.8), layout="constrained")
        panels = list(canvas.subplots(rows, _COLUMNS, squeeze=False).flat)
        for axes, outcome in zip(panels, outcomes, strict=False):
            _panel(axes, outcome)
        for axes in panels[len(outcomes) :]:
            axes.set_axis_off()
        machine = results.machine
        canvas.suptitle(
            f"minipacs {machine['minipacs']} beside pynetdicom {machine['pynetdicom']}, "
            f"DCMTK {machine['DCMTK']}, Orthanc "
            f"{machine['Orthanc']}; {machine['processor']}, Python {machine['Python']}\n"
            f"median of {results.scale.rounds} rounds; the line spans minimum and maximum",
            x=0.01,
            ha="left",
            fontsize=11,
        )
        canvas.savefig(path, dpi=100)


def _panel(axes: Axes, outcome: Outcome) -> None:
    names = list(outcome.values)
    middles = [median(values) for values in outcome.values.values()]
    spans = [(middle - min(v), max(v) - middle) for middle, v in zip(middles, outcome.values.values(), strict=True)]
    is_all_ours = not any(name.startswith(OURS) for name in names)
    colours = [_OURS if is_all_ours or name.startswith(OURS) else _THEIRS for name in names]
    axes.barh(names, middles, color=colours, height=0.7)
    axes.errorbar(middles, names, xerr=list(zip(*spans, strict=True)), fmt="none", ecolor="#333333", elinewidth=1)
    axes.invert_yaxis()
    if min(middles) > 0 and max(middles) > 20 * min(middles):
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter("{x:g}")
    better = "less" if outcome.figure.is_less_better else "more"
    axes.set_title(f"{outcome.figure.name}\n{outcome.figure.unit}; {better} is better")
    for name, middle in zip(names, middles, strict=True):
        axes.annotate(
            f" {number(middle)}", (middle, name), va="center", xytext=(2, 6), textcoords="offset points", fontsize=7.5
        )
