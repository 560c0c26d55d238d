"""What every test needs of the process that it runs in."""

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

import tests.peers.pynetdicom  # noqa: F401 - how its peers close their sockets

# The same examples each time, so that a run is red for what changed and for nothing else; to explore is for tests/fuzz.
# Here, and not in a hook: the settings of a test that is decorated with some are made when its module is imported.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


def pytest_configure() -> None:
    """Let signals do what they usually do, though we were started to ignore them: by `&` in a script, or by nohup.

    A child inherits what is ignored, but not a handler.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)


@pytest.fixture(autouse=True)
def _signals_stay_as_they_were() -> Iterator[None]:
    """What a test leaves ignored, the processes of later tests would ignore as well."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    assert [signal.getsignal(number) for number in numbers] == before
