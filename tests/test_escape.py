"""What a peer sent can be shown anywhere, and nothing of it is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minipacs.escape import LONGEST, escape, hex_dump

from .wire.exchange import bounded


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ORTHANC", "ORTHANC"),
        ("CT 1 @[::1] \"'", "CT 1 @[::1] \"'"),
        ("", ""),
        ("\x1b[31m", r"\x1b[31m"),
        ("a\r\nb", r"a\r\nb"),
        ("a\tb", r"a\tb"),
        ("a\0b", r"a\x00b"),
        ("a\x7fb", r"a\x7fb"),
        ("a\\b", r"a\\b"),
        ("\\n", r"\\n"),
        ("é", r"\xe9"),
        ("\u202e", r"\u202e"),
        ("\ud800", r"\ud800"),
        ("😀", r"\U0001f600"),
    ],
)
def test_what_is_not_printable_ascii_is_escaped(text: str, shown: str) -> None:
    assert escape(text) == shown


@bounded
@given(st.text(st.characters()))
def test_any_text_becomes_one_line_of_printable_ascii(text: str) -> None:
    shown = escape(text)
    assert shown.isascii()
    assert shown.isprintable()


@bounded
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=LONGEST))
def test_nothing_is_lost(text: str) -> None:
    assert escape(text).encode().decode("unicode_escape") == text


@bounded
@given(st.text(max_size=LONGEST), st.text(max_size=LONGEST))
def test_two_texts_never_look_alike(one: str, other: str) -> None:
    assert (escape(one) == escape(other)) == (one == other)


def test_a_long_one_is_cut_and_what_is_left_out_is_counted() -> None:
    assert escape("a" * LONGEST) == "a" * LONGEST
    assert escape("\n" * 1_000_000) == "\\n" * LONGEST + f"...(+{1_000_000 - LONGEST} characters)"


@pytest.mark.parametrize(
    ("data", "length", "shown"),
    [
        (b"", 16, ""),
        (b"GET ", 16, "47 45 54 20"),
        (bytes(range(20)), 16, "00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f"),
        (b"\xff\x00\x01", 2, "ff 00"),
    ],
)
def test_bytes_are_shown_in_pairs_of_digits_up_to_a_length(data: bytes, length: int, shown: str) -> None:
    assert hex_dump(data, length) == shown
    assert length != 16 or hex_dump(data) == shown
