"""Which presentation contexts files need, over as many associations as that takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context

from minipacs.services.calling import MOST_CONTEXTS
from minipacs.services.sop_classes import UNCOMPRESSED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pynetdicom.presentation import PresentationContext

    from minipacs.services.image_files import ImageFile

_CONVERTIBLE = frozenset({*UNCOMPRESSED, str(DeflatedExplicitVRLittleEndian)})
"""What is written anew in either of UNCOMPRESSED without a change to a value."""


class Load(Struct, frozen=True):
    """Files that go over associations of the same contexts, and SOP class and transfer syntax of each context."""

    files: list[ImageFile]
    proposals: list[tuple[str, str]]

    def contexts(self) -> list[PresentationContext]:
        """Return the contexts, new ones for each association.

        Each has one transfer syntax: of several the peer would choose, and not as the files are.
        """
        return [build_context(sop_class, syntax) for sop_class, syntax in self.proposals]


def loads(files: Iterable[ImageFile]) -> list[Load]:
    """Return the files in loads of no more contexts than an association has."""
    made: list[Load] = []
    by_kind: dict[tuple[str, str], Load] = {}
    for file in files:
        kind = (file.sop_class, file.transfer_syntax)
        if kind not in by_kind:
            more = _proposals(*kind)
            if not made or len({*made[-1].proposals, *more}) > MOST_CONTEXTS:
                made.append(Load([], []))
            by_kind[kind] = made[-1]
            made[-1].proposals.extend(proposal for proposal in more if proposal not in made[-1].proposals)
        by_kind[kind].files.append(file)
    return made


def syntaxes_for(transfer_syntax: str) -> tuple[str, ...]:
    """Return the transfer syntaxes in which a file can be sent: its own first, then those it can be written anew in."""
    others = UNCOMPRESSED if transfer_syntax in _CONVERTIBLE else ()
    return tuple(dict.fromkeys((transfer_syntax, *others)))


def _proposals(sop_class: str, transfer_syntax: str) -> list[tuple[str, str]]:
    """Return what is proposed for such a file.

    For one that cannot be written anew, the syntax that every node has to take, besides: some refuse a transfer syntax
    by the result for an unknown SOP class, and that tells the two apart.
    """
    syntaxes = dict.fromkeys((*syntaxes_for(transfer_syntax), str(ImplicitVRLittleEndian)))
    return [(sop_class, syntax) for syntax in syntaxes]
