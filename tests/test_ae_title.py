"""What an AE title is (PS3.5 §6.2), and what of it is significant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minipacs.ae_title import MAXIMUM_LENGTH, broken_rule, significant

from .wire.exchange import ae_titles, bounded

EMPTY = "must not be empty"
LONG = "must be at most 16 characters"
BACKSLASH = "must not contain a backslash"
PRINTABLE = "must be printable ASCII (the default repertoire of PS3.5)"


@pytest.mark.parametrize(
    ("title", "kept"),
    [
        ("CT1", "CT1"),
        ("  CT1  ", "CT1"),
        ("CT 1", "CT 1"),
        ("CT1\0\0\0", "CT1"),
        ("CT1 \0 \0", "CT1"),
        ("\0CT1", "\0CT1"),
        ("CT\x001", "CT\x001"),
        ("\tCT1\n", "\tCT1\n"),
        ("\xa0CT1\xa0", "\xa0CT1\xa0"),
        ("ct1", "ct1"),
        ("   ", ""),
        ("\0\0", ""),
        ("", ""),
    ],
)
def test_spaces_around_and_nuls_behind_are_not_significant(title: str, kept: str) -> None:
    assert significant(title) == kept


@pytest.mark.parametrize(
    ("title", "rule"),
    [
        ("A", None),
        ("SIXTEEN_LETTERS_", None),
        ("   SIXTEEN_LETTERS_   ", None),
        ("".join(map(chr, range(0x21, 0x31))), None),
        ("a@b:104", None),
        ("", EMPTY),
        (" " * 16, EMPTY),
        ("\0", EMPTY),
        ("SEVENTEEN_LETTERS", LONG),
        ("A" * 100_000, LONG),
        ("CT\\1", BACKSLASH),
        ("CT1\0", PRINTABLE),
        ("CT\n1", PRINTABLE),
        ("CT1\r", PRINTABLE),
        ("\x1b[2J", PRINTABLE),
        ("CT\x7f", PRINTABLE),
        ("\t", PRINTABLE),
        ("RÖNTGEN", PRINTABLE),
        ("CT１", PRINTABLE),  # a digit one of full width
        ("\ud800", PRINTABLE),
    ],
)
def test_the_rule_that_a_title_breaks_is_named(title: str, rule: str | None) -> None:
    assert broken_rule(title) == rule


@bounded
@given(ae_titles)
def test_a_valid_title_breaks_no_rule_however_it_is_padded(title: str) -> None:
    assert broken_rule(title) is None
    assert broken_rule(title.ljust(MAXIMUM_LENGTH).rjust(MAXIMUM_LENGTH + 4)) is None


@bounded
@given(st.text())
def test_what_is_valid_is_1_to_16_characters_of_the_default_repertoire(title: str) -> None:
    kept = significant(title)
    repertoire = set(map(chr, range(0x20, 0x7F))) - {"\\"}
    assert (broken_rule(title) is None) == (0 < len(kept) <= MAXIMUM_LENGTH and set(title) <= repertoire)
