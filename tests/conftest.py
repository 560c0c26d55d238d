"""What every test needs of the process that it runs in."""

import signal

import tests.peers.pynetdicom  # noqa: F401 - how its peers close their sockets


def pytest_configure() -> None:
    """Let signals do what they usually do, though we were started to ignore them: by `&` in a script, or by nohup.

    A child inherits what is ignored, but not a handler.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)
