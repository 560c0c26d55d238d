"""A C-ECHO SCU in a page: `python samples/echo.py [TITLE@HOST:PORT] [OUR_TITLE]` tells each step as it happens.

Without a target it calls an Orthanc with its own defaults. It exits with 0 when the echo was answered with success.
"""

import sys

from minipacs import EchoCallbacks, Peer, echo, names
from minipacs.wire.associate import AssociateAC, AssociateRJ, AssociateRQ

PDV_HEADER = 12  # bytes of a maximum length that are no data: the headers of the PDU and of the PDV item


class Tell(EchoCallbacks):
    """Prints what the classic tools print."""

    def requesting(self, request: AssociateRQ) -> None:
        print("Requesting Association")

    def accepted(self, answer: AssociateAC) -> None:
        longest = answer.user_information.maximum_length
        print(f"Association Accepted (Max Send PDV: {longest - PDV_HEADER if longest else 'unlimited'})")

    def rejected(self, rejection: AssociateRJ) -> None:
        result, source, reason = names.rejection(rejection)
        print(f"Association Rejected:\nResult: {result}, Source: {source}\nReason: {reason}")

    def sending(self, message_id: int) -> None:
        print(f"Sending Echo Request (MsgID {message_id})")

    def responded(self, message_id: int, status: int) -> None:
        print(f"Received Echo Response ({names.status(status)})")

    def releasing(self) -> None:
        print("Releasing Association")

    def released(self) -> None:
        print("Association Released")

    def aborted(self, reason: str) -> None:
        print(f"Association Aborted: {reason}")


def main(target: str = "ORTHANC@127.0.0.1:4242", our_title: str = "MINIPACS") -> int:
    try:
        result = echo(Peer.parse(target), our_title, callbacks=Tell())
    except ValueError as error:
        sys.exit(f"{error}")
    if result.fix:
        print(f"Hint: {result.fix}", file=sys.stderr)
    return 0 if result.is_success else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
