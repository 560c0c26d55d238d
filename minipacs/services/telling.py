"""What the peer of an association has caused, told in the log from whichever thread: with every flood held back."""

from __future__ import annotations

import logging
from contextvars import ContextVar

from minipacs.flood_log import AT_ONCE, FloodLog
from minipacs.services.intake import offered

log: ContextVar[FloodLog | None] = ContextVar("log", default=None)
"""That of the server of the association which the thread serves."""

_OF_NONE = FloodLog()


def tell(kind: str, text: str, error: BaseException | None = None, *, level: int = logging.WARNING) -> None:
    """Log *text*, no more than a few times a minute of one kind and one peer.

    Args:
        kind: what makes two events of a peer alike.
        text: what there is to say, safe to show.
        error: whose traceback is told with it; then it is an error.
        level: of the logging module, where there is none.
    """
    offer = offered.get()
    who = None if offer is None else offer.request.calling_ae_title
    (log.get() or _OF_NONE).log((kind, who), level if error is None else logging.ERROR, text, error, AT_ONCE)
