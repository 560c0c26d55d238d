"""What a TOML table of ours may hold: rules put together, so that every fault is told and not only the first.

A rule takes a value and returns it, normalised; it raises Invalid when it is broken. This module knows no file and no
key of one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

Rule: TypeAlias = Callable[[object], Any]


class Fault(Struct, frozen=True):
    """A rule that is broken.

    Attributes:
        rule: in words, ``must …``.
        path: the keys, and positions in arrays, that lead to what breaks it.
        is_of_key: whether the last key itself is at fault, not its value.
        is_missing: whether it is not there, and has to be.
    """

    rule: str
    path: tuple[str | int, ...] = ()
    is_of_key: bool = False
    is_missing: bool = False


class Invalid(ValueError):
    """A value breaks rules.

    Attributes:
        faults: each rule that it breaks; a text stands for the value itself.
    """

    def __init__(self, *faults: str | Fault) -> None:
        self.faults = [Fault(fault) if isinstance(fault, str) else fault for fault in faults]
        super().__init__(*(fault.rule for fault in self.faults))

    @property
    def msg(self) -> str:
        """The first rule that is broken."""
        return self.faults[0].rule

    def below(self, step: str | int) -> list[Fault]:
        """Return the faults as those of a value that holds this one at *step*."""
        return [
            Fault(fault.rule, (step, *fault.path), is_of_key=fault.is_of_key, is_missing=fault.is_missing)
            for fault in self.faults
        ]


def table(fields: Mapping[str, Rule], required: Collection[str] = ()) -> Rule:
    """Return the rule for a TOML table with these *fields*, each with its rule, of which some are *required*."""

    def rule(value: object) -> dict[str, Any]:
        held, result, faults = _as_table(value), {}, []
        for key, one in held.items():
            check = fields.get(key)
            if check is None:
                faults.append(Fault(_known_key_rule(key, list(fields)), (key,), is_of_key=True))
                continue
            try:
                result[key] = check(one)
            except Invalid as broken:
                faults += broken.below(key)
        faults += [Fault("must be given", (key,), is_missing=True) for key in required if key not in held]
        if faults:
            raise Invalid(*faults)
        return result

    return rule


def each(check: Rule) -> Rule:
    """Return the rule for a TOML table of any keys whose values all keep the rule *check*."""

    def rule(value: object) -> dict[str, Any]:
        held = _as_table(value)
        return dict(zip(held, _all(check, held.items()), strict=True))

    return rule


def array(check: Rule) -> Rule:
    """Return the rule for a TOML array whose members all keep the rule *check*."""

    def rule(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise Invalid("must be an array")
        return tuple(_all(check, enumerate(value)))

    return rule


def every(*checks: Rule) -> Rule:
    """Return the rule that is kept when all *checks* are.

    Each is handed the value as it stands in the file; the result is that of the last.
    """

    def rule(value: object) -> Any:
        faults: list[Fault] = []
        result = None
        for check in checks:
            try:
                result = check(value)
            except Invalid as broken:
                faults += broken.faults
        if faults:
            raise Invalid(*faults)
        return result

    return rule


def _as_table(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Invalid("must be a table")
    return value


def _all(check: Rule, items: Iterable[tuple[str | int, object]]) -> list[Any]:
    faults: list[Fault] = []
    results = []
    for step, one in items:
        try:
            results.append(check(one))
        except Invalid as broken:
            faults += broken.below(step)
    if faults:
        raise Invalid(*faults)
    return results


def _known_key_rule(key: str, known: list[str]) -> str:
    from difflib import get_close_matches

    nearest = get_close_matches(key, known, n=1)
    return f"must be a known key (nearest: {nearest[0]})" if nearest else f"must be one of {', '.join(known)}"
