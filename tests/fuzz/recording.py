"""A pytest plugin that records every PDU and stream of PDUs that the tests make, as the corpus of the fuzzers.

tests/fuzz/record runs pytest with it. What the tests of properties make up is left out: a fuzzer makes up more.
"""

import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import pytest
from hypothesis import currently_in_test_context

from minipacs.tracing import dissection, dump
from minipacs.wire.association import Association
from minipacs.wire.header import pdu_bytes
from minipacs.wire.pdu import PDU_CLASSES
from tests.fuzz.corpus import LONGEST, read_file, write_file
from tests.raw import RawPeer

_streams: list[bytearray] = []
_stream_of: WeakKeyDictionary[object, bytearray] = WeakKeyDictionary()  # by what sends or receives it


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where to."""
    parser.addoption("--record", type=Path, required=True, metavar="FILE", help="add what is recorded to this corpus")


def pytest_configure() -> None:
    """Listen where bytes of a peer come in, or go out in the name of one."""
    wrap(Association, "receive_data", _keep)
    wrap(RawPeer, "send", lambda peer, *pieces: _keep(peer, b"".join(pieces)))
    for name in ("send", "sendall"):
        wrap(socket.socket, name, _keep_pdus)
    for pdu_type, pdu_class in PDU_CLASSES.items():
        pdu_class.decode = partial(_decode, pdu_type, pdu_class.decode)  # type: ignore[method-assign]
    dissection.dissect = dump.dissect = partial(_dissect, dissection.dissect)  # type: ignore[attr-defined]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Add what came to what was recorded before."""
    path: Path = session.config.getoption("--record")
    recorded = {bytes(stream) for stream in _streams if 0 < len(stream) <= LONGEST}
    known = set(read_file(path)) if path.exists() else set()
    write_file(path, known | recorded)


def wrap(owner: Any, name: str, note: Callable[..., None]) -> None:
    """Have *note* told of each call of a method before it is made."""
    method = getattr(owner, name)

    def noted(*arguments: Any) -> Any:
        note(*arguments)
        return method(*arguments)

    setattr(owner, name, noted)


def _keep(key: object, data: bytes, *_: object) -> None:
    if currently_in_test_context():
        return
    if key not in _stream_of:
        _streams.append(_stream_of.setdefault(key, bytearray()))
    stream = _stream_of[key]
    stream += memoryview(data)[: max(0, LONGEST + 1 - len(stream))]


def _keep_pdus(key: object, data: bytes, *_: object) -> None:
    """Of all that goes out by sockets, what begins as a PDU."""
    if key in _stream_of or bytes(data)[:1] in map(bytes, ([pdu_type] for pdu_type in PDU_CLASSES)):
        _keep(key, data)


def _decode(pdu_type: int, decode: Callable[..., Any], body: bytes, *observe: Any) -> Any:
    _keep_one(pdu_bytes(pdu_type, body))
    return decode(body, *observe)


def _dissect(dissect: Callable[[bytes], Any], pdu: bytes) -> Any:
    _keep_one(pdu)
    return dissect(pdu)


def _keep_one(pdu: bytes) -> None:
    if not currently_in_test_context() and len(pdu) <= LONGEST:
        _streams.append(bytearray(pdu))
