"""All words of the rows of TLS: what stands here is what a user reads, whoever failed in which way."""

import re

# What differs from test to test: the host called, its port, a deadline, and what OpenSSL calls the fault.
_FACTS = {"HOST": r"\S+", "PORT": r"\d+", "SECONDS": r"[\d.]+", "DETAIL": ".+", "FINGERPRINT": "sha256:[0-9a-f]{64}"}

# Code → reason and fix.
WORDS = {
    "tls.plain": (
        "port PORT does not speak TLS, and we called it by TLS",
        "unset tls for the peer, or set its port to the one for TLS; 2762 is the registered one",
    ),
    "tls.silence": (
        "connected, but no end of the TLS handshake within SECONDS s",
        "unset tls for the peer if port PORT is its plain one; else it hangs, or another client blocks it: try again",
    ),
    "tls.closed": (
        "connected, but the peer closed the connection in the middle of the TLS handshake",
        "unset tls for the peer if port PORT is its plain one; else see its log: it may refuse our "
        "certificate, or 127.0.0.1",
    ),
    "tls.closed-at-association": (
        "the TLS handshake was done, but the peer closed the connection without an answer to the association request",
        "see the peer's log: in TLS 1.3 it may refuse our certificate as late as that; or register 127.0.0.1 there",
    ),
    "tls.certificate-required": (
        "FAKE requires a certificate of ours",
        "set certificate and key under [tls] in minipacs.toml, and let FAKE trust the CA of that certificate",
    ),
    "tls.our-ca-unknown": (
        "FAKE does not trust the CA of our certificate",
        "on FAKE: add the certificate of that CA to the trusted ones (Orthanc: "
        "DicomTlsTrustedCertificates; DCMTK: +cf); or set certificate and key under [tls] in "
        "minipacs.toml to those of a CA that it trusts",
    ),
    "tls.our-certificate-expired": (
        "FAKE finds our certificate expired",
        "renew certificate under [tls] in minipacs.toml; if it is still valid, set the clock of FAKE",
    ),
    "tls.our-certificate-refused": (
        "FAKE refuses our certificate: DETAIL",
        "see the log of FAKE: it has to trust the CA of certificate under [tls] in minipacs.toml, and to "
        "take its key and usage",
    ),
    "tls.their-ca-unknown": (
        "we do not trust the CA of the certificate of FAKE: DETAIL",
        "add the certificate of that CA to trusted under [tls] in minipacs.toml; if it is there, let FAKE"
        " show the certificates between as well",
    ),
    "tls.their-certificate-expired": (
        "the certificate of FAKE has expired",
        "on FAKE: renew its certificate (Orthanc: DicomTlsCertificate); if it is still valid, set the "
        "clock of this machine",
    ),
    "tls.their-certificate-not-yet-valid": (
        "the certificate of FAKE is not valid yet",
        "set the clock of this machine; if it is right, replace the certificate on FAKE",
    ),
    "tls.their-certificate-refused": (
        "the certificate of FAKE is not valid: DETAIL",
        "on FAKE: replace its certificate (Orthanc: DicomTlsCertificate)",
    ),
    "tls.name": (
        "the certificate of FAKE is another's: DETAIL",
        "set host of the peer to a name that is in its certificate, or tls_name to that name; or on FAKE:"
        " use a certificate for HOST",
    ),
    "tls.another-certificate": (
        "FAKE shows another certificate than the one to which it is tied: DETAIL",
        "if that is its certificate: put its fingerprint or subject into certificate of the peer in the peer table; "
        "else somebody else answers at 127.0.0.1 port PORT",
    ),
    "tls.no-common-version": (
        "FAKE and we have no version of TLS in common",
        'set minimum_version = "1.2" under [tls] in minipacs.toml; or on FAKE: enable TLS 1.2 or 1.3',
    ),
    "tls.no-common-cipher": (
        "FAKE and we have no cipher suite of TLS in common",
        "on FAKE: enable ECDHE with AES-GCM, as the BCP 195 profiles of DICOM have it",
    ),
    "tls.other": (
        "TLS with FAKE failed: DETAIL",
        "see the log of FAKE",
    ),
    "tls-inbound.plain": (
        "plain DICOM on the port for TLS",
        "on the peer: switch TLS on for this node",
    ),
    "tls-inbound.silence": (
        "the TLS handshake was not finished within SECONDS s",
        "see what runs at 127.0.0.1, and the network between: it stopped in the middle",
    ),
    "tls-inbound.closed": (
        "the connection closed in the middle of the TLS handshake",
        "see what runs at 127.0.0.1: a port scan or a health check, or a peer that does not trust our "
        "certificate and does not say so",
    ),
    "tls-inbound.no-certificate": (
        "the peer shows no certificate, and we require one",
        "on the peer: set its certificate and key (Orthanc: DicomTlsCertificate and DicomTlsPrivateKey; "
        "DCMTK: +tls); or here: require_client_certificate = false under [tls] in minipacs.toml",
    ),
    "tls-inbound.their-ca-unknown": (
        "we do not trust the CA of the peer's certificate: DETAIL",
        "add the certificate of that CA to trusted under [tls] in minipacs.toml; if it is there, let the "
        "peer show the certificates between as well",
    ),
    "tls-inbound.their-certificate-expired": (
        "the peer's certificate has expired",
        "on the peer: renew its certificate; if it is still valid, set the clock of this machine",
    ),
    "tls-inbound.their-certificate-not-yet-valid": (
        "the peer's certificate is not valid yet",
        "set the clock of this machine; if it is right, replace the certificate on the peer",
    ),
    "tls-inbound.their-certificate-refused": (
        "the peer's certificate is not valid: DETAIL",
        "on the peer: replace its certificate",
    ),
    "tls-inbound.our-ca-unknown": (
        "the peer does not trust the CA of our certificate",
        "on the peer: add the certificate of that CA to the trusted ones (Orthanc: "
        "DicomTlsTrustedCertificates; DCMTK: +cf)",
    ),
    "tls-inbound.our-certificate-expired": (
        "the peer finds our certificate expired",
        "renew certificate under [tls] in minipacs.toml; if it is still valid, set the clock of the peer",
    ),
    "tls-inbound.our-certificate-refused": (
        "the peer refuses our certificate: DETAIL",
        "see the peer's log: it has to trust the CA of certificate under [tls] in minipacs.toml, which "
        "has to hold the name or address by which the peer calls us",
    ),
    "tls-inbound.no-common-version": (
        "the peer and we have no version of TLS in common",
        "on the peer: enable TLS 1.2 or 1.3; or here: set minimum_version under [tls] in minipacs.toml",
    ),
    "tls-inbound.no-common-cipher": (
        "the peer and we have no cipher suite of TLS in common",
        "on the peer: enable ECDHE with AES-GCM, as the BCP 195 profiles of DICOM have it",
    ),
    "admission.certificate": (
        "ECHOSCU calls from 127.0.0.1 with another certificate than peer echoscu is tied to: DETAIL",
        'if that is its certificate, under [peers.echoscu]: certificate = "FINGERPRINT"; else somebody else calls by '
        "its title: see what runs at 127.0.0.1",
    ),
    "admission.certificate-expired": (
        "ECHOSCU calls from 127.0.0.1 with a certificate that is not valid any more: DETAIL",
        "on the peer: renew its certificate; if it is still valid, set the clock of this machine",
    ),
    "admission.no-certificate": (
        "ECHOSCU calls from 127.0.0.1 without a certificate, and peer echoscu is tied to one",
        "on the peer: call by TLS on port PORT, and show its certificate; or here: take certificate out of "
        "[peers.echoscu], if its AE title alone shall do",
    ),
    "tls-inbound.crowded": (
        "too many TLS connections had no association, and this was the oldest of them",
        "look for what begins handshakes and does not use them; raise handshakes under [limits]",
    ),
    "tls-inbound.other": (
        "TLS failed: DETAIL",
        "see the peer's log",
    ),
}


def assert_told(code: str, reason: str | None, fix: str | None, *, called: str = "FAKE") -> None:
    """It is told in all the words of its row, with the title of the peer where FAKE stands."""
    for text, words in zip((reason, fix), WORDS[code], strict=True):
        pattern = re.escape(words.replace("FAKE", called))
        for name, fact in _FACTS.items():
            pattern = pattern.replace(name, fact)
        assert re.fullmatch(pattern, text or ""), (text, words)
