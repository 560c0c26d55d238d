"""A call that has to be over by a time, whatever it waits for: name servers and HTTP servers know no such deadline."""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return what *call* returns, or raise what it raises, if that comes in time; else it goes on, and nobody listens.

    Args:
        seconds: to wait for it.
        call: runs in a thread of its own, which does not keep the process alive.

    Raises:
        TimeoutError: it is not over.
    """
    results: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(call())
        except Exception as error:  # noqa: BLE001 - raised again in the thread that waits
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(max(0.0, seconds))
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError
    return results[0]


class Deadline:
    """A time by which several things together have to be over.

    Args:
        seconds: from now.
    """

    def __init__(self, seconds: float) -> None:
        self.at = monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds until then; never less than a hundredth, for no call takes less than that as a limit."""
        return max(0.01, self.at - monotonic())
