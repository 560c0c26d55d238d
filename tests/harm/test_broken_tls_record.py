"""A broken TLS record is told in its row, whatever comes behind it; nothing of it reaches asyncio's handler."""

import logging
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeVar

import pytest

from minipacs import Peer, VerificationSCP, echo
from minipacs.settings import Timeouts
from minipacs.tls import client_context, server_context
from tests.certificates import Authority
from tests.raw import asking
from tests.wire.exchange import echo as echo_rq

PATIENCE = 30.0

T = TypeVar("T")

RECORDS = {
    "ciphered with nothing": bytes.fromhex("170303 0020") + bytes(32),
    "of another type": bytes.fromhex("990303 0020") + bytes(32),
    "no record at all": b"GET / HTTP/1.1\r\nHost: node\r\n\r\n",
    "an alert in plain": bytes.fromhex("150303 0002 0228"),
    "a handshake in plain": bytes.fromhex("160303 0004 00000000"),
    "a hello in plain": bytes.fromhex("160301 0005 0100000100"),
    "longer than any": bytes.fromhex("170303 ffff") + bytes(64),
    "plain DICOM": asking(),
}
ENDS = ["half-closes", "closes", "resets", "goes on", "stays"]
STAGES = ["shaken hands", "associated", "with an echo"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def node(authority: Authority) -> Iterator[VerificationSCP]:
    tls = server_context(authority.settings(authority.issue()))
    timeouts = Timeouts(close=1.0, stop=1.0)
    with VerificationSCP([Peer("us", "MINIPACS")], port=0, tls=tls, timeouts=timeouts) as node:
        yield node


class Client:
    """A peer that speaks TLS by hand, up to a stage."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="127.0.0.1")

    def begin(self, stage: str) -> None:
        self._until(self._tls.do_handshake)
        if stage != "shaken hands":
            self._tls.write(asking(calling=b"MINIPACS"))
            assert self._until(lambda: self._tls.read(10))[:1] == b"\x02"
        if stage == "with an echo":
            self._tls.write(echo_rq())

    def _until(self, step: Callable[[], T]) -> T:
        while True:
            try:
                result = step()
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                self._incoming.write(self.socket.recv(1 << 16))

    def flush(self) -> bytes:
        data = self._outgoing.read()
        self.socket.sendall(data)
        return data

    def send(self, record: bytes) -> None:
        """What is still to be sent, and the record, in one segment where that can be."""
        self.socket.sendall(self._outgoing.read() + record)

    def end(self, how: str) -> None:
        with suppress(OSError):
            if how == "half-closes":
                self.socket.shutdown(socket.SHUT_WR)
            elif how == "resets":
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif how == "goes on":
                for _ in range(3):
                    self.socket.sendall(bytes(1000))
            if how in {"half-closes", "goes on"}:
                while self.socket.recv(1 << 16):
                    pass
        if how != "stays":
            self.socket.close()


def context_of(authority: Authority, version: str) -> ssl.SSLContext:
    context = client_context(authority.settings(authority.issue()))
    if version == "1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def assert_nothing_is_amiss(caplog: pytest.LogCaptureFixture, node: VerificationSCP, authority: Authority) -> None:
    us = Peer("", "MINIPACS", "127.0.0.1", node.port)
    assert echo(us, tls=client_context(authority.settings(authority.issue()))).is_success
    for record in caplog.records:
        assert record.exc_info is None, record.getMessage()
        assert "Fatal error" not in record.getMessage()
        assert record.name != "asyncio" or record.levelno < logging.WARNING


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("end", ENDS)
def test_a_broken_record_is_told_in_its_row(
    end: str,
    stage: str,
    version: str,
    node: VerificationSCP,
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for count, name in enumerate(RECORDS, start=1):
        client = Client(node.port, context_of(authority, version))
        try:
            client.begin(stage)
            client.send(RECORDS[name])
            client.end(end)
            record = node.wait_for_associations(count, PATIENCE)[-1]
        finally:
            client.socket.close()
        if end != "resets":  # which may come before what was sent
            assert (record.outcome, record.code) == ("invalid", "tls-inbound.other"), name
            assert record.reason.startswith("TLS failed: "), name  # type: ignore[union-attr]
    assert_nothing_is_amiss(caplog, node, authority)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("length", [1, 4, 5, 20])
def test_a_record_that_is_cut_short_is_the_end_of_the_stream(
    length: int,
    stage: str,
    version: str,
    node: VerificationSCP,
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = Client(node.port, context_of(authority, version))
    client.begin(stage)
    client.send(RECORDS["ciphered with nothing"][:length])
    client.end("half-closes")
    record = node.wait_for_associations(1, PATIENCE)[-1]
    assert (record.outcome, record.code) == (
        "closed",
        "inbound.cut-short" if stage == "shaken hands" else "inbound.closed",
    )
    assert_nothing_is_amiss(caplog, node, authority)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", RECORDS)
def test_a_broken_record_in_the_middle_of_the_handshake_is_not_taken_for_plain_dicom(
    name: str, end: str, version: str, node: VerificationSCP, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """Behind our answer to the ClientHello."""
    context = context_of(authority, version)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = Client(node.port, context)
    try:
        tls = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        with suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        client.socket.sendall(outgoing.read())
        assert client.socket.recv(5)
        client.send(RECORDS[name])
        client.end(end)
        record = node.wait_for_associations(1, PATIENCE)[-1]
    finally:
        client.socket.close()
    assert record.code != "tls-inbound.plain"
    assert_nothing_is_amiss(caplog, node, authority)
