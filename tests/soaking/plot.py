"""The plot of a soak: latency a client above, memory and descriptors below, attacks as bands."""

from .soak import Result


def draw(result: Result) -> None:
    """Write plot.png."""
