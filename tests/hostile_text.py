"""What hostile peers send, and the judge of what is shown of it."""

import json
import re
import socket
import ssl
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any
from unicodedata import name as name_of
from xml.etree import ElementTree

from minipacs.wire.dimse import c_echo_rq

from .fakes import Behaviour, Conversation, echo_rsp, rejects, releases, speaks_http
from .peers.web import Behaviour as WebBehaviour
from .peers.web import Request
from .raw import accepting, asking, command, item, pdu, pdv, proposing, telling
from .wire.exchange import p_data

# Sixteen bytes, as a title has: CR LF, an ANSI sequence, the C1 control of CSI, DEL, NUL, and U+202E in UTF-8.
BYTES = b"EVIL\r\n\x1b[2J\x9b\x7f\0\xe2\x80\xae"[:16]
TEXT = "EVIL\r\n\x1b[2J\x9b\x7f\0\u202e\u2066\u200f\u061cé\ud83d\ude00".encode("utf-16", "surrogatepass").decode(
    "utf-16"
)
SHOWN = r"EVIL\r\n\x1b[2J\x9b\x7f\x00"
"""What has to be seen of both, so that no channel is clean because nothing came through."""

_OURS = frozenset("…")  # in our own words
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_RECORD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR) +\S")
_LISTENING = re.compile(r"minipacs: \S+ listening on ")


# --- the judge -------------------------------------------------------------------------------------------------------


def forbidden(text: str) -> list[str]:
    """What may not be shown, by kind and name; a line feed ends our own lines and is allowed."""
    return [f"{kind} {ord(c):04X} {name_of(c, '')}".strip() for c in text if (kind := _kind(c))]


def _kind(character: str) -> str:
    code = ord(character)
    if character == "\n" or 0x20 <= code < 0x7F or character in _OURS:
        return ""
    if code < 0x20 or code == 0x7F:
        return "control"
    if code < 0xA0:
        return "C1 control"
    return "bidi control" if character in _BIDI else "not ASCII"


def as_terminal(shown: str) -> list[str]:
    """The faults of what is printed for a person."""
    return forbidden(shown)


def as_one_line(shown: str) -> list[str]:
    """Those of what is one line."""
    return forbidden(shown) + ([] if shown.count("\n") == 1 and shown.endswith("\n") else ["not one line"])


def as_text_log(shown: str) -> list[str]:
    """Those of a text log: each line begins a record, or belongs to one by its two spaces."""
    lines = shown.removesuffix("\n").split("\n")
    strays = [line for line in lines if not (_RECORD.match(line) or _LISTENING.match(line) or line.startswith("  "))]
    return forbidden(shown) + [f"no record: {line!r}" for line in strays]


def as_json(shown: str) -> list[str]:
    """Those of lines of JSON, also of each text in them once it is read."""
    found = forbidden(shown)
    for line in shown.removesuffix("\n").split("\n"):
        if _LISTENING.match(line):
            continue
        try:
            read = json.loads(line)
        except ValueError as fault:
            found.append(f"no JSON: {fault}: {line!r}")
        else:
            found += [fault for text in texts_in(read) for fault in forbidden(text.replace("\n", "\r"))]
    return found


def as_xml(shown: str) -> list[str]:
    """Those of an XML document, also of each text in it once it is read."""
    try:
        root = ElementTree.fromstring(shown)
    except ElementTree.ParseError as fault:
        return [*forbidden(shown), f"no XML: {fault}"]
    return [fault for text in (shown, *xml_texts(root)) for fault in forbidden(text)]


def texts_in(value: object) -> Iterator[str]:
    """Every text in a value of JSON, names included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from texts_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts_in(inner)


def xml_texts(root: ElementTree.Element) -> Iterator[str]:
    """Every text in a document, attributes included."""
    for element in root.iter():
        yield from (element.tag, element.text or "", element.tail or "", *element.attrib, *element.attrib.values())


# --- what calls us ---------------------------------------------------------------------------------------------------

_INFORMATION = telling(
    item(0x53, b"\0\1\0\1"),
    item(0x54, struct.pack(">H", len(BYTES)) + BYTES + b"\1\1"),
    item(0x55, BYTES),
    item(0x56, struct.pack(">H", len(BYTES)) + BYTES + BYTES),
    item(0x57, struct.pack(">H", len(BYTES)) + BYTES + struct.pack(">H", 16) + BYTES + b"\0\0"),
    item(0x58, b"\2\1" + struct.pack(">H", len(BYTES)) + BYTES + struct.pack(">H", 16) + BYTES),
    item(0x52, BYTES),
    item(0x7A, BYTES),
)
_CONTEXTS = (proposing(1), proposing(3, BYTES, BYTES))

STRANGER = asking(*_CONTEXTS, calling=BYTES, user_information=_INFORMATION)
TIED = asking(calling=b"TIED", user_information=_INFORMATION)
_KNOWN = asking(*_CONTEXTS, calling=b"KNOWN", user_information=_INFORMATION)
_WRONG_CLASS = command(
    (0x0002, BYTES), (0x0100, b"\x30\0"), (0x0110, b"\1\0"), (0x0600, BYTES), (0x0800, b"\1\1"), (0x0BAD, BYTES)
)

CALLS: dict[str, Sequence[bytes]] = {
    "stranger": [STRANGER],
    "called otherwise": [asking(*_CONTEXTS, called=BYTES, calling=b"KNOWN", user_information=_INFORMATION)],
    "application context": [asking(calling=b"KNOWN", application_context=BYTES, user_information=_INFORMATION)],
    "admitted": [_KNOWN, p_data(c_echo_rq(1).encode()), pdu(0x04, pdv(_WRONG_CLASS)), BYTES],
    "without a certificate": [TIED],
    "truncated": [STRANGER[:-9]],
    "an item past the end": [asking(item(0x20, BYTES, 0xFFF0), calling=BYTES)],
    "HTTP": [b"GET /" + BYTES + b" HTTP/1.1\r\nHost: " + BYTES + b"\r\n\r\n"],
    "SSH": [b"SSH-2.0-" + BYTES + b"\r\n"],
    "TLS": [b"\x16\x03\x01\0\x20\x01\0\0\x1c" + BYTES * 2],
    "noise": [BYTES],
    "a PDU with a reason": [pdu(0x07, BYTES)],
}
"""What is sent on a connection, each piece once the one before has been answered."""


def call(port: int, pieces: Sequence[bytes], source: str, tls: ssl.SSLContext | None = None) -> None:
    """Send these, wait for what answers each but the last, and behind that for the close."""
    with socket.create_connection(("127.0.0.1", port), 10.0, (source, 0)) as plain:
        sock = plain if tls is None else tls.wrap_socket(plain, server_hostname="127.0.0.1")
        with sock, suppress(ConnectionError, ssl.SSLError):
            for number, piece in enumerate(pieces):
                if number:
                    sock.recv(1 << 16)
                sock.sendall(piece)
            if tls is None:
                sock.shutdown(socket.SHUT_WR)
            while sock.recv(1 << 16):
                pass


# --- whom we call ----------------------------------------------------------------------------------------------------


def _acceptance(request: bytes, syntax: bytes, information: bytes = _INFORMATION) -> bytes:
    """An A-ASSOCIATE-AC with other titles and texts than it should have."""
    plain = accepting(request, (1, 0, syntax), (3, 4, BYTES))
    body = b"\0\1\0\0" + BYTES + BYTES + BYTES * 2
    contexts = plain[74 : plain.index(b"\x50\0", 74)].replace(b"1.2.840.10008.3.1.1.1", BYTES + b"evils")
    return pdu(0x02, body + contexts + information)


def _accepts_and_echoes(conversation: Conversation) -> None:
    conversation.send(_acceptance(conversation.pdu(), b"1.2.840.10008.1.2"))
    conversation.send(echo_rsp(conversation.echo()))
    releases(conversation)


def _accepts_another_syntax(conversation: Conversation) -> None:
    conversation.send(_acceptance(conversation.pdu(), BYTES))
    conversation.send(echo_rsp(conversation.echo()))
    releases(conversation)


def _says(*pieces: bytes) -> Behaviour:
    def behave(conversation: Conversation) -> None:
        conversation.pdu()
        conversation.send(*pieces)

    return behave


def _answers_wrongly(conversation: Conversation) -> None:
    conversation.send(_acceptance(conversation.pdu(), b"1.2.840.10008.1.2"))
    conversation.echo()
    conversation.send(pdu(0x04, pdv(_WRONG_CLASS)))


PEERS: dict[str, Behaviour] = {
    "echoes": _accepts_and_echoes,
    "syntax": _accepts_another_syntax,
    "wrong": _answers_wrongly,
    "banner": lambda conversation: conversation.send(BYTES + b"\r\n"),
    "http": _says(b"HTTP/1.1 400 " + BYTES + b"\r\nServer: " + BYTES + b"\r\n\r\n" + BYTES),
    "alert": _says(b"\x15\x03\x01\0\x02" + BYTES),
    "malformed": _says(pdu(0x02, BYTES * 5)),
    "codes": rejects(0x1B, 0x9B, 0x0D),
    "plain-http": speaks_http,
}
"""What a peer does that we call."""


# --- an Orthanc's REST -----------------------------------------------------------------------------------------------

_ENTRY = {"AET": TEXT, "Host": TEXT, "Port": 104, f"Allow{TEXT}": False}
_OURS_THERE = {"AET": "MINIPACS", "Host": TEXT, "Port": 1, f"Allow{TEXT}": False, "LocalAet": TEXT}
_MODALITIES = {
    "evil": _ENTRY,
    "reached": {**_ENTRY, "Host": "127.0.0.1"},
    "placed": {**_ENTRY, "AET": "PLACED"},
    "minipacs": _OURS_THERE,
}
_REFUSED = {"Details": TEXT, "Message": TEXT, "HttpError": TEXT, "OrthancStatus": 1}


def _system(ae_title: str, port: int) -> dict[str, Any]:
    return {
        "DicomAet": ae_title,
        "DicomPort": port,
        "Version": TEXT,
        "Name": TEXT,
        TEXT: TEXT,
        "Nested": {TEXT: [TEXT, {TEXT: 1}]},
    }


def _orthanc(ae_title: str, dicom_port: int, modalities: object = _MODALITIES) -> WebBehaviour:
    """One that answers in its form; what is in it is the fault."""

    def behave(request: Request) -> None:
        request.body()
        if request.command == "GET":
            told = _system(ae_title, dicom_port) if request.path == "/system" else modalities
            request.answer(200, json.dumps(told).encode())
        else:
            request.answer(500, json.dumps(_REFUSED).encode())

    return behave


def _raw(data: bytes) -> Callable[[Request], None]:
    def behave(request: Request) -> None:
        request.wfile.write(data)
        request.close_connection = True

    return behave


def orthancs(dicom_port: int) -> dict[str, WebBehaviour]:
    """Web servers by what they do; the DICOM port is that of the peer FAKE."""
    body = TEXT.encode()
    return {
        "teller": _orthanc("FAKE", dicom_port),
        "liar": _orthanc(TEXT, dicom_port),
        "namer": _orthanc("FAKE", dicom_port, {TEXT: _ENTRY}),
        "refuser": lambda request: request.answer(500, json.dumps(_REFUSED).encode()),
        "other": lambda request: request.answer(200, body),
        "sender": lambda request: request.answer(
            302, b"", {"Location": "http://127.0.0.1/EVIL\x1b[2J\x9b\x7f\xe2\x80\xae"}
        ),
        "raw": _raw(BYTES * 3 + b"\r\n\r\n"),
        "reason": _raw(b"HTTP/1.1 500 " + BYTES[6:] + b"\r\nContent-Length: 16\r\n\r\n" + BYTES),
    }
