"""The plot of a soak: latency of each client above, memory and descriptors of the node below, attacks as bands."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from statistics import median

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from .attempts import Tally
from .soak import Result

_BINS = 120  # at most, over the whole time
_SHORTEST_BIN = 1.0  # seconds
_ATTACK = "#f3c9c0"
_MEMORY, _DESCRIPTORS = "#33539e", "#a5678e"
_STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "font.size": 9,
    "legend.frameon": False,
}
_DASHES = {"TLS": "--", "held open": ":", "tied": "-."}
_COLOURS = {"minipacs": "#1f77b4", "Orthanc": "#d6604d", "DCMTK": "#2ca02c", "pynetdicom": "#9467bd"}


def draw(result: Result, path: Path) -> None:
    """Write it as PNG."""
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(12, 11), layout="constrained")
        heights = [3, 2.2, 1.4, 1.4]
        inwards, others, memory, descriptors = figure.subplots(4, 1, sharex=True, height_ratios=heights)
        is_ours = [name for name in sorted(result.tallies) if name.split()[0] in _COLOURS]
        _latency(inwards, result, is_ours, "Peers that call the node: median and slowest association, ms")
        rest = [name for name in sorted(result.tallies) if name not in is_ours]
        _latency(others, result, rest, "Peers that we call, guests, strangers: median and slowest, ms")
        _level(memory, result, "rss_kib", 1024, _MEMORY, "Memory of the node, MiB")
        _level(descriptors, result, "descriptors", 1, _DESCRIPTORS, "Open descriptors of the node")
        descriptors.set_yscale("log")
        descriptors.set_ylim(bottom=9)
        descriptors.yaxis.set_major_formatter("{x:g}")
        descriptors.yaxis.set_minor_formatter(NullFormatter())
        for axes in (inwards, others, memory, descriptors):
            _attacks(axes, result.waves)
        descriptors.set_xlabel("seconds")
        descriptors.set_xlim(0, max(result.seconds, 1))
        figure.suptitle(_title(result), x=0.01, ha="left", fontsize=12)
        figure.savefig(path, dpi=110)


def _title(result: Result) -> str:
    judged = sum(tally.right for tally in result.tallies.values())
    refused = sum(tally.refused for tally in result.tallies.values())
    return (
        f"minipacs, soaked for {result.seconds:.0f} s: {judged - refused} echoes, {refused} strangers refused, "
        f"{sum(result.attackers.values())} hostile connections in {len(result.waves)} waves (shaded)\n"
        f"{len(result.table_delays)} changes of the table, {result.broken_tables} broken tables, "
        f"{result.hangups} SIGHUPs, {result.renewals} renewed certificates; {result.failure_count} failures"
    )


def _latency(axes: Axes, result: Result, names: Iterable[str], title: str) -> None:
    width = max(_SHORTEST_BIN, result.seconds / _BINS)
    for name in names:
        points = list(_binned(result.tallies[name], width))
        colour = _COLOURS.get(name.split()[0])
        style = next((dashes for words, dashes in _DASHES.items() if name.endswith(words)), "-")
        at, middle, slowest = zip(*points, strict=True)
        [line] = axes.plot(at, middle, style, color=colour, linewidth=1.4, label=name)
        axes.plot(at, slowest, ".", color=line.get_color(), markersize=2.5, alpha=0.45)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_title(title)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _binned(tally: Tally, width: float) -> Iterable[tuple[float, float, float]]:
    """The middle of each bin in seconds, and its median and its most in milliseconds."""
    times = sorted(zip(tally.elapsed, tally.ms, strict=True))
    for number, group in groupby(times, lambda pair: int(pair[0] / width)):
        ms = [milliseconds for _, milliseconds in group]
        yield (number + 0.5) * width, median(ms), max(ms)


def _level(axes: Axes, result: Result, name: str, unit: int, colour: str, title: str) -> None:
    at = [sample.elapsed_s for sample in result.samples]
    values = [getattr(sample, name) / unit for sample in result.samples]
    axes.plot(at, values, color=colour, linewidth=1.2)
    before, after = (getattr(sample, name) / unit for sample in result.idle)
    axes.plot([0, result.idle[1].elapsed_s], [before, after], "o", color=colour, markersize=4, clip_on=False)
    # Flat is what looks flat: the axis spans some MiB, whatever the values do.
    low, high = min(values, default=before), max(values, default=before)
    axes.set_ylim(min(low, before) * 0.9, max(high, after, min(low, before) * 1.5))
    axes.set_title(f"{title}; {before:.4g} before the first client and {after:.4g} after the last")


def _attacks(axes: Axes, waves: Sequence[tuple[float, float]]) -> None:
    for began, ended in waves:
        axes.axvspan(began, ended, color=_ATTACK, alpha=0.45, linewidth=0, zorder=0)
