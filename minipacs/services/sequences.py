"""Sequences (VR SQ): what the index keeps of them, how they match (PS3.4 §C.2.2.2.6), and how they are answered.

They are kept as JSON: a list of items, each of which has keyword → text of the attributes that are kept of it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeAlias

from pydicom.sequence import Sequence

from minipacs.escape import escape
from minipacs.services import matching
from minipacs.services.texts import text_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydicom.dataset import Dataset

    from minipacs.services.attributes import Attribute

_CHARACTER_SET = 0x00080005

ItemKeys: TypeAlias = "list[tuple[Attribute, list[str]]]"
"""The keys in the one item of a key that is a sequence, with their values; none where the whole is asked for."""


def kept(data: Dataset, attribute: Attribute) -> str:
    """Return what the index keeps of a sequence: JSON; empty where there is none, or it cannot be read."""
    try:
        value = data[attribute.tag].value
        items = value if isinstance(value, Sequence) else ()
        inherited = data.get("SpecificCharacterSet", "")
        texts = [_texts(item, attribute.items, inherited) for item in items]
    except Exception:  # noqa: BLE001 - whatever pydicom meets in what a peer sent: the object is listed without it
        return ""
    return json.dumps(texts, ensure_ascii=False) if texts else ""


def _texts(item: Dataset, attributes: Iterable[Attribute], inherited: object) -> dict[str, str]:
    texts = ((one.keyword, text_of(item, one.tag, one.vr, inherited)) for one in attributes)
    return {keyword: text for keyword, text in texts if text}


def item_keys(keys: Dataset, attribute: Attribute) -> tuple[ItemKeys, bool]:
    """Return the keys in the item of a sequence of an identifier; and whether there are others, not supported.

    Raises:
        KeyFault: it is no sequence, or one of several items.
    """
    value = keys[attribute.tag].value
    if not value:
        return [], False
    if not isinstance(value, Sequence) or len(value) > 1:
        raise matching.KeyFault("must be a sequence of one item")
    inherited = keys.get("SpecificCharacterSet", "")
    by_tag = {one.tag: one for one in attribute.items}
    asked = [
        (one, text_of(value[0], one.tag, one.vr, inherited).split("\\"))
        for tag in value[0].keys()  # noqa: SIM118 - its values would all be decoded
        if (one := by_tag.get(tag)) is not None
    ]
    return asked, any(tag.element and tag not in by_tag and tag != _CHARACTER_SET for tag in value[0].keys())  # noqa: SIM118


def condition(column: str, asked: ItemKeys) -> matching.Condition | None:
    """Return the condition for a *column* to have an item that matches all that is *asked*; None: every one does.

    Raises:
        KeyFault: an attribute cannot have such a value.
    """
    clause, parameters = _of_item(asked)
    if not clause:
        return None
    return f"EXISTS (SELECT 1 FROM json_each(nullif({column}, '')) AS item WHERE {clause})", parameters


def matching_items(column: str, asked: ItemKeys) -> matching.Condition:
    """Return the expression for those items of a *column* that match, which are what is answered (§C.2.2.2.6)."""
    clause, parameters = _of_item(asked)
    items = f"SELECT json_group_array(json(item.value)) FROM json_each(nullif({column}, '')) AS item"
    return f"({items} WHERE {clause or '1'})", parameters


def _of_item(asked: ItemKeys) -> matching.Condition:
    clauses = []
    parameters: list[object] = []
    for attribute, values in asked:
        column = f"coalesce(json_extract(item.value, '$.{attribute.keyword}'), '')"
        try:
            one = matching.condition(column, attribute.vr, values, is_multiple=attribute.is_multiple)
        except matching.KeyFault as fault:
            value = escape("\\".join(values))
            raise matching.KeyFault(f"> {attribute.keyword} {fault}, not {value}") from None
        if one is not None:
            clauses.append(one[0])
            parameters += one[1]
    return " AND ".join(clauses), parameters


def answered(text: str, attribute: Attribute, asked: ItemKeys) -> list[dict[Attribute, str]]:
    """Return the items to answer with: of those that matched, the attributes that were *asked* for, or all."""
    wanted = [one for one, _ in asked] or attribute.items
    return [{one: item.get(one.keyword, "") for one in wanted if asked or one.keyword in item} for item in _items(text)]


def _items(text: str) -> list[dict[str, str]]:
    items: list[dict[str, str]] = json.loads(text or "[]")
    return items
