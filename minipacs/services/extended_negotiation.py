"""What peers may agree upon for queries and retrievals beyond what all do (PS3.4 §C.5.1.1, §C.5.2.1, §C.5.3.1).

Relational queries and retrievals, and dates that are matched together with their times. The rest is turned down: fuzzy
semantic matching of names, adjustment of time zones, conversion of enhanced images, matching of empty and of multiple
values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from minipacs.services.sop_classes import FIND, GET, MOVE

if TYPE_CHECKING:
    from collections.abc import Mapping

_OURS = dict.fromkeys(FIND, b"\1\1") | dict.fromkeys((*MOVE, *GET), b"\1")  # what follows is 0


class Agreed(Struct, frozen=True):
    """What is agreed upon for a SOP class.

    Attributes:
        relational: whether an identifier may do without the unique keys of the levels above its own.
        datetimes: whether a date and its time are matched as one (§C.2.2.2.5).
    """

    relational: bool = False
    datetimes: bool = False


NOTHING = Agreed()


def answer(proposed: Mapping[Any, bytes]) -> dict[str, bytes]:
    """Return the answer to Service-class-application-information, by SOP class: as many bytes, each 1 or 0.

    Args:
        proposed: what the peer sent, by SOP class.
    """
    return {str(uid): _turned_down(wanted, _OURS[uid]) for uid, wanted in proposed.items() if uid in _OURS and wanted}


def _turned_down(wanted: bytes, ours: bytes) -> bytes:
    """What is *wanted*, with 0 for what is not *ours*."""
    return bytes(one == other == 1 for one, other in zip(wanted, ours.ljust(len(wanted), b"\0"), strict=False))


def agreed(answered: Mapping[Any, bytes], sop_class: str) -> Agreed:
    """Return what has been agreed upon for a SOP class, by what was answered."""
    relational, datetimes, *_ = *answered.get(sop_class, b""), 0, 0
    return Agreed(bool(relational), bool(datetimes) and sop_class in FIND)
