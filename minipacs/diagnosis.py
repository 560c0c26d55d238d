"""The catalogue as one table, and how a row of it is filled in.

Whoever saw something names the row and gives the facts that its words need; recognition.py tells which row the codes of
a peer belong to. The rows themselves are in catalogue/. None of it knows sockets or states.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from msgspec import Struct

from minipacs.catalogue import round_trip, services, tls, we_are_called, we_call

if TYPE_CHECKING:
    from collections.abc import Mapping

    from minipacs.catalogue import Row


class Diagnosis(Struct, frozen=True):
    """One sentence that says what is true and one that says what to change, on which side."""

    code: str
    reason: str
    fix: str


NOTHING_TO_SAY = Diagnosis("", "", "")

OR_ADDRESS = "; or, where what it has is how it reaches us: name that host by --our-address"
"""The end of a fix where Orthanc has another host for us than we think."""

WE_CALL: tuple[Row, ...] = we_call.ROWS
WE_ARE_CALLED: tuple[Row, ...] = we_are_called.ROWS
ROUND_TRIP: tuple[Row, ...] = round_trip.ROWS
SERVICES: tuple[Row, ...] = services.ROWS

PARTS: Mapping[str, tuple[Row, ...]] = {
    "When we call": WE_CALL,
    "When we are called": WE_ARE_CALLED,
    "When we call by TLS": tls.WE_CALL,
    "When we are called by TLS": tls.WE_ARE_CALLED,
    "On a round trip": ROUND_TRIP,
    "When we store, find, move or get": SERVICES,
}
"""The rows, which are written down in catalogue/, by what is under way."""

CATALOGUE: Mapping[str, Row] = {row.code: row for rows in PARTS.values() for row in rows}
"""Every row by its code, in the order in which things happen."""


def diagnose(code: str, **facts: object) -> Diagnosis:
    """Return the row *code* with its *facts* filled in; they are safe to show already.

    Raises:
        KeyError: there is no such row, or it needs a fact that was not given.
    """
    row = CATALOGUE[code]
    return Diagnosis(code, row.reason.format(**facts), row.fix.format(**facts))


class _Placeholder(str):
    """What stands for a fact that is not known, whatever the row says of its format."""

    __slots__ = ()

    def __format__(self, _: str) -> str:
        return str(self)


_PLACEHOLDERS = {
    name: _Placeholder(words)
    for name, words in {
        "address": "<address of the peer>",
        "ae_title": "<our AE title>",
        "allow_from": '["<what is allowed>", "<address of the peer>"]',
        "allowed": "<what is allowed>",
        "called": "<called AE title>",
        "at_tls": " on port <our port for TLS>",
        "calling": "<calling AE title>",
        "codes": "<codes>",
        "destination": "<AE title of the destination>",
        "detail": "<detail>",
        "fingerprint": "sha256:<fingerprint>",
        "entry": "<what Orthanc has>",
        "held": "<number>",
        "host": "<host>",
        "line": "what the leg registered says",
        "local_host": "<our address>",
        "local_port": "<port of our SCP>",
        "name": "<name>",
        "near": "<the known one>",
        "near_miss": "",
        "operation": "<C-STORE, C-FIND, C-MOVE or C-GET>",
        "options": "",
        "other": "<name>",
        "or_address": OR_ADDRESS,
        "or_plain": ", or let it call our plain port",
        "or_tls": ", or let it call our port for TLS",
        "peers": "",
        "patient": "<Patient ID>",
        "place": '"<its address>", <its port>',
        "port": "<port>",
        "quoted": '"<calling AE title>"',
        "rename": "; or give this node the title <called AE title> (--ae-title)",
        "serving": "minipacs serve --storage FOLDER",
        "services": '["<what is allowed>", "<the service>"]',
        "sop_class": "<SOP class>",
        "symbol": "<name>",
        "syntax": "<transfer syntax>",
        "target": "<calling AE title>@<address of the peer>:PORT",
        "timeout": "<seconds>",
        "title": "<our AE title>",
        "url": "<URL of Orthanc>",
        "where": "our node",
        "wanted": "<our AE title>@<our address>:<port of our SCP>",
    }.items()
}


def explain(code: str) -> Diagnosis:
    """Return the row *code* with the names of its facts in angle brackets, such as ``<called AE title>``.

    Raises:
        KeyError: there is no such row.
    """
    return diagnose(code, **_PLACEHOLDERS)


def find_rows(code: str) -> list[Row]:
    """Return the row *code*, or all rows whose codes begin with *code* and a dot; none when there are no such."""
    return [row for row in CATALOGUE.values() if f"{row.code}.".startswith(f"{code}.")]


def quoted(text: str) -> str:
    """Return *text*, which is escaped, as a string of TOML and of JSON."""
    return '"' + text.replace('"', '\\"') + '"'


def symbol(ae_title: str) -> str:
    """Return a name for a peer with that title that both we and Orthanc take: ``[A-Za-z0-9_-]``."""
    name = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "-" for c in ae_title.lower()).strip("-")
    return name or "peer"


def target(ae_title: str, address: str) -> str:
    """Return ``TITLE@HOST:PORT`` as one word of a shell; PORT stands for itself, for we do not see where it listens."""
    host = f"[{address}]" if ":" in address else address
    return shlex.quote(f"{ae_title}@{host}:PORT")


def elsewhere(port: int | None, what: str) -> str:
    """Return the end of a fix that names the port where we speak *what*; nothing when we do not."""
    return "" if port is None else f", or let it call port {port}, where we speak {what}"
