"""pynetdicom as we run it: data sets in pieces by way of files, never whole in memory, and nothing printed or logged.

Whoever uses it beyond its names imports this module first.
"""

from __future__ import annotations

import warnings
from typing import Any

from pynetdicom import AE, _config, ae, association, transport
from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket

from minipacs.services.buffered_socket import BufferedSocket
from minipacs.services.promptness import PromptAssociation

_config.STORE_SEND_CHUNKED_DATASET = True
_config.STORE_RECV_CHUNKED_DATASET = True
_config.LOG_HANDLER_LEVEL = "none"  # it would format every PDU, for a log that nobody reads
_config.PASS_CONTEXTVARS = True  # to the threads of an association, from whoever begins it
_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False
warnings.filterwarnings("ignore", module=r"pydicom\.")  # of what peers sent, in their words, however long


class Entity(AE):
    """An application entity of ours: its threads wait for what they wait for, in both roles."""


class _Choice:
    """Stands for a class of pynetdicom's where it makes instances: of ours for what is of ours, else of its own."""

    def __init__(self, theirs: type, ours: type, of: type) -> None:
        self._theirs = theirs
        self._ours = ours
        self._of = of

    def __call__(self, owner: object, *args: Any, **kwargs: Any) -> Any:
        return (self._ours if isinstance(owner, self._of) else self._theirs)(owner, *args, **kwargs)

    def __instancecheck__(self, one: object) -> bool:
        return isinstance(one, self._theirs)


# An AE makes its associations by these names, a server those that it is asked for; nothing else lets one choose.
_where: Any
for _where in (ae, association):
    _where.Association = _Choice(Association, PromptAssociation, Entity)
for _where in (ae, transport):
    _where.AssociationSocket = _Choice(AssociationSocket, BufferedSocket, PromptAssociation)
