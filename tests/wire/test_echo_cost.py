"""What one echo costs in the engine, in calls and in bytecode instructions: the same each time, on any machine.

An engine that does more for an echo than it did is found here, and not by a clock. Where more is needed and worth it,
the figures are raised in the same commit; a failure tells the new ones.
"""

import sys
from collections.abc import Callable
from types import FrameType

import pytest

from minipacs.wire.dimse import c_echo_rq
from minipacs.wire.messages import Message
from minipacs.wire.verification import answer

from .exchange import echo, echo_answers, open_acceptor, open_requestor

CALLS = {"acceptor": 103, "requestor": 99}
"""Functions that are called, those written in C among them."""

INSTRUCTIONS = {"acceptor": 1_526, "requestor": 1_530}
"""Bytecode instructions of CPython 3.11; each version has its own."""

MARGIN = 0.1


def answering() -> Callable[[], object]:
    """What an acceptor does for an echo, between the bytes that come and those that go."""
    association = open_acceptor()
    request = echo()

    def one_echo() -> bytes:
        association.receive_data(request)
        while isinstance(message := association.next_indication(), Message):
            response = answer(message.command)
            assert response is not None
            association.send(message.context_id, response)
        return association.data_to_send()

    assert one_echo() == echo_answers(1)
    return one_echo


def asking() -> Callable[[], object]:
    """What a requestor does for one."""
    association = open_requestor()
    response = echo_answers(1)

    def one_echo() -> object:
        association.send(1, c_echo_rq(1))
        assert association.data_to_send()
        association.receive_data(response)
        message = association.next_indication()
        assert association.next_indication() is None
        return message

    assert isinstance(one_echo(), Message)
    return one_echo


ROLES = {"acceptor": answering, "requestor": asking}


def calls_of(do: Callable[[], object]) -> int:
    count = 0

    def profile(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        do()
    finally:
        sys.setprofile(before)
    return count


def instructions_of(do: Callable[[], object]) -> int:
    count = 0

    def trace(frame: FrameType, event: str, _argument: object) -> object:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        do()
    finally:
        sys.settrace(before)
    return count


of_this_python = pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the figures are those of CPython 3.11")


@pytest.mark.parametrize("role", ROLES)
def test_an_echo_takes_no_more_calls_than_it_did(role: str) -> None:
    assert calls_of(ROLES[role]()) <= CALLS[role] * (1 + MARGIN)


@of_this_python
@pytest.mark.parametrize("role", ROLES)
def test_an_echo_takes_no_more_instructions_than_it_did(role: str) -> None:
    assert instructions_of(ROLES[role]()) <= INSTRUCTIONS[role] * (1 + MARGIN)


@of_this_python
@pytest.mark.parametrize("role", ROLES)
def test_the_figures_are_those_of_now(role: str) -> None:
    """An engine that does much less moves the guard down with it."""
    assert calls_of(ROLES[role]()) >= CALLS[role] * (1 - MARGIN)
    assert instructions_of(ROLES[role]()) >= INSTRUCTIONS[role] * (1 - MARGIN)


@pytest.mark.parametrize("count", [calls_of, pytest.param(instructions_of, marks=of_this_python)])
def test_what_is_counted_is_the_same_each_time_and_grows_with_the_work(count: Callable[..., int]) -> None:
    one = answering()
    assert count(one) == count(one)
    assert count(lambda: (one(), one())) > 1.9 * count(one)
