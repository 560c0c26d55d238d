"""One C-FIND, C-MOVE or C-GET of ours, on an association of its own (PS3.4 §C.4)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from pynetdicom import build_context

from minipacs.echo_result import Outcome
from minipacs.names import uid_name
from minipacs.recognition import Failed
from minipacs.services.calling import Calling
from minipacs.services.sop_classes import UNCOMPRESSED
from minipacs.services.statuses import is_pending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pydicom.dataset import Dataset
    from pynetdicom.association import Association
    from pynetdicom.presentation import PresentationContext

    from minipacs.diagnosis import Diagnosis
    from minipacs.services.caller import Caller

MESSAGE_ID = 1
"""That of the one request."""


class Operation:
    """What is asked once, and answered by many responses; its kinds say how, and what the last response means.

    Args:
        caller: whom it asks, and how.
        sop_class: UID of its class of the information model.
        identifier: what it asks for.

    Attributes:
        failure: why it failed, and what to change; None when it did not.
        is_cancelled: whether it was told to stop.
    """

    name = ""
    _has_matches = False  # whether a response that is not the last has an identifier

    def __init__(self, caller: Caller, sop_class: str, identifier: Dataset) -> None:
        self._caller = caller
        self._sop_class = sop_class
        self._identifier = identifier
        self._calling: Calling | None = None
        self._cancelled = threading.Event()
        self.failure: Diagnosis | None = None

    @property
    def is_cancelled(self) -> bool:
        """Whether it was told to stop."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Ask the peer to stop, which it answers by its last response; from another thread."""
        self._cancelled.set()
        if self._calling is not None:
            self._calling.cancel(MESSAGE_ID, self._sop_class)

    def _pending(
        self,
        ask: Callable[[Association], Iterator[Any]],
        more: Iterable[PresentationContext] = (),
        roles: Iterable[Any] = (),
        handlers: Iterable[tuple[Any, Callable[..., Any]]] = (),
    ) -> Iterator[tuple[Dataset, Dataset | None]]:
        """Yield all responses but the last, which is given to _end()."""
        context = build_context(self._sop_class, list(UNCOMPRESSED))
        last = None
        calling = Calling(self._caller, [context, *more], roles, handlers)
        try:
            with calling:
                self._check_context(calling)
                if self.is_cancelled:
                    return
                self._calling = calling
                for status, identifier in calling.responses(ask, MESSAGE_ID):
                    if is_pending(int(status.Status)):
                        if self._has_matches and identifier is None:
                            raise Failed(Outcome.ABORTED, "service.invalid")
                        yield status, identifier
                    else:
                        self._calling = None
                        last = status, identifier
            if last is not None:  # whatever it says: the association is released as is proper
                self._end(*last)
        except Failed as failed:
            self.failure = self._words(failed, calling.local_address)
        finally:
            self._calling = None

    def _end(self, status: Dataset, identifier: Dataset | None) -> None:
        """Take the last response.

        Raises:
            Failed: it says that the operation failed.
        """
        raise NotImplementedError

    def _words(self, failed: Failed, local_address: str) -> Diagnosis:
        return self._caller.words(
            failed,
            local_address,
            operation=self.name,
            sop_class=uid_name(self._sop_class),
            syntax="Explicit or Implicit VR Little Endian",
        )

    def _check_context(self, calling: Calling) -> None:
        if any(context.abstract_syntax == self._sop_class for context in calling.accepted):
            return
        result = next((cx.result for cx in calling.refused if cx.abstract_syntax == self._sop_class), None)
        code = "service.transfer-syntax" if result == 4 else "service.sop-class"
        raise Failed(Outcome.NO_CONTEXT, code, str(result))
