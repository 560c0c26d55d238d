"""The turns of long steps: of one address after another, with room for everything else between two of them."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from minipacs.turns import Turns

PATIENT = 5.0


def run(asked: list[tuple[str, str]], beside: Callable[[list[str]], None] = lambda _: None) -> list[str]:
    """Ask for steps, each an address and a name, all at once; return what ran, in order."""

    async def main() -> list[str]:
        ran: list[str] = []
        is_over = asyncio.Event()
        turns = Turns()

        def step(name: str) -> None:
            ran.append(name)
            asyncio.get_running_loop().call_soon(beside, ran)
            if sum(not done.startswith("-") for done in ran) == len(asked):
                is_over.set()
            if name == "broken":
                raise ZeroDivisionError

        for address, name in asked:
            turns.take(address, lambda name=name: step(name))  # type: ignore[misc]
        await asyncio.wait_for(is_over.wait(), PATIENT)
        return ran

    return asyncio.run(main())


def test_no_address_takes_the_turn_of_another() -> None:
    flood = [("10.0.0.1", f"flood {number}") for number in range(100)]
    assert run([*flood, ("10.0.0.2", "good")]).index("good") == 1


def test_of_one_address_the_newest_comes_first() -> None:
    assert run([("10.0.0.1", "a"), ("10.0.0.1", "b"), ("10.0.0.1", "c")]) == ["c", "b", "a"]


def test_others_are_seen_to_between_two_steps() -> None:
    ran = run([("10.0.0.1", "a"), ("10.0.0.1", "b"), ("10.0.0.1", "c")], beside=lambda ran: ran.append("-"))
    assert ran[:5] == ["c", "-", "b", "-", "a"]


def test_a_step_that_fails_costs_nobody_a_turn(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.CRITICAL, "asyncio"):
        assert run([("10.0.0.1", "a"), ("10.0.0.1", "broken")]) == ["broken", "a"]


def test_turns_are_taken_again_after_a_pause() -> None:
    async def main() -> list[int]:
        ran: list[int] = []
        turns = Turns()
        for number in range(3):
            is_over = asyncio.Event()
            turns.take("10.0.0.1", is_over.set)
            await asyncio.wait_for(is_over.wait(), PATIENT)
            await asyncio.sleep(0.01 * number)
            ran.append(number)
        return ran

    assert asyncio.run(main()) == [0, 1, 2]
