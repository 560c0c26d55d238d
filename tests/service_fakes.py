"""Peers that take our association for images and then misbehave; they stand beside those of fakes.py."""

import struct
import threading
from collections.abc import Callable

from minipacs.wire.associate import AssociateRQ

from .fakes import Behaviour, Conversation
from .raw import accepting, command, pdu, pdv, words
from .storing import data_pdus
from .wire.exchange import ABORT_0_0, RELEASE_RQ

_FIELD, _MESSAGE_ID = struct.pack("<HHI", 0, 0x0100, 2), struct.pack("<HHI", 0, 0x0110, 2)
_P_DATA = 0x04
_NEVER = 5.0


def takes(conversation: Conversation, result: int = 0) -> None:
    """A-ASSOCIATE-AC of that result for every context, each with the first of its transfer syntaxes."""
    request = conversation.pdu()
    contexts = AssociateRQ.decode(request[6:], lambda _: None).contexts
    answers = [(context.context_id, result, context.transfer_syntaxes[0].encode()) for context in contexts]
    conversation.send(accepting(request, *answers))


def asked(conversation: Conversation) -> tuple[int, int, int]:
    """Read the request up to its last fragment: its presentation context, its command field and its message ID."""
    data = b""
    while True:
        fragment = conversation.pdu()
        if fragment[:1] != bytes([_P_DATA]):
            return 0, 0, 0
        context_id, control = fragment[10], fragment[11]
        data += fragment[12:] if control & 1 else b""
        if control == 2:
            return context_id, _value(data, _FIELD), _value(data, _MESSAGE_ID)


def answer(status: int, context_id: int, field: int, message_id: int, *more: tuple[int, int]) -> bytes:
    """A response without an identifier."""
    elements = words((0x0100, field | 0x8000), (0x0120, message_id), (0x0800, 0x0101), (0x0900, status), *more)
    return pdu(_P_DATA, pdv(command(*elements), context_id=context_id))


def at_the_request(behave: Callable[[Conversation, tuple[int, int, int]], None]) -> Behaviour:
    """Good until our request is whole."""

    def whole(conversation: Conversation) -> None:
        takes(conversation)
        behave(conversation, asked(conversation))

    return whole


def refuses(result: int) -> Behaviour:
    """Takes the association, and no context."""
    return lambda conversation: takes(conversation, result)


aborts = at_the_request(lambda conversation, _: conversation.send(ABORT_0_0))
closes = at_the_request(lambda conversation, _: conversation.close())
releases = at_the_request(lambda conversation, _: conversation.send(RELEASE_RQ))
says_nothing = at_the_request(lambda _conversation, _: None)
answers_malformed = at_the_request(
    lambda conversation, _: conversation.send(pdu(_P_DATA, pdv(struct.pack("<HHI", 0, 0x0900, 2))))
)


def answers_status(status: int, *more: tuple[int, int]) -> Behaviour:
    """A last response of that status; *more* are further elements of two bytes."""
    return at_the_request(lambda conversation, request: conversation.send(answer(status, *request, *more)))


def answers_another(status: int) -> Behaviour:
    """A response of that status, to a message that we did not send."""
    return at_the_request(
        lambda conversation, request: conversation.send(answer(status, request[0], request[1], request[2] + 6))
    )


def answers_too_deep(levels: int) -> Behaviour:
    """A match with so many sequences within each other, each a handful of bytes."""
    item = struct.pack("<HH2sxxIHHI", 0x0008, 0x1110, b"SQ", 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF)
    return at_the_request(lambda conversation, request: conversation.send(match(item * levels, *request)))


def match(data: bytes, context_id: int, field: int, message_id: int) -> bytes:
    """A response that is not the last, and its identifier."""
    elements = words((0x0100, field | 0x8000), (0x0120, message_id), (0x0800, 0), (0x0900, 0xFF00))
    return b"".join(
        [pdu(_P_DATA, pdv(command(*elements), context_id=context_id)), *data_pdus(data, context_id=context_id)]
    )


def does_not_read_until(event: threading.Event) -> Behaviour:
    """Takes the association, and nothing of what is sent on it before."""

    def behave(conversation: Conversation) -> None:
        takes(conversation)
        event.wait(_NEVER)

    return behave


def _value(data: bytes, element: bytes) -> int:
    place = data.index(element) + len(element)
    return int.from_bytes(data[place : place + 2], "little")


def aborts_in_the_middle(conversation: Conversation) -> None:
    """A-ABORT and a close after the first fragments of a data set."""
    takes(conversation)
    for _ in range(3):
        conversation.pdu()
    conversation.send(ABORT_0_0)
    conversation.close()
