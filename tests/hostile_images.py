"""Peers that are admitted and harm a node that stores, in a process of their own: each behaviour again and again.

    python -m tests.hostile_images --port 11112 --index objects/index.sqlite --seconds 30

What they send is small, and valid or nearly so; what it costs the node is what is looked at. They call as HOSTILE. They
end after `--seconds`, or at SIGTERM, and print one line of JSON: for each behaviour what the node answered, and how
often. Loopback only.
"""

import argparse
import json
import random
import signal
import socket
import sqlite3
import struct
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path

from minipacs.wire.associate import AssociateRQ

from .peers.process import Child, running
from .raw import CT_IMAGE_STORAGE, IMPLICIT, RawPeer, accepting, asking, command, pdu, pdv, proposing, words
from .storing import EXPLICIT, data_pdus, encoded, image, padded, status_of, store_rq

TITLE = "HOSTILE"
SLOW = "SLOW"
"""The AE title of the destination that takes nothing."""

STORED = 4
"""Objects that are stored once, to be moved."""

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_FIND, _MOVE = b"1.2.840.10008.5.1.4.1.2.2.1", b"1.2.840.10008.5.1.4.1.2.2.2"
_PATIENCE = 20.0  # seconds for an answer
_PENDING = {0xFF00, 0xFF01}
_PAUSE = 0.3  # seconds between two attempts of one behaviour
_READY = "attacking\n"
_STUDY = "1.2.3.1"


# --- what they send --------------------------------------------------------------------------------------------------


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    """An element in Explicit VR Little Endian, of a short or a long form (PS3.5 §7.1.2)."""
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    if vr in {b"SQ", b"OW", b"UN"}:
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def implicit(tag: int, value: bytes) -> bytes:
    """An element in Implicit VR Little Endian, which may be longer."""
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def deflated(data: bytes) -> bytes:
    """As PS3.5 §A.5 has it: a raw stream, padded with a NUL to an even length."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    stream = deflater.compress(data) + deflater.flush()
    return stream + bytes(len(stream) % 2)


@cache
def odd_stream() -> tuple[bytes, bytes]:
    """The UID of an image of more than 1 MiB, and the image deflated: an odd stream with its pad byte."""
    for size in range(3 << 19, (3 << 19) + 400, 2):
        one = image("1.2.3.99", pixels=bytes(size))
        stream = deflated(encoded(one))
        if zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream) and stream.endswith(b"\0") and _is_padded(stream):
            return b"1.2.3.99", stream
    raise AssertionError("no such stream")


def _is_padded(stream: bytes) -> bool:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflater.decompress(stream)
    return len(inflater.unused_data) == 1


@cache
def many_items() -> bytes:
    """An identifier of some kB that inflates to a sequence of a million items."""
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * 1_000_000
    keys = element(0x00080052, b"CS", b"STUDY ") + element(0x00081032, b"SQ", items)
    return deflated(keys)


@cache
def many_values() -> bytes:
    """An identifier with one text of 306 kB, which has many values."""
    return implicit(0x00080052, b"STUDY ") + implicit(0x00100010, b"A\\" * 153_000)


@cache
def empty_elements() -> tuple[bytes, bytes]:
    """The UID of an object of 4 MB, and the object: hundreds of thousands of elements without a value."""
    elements = b"".join(
        struct.pack("<HHI", 0x0011 + 2 * (number >> 14), 0x1000 + (number & 0x3FFF), 0) for number in range(500_000)
    )
    front = implicit(0x00080016, padded(CT_IMAGE_STORAGE)) + implicit(0x00080018, b"1.2.3.98")
    return b"1.2.3.98", front + elements


def request(field: int, sop_class: bytes, *more: tuple[int, bytes]) -> bytes:
    """The P-DATA-TF with a request that has an identifier."""
    elements = words((0x0100, field), (0x0110, 7), (0x0700, 0), (0x0800, 1))
    return pdu(0x04, pdv(command((0x0002, padded(sop_class)), *elements[:2], *more, *elements[2:])))


# --- what they do ----------------------------------------------------------------------------------------------------


@contextmanager
def association(port: int, sop_class: bytes, syntax: bytes) -> Iterator[RawPeer]:
    """An association with one context; it is dropped at the end."""
    with closing(RawPeer(port)) as peer:
        peer.send(asking(proposing(1, sop_class, syntax), calling=TITLE.encode()))
        answer = peer.receive_pdu(_PATIENCE)
        if answer[:1] != b"\x02":
            raise ConnectionError(f"PDU type {answer[:1].hex() or 'none'} instead of an A-ASSOCIATE-AC")
        yield peer


def answer_to(peer: RawPeer) -> str:
    """The status that ends an operation, or what comes in its place."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        answer = peer.receive_pdu(max(0.1, deadline - time.monotonic()))
        if answer[:1] != b"\x04":
            return "aborted" if answer[:1] == b"\x07" else "closed"
        with suppress(ValueError):  # an identifier has none
            if (status := status_of(answer)) not in _PENDING:
                return f"0x{status:04X}"


class Attackers:
    """All behaviours, of one node.

    Args:
        port: of the node.
        index: the file of its index.
    """

    def __init__(self, port: int, index: Path) -> None:
        self._port = port
        self._index = index
        self.behaviours: dict[str, Callable[[], str]] = {
            name: getattr(self, f"_{name}")
            for name in (
                "odd_stream",
                "many_items",
                "many_values",
                "empty_elements",
                "long_key",
                "refused_finds",
                "abandoned_move",
                "stray_cancels",
                "locked_index",
            )
        }

    def prepare(self) -> None:
        """Store what is to be moved."""
        for number in range(STORED):
            answer = self._store(f"1.2.3.2.{number}", bytes(1 << 20))
            assert answer == "0x0000", answer

    def _store(self, uid: str, pixels: bytes) -> str:
        with association(self._port, CT_IMAGE_STORAGE, EXPLICIT) as peer:
            peer.send(store_rq(uid.encode()), *data_pdus(encoded(image(uid, pixels=pixels))))
            return answer_to(peer)

    def _odd_stream(self) -> str:
        uid, stream = odd_stream()
        with association(self._port, CT_IMAGE_STORAGE, _DEFLATED) as peer:
            peer.send(store_rq(uid), *data_pdus(stream))
            return answer_to(peer)

    def _find(self, identifier: bytes, syntax: bytes = IMPLICIT, times: int = 1) -> str:
        with association(self._port, _FIND, syntax) as peer:
            for _ in range(times):
                peer.send(request(0x0020, _FIND), *data_pdus(identifier))
                answer = answer_to(peer)
            return answer

    def _many_items(self) -> str:
        return self._find(many_items(), _DEFLATED)

    def _many_values(self) -> str:
        return self._find(many_values())

    def _empty_elements(self) -> str:
        uid, data_set = empty_elements()
        with association(self._port, CT_IMAGE_STORAGE, IMPLICIT) as peer:
            peer.send(store_rq(uid), *data_pdus(data_set))
            return answer_to(peer)

    def _long_key(self) -> str:
        return self._find(implicit(0x00080052, b"X" * 1_000_000))

    def _refused_finds(self) -> str:
        return self._find(implicit(0x00080052, b"NOWHERE "), times=50)

    def _abandoned_move(self) -> str:
        """Ask for a move to who takes nothing, and be gone."""
        keys = implicit(0x00080052, b"STUDY ") + implicit(0x0020000D, padded(_STUDY.encode()))
        with association(self._port, _MOVE, IMPLICIT) as peer:
            peer.send(request(0x0021, _MOVE, (0x0600, padded(SLOW.encode()))), *data_pdus(keys))
            said = "silence" if peer.hears_nothing(0.5) else "an answer"
            peer.reset()
            return said

    def _stray_cancels(self) -> str:
        """C-CANCEL-RQs for no operation (PS3.7 §9.3.2.3), and a query behind them that is to be answered."""
        cancel = pdu(0x04, pdv(command(*words((0x0100, 0x0FFF), (0x0120, 9), (0x0800, 0x0101)))))
        with association(self._port, _FIND, IMPLICIT) as peer:
            peer.send(*[cancel] * 20)
            peer.send(request(0x0020, _FIND), *data_pdus(implicit(0x00080052, b"STUDY ") + implicit(0x00100020, b"-")))
            return answer_to(peer)

    def _locked_index(self) -> str:
        """Another program has the index for 3 s; an object that comes meanwhile is answered before."""
        with closing(sqlite3.connect(self._index, timeout=5, isolation_level=None)) as index:
            index.execute("BEGIN IMMEDIATE")
            started = time.monotonic()
            answer = self._store(f"1.2.3.3.{random.randrange(1 << 40)}", bytes(8))
            answered_after = time.monotonic() - started
            index.execute("ROLLBACK")
        return answer if answered_after < 3.0 else f"{answer}, after {answered_after:.0f} s"


def attack(port: int, index: Path, seconds: float, ended: threading.Event) -> dict[str, Counter[str]]:
    """Let all of them go on side by side; what the node answered to each, and how often."""
    attackers = Attackers(port, index)
    attackers.prepare()
    print(_READY, end="", flush=True)
    answers: dict[str, Counter[str]] = {name: Counter() for name in attackers.behaviours}
    deadline = time.monotonic() + seconds

    def go_on(name: str, behave: Callable[[], str]) -> None:
        while not ended.wait(_PAUSE) and time.monotonic() < deadline:
            try:
                answer = behave()
            except TimeoutError:
                answer = "no answer"
            except (OSError, sqlite3.Error) as error:
                answer = f"{type(error).__name__}: {error}"
            answers[name][answer] += 1

    threads = [threading.Thread(target=go_on, args=one, daemon=True) for one in attackers.behaviours.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 2 * _PATIENCE)
    return answers


class SlowDestination:
    """Listens, accepts each association, and takes no object of what it is sent: for a ``with`` block."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run, name="slow destination", daemon=True)

    def __enter__(self) -> "SlowDestination":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(_PATIENCE)
        for one in self._open:
            one.close()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            with suppress(OSError):
                self._accept(connection)

    @staticmethod
    def _accept(connection: socket.socket) -> None:
        """Answer the request; all that it proposes is accepted."""
        connection.settimeout(_PATIENCE)
        header = connection.recv(6, socket.MSG_WAITALL)
        body = connection.recv(int.from_bytes(header[2:6], "big"), socket.MSG_WAITALL)
        contexts = AssociateRQ.decode(body, lambda _: None).contexts
        results = ((one.context_id, 0, one.transfer_syntaxes[0].encode()) for one in contexts)
        connection.sendall(accepting(header + body, *results))


class AttackingImages:
    """An attack that is under way."""

    def __init__(self, child: Child) -> None:
        self.child = child

    def stop(self) -> dict[str, dict[str, int]]:
        """End it; what the node answered to each behaviour, and how often."""
        if self.child.exit_code is None:
            self.child.terminate()
        assert self.child.wait(within=3 * _PATIENCE) == 0, self.child.log
        answers: dict[str, dict[str, int]] = json.loads(self.child.log.splitlines()[-1])
        return answers


@contextmanager
def attacking_images(
    port: int, index: Path, seconds: float = 60.0, log: Path | None = None
) -> Iterator[AttackingImages]:
    """Attack the node on that port of 127.0.0.1; from here on they are at it."""
    arguments = [f"--port={port}", f"--index={index}", f"--seconds={seconds}"]
    command_line = [sys.executable, "-m", "tests.hostile_images", *arguments]
    with tempfile.TemporaryDirectory() as folder:
        place = log or Path(folder) / "hostile-images.log"
        with running(
            command_line, log=place, ready=lambda child: _READY in child.log, cwd=Path(__file__).parents[1]
        ) as child:
            yield AttackingImages(child)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile_images")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    print(json.dumps(attack(arguments.port, arguments.index, arguments.seconds, ended)), flush=True)


if __name__ == "__main__":
    main()
