"""Data sets byte by byte, sent to a node in a message, and what it answers."""

import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from ..raw import CT_IMAGE_STORAGE, RawPeer, asking, command, pdu, pdv, proposing, raw_peer, words
from ..storing import data_pdus, padded, store_rq
from ..wire.exchange import RELEASE_RP, RELEASE_RQ

IMPLICIT, EXPLICIT, DEFLATED = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.1.99"
FIND, MOVE, GET = (b"1.2.840.10008.5.1.4.1.2.2.%d" % number for number in (1, 2, 3))
FIELDS = {FIND: 0x0020, MOVE: 0x0021, GET: 0x0010}
UNDEFINED = 0xFFFFFFFF
_NO_DATA_SET = 0x0101  # Command Data Set Type (PS3.7 §E.1)
WITHIN = 60.0  # seconds for an answer, on a machine that does much else


@contextmanager
def associated(port: int, sop_class: bytes, syntax: bytes, title: bytes = b"PYNETDICOM") -> Iterator[RawPeer]:
    """An association with that one context, which is released at the end."""
    with raw_peer(port) as peer:
        assert peer.exchange(asking(proposing(1, sop_class, syntax), calling=title))[:1] == b"\2"
        yield peer
        peer.send(RELEASE_RQ)
        assert peer.receive_pdu(WITHIN) == RELEASE_RP


def stored(peer: RawPeer, data: bytes, uid: str = "1.2.3") -> tuple[int, str]:
    """Send a C-STORE-RQ: its status, and the Error Comment."""
    peer.socket.settimeout(WITHIN)
    peer.send(b"".join([store_rq(uid.encode(), sop_class=CT_IMAGE_STORAGE), *data_pdus(data)]))
    return answered(peer)


def asked(peer: RawPeer, sop_class: bytes, identifier: bytes) -> tuple[int, str]:
    """Send a C-FIND-RQ, C-MOVE-RQ or C-GET-RQ: the first status, and the Error Comment."""
    peer.socket.settimeout(WITHIN)
    peer.send(b"".join(request(sop_class, identifier)))
    return answered(peer)


def request(sop_class: bytes, identifier: bytes) -> list[bytes]:
    """The P-DATA-TF of a C-FIND-RQ, C-MOVE-RQ or C-GET-RQ."""
    elements = [(2, padded(sop_class)), *words((0x0100, FIELDS[sop_class]), (0x0110, 7))]
    more = [(0x0600, b"MINIPACS")] if sop_class == MOVE else []
    told = command(*elements, *more, *words((0x0700, 0), (0x0800, 1)))
    return [pdu(0x04, pdv(told)), *data_pdus(identifier)]


def answered(peer: RawPeer) -> tuple[int, str]:
    """The status of the next response, and its Error Comment."""
    response = read_dataset(BytesIO(peer.receive_pdu(WITHIN)[12:]), True, True)
    if response.CommandDataSetType != _NO_DATA_SET:  # of a C-MOVE or a C-GET, the objects that failed
        peer.receive_pdu(WITHIN)
    return response.Status, response.get("ErrorComment", "")


def element(tag: int, vr: bytes, value: bytes = b"", *, length: int | None = None) -> bytes:
    """In Explicit VR Little Endian; *length* to lie about it."""
    count = len(value) if length is None else length
    form = "<HH2sxxI" if vr in {b"SQ", b"UN", b"UT", b"UC", b"OB"} else "<HH2sH"
    return struct.pack(form, tag >> 16, tag & 0xFFFF, vr, count) + value


def implicit(tag: int, value: bytes = b"", *, length: int | None = None) -> bytes:
    """In Implicit VR Little Endian."""
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def ending(tag: int) -> bytes:
    """An item, or what delimits one or a sequence (PS3.5 §7.5)."""
    return implicit(tag)


def deflated(data: bytes) -> bytes:
    deflater = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def peak(pid: int) -> int:
    """The most memory of a process so far, or since reset_peak(), in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")), 0)  # 0: it has ended


def reset_peak(pid: int) -> int:
    """Let the peak begin anew (proc(5)); what it is then."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak(pid)


def without(data: Dataset, *keywords: str) -> Dataset:
    for keyword in keywords:
        delattr(data, keyword)
    return data


def sorted_elements(elements: Sequence[bytes]) -> bytes:
    """By their tags, as they stand in a data set."""
    return b"".join(sorted(elements, key=lambda one: struct.unpack_from("<HH", one)))
