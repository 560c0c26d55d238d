"""Which presentation contexts a C-GET needs, so that the peer can send each object as it is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynetdicom import build_context

from minipacs.services.calling import MOST_CONTEXTS
from minipacs.services.sop_classes import STORAGE_SYNTAXES, USUAL_STORAGE, USUAL_SYNTAXES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pynetdicom.presentation import PresentationContext

    from minipacs.services.inquiry import Kinds

_MOST = MOST_CONTEXTS - 1  # the other is that of the C-GET itself


def contexts_for(kinds: Kinds) -> list[PresentationContext]:
    """Return a context for each transfer syntax of each SOP class, as far as an association has so many.

    Of several transfer syntaxes in one context, the peer would choose one before it looks at an object, and most choose
    an uncompressed one: what is stored compressed then is decompressed, or cannot be sent at all.

    Args:
        kinds: SOP class → transfer syntaxes; what is not known is whatever is usual.
    """
    sop_classes = list(kinds)[:_MOST] or USUAL_STORAGE
    most = _MOST // len(sop_classes)
    return [
        build_context(sop_class, list(syntaxes))
        for sop_class in sop_classes
        for syntaxes in _shared_out(sorted(kinds.get(sop_class, ())) or _usual(most), most)
    ]


def _usual(most: int) -> Sequence[str]:
    return STORAGE_SYNTAXES if most >= len(STORAGE_SYNTAXES) else USUAL_SYNTAXES


def _shared_out(syntaxes: Sequence[str], most: int) -> list[Sequence[str]]:
    """Each on its own; what is too many, the last ones, together."""
    alone, together = syntaxes[: most - 1], syntaxes[most - 1 :]
    return [*([syntax] for syntax in alone), *([together] if together else [])]
