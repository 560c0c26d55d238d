"""A flood is told once a minute, with how many were passed over; and it never fills the memory."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from minipacs.flood import PERIOD, Flood

from .wire.exchange import bounded

START = 1e9  # no matter where the clock begins


def test_the_first_of_a_kind_is_told() -> None:
    assert Flood().take("http", 0.0) == 0
    assert Flood().take("http", -START) == 0


def test_more_of_the_kind_are_passed_over_for_a_period() -> None:
    flood = Flood()
    flood.take("http", START)
    assert [flood.take("http", START + seconds) for seconds in (0, 1, PERIOD - 0.001)] == [None, None, None]


def test_the_next_one_that_is_told_says_how_many_were_passed_over() -> None:
    flood = Flood()
    flood.take("http", START)
    flood.take("http", START + 1)
    flood.take("http", START + 2)
    assert flood.take("http", START + PERIOD) == 2
    assert flood.take("http", START + 2 * PERIOD) == 0


def test_kinds_do_not_hide_each_other() -> None:
    flood = Flood()
    assert flood.take(("http", "10.0.0.5"), START) == 0
    assert flood.take(("http", "10.0.0.6"), START) == 0
    assert flood.take(("tls", "10.0.0.5"), START) == 0


def test_no_number_of_kinds_is_remembered_for_ever() -> None:
    flood = Flood()
    told = [flood.take(address, START, text=str(address)) for address in range(100_000)]
    assert told[:1_000] == [0] * 1_000
    assert told.count(0) == 1_001  # the others are one kind together
    assert len(vars(flood)["_periods"]) == 1_001
    assert flood.untold(START + PERIOD) == [
        ("of more kinds than are told apart, this the last: 99999", 100_000 - 1_001),
    ]
    assert flood.take("new", START + PERIOD + 1) == 0
    assert len(vars(flood)["_periods"]) <= 1_001


def test_the_first_few_of_a_kind_may_be_told_each() -> None:
    flood = Flood()
    assert [flood.take("a", START + number, at_most=3) for number in range(5)] == [0, 0, 0, None, None]
    assert flood.take("a", START + PERIOD, at_most=3) == 2
    assert flood.take("a", START + PERIOD + 1, at_most=3) is None, "it goes on: one line a period"
    assert flood.take("a", START + 2 * PERIOD, at_most=3) == 1
    assert [flood.take("a", START + 3 * PERIOD + number, at_most=3) for number in range(4)] == [0, 0, 0, None]


def test_what_was_passed_over_is_told_without_another_event() -> None:
    flood = Flood()
    for number in range(3):
        flood.take("a", START, text=f"line {number}")
    flood.take("b", START + 5)
    assert flood.next_untold() == START + PERIOD
    assert flood.untold(START + PERIOD - 1) == []
    assert flood.untold(START + PERIOD) == [("line 2", 2)]
    assert flood.next_untold() is None
    assert flood.take("a", START + PERIOD + 1) is None, "one line a period, that with the count"
    assert flood.next_untold() == START + 2 * PERIOD


@bounded
@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 30))))
def test_none_is_lost_and_none_is_told_twice_within_a_period(events: list[tuple[str, float]]) -> None:
    flood, now = Flood(), START
    came: Counter[str] = Counter()
    accounted: Counter[str] = Counter()
    told: dict[str, float] = {}
    for kind, pause in [*events, ("a", PERIOD), ("b", PERIOD)]:
        now += pause
        came[kind] += 1
        passed_over = flood.take(kind, now)
        if passed_over is not None:
            assert now - told.get(kind, float("-inf")) >= PERIOD
            told[kind] = now
            accounted[kind] += 1 + passed_over
    assert accounted == came
