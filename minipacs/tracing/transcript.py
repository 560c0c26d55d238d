"""What passed on one association of ours, kept until it is over, to be told in one piece."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minipacs.echo_callbacks import EchoCallbacks
from minipacs.tracing.dump import dump, title
from minipacs.tracing.negotiation import as_lines, describe
from minipacs.wire.associate import AssociateRQ
from minipacs.wire.pdu import PDataTF

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minipacs.wire.association import Direction

_MOST_DATA = 1_000  # P-DATA-TF that are kept; a call may have any number of echoes


class Transcript(EchoCallbacks):
    """The PDUs of the attempts of one echo().

    Args:
        with_bytes: whether to tell every PDU with its bytes, or only what negotiates and ends the association.
    """

    def __init__(self, *, with_bytes: bool) -> None:
        self._with_bytes = with_bytes
        self._pdus: list[tuple[Direction, float, bytes]] = []
        self._data_count = 0

    def pdu(self, direction: Direction, milliseconds: float, data: bytes) -> None:
        """Keep it, if it is to be told."""
        if data[0] == PDataTF.TYPE:
            self._data_count += 1
            if not self._with_bytes or self._data_count > _MOST_DATA:
                return
        self._pdus.append((direction, milliseconds, data))

    def text(self, heading: str, observations: tuple[str, ...]) -> str:
        """Return all of it in lines that end with a line feed.

        Args:
            heading: whom we called.
            observations: the deviations that were tolerated.
        """
        return "".join(f"{line}\n" for line in self._lines(heading, observations))

    def _lines(self, heading: str, observations: tuple[str, ...]) -> Iterator[str]:
        yield heading
        proposal = b""
        for direction, milliseconds, data in self._pdus:
            if data[0] == AssociateRQ.TYPE:
                proposal = data
            yield f"  {title(direction, milliseconds, data)}"
            if data[0] != PDataTF.TYPE:
                yield from (f"    {line}" for line in as_lines(describe(data, proposal)))
            if self._with_bytes:
                yield from (f"    {line}" for line in dump(data).splitlines())
        if all(direction == "sent" for direction, *_ in self._pdus):
            yield "  nothing came" if self._pdus else "  no connection"
        if self._with_bytes and self._data_count > _MOST_DATA:
            yield f"  {self._data_count - _MOST_DATA} more P-DATA-TF, not kept"
        yield from (f"  tolerated: {observation}" for observation in observations)
