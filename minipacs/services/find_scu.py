"""C-FIND: keys → what the peer has that matches (PS3.4 §C.4.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minipacs.services.operation import MESSAGE_ID, Operation
from minipacs.services.statuses import SUCCESS, failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom.dataset import Dataset


class Find(Operation):
    """A query; its matches come by iteration, once."""

    name = "C-FIND"
    _has_matches = True

    def __iter__(self) -> Iterator[Dataset]:
        """Yield each match as it comes; behind the last, *failure* is known."""
        for _, match in self._pending(
            lambda association: association.send_c_find(self._identifier, self._sop_class, msg_id=MESSAGE_ID)
        ):
            assert match is not None
            yield match

    def _end(self, status: Dataset, identifier: Dataset | None) -> None:  # noqa: ARG002 - it has none
        code = int(status.Status)
        if code != SUCCESS:
            raise failure(self.name, code, status.get("ErrorComment", ""))
