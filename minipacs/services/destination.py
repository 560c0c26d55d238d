"""Where the destination of a C-MOVE is: looked up in our peer table, nowhere else."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from pynetdicom.transport import AddressInformation

from minipacs.certificate import is_of
from minipacs.errors import FileError
from minipacs.escape import escape

if TYPE_CHECKING:
    from collections.abc import Callable

    from minipacs.peers import PeerTable


def reach(title: str, table: PeerTable, tls: Callable[[], ssl.SSLContext] | None) -> tuple[str, int, dict[str, Any]]:
    """Return address and port of the AE with that title, and what pynetdicom's `associate` has to know besides.

    Args:
        title: AE title of the destination, as the request has it.
        table: whom we know.
        tls: returns the context by which a peer with ``tls = true`` is called.

    Raises:
        LookupError: it is not known, or not where it is, or its host has no address: the message says which, and what
            to change.
    """
    peer = table.with_ae_title(title)
    if peer is None:
        near = next((one for one in table.values() if one.ae_title.lower() == title.lower()), None)
        known = f"; {near.ae_title}, in other capitals, is" if near else ""
        raise LookupError(
            f"destination {escape(title) or '(empty)'} is not in the peer table{known}; "
            f"fix: minipacs peers add NAME {escape(title) or 'TITLE'}@HOST:PORT"
        )
    if peer.host is None or peer.port is None:
        raise LookupError(
            f"destination {escape(title)} is peer {peer.name}, which only calls us: "
            f"it has no host and port in the peer table; fix: set both under [peers.{peer.name}]"
        )
    host = _resolved(peer.name, peer.host, escape(title))
    if not peer.tls:
        return host, peer.port, {"ae_title": peer.ae_title}
    if tls is None:
        raise LookupError(f"destination {escape(title)} is peer {peer.name} with tls = true, and we have no [tls]")
    try:
        context = tied(tls(), peer.certificate) if peer.certificate else tls()
    except FileError as error:
        raise LookupError(
            f"destination {escape(title)} is peer {peer.name} with tls = true, and it is our files under [tls] that "
            f"cannot be used now, not the peer: {escape('; '.join(error.faults))}"
        ) from None
    return host, peer.port, {"ae_title": peer.ae_title, "tls_args": (context, peer.tls_name or peer.host)}


def _resolved(name: str, host: str, title: str) -> str:
    """Return the address of a host: pynetdicom would not tell that there is none."""
    try:
        return str(AddressInformation(host, 0).address)
    except OSError as error:
        raise LookupError(
            f"destination {title} is peer {name}, whose host {host} has no address: {error.strerror or error}; "
            f"fix: correct host under [peers.{name}], or have the name server of this machine know it"
        ) from None


def tied(context: ssl.SSLContext, ties: tuple[str, ...]) -> ssl.SSLContext:
    """Return the context so that its handshake fails with whoever has none of the certificates that *ties* name."""

    class Tied(ssl.SSLSocket):
        """A socket for one peer."""

        def do_handshake(self, block: bool = False) -> None:
            """Shake hands, and look whose hand it was."""
            super().do_handshake(block)
            if not is_of(ties, self.getpeercert(binary_form=True)):
                raise ssl.SSLCertVerificationError("not the certificate to which the peer is tied")

    context.sslsocket_class = Tied
    return context
