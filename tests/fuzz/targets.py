"""What is fuzzed, and what has to be true of it whatever the input: a function a target, which raises when it is not.

No fuzzer is known here. `TARGETS` has them by name; each is handed any bytes.
"""

import json
import random
import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from minipacs.errors import FileError, PeerTableError, SettingsError
from minipacs.peers import PeerTable
from minipacs.recognition import interrupted, name_of, not_associated, protocol_of
from minipacs.settings import Settings, read_settings
from minipacs.tracing.dissection import dissect
from minipacs.tracing.dump import dump, fields_of, title
from minipacs.tracing.negotiation import as_lines, describe
from minipacs.wire.association import Association, Direction
from minipacs.wire.dimse import c_echo_rq
from minipacs.wire.framing import MAXIMUM_LENGTH
from minipacs.wire.indications import Indication
from minipacs.wire.messages import Message
from minipacs.wire.state_table import State
from minipacs.wire.verification import request
from tests.fuzz import corpus
from tests.wire.exchange import SCU, End, User, pieces, scp

Target: TypeAlias = Callable[[bytes], None]

ASSOCIATE_LIMIT, P_DATA_LIMIT, COMMAND_LIMIT, SHORT_LIMIT = 2_000, 500, 300, 1_024
"""Small, so that a fuzzer reaches them: bytes of an A-ASSOCIATE PDU, a P-DATA-TF, a command set, another PDU."""

_HEADER = 6
_P_DATA_LIMITS = {MAXIMUM_LENGTH, P_DATA_LIMIT}  # until an acceptor announces its own, that of everybody counts
_OBSERVATIONS = 32

# The shortest request that is answered has 26 bytes: in a PDV of a PDU of many, a command field and a message ID. The
# answer to it has 52, which a peer that takes 14 bytes a PDU gets in seven of 20.
_MOST_SENT_A_BYTE = 8
_MOST_SENT_AT_FIRST = 400  # our A-ASSOCIATE-RQ, or what an A-ASSOCIATE-AC tells of ourselves


@dataclass(frozen=True)
class Fuzzed:
    """A target, and what a fuzzer wants to know of it.

    Attributes:
        check: raises when the property does not hold.
        seeds: returns what to begin with.
        words: what may stand in an input, for the fuzzer's dictionary.
        is_stream: whether its inputs are streams of PDUs, and are to be mutated as such too.
    """

    check: Target
    seeds: Callable[[], Sequence[bytes]]
    words: tuple[bytes, ...]
    is_stream: bool


# --- the engine ----------------------------------------------------------------------------------------------------


def wilful(association: Association, indication: Indication) -> None:
    """Answers as the node does, and asks for release or aborts at some messages, which the node does at its stop."""
    scp(association, indication, P_DATA_LIMIT)
    if isinstance(indication, Message) and association.state is State.Sta6:
        if indication.command.message_id == 2:
            association.release()
        elif indication.command.message_id == 3:
            association.abort()


class _Requestor(SCU):
    """Calls as `echo` does, and finds words for whatever happens."""

    def __call__(self, association: Association, indication: Indication) -> None:
        super().__call__(association, indication)
        if association.request is not None and not association.accepted_contexts:
            _check_words(not_associated(indication).detail, name_of(indication))
        if not isinstance(indication, Message):
            _check_words(interrupted(indication).detail)


class _Observed(End):
    """One end, whose association tells the bytes of each PDU, as it does for `serve -v`."""

    def __init__(self, user: User, *, is_requestor: bool) -> None:
        self.told: dict[Direction, bytearray] = {"sent": bytearray(), "received": bytearray()}
        association = Association(
            associate_pdu_limit=ASSOCIATE_LIMIT,
            command_set_limit=COMMAND_LIMIT,
            on_pdu=lambda direction, data: self.told[direction].extend(data),
        )
        asking = request("ECHOSCU", "MINIPACS", maximum_length=P_DATA_LIMIT) if is_requestor else None
        super().__init__(user, asking, association)


def acceptor(data: bytes) -> None:
    """The engine, as the node has it, survives any peer."""
    _check_engine(data, lambda: _Observed(wilful, is_requestor=False))


def requestor(data: bytes) -> None:
    """The engine, as `echo` has it, survives any peer."""
    _check_engine(data, lambda: _Observed(_Requestor(2), is_requestor=True))


def _check_engine(data: bytes, connect: Callable[[], _Observed]) -> None:
    whole = _run(connect(), [data], data)
    assert _run(connect(), _some_pieces(data), data).record == whole.record, "it matters how the bytes are cut"
    if len(data) <= 300:
        one_by_one = [data[place : place + 1] for place in range(len(data))]
        assert _run(connect(), one_by_one, data).record == whole.record, "it matters that the bytes come one by one"


def _run(end: _Observed, parts: Sequence[bytes], data: bytes) -> _Observed:
    for part in parts:
        end.take(part)
        _check_bounds(end.association)
    assert len(end.indications) <= len(data) // _HEADER + 2
    assert len(end.sent) <= _MOST_SENT_AT_FIRST + _MOST_SENT_A_BYTE * len(data), "more is sent than was asked for"
    end.close()
    assert end.association.state is State.Sta1
    assert end.association.is_over
    assert data.startswith(end.told["received"]), "what is told to have come is not what came"
    assert end.told["sent"] == end.sent
    _check_words(*end.association.observations)
    return end


def _check_bounds(association: Association) -> None:
    received = association._reader._received
    if association._is_deaf or association.state is State.Sta1:
        assert len(received) == 0
    elif len(received) >= _HEADER:
        limits = {0x01: ASSOCIATE_LIMIT, 0x02: ASSOCIATE_LIMIT, 0x04: association._reader.p_data_limit}
        assert len(received) < _HEADER + limits.get(received[0], SHORT_LIMIT)
    assert association._reader.p_data_limit in _P_DATA_LIMITS
    assert len(association._assembler._fragments) <= COMMAND_LIMIT
    assert not association._pdvs
    assert len(association.observations) <= _OBSERVATIONS
    assert association.state in State


def _some_pieces(data: bytes) -> list[bytes]:
    """*data* cut anywhere, always in the same places."""
    places = random.Random(zlib.crc32(data))
    return pieces(data, sorted(places.randint(0, len(data)) for _ in range(4)))


def _check_words(*texts: str) -> None:
    for text in texts:
        assert text.isprintable(), f"{text!r} is shown as it came"


# --- what `serve -v` shows -----------------------------------------------------------------------------------------


def tracing(data: bytes) -> None:
    """Whatever a PDU is made of: each byte in one field, every text printable, every value JSON."""
    fields = dissect(data)
    assert b"".join(field.data for field in fields) == data
    assert [field.offset for field in fields] == [sum(len(f.data) for f in fields[:n]) for n in range(len(fields))]
    _check_words(title("received", 0.0, data), *dump(data).splitlines())
    description = describe(data, data)
    _check_words(*as_lines(description))
    _check_words(json.dumps(fields_of(data)), json.dumps(description))
    assert protocol_of(data) in {"http", "tls", "noise"}


# --- our files -----------------------------------------------------------------------------------------------------


def peers(data: bytes) -> None:
    """A peer table is read, or refused with every fault in a line of its own."""
    try:
        table = PeerTable.parse(data, "peers.toml")
    except PeerTableError as error:
        _check_faults(error, "peers.toml")
    else:
        assert PeerTable(table.values()) == table
        for name, peer in table.items():
            assert table.with_ae_title(peer.ae_title) is peer
            assert peer.name == name
            _check_words(name, str(peer))


def settings(data: bytes) -> None:
    """Settings are read, or refused with every fault in a line of its own."""
    with tempfile.NamedTemporaryFile(prefix="fuzz-", suffix=".toml") as file:
        file.write(data)
        file.flush()
        try:
            read = read_settings(Path(file.name))
        except SettingsError as error:
            _check_faults(error, file.name)
        else:
            assert isinstance(read, Settings)
            assert min(getattr(read.timeouts, name) for name in read.timeouts.__struct_fields__) > 0
            assert min(getattr(read.limits, name) for name in read.limits.__struct_fields__) > 0
            _check_words(read.ae_title, read.host)


def _check_faults(error: FileError, source: str) -> None:
    assert error.faults
    for fault in error.faults:
        assert fault.startswith(f"{source}: "), fault
        assert fault.isprintable(), f"{fault!r} is shown as it stands in the file"
        assert len(fault) < 1_000, f"a fault of {len(fault)} characters"


_WIRE_WORDS = (
    *(bytes([pdu_type, 0, 0, 0, 0]) for pdu_type in range(1, 8)),
    *(bytes([item_type, 0, 0]) for item_type in (0x10, 0x20, 0x21, 0x30, 0x40, *range(0x50, 0x5A))),
    c_echo_rq(1).encode(),
    b"1.2.840.10008.1.1",
    b"1.2.840.10008.1.2",
    b"1.2.840.10008.3.1.1.1",
    b"MINIPACS        ",
    b"\0\0\0\x01\2\0\0\0\x30\0",
    b"\0\0\0\x08\2\0\0\0\1\1",
)
_TOML_WORDS = tuple(
    b"[peers. [[ ]] [node] [timeouts] [limits] [tls] ae_title host port allow_from tls tls_name = true false 0x 1e9"
    b' inf nan "" \'\'\' """ \\u0000 \\x1b # 127.0.0.1 ::1 /8 peers request certificate key trusted only "1.2"'
    b" minimum_version"
    b" require_client_certificate maximum_length associate_pdu 1979-05-27T07:32:00Z { } \xef\xbb\xbf \xc2\x85".split()
)

TARGETS = {
    "acceptor": Fuzzed(acceptor, corpus.streams, _WIRE_WORDS, is_stream=True),
    "requestor": Fuzzed(requestor, corpus.streams, _WIRE_WORDS, is_stream=True),
    "tracing": Fuzzed(tracing, corpus.streams, _WIRE_WORDS, is_stream=True),
    "peers": Fuzzed(peers, corpus.tables, _TOML_WORDS, is_stream=False),
    "settings": Fuzzed(settings, corpus.tables, _TOML_WORDS, is_stream=False),
}
