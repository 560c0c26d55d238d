"""What went wrong with TLS → the code of its row in the catalogue, for both roles.

It reads what OpenSSL says, and needs no `ssl` for that: whoever has such an error has imported it.
"""

from __future__ import annotations

import re

from minipacs.echo_result import Outcome
from minipacs.recognition import Failed

_ALERT = re.compile(r"(?:SSLV3|TLSV1|TLSV13)_ALERT_([A-Z_]+)")  # sent by the peer (RFC 8446 §6)

_ALERTS = {
    "UNKNOWN_CA": "our-ca-unknown",
    "CERTIFICATE_EXPIRED": "our-certificate-expired",
    "ACCESS_DENIED": "our-certificate-refused",
    "BAD_CERTIFICATE": "our-certificate-refused",
    "CERTIFICATE_REVOKED": "our-certificate-refused",
    "CERTIFICATE_UNKNOWN": "our-certificate-refused",
    "DECRYPT_ERROR": "our-certificate-refused",
    "UNSUPPORTED_CERTIFICATE": "our-certificate-refused",
    "PROTOCOL_VERSION": "no-common-version",
    "HANDSHAKE_FAILURE": "no-common-cipher",
    "INSUFFICIENT_SECURITY": "no-common-cipher",
}

_REASONS = {
    "HTTP_REQUEST": "plain",
    "PACKET_LENGTH_TOO_LONG": "plain",
    "RECORD_LAYER_FAILURE": "plain",  # OpenSSL 3.2 and later
    "WRONG_VERSION_NUMBER": "plain",
    "NO_PROTOCOLS_AVAILABLE": "no-common-version",
    "UNSUPPORTED_PROTOCOL": "no-common-version",
    "NO_SHARED_CIPHER": "no-common-cipher",
    "UNEXPECTED_EOF_WHILE_READING": "closed",
    "": "closed",  # by a reset, or in the middle
}

# X509_V_ERR_…, as openssl-verification-options(1) has them.
_VERIFY_CODES = {
    **dict.fromkeys((2, 7, 18, 19, 20, 21, 27), "their-ca-unknown"),  # 7: signed by another CA of the same name
    9: "their-certificate-not-yet-valid",
    10: "their-certificate-expired",
    62: "name",
    64: "name",  # an IP address
}


def handshake_failed(error: OSError, *, is_agreed: bool) -> Failed:
    """Name the cause of a TLS handshake of ours that failed.

    Args:
        error: what `ssl` or the socket raised.
        is_agreed: whether version and cipher suite were agreed, so that only certificates were left to fail.
    """
    code = "tls.silence" if isinstance(error, TimeoutError) else _of_call(error, is_agreed)
    return Failed(Outcome.NO_ASSOCIATION, code, words_of(error))


def closed_after_handshake(error: OSError | None) -> Failed:
    """Name the cause of a connection that was lost by *error*, or closed without one, before the peer answered.

    In TLS 1.3 our handshake is done before the peer has looked at our certificate: its no comes as late as that.
    """
    code = "tls.closed" if error is None else _of_call(error, is_agreed=True)
    if code == "tls.closed":
        return Failed(Outcome.NO_ASSOCIATION, "tls.closed-at-association")
    return Failed(Outcome.NO_ASSOCIATION, code, "" if error is None else words_of(error))


def _of_call(error: OSError, is_agreed: bool) -> str:
    alert = _alert(error)
    # Before TLS 1.3 there is no alert for it of its own (RFC 5246 §7.4.6).
    if alert == "CERTIFICATE_REQUIRED" or (alert == "HANDSHAKE_FAILURE" and is_agreed):
        return "tls.certificate-required"
    return f"tls.{_of_either(error, is_agreed)}"


def of_caller(error: OSError, *, is_agreed: bool) -> str:
    """Return the code of the row for the TLS handshake that a peer asked for, or for what came after it.

    Args:
        error: what `ssl` raised.
        is_agreed: whether its ClientHello was answered.
    """
    if _reason(error) == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "tls-inbound.no-certificate"
    name = _of_either(error, is_agreed)
    return f"tls-inbound.{'other' if is_agreed and name == 'closed' else name}"  # an end is told by no exception here


def words_of(error: OSError) -> str:
    """Return what OpenSSL or the system says of it."""
    alert = _alert(error)
    reason = f"alert {alert}" if alert else _reason(error)
    said = getattr(error, "verify_message", None) or reason.replace("_", " ").lower()
    return said.rstrip(".") or error.strerror or str(error)


def _of_either(error: OSError, is_agreed: bool) -> str:
    verify_code = getattr(error, "verify_code", None)
    if verify_code is not None:
        return _VERIFY_CODES.get(verify_code, "their-certificate-refused")
    name = _ALERTS.get(_alert(error)) or _REASONS.get(_reason(error), "other")
    return "other" if is_agreed and name == "plain" else name  # TLS was spoken; now a record of it is broken


def _reason(error: OSError) -> str:
    return getattr(error, "reason", None) or ""


def _alert(error: OSError) -> str:
    match = _ALERT.fullmatch(_reason(error))
    return match[1] if match else ""
