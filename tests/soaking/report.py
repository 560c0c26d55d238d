"""What came of a soak, for people and for machines."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import median, quantiles

from .attempts import Tally
from .soak import Result


def as_text(result: Result) -> str:
    """A table of the clients, and a line for each of the rest."""
    lines = [
        f"{'client':<22}{'right':>8}{'refused':>9}{'unjudged':>10}{'failed':>8}{'median':>9}{'p95':>9}{'max, ms':>10}"
    ]
    for name, tally in sorted(result.tallies.items()):
        times = "".join(f"{ms:>{width}.1f}" for ms, width in zip(_times(tally), (9, 9, 10), strict=True))
        lines.append(f"{name:<22}{tally.right:>8}{tally.refused:>9}{tally.unjudged:>10}{tally.wrong:>8}{times}")
    lines += ["", *(f"{what}: {said}" for what, said in _facts(result))]
    if result.failure_count:
        lines += ["", f"{result.failure_count} failures; the first:", *(f"  {text}" for text in result.failures)]
    return "\n".join([*lines, "", f"{'FAILED' if result.failure_count else 'passed'}: {result.folder}"])


def as_json(result: Result) -> Mapping[str, object]:
    """The same, and every number."""
    clients = {
        name: {
            "right": tally.right,
            "refused": tally.refused,
            "unjudged": tally.unjudged,
            "failed": tally.wrong,
            **dict(zip(("median_ms", "p95_ms", "max_ms"), _times(tally), strict=True)),
        }
        for name, tally in sorted(result.tallies.items())
    }
    return {
        "passed": not result.failure_count,
        "seconds": result.seconds,
        "folder": str(result.folder),
        "failures": result.failures,
        "failure_count": result.failure_count,
        "clients": clients,
        "idle": [asdict(sample) for sample in result.idle],
        "growth": asdict(result.growth),
        "table": {
            "changes": len(result.table_delays),
            "broken": result.broken_tables,
            "hangups": result.hangups,
            "delay_s": _spread(result.table_delays),
        },
        "certificates": {
            "renewed": result.renewals,
            "seen": len(result.renewal_delays),
            "broken": result.broken_pairs,
            "delay_s": _spread(result.renewal_delays),
        },
        "attacks": {"waves": result.waves, "connections": result.attackers},
        "associations": result.outcomes,
    }


def _facts(result: Result) -> list[tuple[str, str]]:
    """What there is to say beside the clients."""
    before, after = result.idle
    calm = [sample for sample in result.samples if not sample.is_attacked] or result.samples or [before]
    most = max(sample.rss_kib for sample in result.samples or [before])
    descriptors = [sample.descriptors for sample in calm]
    grown = result.growth
    cpu = (after.cpu_s - before.cpu_s) / result.seconds * 100
    return [
        (
            "memory",
            f"{before.rss_kib / 1024:.1f} MiB before the first client, {after.rss_kib / 1024:.1f} after the last, "
            f"{most / 1024:.1f} at most; {_growth(grown.rss_kib, ' KiB')}",
        ),
        (
            "descriptors",
            f"{before.descriptors} before the first client, {after.descriptors} after the last, "
            f"{median(descriptors):g} between attacks; {_growth(grown.descriptors, '')}",
        ),
        ("threads", f"{before.threads} before, {after.threads} after"),
        ("processor", f"{cpu:.0f} % of a core"),
        (
            "table",
            f"{len(result.table_delays)} changes, in force after {_in_words(result.table_delays)}; "
            f"{result.broken_tables} broken ones, {result.hangups} SIGHUPs",
        ),
        (
            "certificates",
            f"{result.renewals} in turn, {len(result.renewal_delays)} seen, after {_in_words(result.renewal_delays)}; "
            f"{result.broken_pairs} pairs that do not fit",
        ),
        (
            "attacks",
            f"{len(result.waves)} waves, connections: "
            + ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in result.attackers.items()),
        ),
        ("the node's log", ", ".join(f"{count} {name}" for name, count in sorted(result.outcomes.items()))),
    ]


def _growth(amount: float | None, unit: str) -> str:
    if amount is None:
        return "too short to say whether it grows"
    return f"from the first third to the last {amount:+g}{unit}"


def _times(tally: Tally) -> tuple[float, float, float]:
    ms = tally.ms
    p95 = quantiles(ms, n=20, method="inclusive")[-1] if len(ms) > 1 else ms[0]
    return median(ms), p95, max(ms)


def _spread(seconds: Sequence[float]) -> dict[str, float] | None:
    return {"median": median(seconds), "max": max(seconds)} if seconds else None


def _in_words(seconds: Sequence[float]) -> str:
    return f"{median(seconds):.2f} s (at most {max(seconds):.2f})" if seconds else "no time that was measured"
