"""A query is bounded, whatever the peer answers: on answers, on one of them, on all of them, and in memory."""

import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from ..fakes import Behaviour, Conversation, faking
from ..peers.node import MINIPACS, environment
from ..raw import pdu, pdv
from ..service_fakes import at_the_request, match
from .messages import UNDEFINED, element, ending, implicit, peak

MOST = 250  # MiB, of which Python and its libraries take 60
PATIENCE = 100.0
STUDY = element(0x0020000D, b"UI", b"1.2.3.4\0")
ITEM, SEQUENCE_END = ending(0xFFFEE000), ending(0xFFFEE0DD)


def study(description: int) -> bytes:
    return element(0x00081030, b"UT", b"x" * description) + STUDY


def for_ever(answer: Callable[..., bytes]) -> Behaviour:
    """That answer, again and again, until we close."""

    def behave(conversation: Conversation, request: tuple[int, int, int]) -> None:
        piece = answer(*request)
        piece *= max(1, (1 << 16) // len(piece))
        endless(conversation, b"", piece)

    return at_the_request(behave)


def endless(conversation: Conversation, first: bytes, piece: bytes) -> None:
    """A message of which the last fragment never comes."""
    conversation.send(first)
    with suppress(OSError):
        while True:
            conversation.send(piece)
    conversation.close()


def fragment(context_id: int, control: int) -> bytes:
    """One of many."""
    return pdu(0x04, pdv(bytes(16_000), context_id=context_id, control=control))


def asked(folder: Path, port: int | None, *options: str) -> tuple[int, str, int]:
    """Run `minipacs find` at its user's: exit code, standard error, and the most memory that it took, in MiB."""
    folder.mkdir(exist_ok=True)
    arguments = [*MINIPACS, "find", f"FAKE@127.0.0.1:{port}", "--timeout", "3", *options]
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        child = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=folder, env=environment()
        )
        most, deadline = 0, time.monotonic() + PATIENCE
        try:
            while child.poll() is None and time.monotonic() < deadline:
                most = max(most, peak(child.pid))
                time.sleep(0.02)
        finally:
            child.kill()
            child.wait()
    return child.returncode, (folder / "err").read_text(), most


ENDLESS = {
    "small matches": for_ever(lambda *request: match(STUDY, *request)),
    "large matches": for_ever(lambda *request: match(study(100_000), *request)),
    "an identifier": at_the_request(
        lambda conversation, request: endless(conversation, match(b"", *request)[:-12], fragment(request[0], 0))
    ),
    "a command set": at_the_request(lambda conversation, request: endless(conversation, b"", fragment(request[0], 1))),
}

TOO_MUCH = {
    "elements": STUDY + element(0x00100010, b"PN") * 100_000,
    "items": STUDY + element(0x00081110, b"SQ", ITEM * 100_000, length=UNDEFINED) + SEQUENCE_END,
    "items of a sequence with a length": STUDY + element(0x00081110, b"SQ", ITEM * 100_000),
    "what may be a sequence": STUDY + element(0x00081110, b"UN", ITEM * 100_000),
    "values": STUDY + element(0x00081030, b"UC", b"\\" * 1_000_000),
    "depth": element(0x00081110, b"SQ", implicit(0xFFFEE000, length=UNDEFINED), length=UNDEFINED) * 5_000,
    "a text": study(3 << 20),
}


@pytest.mark.parametrize(
    ("peer", "options"), [*((peer, []) for peer in ENDLESS), ("large matches", ["--json"])], ids=[*ENDLESS, "json"]
)
def test_a_peer_that_never_ends_is_given_up(peer: str, options: list[str], tmp_path: Path) -> None:
    with faking(ENDLESS[peer]) as fake:
        code, said, memory = asked(tmp_path, fake.peer.port, *options)
    assert code == 1
    assert "[service.excess]" in said
    assert memory < MOST


@pytest.mark.parametrize("answer", TOO_MUCH)
def test_an_identifier_that_is_too_much_is_not_read(answer: str, tmp_path: Path) -> None:
    with faking(
        at_the_request(lambda conversation, request: conversation.send(match(TOO_MUCH[answer], *request)))
    ) as fake:
        code, said, memory = asked(tmp_path, fake.peer.port, "--key", "ReferencedStudySequence")
    assert code == 1
    assert "[service.excess]" in said
    assert memory < MOST
