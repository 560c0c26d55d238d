"""File descriptors: how many this process may have, and how many it asks for."""

from __future__ import annotations

import errno
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from minipacs.diagnosis import diagnose

if TYPE_CHECKING:
    from minipacs.diagnosis import Diagnosis

SPARE = 16
"""Descriptors that connections of peers leave to the rest of the node: its table, its control socket, its log."""

_OF_THE_NODE = 32  # that it has open at rest, and more than that
_LEAST_SHARE = 4  # of a limit that is low, no more than a fourth is spared


def soft_limit() -> int:
    """Return how many this process may have at once (``ulimit -n``)."""
    return _limits()[0]


def soft_limit_less(spare: int) -> int:
    """Return from which descriptor on fewer than *spare* are left; where the limit is low, fewer are spared."""
    limit = soft_limit()
    return limit - min(spare, limit // _LEAST_SHARE)


def explain_pause(error: OSError | None) -> Diagnosis:
    """Return the words for a pause of accepting: for *error*, or because all but those to spare are open."""
    if error is None or error.errno == errno.EMFILE:
        return diagnose(
            "inbound.no-descriptors",
            detail=f"of {soft_limit()} file descriptors, the limit of this process, few are left",
        )
    return diagnose("inbound.no-descriptors", detail=error.strerror or str(error))


def make_room(connections: int, more: int = 0) -> str:
    """Raise our own limit as far as so many connections need, and the system allows.

    Args:
        connections: the most under [limits].
        more: descriptors that are needed besides.

    Returns:
        What is amiss when it does not allow as many, as a line for the log; else nothing.
    """
    needed = connections + more + SPARE + _OF_THE_NODE
    soft, hard = _limits()
    if soft >= needed:
        return ""
    with suppress(OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (min(needed, hard), _hard_as_it_is()))
        soft = min(needed, hard)
    if soft >= needed:
        return ""
    return (
        f"connections = {connections} under [limits] takes {needed} file descriptors, and this process may have "
        f"{soft}: accepting will pause before that; raise the limit (ulimit -n; LimitNOFILE= in a unit of systemd), "
        f"or set connections = {max(1, soft - more - SPARE - _OF_THE_NODE)}"
    )


def _limits() -> tuple[int, int]:
    """The soft limit and the hard one; without a limit, more than anybody has."""
    try:
        import resource
    except ImportError:  # Windows
        return sys.maxsize, sys.maxsize
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    endless = resource.RLIM_INFINITY
    return (sys.maxsize if soft == endless else soft), (sys.maxsize if hard == endless else hard)


def _hard_as_it_is() -> int:
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]
