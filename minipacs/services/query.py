"""A query of the Patient Root or the Study Root information model (PS3.4 §C.6.1, §C.6.2): its rules, and its SQL.

The rules are those of hierarchical queries (§C.4.1.3.1): of each level above that of the query, the identifier names
one entity by its unique key, but for a relational query (§C.4.1.2.2), which has to be agreed upon. What else of those
levels it holds is matched, too, since nothing then gets found that was not asked for. Keys of levels below and
attributes that are not kept are not supported: they are ignored, and not among the answers (§C.2.2.1.3).
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import TYPE_CHECKING

from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from minipacs.escape import escape
from minipacs.services import matching, sequences
from minipacs.services.attributes import ATTRIBUTES, LEVELS, UNIQUE_KEYS, Attribute, Level, Model
from minipacs.services.computed import EXPRESSIONS
from minipacs.services.extended_negotiation import NOTHING, Agreed
from minipacs.services.tables import TABLES
from minipacs.services.texts import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Of the identifier itself: how it is encoded, and what is asked for; none is a key.
_NO_KEYS = {"SpecificCharacterSet", "QueryRetrieveLevel", "QueryRetrieveView", "TimezoneOffsetFromUTC"}
_ALWAYS_ANSWERED = {"RetrieveAETitle", "InstanceAvailability"}  # by who we are, not by what is stored
_NUMBERS = {"US", "IS", "UL"}
_UTF8 = "ISO_IR 192"


class IdentifierFault(ValueError):
    """An identifier that breaks the rules of its SOP class (status 0xA900): the message says which, and how.

    Attributes:
        tag: the element that is at fault; None where none is.
    """

    def __init__(self, message: str, tag: int | None = None) -> None:
        super().__init__(message)
        self.tag = tag


class Query:
    """One C-FIND request.

    Attributes:
        sql: the statement that finds the matches.
        parameters: for its question marks.
        has_unsupported: whether the identifier holds keys that are not supported, which the status of a match tells
            (0xFF01, PS3.4 §C.4.1.1.4).
    """

    def __init__(self, model: Model, level: Level, keys: Dataset, agreed: Agreed = NOTHING) -> None:
        """Check an identifier, and make a statement of it.

        Raises:
            IdentifierFault: it breaks the rules of the model.
        """
        _check(model, level, keys, agreed)
        wanted, has_others = _supported(level, keys)
        self._items, has_other_items = _item_keys(wanted, keys)
        self.has_unsupported = has_others or has_other_items
        unique = ATTRIBUTES[UNIQUE_KEYS[level]]
        self._answered = wanted if unique in wanted else [*wanted, unique]
        self._level = level
        self._character_set = text_of(keys, 0x00080005, "CS")
        where, parameters = _where(wanted, keys, agreed)
        columns, before = _columns(self._answered, self._items)
        self.parameters = before + parameters
        self.sql = f"SELECT {columns} FROM {joined(level)}{where} ORDER BY {TABLES[level]}.id"

    def answer(self, row: Sequence[object]) -> Dataset:
        """Return the identifier for one match: the values of what was asked for."""
        data = Dataset()
        data.QueryRetrieveLevel = self._level
        texts = list(map(str, row))
        if not all(text.isascii() for text in texts):
            data.SpecificCharacterSet = self._encodes(texts)
        for attribute, text in zip(self._answered, texts, strict=True):
            asked = self._items.get(attribute.keyword)
            data.add(_element(attribute, text) if asked is None else _sequence(attribute, text, asked))
        return data

    def _encodes(self, texts: list[str]) -> str:
        """The character set of the request, where it has all the letters: who asks may know no other. Or UTF-8."""
        from pydicom.charset import python_encoding

        asked = self._character_set
        if asked not in python_encoding or not asked or "2022" in asked:  # those with escape sequences
            return _UTF8
        try:
            "".join(texts).encode(python_encoding[asked])
        except UnicodeEncodeError:
            return _UTF8
        return asked


def selection(model: Model, level: Level, keys: Dataset, agreed: Agreed = NOTHING) -> tuple[str, list[object]]:
    """Return the statement that finds what a C-MOVE or a C-GET names (PS3.4 §C.4.2.1.4.1), and its parameters.

    Its columns are SOP Instance UID, SOP Class UID, transfer syntax, path and size. The level PATIENT is taken in
    either model: Orthanc moves patients by Study Root, which has no such level (§C.6.2.1).

    Raises:
        IdentifierFault: *keys* break the rules of the model, or name no entity of the *level*.
    """
    _check("PATIENT" if level == "PATIENT" else model, level, keys, agreed)
    unique = ATTRIBUTES[UNIQUE_KEYS[level]]
    values = _values(unique, keys)
    if matching.is_universal(values) or (unique.vr != "UI" and not _is_one(values)):
        raise IdentifierFault(f"{unique.keyword} must name what is to be sent", unique.tag)
    where, parameters = _where(_supported(level, keys)[0], keys, agreed)
    columns = "SOPInstanceUID, SOPClassUID, transfer_syntax, path, size"
    order = f"{TABLES['SERIES']}.id, CAST(InstanceNumber AS INTEGER), instances.id"
    return f"SELECT {columns} FROM {joined('IMAGE')}{where} ORDER BY {order}", parameters


def column(attribute: Attribute) -> str:
    """Return what SQL calls an attribute."""
    return EXPRESSIONS[attribute.keyword] if attribute.is_computed else f"{TABLES[attribute.level]}.{attribute.keyword}"


def _check(model: Model, level: Level, keys: Dataset, agreed: Agreed) -> None:
    above = LEVELS[LEVELS.index(model) : LEVELS.index(level)]
    if LEVELS.index(level) < LEVELS.index(model):
        raise IdentifierFault(f"Query/Retrieve Level must be STUDY, SERIES or IMAGE, not {level}", 0x00080052)
    for higher in () if agreed.relational else above:
        unique = ATTRIBUTES[UNIQUE_KEYS[higher]]
        values = _values(unique, keys)
        if matching.is_universal(values) or len(values) != 1 or (unique.vr != "UI" and not _is_one(values)):
            raise IdentifierFault(f"{unique.keyword} must be one value in a query at level {level}", unique.tag)


def _is_one(values: list[str]) -> bool:
    """Whether they name one entity: with a wildcard, they might name others."""
    return len(values) == 1 and not set(values[0]) & set("*?")


def _supported(level: Level, keys: Dataset) -> tuple[list[Attribute], bool]:
    """The attributes of the identifier that are supported, in its order; and whether there are others."""
    lowest = LEVELS.index(level)
    by_tag = {one.tag: one for one in ATTRIBUTES.values() if LEVELS.index(one.level) <= lowest}
    tags = [int(tag) for tag in keys.keys() if tag.element != 0]  # noqa: SIM118 - its values would all be decoded
    others = {tag for tag in tags if tag not in by_tag} - _ignored()
    return [by_tag[tag] for tag in tags if tag in by_tag], bool(others)


def _ignored() -> set[int]:
    from pydicom.datadict import tag_for_keyword

    return {tag for keyword in _NO_KEYS | _ALWAYS_ANSWERED if (tag := tag_for_keyword(keyword)) is not None}


def _item_keys(attributes: list[Attribute], keys: Dataset) -> tuple[dict[str, sequences.ItemKeys], bool]:
    """Keyword → the keys in its item, for each sequence; and whether there are others in them, not supported."""
    items, has_others = {}, False
    for attribute in attributes:
        if attribute.items:
            with _named(attribute, keys):
                items[attribute.keyword], here = sequences.item_keys(keys, attribute)
                has_others |= here
    return items, has_others


def _columns(attributes: list[Attribute], items: dict[str, sequences.ItemKeys]) -> tuple[str, list[object]]:
    columns = [
        sequences.matching_items(column(one), items[one.keyword]) if items.get(one.keyword) else (column(one), [])
        for one in attributes
    ]
    return ", ".join(name for name, _ in columns), [parameter for _, more in columns for parameter in more]


def _where(attributes: list[Attribute], keys: Dataset, agreed: Agreed) -> tuple[str, list[object]]:
    conditions = list(_datetimes(attributes, keys)) if agreed.datetimes else []
    together = {keyword for keywords, _ in conditions for keyword in keywords}
    for attribute in attributes:
        if attribute.keyword not in together and (one := _condition(attribute, keys)) is not None:
            conditions.append(((attribute.keyword,), one))
    clauses = [clause for _, (clause, _) in conditions]
    parameters = [parameter for _, (_, more) in conditions for parameter in more]
    return (f" WHERE {' AND '.join(clauses)}" if clauses else ""), parameters


def _datetimes(attributes: list[Attribute], keys: Dataset) -> Iterator[tuple[tuple[str, ...], matching.Condition]]:
    """The conditions for dates and times that are matched as one, with the keywords of both."""
    for date in (one for one in attributes if one.vr == "DA"):
        time = ATTRIBUTES.get(f"{date.keyword.removesuffix('Date')}Time")
        if time is not None and time in attributes:
            with suppress(matching.KeyFault):  # which is told where each is matched by itself
                both = matching.datetimes(column(date), column(time), _values(date, keys), _values(time, keys))
                if both is not None:
                    yield (date.keyword, time.keyword), both


@contextmanager
def _named(attribute: Attribute, keys: Dataset) -> Iterator[None]:
    """Say of a key that is at fault which it is, and what it has."""
    try:
        yield
    except matching.KeyFault as fault:
        value = "" if attribute.items else f", not {escape(text_of(keys, attribute.tag, attribute.vr))}"
        raise IdentifierFault(f"{attribute.keyword} {fault}{value}", attribute.tag) from None


def _condition(attribute: Attribute, keys: Dataset) -> matching.Condition | None:
    name = column(attribute)
    with _named(attribute, keys):
        if attribute.items:
            return sequences.condition(name, sequences.item_keys(keys, attribute)[0])
        return matching.condition(name, attribute.vr, _values(attribute, keys), is_multiple=attribute.is_multiple)


def _values(attribute: Attribute, keys: Dataset) -> list[str]:
    try:
        text = text_of(keys, attribute.tag, attribute.vr)
    except (LookupError, ValueError) as error:
        raise IdentifierFault(f"{attribute.keyword} cannot be read: {escape(str(error))}", attribute.tag) from None
    return [text] if attribute.vr in {"LT", "ST", "UT"} else text.split("\\")


def joined(level: Level) -> str:
    """Return the table of a level, joined with those of all levels above it."""
    levels = LEVELS[: LEVELS.index(level) + 1][::-1]
    joins = "".join(
        f" JOIN {TABLES[above]} ON {TABLES[above]}.id = {TABLES[below]}.parent" for below, above in pairwise(levels)
    )
    return f"{TABLES[level]}{joins}"


def _sequence(attribute: Attribute, text: str, asked: sequences.ItemKeys) -> DataElement:
    items = []
    for values in sequences.answered(text, attribute, asked):
        item = Dataset()
        for one, value in values.items():
            item.add(_element(one, value))
        items.append(item)
    return DataElement(attribute.tag, "SQ", items)


def _element(attribute: Attribute, text: str) -> DataElement:
    value: object = text.split("\\") if attribute.is_multiple and "\\" in text else text
    try:
        if attribute.vr == "US":
            value = [int(one) for one in text.split("\\")] if text else None
        return DataElement(attribute.tag, attribute.vr, value, validation_mode=config.IGNORE)
    except (ValueError, OverflowError):  # what is stored breaks the rule for its representation: it has no legal answer
        return DataElement(attribute.tag, attribute.vr, None)
