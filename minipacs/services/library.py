"""pynetdicom as we run it: data sets in pieces by way of files, never whole in memory, and nothing printed or logged.

Whoever uses it beyond its names imports this module first.
"""

from __future__ import annotations

from typing import Any

from pynetdicom import _config, ae, association, transport

from minipacs.services.buffered_socket import BufferedSocket
from minipacs.services.promptness import PromptAssociation

_config.STORE_SEND_CHUNKED_DATASET = True
_config.STORE_RECV_CHUNKED_DATASET = True
_config.LOG_HANDLER_LEVEL = "none"  # it would format every PDU, for a log that nobody reads
_config.PASS_CONTEXTVARS = True  # to the threads of an association, from whoever begins it
_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False

# Of these two classes it makes all its associations: an AE those that it asks for, a server those that it is asked for.
# There is no other way to have it make its own of another class.
_where: Any
for _where in (ae, association):
    _where.Association = PromptAssociation
for _where in (ae, transport):
    _where.AssociationSocket = BufferedSocket
