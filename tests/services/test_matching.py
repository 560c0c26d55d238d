"""Matching by PS3.4 §C.2.2.2: against a plain model of it, with whatever values and keys there may be."""

import re
import sqlite3
from contextlib import closing
from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minipacs.services import matching
from minipacs.services.matching import KeyFault, condition, fold
from minipacs.services.moments import moment

with closing(sqlite3.connect(":memory:")) as _:
    assert sqlite3.sqlite_version_info >= (3, 35), "RETURNING"


def matches(vr: str, stored: str, *keys: str, is_multiple: bool = False) -> bool:
    """Whether the index would find it: by SQLite."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.create_function("fold", 1, fold, deterministic=True)
        connection.create_function("moment", 2, moment, deterministic=True)
        connection.execute("CREATE TABLE t (value TEXT)")
        connection.execute("INSERT INTO t VALUES (?)", [stored])
        found = condition("t.value", vr, keys, is_multiple=is_multiple)
        sql, parameters = found or ("1", [])
        return bool(connection.execute(f"SELECT count(*) FROM t WHERE {sql}", parameters).fetchone()[0])


# --- single value, wildcard, universal (§C.2.2.2.1, §C.2.2.2.3, §C.2.2.2.4) --------------------------------------

# No backslash: it stands between two values of a key or an attribute, which are taken apart before they are matched.
TEXT = st.text("abAB*?[]^-%_'\";é山 1", max_size=8).map(str.strip)


def model(key: str, value: str) -> bool:
    """The wildcards of §C.2.2.2.4, letter by letter."""
    if not key:
        return not value
    if key[0] == "*":
        return any(model(key[1:], value[cut:]) for cut in range(len(value) + 1))
    return bool(value) and key[0] in {"?", value[0]} and model(key[1:], value[1:])


@pytest.mark.parametrize("vr", ["AE", "CS", "LO", "LT", "SH", "ST", "UC", "UT"])
@given(key=TEXT, value=TEXT)
def test_text_matches_as_the_standard_says(vr: str, key: str, value: str) -> None:
    expected = True if not key.strip("*") else model(key, value)
    assert matches(vr, value, key) == expected


@given(key=TEXT, value=TEXT)
def test_names_match_without_regard_to_capitals(key: str, value: str) -> None:
    if not key.strip("*") or "*" in fold(key) or "?" in fold(key):
        assert matches("PN", value, key.swapcase()) == matches("PN", value, key)
    else:
        assert matches("PN", value, key) == (fold(key) == fold(value))


@given(values=st.lists(TEXT.filter(bool), min_size=1, max_size=4), key=TEXT.filter(bool))
def test_one_of_several_values_is_enough(values: list[str], key: str) -> None:
    expected = not key.strip("*") or any(model(key, value) for value in values)
    assert matches("CS", "\\".join(values), key, is_multiple=True) == expected


NAMES = {
    "capitals": ("Müller^Jörg", "MÜLLER^JÖRG", True),
    "accents": ("Müller^Jörg", "Muller^Jorg", False),
    "decomposed": ("Müller", "Mu\u0308ller", True),
    "empty components": ("DOE^JOHN^^^", "doe^john", True),
    "empty components of the key": ("Doe^John", "DOE^JOHN^^", True),
    "part": ("Doe^John", "Doe", False),
    "wildcard": ("Doe^John", "doe*", True),
    "one letter": ("Doe^John", "d?e^*", True),
    "alphabetic": ("Yamada^Tarou=山田^太郎=やまだ^たろう", "yamada^tarou", True),
    "ideographic": ("Yamada^Tarou=山田^太郎=やまだ^たろう", "山田*", True),
    "phonetic": ("Yamada^Tarou=山田^太郎=やまだ^たろう", "やまだ^たろう", True),
    "all groups": ("Yamada^Tarou=山田^太郎", "YAMADA^TAROU=山田^太郎", True),
    "other groups": ("Yamada^Tarou=山田^太郎", "YAMADA^TAROU=田山^太郎", False),
    "no name": ("", "D*", False),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_people(name: str) -> None:
    stored, key, expected = NAMES[name]
    assert matches("PN", stored, key) is expected


@pytest.mark.parametrize("vr", ["LO", "PN", "UI", "DA", "TM", "DT", "IS", "DS", "US"])
@pytest.mark.parametrize("stored", ["", "1"])
@pytest.mark.parametrize("key", ["", "*", "**"])
def test_an_empty_key_matches_everything(vr: str, stored: str, key: str) -> None:
    assert matches(vr, stored, key)


def test_a_wildcard_is_a_letter_where_the_representation_has_none() -> None:
    assert not matches("UI", "1.2.3", "1.2.*")
    assert not matches("UI", "1.2.3", "1.2.?")


# --- list of UIDs (§C.2.2.2.2) --------------------------------------------------------------------------------------


@given(stored=st.sampled_from(["1.2", "1.20", "1.2.3"]), keys=st.lists(st.sampled_from(["1.2", "1.20", "1.2.3", "1"])))
def test_a_uid_matches_any_of_a_list(stored: str, keys: list[str]) -> None:
    assert matches("UI", stored, *keys) == (stored in keys or not keys)


def test_a_list_may_have_more_uids_than_a_statement_parameters() -> None:
    keys = [f"1.2.{number}" for number in range(40_000)]
    assert matches("UI", "1.2.39999", *keys)
    assert not matches("UI", "1.2.40000", *keys)


# --- numbers --------------------------------------------------------------------------------------------------------


@given(stored=st.integers(-10_000, 10_000), key=st.integers(-10_000, 10_000))
def test_numbers_match_by_what_they_mean(stored: int, key: int) -> None:
    assert matches("IS", str(stored), f"{key:+06d}") == (stored == key)


def test_no_number_is_not_zero() -> None:
    assert not matches("IS", "", "0")
    assert matches("DS", "1.50", "1.5")


# --- ranges (§C.2.2.2.5) --------------------------------------------------------------------------------------------

DATES = st.dates()


@given(stored=DATES, first=DATES | st.none(), last=DATES | st.none())
def test_dates_are_found_in_a_range(stored: date, first: date | None, last: date | None) -> None:
    value, low, high = ("" if one is None else one.strftime("%Y%m%d").zfill(8) for one in (stored, first, last))
    if not low and not high:
        with pytest.raises(KeyFault, match="must be YYYYMMDD, or a range of it"):
            matches("DA", value, "-")
        return
    assert matches("DA", value, f"{low}-{high}") == ((not low or low <= value) and (not high or value <= high))


@given(
    stored=st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)),
    first=st.times() | st.none(),
    last=st.times() | st.none(),
    stored_as=st.sampled_from(["%H%M%S.%f", "%H:%M:%S.%f"]),
    key_as=st.sampled_from([("%H", 3_600), ("%H%M", 60), ("%H%M%S", 1), ("%H%M%S.%f", 0)]),
)
def test_times_are_found_in_a_range(stored, first, last, stored_as, key_as) -> None:  # type: ignore[no-untyped-def]
    """What a key leaves out, it means all of: an hour reaches to its end."""
    if first is None and last is None:
        return
    form, unit = key_as

    def begins(time) -> datetime:  # type: ignore[no-untyped-def]
        text = time.strftime(form)
        return datetime.combine(stored.date(), datetime.strptime(text, form).time())

    key = "-".join("" if time is None else time.strftime(form) for time in (first, last))
    expected = (first is None or begins(first) <= stored) and (
        last is None or stored < begins(last) + (timedelta(seconds=unit) or timedelta(microseconds=1))
    )
    assert matches("TM", stored.strftime(stored_as), key) == expected


MOMENTS = {
    "minute": ("TM", "103015", "1030", True),
    "another minute": ("TM", "103015", "1031", False),
    "stored without seconds": ("TM", "1030", "103000", True),
    "fraction": ("TM", "103015.25", "103015", True),
    "points": ("DA", "2024.01.15", "20240101-20240131", True),
    "key with points": ("DA", "20240115", "2024.01.15", True),
    "spaces": ("DA", "20240115", "20240101 - 20240131", True),
    "no date": ("DA", "", "19000101-", False),
    "broken date": ("DA", "Jan 15", "19000101-", False),
    "moment": ("DT", "20240115103015.5", "20240115", True),
    "year": ("DT", "20240115103015", "2024", True),
    "moments": ("DT", "20240115103015", "202401-202402", True),
    "offset": ("DT", "20240115103015+0100", "20240115093015+0000", True),
    "negative offset": ("DT", "20240115103015-0500", "20240115153015+0000", True),
    "negative offset of a key": ("DT", "20240115153015+0000", "20240115103015-0500", True),
    "range with offsets": ("DT", "20240115103015+0000", "20240115000000-0500-20240116000000-0500", True),
    "before a range with offsets": ("DT", "20240115043015+0000", "20240115000000-0500-20240116000000-0500", False),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_moments(name: str) -> None:
    vr, stored, key, expected = MOMENTS[name]
    assert matches(vr, stored, key) is expected


FAULTS = {
    "date": ("DA", "2024"),
    "month": ("DA", "20241301"),
    "wildcard in a date": ("DA", "2024*"),
    "two ranges": ("DA", "20240101-20240102-20240103"),
    "time": ("TM", "25"),
    "letters": ("TM", "noon"),
    "moment": ("DT", "24"),
    "number": ("IS", "seven"),
    "Arabic digits": ("IS", "٧"),
    "infinity": ("DS", "inf"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_key_that_its_attribute_cannot_have_is_refused(name: str) -> None:
    vr, key = FAULTS[name]
    with pytest.raises(KeyFault, match=r"^must be "):
        matches(vr, "1", key)


# --- what peers send gets into no statement -------------------------------------------------------------------------

HOSTILE = ["' OR '1'='1", "'; DROP TABLE t; --", '" OR ""="', "%", "_", "[a-z]*", "x') OR (1=1", "{0}", "?1", ":a"]


@pytest.mark.parametrize("vr", ["LO", "PN", "UI", "CS"])
@pytest.mark.parametrize("key", HOSTILE)
def test_no_key_is_a_statement(vr: str, key: str) -> None:
    assert not matches(vr, "a", key)
    if not re.search(r"[*?]", key) and vr != "UI":
        assert matches(vr, key, key)


@pytest.mark.parametrize("key", HOSTILE)
def test_the_statement_holds_nothing_of_the_key(key: str) -> None:
    found = matching.condition("t.value", "LO", [key])
    assert found is not None
    assert key not in found[0] or key in {"_", "%"}
