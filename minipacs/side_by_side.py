"""Many peers called at once, their results in order."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from minipacs.scu import echo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from minipacs.echo_result import EchoResult
    from minipacs.peers import Peer

_MOST_THREADS = 256


def echo_all(peers: Iterable[Peer], call: Callable[[Peer], EchoResult] = echo) -> Iterator[EchoResult]:
    """Call many peers side by side and yield their results in order, each as soon as it is its turn.

    Args:
        peers: whom to call.
        call: what to do with each, such as ``functools.partial(echo, timeout=2)``.
    """
    errands = [_Errand(peer) for peer in peers]
    waiting = iter(errands)
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                errand = next(waiting, None)
            if errand is None:
                return
            errand.run(call)

    for _ in range(min(len(errands), _MOST_THREADS)):
        threading.Thread(target=work, daemon=True).start()  # daemon: Ctrl-C does not wait for silent peers
    for errand in errands:
        yield errand.result()


class _Errand:
    """One call of many, done by some thread."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._done = threading.Event()
        self._result: EchoResult | None = None
        self._error: Exception | None = None

    def run(self, call: Callable[[Peer], EchoResult]) -> None:
        try:
            self._result = call(self._peer)
        except Exception as error:  # noqa: BLE001 - raised again in the thread that asks for the result
            self._error = error
        self._done.set()

    def result(self) -> EchoResult:
        self._done.wait()
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result
