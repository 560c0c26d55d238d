"""A peer that echoes without end, in a process of its own: how long each echo takes while something else goes on.

    python -m tests.bench.echoing PORT

At SIGTERM it prints when each echo began and how long it took, as JSON: pairs of seconds of the system's monotonic
clock, and milliseconds.
"""

import json
import signal
import sys
import time

from .client import Client

_PAUSE = 0.001  # seconds between two echoes
_LONGEST = 120.0  # seconds


def main() -> None:
    client = Client(int(sys.argv[1]), is_tuned=True)
    assert client.associate()
    is_over = False

    def end(*_: object) -> None:
        nonlocal is_over
        is_over = True

    signal.signal(signal.SIGTERM, end)
    print("echoing", flush=True)
    times: list[tuple[float, float]] = []
    until = time.perf_counter() + _LONGEST
    while not is_over and time.perf_counter() < until:
        started = time.perf_counter()
        client.echo()
        times.append((started, (time.perf_counter() - started) * 1000))
        time.sleep(_PAUSE)
    client.release()
    print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main()
