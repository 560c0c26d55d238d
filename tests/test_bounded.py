"""A call is over by its time, whatever it waits for."""

import threading

import pytest

from minipacs.bounded import Deadline, within


def test_what_comes_in_time_is_returned() -> None:
    assert within(60, lambda: 7) == 7
    assert within(60, lambda: None) is None


def test_what_is_raised_in_time_is_raised() -> None:
    def fail() -> None:
        raise LookupError("here")

    with pytest.raises(LookupError, match="here"):
        within(60, fail)


@pytest.mark.parametrize("seconds", [-1, 0, 0.05])
def test_what_does_not_come_in_time_is_given_up_and_goes_on(seconds: float) -> None:
    go_on, is_done = threading.Event(), threading.Event()

    def wait() -> None:
        go_on.wait(60)
        is_done.set()

    with pytest.raises(TimeoutError):
        within(seconds, wait)
    assert not is_done.is_set()
    go_on.set()
    assert is_done.wait(60)


def test_a_deadline_that_is_past_leaves_a_little() -> None:
    assert 0.01 < Deadline(3600).remaining() <= 3600
    assert Deadline(-1).remaining() == 0.01
