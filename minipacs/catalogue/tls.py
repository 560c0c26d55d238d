"""The rows for TLS handshakes, in both roles."""

from __future__ import annotations

from minipacs.catalogue import Row

WE_CALL = (
    Row(
        "tls.plain",
        "the answer to our ClientHello is no TLS",
        "port {port} does not speak TLS, and we called it by TLS",
        "unset tls for the peer, or set its port to the one for TLS; 2762 is the registered one",
    ),
    Row(
        "tls.silence",
        "TCP opens, then no end of the handshake",
        "connected, but no end of the TLS handshake within {timeout:g} s",
        "unset tls for the peer if port {port} is its plain one; else it hangs, or another client blocks it: try again",
    ),
    Row(
        "tls.closed",
        "TCP opens, then a close or reset inside the handshake",
        "connected, but the peer closed the connection in the middle of the TLS handshake",
        "unset tls for the peer if port {port} is its plain one; else see its log: it may refuse our certificate, or "
        "{local_host}",
    ),
    Row(
        "tls.closed-at-association",
        "the handshake is done, then a close in place of an A-ASSOCIATE-AC",
        "the TLS handshake was done, but the peer closed the connection without an answer to the association request",
        "see the peer's log: in TLS 1.3 it may refuse our certificate as late as that; or register {local_host} there",
    ),
    Row(
        "tls.certificate-required",
        "alert certificate_required, or handshake_failure without a certificate of ours",
        "{called} requires a certificate of ours",
        "set certificate and key under [tls] in minipacs.toml, and let {called} trust the CA of that certificate",
    ),
    Row(
        "tls.our-ca-unknown",
        "alert unknown_ca",
        "{called} does not trust the CA of our certificate",
        "on {called}: add the certificate of that CA to the trusted ones (Orthanc: DicomTlsTrustedCertificates; DCMTK: "
        "+cf); or set certificate and key under [tls] in minipacs.toml to those of a CA that it trusts",
    ),
    Row(
        "tls.our-certificate-expired",
        "alert certificate_expired",
        "{called} finds our certificate expired",
        "renew certificate under [tls] in minipacs.toml; if it is still valid, set the clock of {called}",
    ),
    Row(
        "tls.our-certificate-refused",
        "alert bad_certificate, or another of its kind",
        "{called} refuses our certificate: {detail}",
        "see the log of {called}: it has to trust the CA of certificate under [tls] in minipacs.toml, and to take its "
        "key and usage",
    ),
    Row(
        "tls.their-ca-unknown",
        "the peer's certificate is of a CA that we do not trust",
        "we do not trust the CA of the certificate of {called}: {detail}",
        "add the certificate of that CA to trusted under [tls] in minipacs.toml; if it is there, let {called} show the "
        "certificates between as well",
    ),
    Row(
        "tls.their-certificate-expired",
        "the peer's certificate has expired",
        "the certificate of {called} has expired",
        "on {called}: renew its certificate (Orthanc: DicomTlsCertificate); if it is still valid, set the clock of "
        "this machine",
    ),
    Row(
        "tls.their-certificate-not-yet-valid",
        "the peer's certificate is not valid yet",
        "the certificate of {called} is not valid yet",
        "set the clock of this machine; if it is right, replace the certificate on {called}",
    ),
    Row(
        "tls.their-certificate-refused",
        "the peer's certificate is not valid",
        "the certificate of {called} is not valid: {detail}",
        "on {called}: replace its certificate (Orthanc: DicomTlsCertificate)",
    ),
    Row(
        "tls.name",
        "the peer's certificate is for another host",
        "the certificate of {called} is another's: {detail}",
        "set host of the peer to a name that is in its certificate, or tls_name to that name; or on {called}: use a "
        "certificate for {host}",
    ),
    Row(
        "tls.another-certificate",
        "the peer's certificate is not the one to which it is tied",
        "{called} shows another certificate than the one to which it is tied: {detail}",
        "if that is its certificate: put its fingerprint or subject into certificate of the peer in the peer table; "
        "else somebody else answers at {host} port {port}",
    ),
    Row(
        "tls.no-common-version",
        "alert protocol_version, or a version that we do not take",
        "{called} and we have no version of TLS in common",
        'set minimum_version = "1.2" under [tls] in minipacs.toml; or on {called}: enable TLS 1.2 or 1.3',
    ),
    Row(
        "tls.no-common-cipher",
        "alert handshake_failure: no common cipher suite",
        "{called} and we have no cipher suite of TLS in common",
        "on {called}: enable ECDHE with AES-GCM, as the BCP 195 profiles of DICOM have it",
    ),
    Row(
        "tls.other",
        "another failure of the handshake",
        "TLS with {called} failed: {detail}",
        "see the log of {called}",
    ),
)

WE_ARE_CALLED = (
    Row(
        "tls-inbound.plain",
        "plain DICOM, or HTTP, on our port for TLS",
        "plain DICOM on the port for TLS",
        "on the peer: switch TLS on for this node{or_plain}",
    ),
    Row(
        "tls-inbound.silence",
        "a handshake that does not end",
        "the TLS handshake was not finished within {timeout:g} s",
        "see what runs at {address}, and the network between: it stopped in the middle",
    ),
    Row(
        "tls-inbound.closed",
        "a connection that closes inside the handshake",
        "the connection closed in the middle of the TLS handshake",
        "see what runs at {address}: a port scan or a health check, or a peer that does not trust our certificate and "
        "does not say so",
    ),
    Row(
        "tls-inbound.no-certificate",
        "a peer without a certificate",
        "the peer shows no certificate, and we require one",
        "on the peer: set its certificate and key (Orthanc: DicomTlsCertificate and DicomTlsPrivateKey; DCMTK: +tls); "
        "or here: require_client_certificate = false under [tls] in minipacs.toml",
    ),
    Row(
        "tls-inbound.their-ca-unknown",
        "a peer with a certificate of a CA that we do not trust",
        "we do not trust the CA of the peer's certificate: {detail}",
        "add the certificate of that CA to trusted under [tls] in minipacs.toml; if it is there, let the peer show the "
        "certificates between as well",
    ),
    Row(
        "tls-inbound.their-certificate-expired",
        "a peer with a certificate that has expired",
        "the peer's certificate has expired",
        "on the peer: renew its certificate; if it is still valid, set the clock of this machine",
    ),
    Row(
        "tls-inbound.their-certificate-not-yet-valid",
        "a peer with a certificate that is not valid yet",
        "the peer's certificate is not valid yet",
        "set the clock of this machine; if it is right, replace the certificate on the peer",
    ),
    Row(
        "tls-inbound.their-certificate-refused",
        "a peer with a certificate that is not valid",
        "the peer's certificate is not valid: {detail}",
        "on the peer: replace its certificate",
    ),
    Row(
        "tls-inbound.our-ca-unknown",
        "the peer's alert unknown_ca",
        "the peer does not trust the CA of our certificate",
        "on the peer: add the certificate of that CA to the trusted ones (Orthanc: DicomTlsTrustedCertificates; DCMTK: "
        "+cf)",
    ),
    Row(
        "tls-inbound.our-certificate-expired",
        "the peer's alert certificate_expired",
        "the peer finds our certificate expired",
        "renew certificate under [tls] in minipacs.toml; if it is still valid, set the clock of the peer",
    ),
    Row(
        "tls-inbound.our-certificate-refused",
        "the peer's alert bad_certificate, or another of its kind",
        "the peer refuses our certificate: {detail}",
        "see the peer's log: it has to trust the CA of certificate under [tls] in minipacs.toml, which has to hold the "
        "name or address by which the peer calls us",
    ),
    Row(
        "tls-inbound.no-common-version",
        "a peer without a version of TLS that we take",
        "the peer and we have no version of TLS in common",
        "on the peer: enable TLS 1.2 or 1.3; or here: set minimum_version under [tls] in minipacs.toml",
    ),
    Row(
        "tls-inbound.no-common-cipher",
        "a peer without a cipher suite that we take",
        "the peer and we have no cipher suite of TLS in common",
        "on the peer: enable ECDHE with AES-GCM, as the BCP 195 profiles of DICOM have it",
    ),
    Row(
        "admission.certificate",
        "we reject 1/1/3: a known peer, with another certificate than its own",
        "{calling} calls from {address} with another certificate than peer {name} is tied to: {detail}",
        'if that is its certificate, under [peers.{name}]: certificate = "{fingerprint}"; else somebody else calls by '
        "its title: see what runs at {address}",
    ),
    Row(
        "admission.certificate-expired",
        "we reject 1/1/3: a known peer, whose certificate has expired meanwhile",
        "{calling} calls from {address} with a certificate that is not valid any more: {detail}",
        "on the peer: renew its certificate; if it is still valid, set the clock of this machine",
    ),
    Row(
        "admission.no-certificate",
        "we reject 1/1/3: a peer that is tied to its certificate, and shows none",
        "{calling} calls from {address} without a certificate, and peer {name} is tied to one",
        "on the peer: call by TLS{at_tls}, and show its certificate; or here: take certificate out of [peers.{name}], "
        "if its AE title alone shall do",
    ),
    Row(
        "tls-inbound.crowded",
        "we close a TLS connection: too many have no association",
        "too many TLS connections had no association, and this was the oldest of them",
        "look for what begins handshakes and does not use them; raise handshakes under [limits]",
    ),
    Row(
        "tls-inbound.other",
        "another failure of the handshake",
        "TLS failed: {detail}",
        "see the peer's log",
    ),
)
