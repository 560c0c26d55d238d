"""pynetdicom as a peer that stores and answers queries: whatever a test wants it to answer."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.presentation import PresentationContext, build_context

from minipacs import Peer
from minipacs.services import library  # noqa: F401 - one process, one pynetdicom
from minipacs.services.sop_classes import SOP_CLASSES, STORAGE_SYNTAXES, UNCOMPRESSED

AE_TITLE = "PYNETDICOM"

Handlers = Sequence[tuple[Any, Callable[..., Any]]]


def contexts() -> list[PresentationContext]:
    """All that there is: each storage class in each transfer syntax, and the queries."""
    queries = [uid for service in ("find", "move", "get") for uid in SOP_CLASSES[service]]
    return [build_context(uid, list(STORAGE_SYNTAXES)) for uid in SOP_CLASSES["store"]] + [
        build_context(uid, list(UNCOMPRESSED)) for uid in queries
    ]


@contextmanager
def answering(
    handlers: Handlers, supported: Sequence[PresentationContext] | None = None, most: int = 10
) -> Iterator[Peer]:
    """Listen on loopback, and answer as the handlers do, on so many associations at once."""
    entity = AE(AE_TITLE)
    entity.maximum_associations = most
    entity.supported_contexts = list(contexts() if supported is None else supported)
    for context in entity.supported_contexts:
        context.scu_role = context.scp_role = True
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=list(handlers))
    assert server is not None
    assert server.socket is not None
    try:
        yield Peer("scp", AE_TITLE, "127.0.0.1", server.socket.getsockname()[1])
    finally:
        server.shutdown()


def storing(*statuses: int) -> Handlers:
    """C-STORE-RSP with each status in its turn, and the last from then on."""
    remaining = list(statuses)
    return [(evt.EVT_C_STORE, lambda _: remaining.pop(0) if len(remaining) > 1 else remaining[0])]
