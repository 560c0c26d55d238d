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
    for address in range(100_000):
        assert flood.take(address, START) == 0
        flood.take(address, START)
    assert len(vars(flood)["_told"]) <= 1_000
    assert len(vars(flood)["_untold"]) <= 1_000


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
