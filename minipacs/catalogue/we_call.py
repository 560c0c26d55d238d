"""The rows for what we ask of a peer, in the order in which a call goes on."""

from __future__ import annotations

from minipacs.catalogue import Row

_REGISTER = (
    "on {called}: register AE title {calling} at {local_host} port {local_port}; Orthanc: "
    '"DicomModalities": {{ "{symbol}": [{quoted}, "{local_host}", {local_port}] }} '
    "(with DicomCheckModalityHost, the numeric address that we call from; with StrictAetComparison, capitals count)"
)
_BROKEN = "the peer, or a proxy before it, is broken: see its log"

_CONNECTING = (
    Row(
        "unreachable.name",
        "the name does not resolve",
        "{host} does not resolve: {detail}",
        "use an IP address, or a host name that this machine resolves; a container's name resolves only inside its "
        "network",
    ),
    Row(
        "unreachable.refused",
        "connection refused",
        "nothing listens on {host} port {port}: connection refused",
        "start the peer or correct its port; check that it listens on that address and not only on 127.0.0.1, and the "
        "port mapping of a container",
    ),
    Row(
        "unreachable.timeout",
        "no answer to the connection",
        "no answer to the connection to {host} port {port} within {timeout:g} s",
        "check the address; open TCP port {port} in the firewalls between, and our port {local_port} the other way; "
        "check that a VPN is up",
    ),
    Row(
        "unreachable.no-route",
        "no route to host, network is unreachable",
        "no route to {host}: {detail}",
        "check the address, and the network and routing of this machine",
    ),
    Row(
        "unreachable.other",
        "another error of the operating system",
        "cannot connect to {host} port {port}: {detail}",
        "check the address and the port, and the limits of this machine",
    ),
)

_ASSOCIATING = (
    Row(
        "no-association.silence",
        "TCP opens, then silence",
        "connected, but no answer to the association request within {timeout:g} s",
        "check that port {port} is the peer's DICOM port; it may want TLS (--tls), be another kind of service, "
        "or be blocked by another client: try again, and ask its administrator for stuck associations",
    ),
    Row(
        "no-association.closed",
        "TCP opens, then a close or reset in place of an answer",
        "connected, but the peer closed the connection without an answer to the association request",
        "check that port {port} is the peer's DICOM port; it may want TLS (--tls), have an IP access list "
        "(register {local_host} there), or be a load balancer with nothing behind it",
    ),
    Row(
        "no-association.http",
        "the answer begins with HTTP/",
        "port {port} speaks HTTP, not DICOM",
        "use the peer's DICOM port: Orthanc's is 4242 unless changed, 8042 is its web port",
    ),
    Row(
        "no-association.tls",
        "the answer begins with 0x15 or 0x16: TLS",
        "port {port} speaks TLS, and we called it in plain",
        "set tls = true for the peer (minipacs echo --tls), or use its port for plain DICOM; Orthanc has one port, and "
        "DicomTlsEnabled says which",
    ),
    Row(
        "no-association.noise",
        "the answer is of another protocol",
        "port {port} speaks another protocol; its first bytes are {detail}",
        "use the peer's DICOM port",
    ),
)

_REJECTED = (
    Row(
        "rejected.calling-ae-title",
        "A-ASSOCIATE-RJ 1/1/3",
        "{called} does not know our AE title {calling}, or not from this address (rejected {codes})",
        _REGISTER,
    ),
    Row(
        "rejected.called-ae-title",
        "A-ASSOCIATE-RJ 1/1/7",
        "the peer is not called {called} (rejected {codes})",
        "set ae_title of the peer, which we called {called}, to its own title, exactly: capitals count; Orthanc's is "
        "its DicomAet, ORTHANC unless changed",
    ),
    Row(
        "rejected.no-reason",
        "A-ASSOCIATE-RJ 1/1/1 or 1/2/1",
        "{called} refuses us and gives no reason (rejected {codes})",
        "see the peer's log; some want a known implementation class UID, some an AE title or address that is "
        "registered: ours are {calling} and {local_host}",
    ),
    Row(
        "rejected.application-context",
        "A-ASSOCIATE-RJ 1/1/2",
        "the peer does not know the DICOM application context (rejected {codes})",
        _BROKEN,
    ),
    Row(
        "rejected.protocol-version",
        "A-ASSOCIATE-RJ 1/2/2",
        "the peer does not support version 1 of the protocol (rejected {codes})",
        _BROKEN,
    ),
    Row(
        "rejected.congestion",
        "A-ASSOCIATE-RJ 2/3/1",
        "the peer is congested for the moment (rejected {codes})",
        "wait and try again; look for clients that do not end their associations",
    ),
    Row(
        "rejected.limit",
        "A-ASSOCIATE-RJ 2/3/2",
        "the peer has as many associations as it takes (rejected {codes})",
        "wait and try again; raise its limit; look for clients that do not end their associations",
    ),
    Row(
        "rejected.unknown",
        "A-ASSOCIATE-RJ with other codes",
        "the peer rejects us with codes outside the standard (rejected {codes})",
        "the peer is broken: see its log",
    ),
)

_NO_CONTEXT = (
    Row(
        "no-context.user-rejection",
        "accepted, Verification refused with result 1",
        "{called} refuses the Verification context as its user (result 1)",
        "allow Verification (C-ECHO) for {calling} on {called}",
    ),
    Row(
        "no-context.no-reason",
        "accepted, Verification refused with result 2",
        "{called} refuses the Verification context without a reason (result 2)",
        "see the peer's log; allow Verification (C-ECHO) for {calling} there",
    ),
    Row(
        "no-context.abstract-syntax",
        "accepted, Verification refused with result 3",
        "{called} does not offer Verification (result 3)",
        "enable the Verification SCP on {called}, or call another of its AE titles",
    ),
    Row(
        "no-context.transfer-syntaxes",
        "accepted, Verification refused with result 4",
        "{called} offers Verification, but not in Implicit VR Little Endian (result 4)",
        "allow Implicit VR Little Endian for Verification on {called}: every node has to take it; or propose more: "
        "--propose all",
    ),
    Row(
        "no-context.proposal",
        "context refused, result 4, and Implicit VR Little Endian was not proposed",
        "{called} offers Verification, but in no transfer syntax that we propose (result 4)",
        "propose Implicit VR Little Endian too, which every node has to take: --propose implicit",
    ),
    Row(
        "no-context.unknown",
        "accepted, no valid result for Verification",
        "{called} gives no valid answer for the Verification context ({detail})",
        "the peer is broken: see its log",
    ),
)

_ABORTED = (
    Row(
        "aborted.at-association",
        "A-ABORT in place of an A-ASSOCIATE-AC",
        "{called} answers the association request by A-ABORT {codes}",
        "see the peer's log: some refuse strangers that way, others abort on a request that they cannot read",
    ),
    Row(
        "aborted.at-echo",
        "accepted, then A-ABORT at our C-ECHO",
        "{called} accepts the association and answers the C-ECHO by A-ABORT {codes}",
        "Orthanc does that with DicomAlwaysAllowEcho false: where it knows us with AllowEcho false, set that to true; "
        "where it does not know us, " + _REGISTER,
    ),
    Row(
        "aborted.released",
        "accepted, then A-RELEASE-RQ in place of a C-ECHO-RSP",
        "{called} released the association instead of answering the C-ECHO",
        "see the peer's log: it ended the association of its own accord",
    ),
    Row(
        "aborted.between-echoes",
        "the association ends between two echoes",
        "{called} ended the association between two echoes by {detail}",
        "the peer does not keep an association open for that long without an echo: choose a shorter "
        "--interval, or raise its timeout there (Orthanc: DicomScpTimeout)",
    ),
    Row(
        "aborted.closed",
        "accepted, then a close or reset",
        "{called} closed the connection in the middle of the association",
        "see the peer's log: its process may have died, or a proxy between may have cut the connection",
    ),
    Row(
        "aborted.another-message",
        "a message that is no answer to our C-ECHO",
        "{called} sends what is no answer to our C-ECHO, so that we aborted: {detail}",
        "the peer confuses its messages: report this to its vendor",
    ),
    Row(
        "aborted.invalid",
        "a PDU or message that is malformed or out of place",
        "{called} breaks the protocol, so that we aborted: {detail}",
        "the peer, or a proxy before it, is broken: report this to its vendor",
    ),
)

_ECHOING = (
    Row(
        "no-response.silence",
        "accepted, no C-ECHO-RSP",
        "{called} accepted the association, but did not answer the C-ECHO within {timeout:g} s",
        "the peer is overloaded or hangs: see its log, try again with a longer --timeout",
    ),
    Row(
        "failure.sop-class-not-supported",
        "C-ECHO-RSP with status 0x0122",
        "{called} answers the C-ECHO with status 0x0122, SOP class not supported",
        "enable Verification on {called}",
    ),
    Row(
        "failure.duplicate-invocation",
        "C-ECHO-RSP with status 0x0210",
        "{called} answers the C-ECHO with status 0x0210, duplicate invocation",
        "the peer confuses message IDs: report this to its vendor",
    ),
    Row(
        "failure.unrecognized-operation",
        "C-ECHO-RSP with status 0x0211",
        "{called} answers the C-ECHO with status 0x0211, unrecognized operation",
        "enable Verification on {called}, or call another of its AE titles",
    ),
    Row(
        "failure.mistyped-argument",
        "C-ECHO-RSP with status 0x0212",
        "{called} answers the C-ECHO with status 0x0212, mistyped argument",
        "the peer does not read our C-ECHO: report this to its vendor",
    ),
    Row(
        "failure.other",
        "C-ECHO-RSP with another status than 0x0000",
        "{called} answers the C-ECHO with status {detail}",
        "see the peer's log",
    ),
)

_RELEASING = (
    Row(
        "observed.release-unanswered",
        "success, but no answer to our A-RELEASE-RQ",
        "the release was not answered: it works, but the peer keeps its associations",
        "see the peer's log, and report this to its vendor: it may run out of associations",
    ),
    Row(
        "observed.release-otherwise",
        "success, but another answer to our A-RELEASE-RQ",
        "{detail} came in place of an answer to the release",
        "it works; some peers end every association that way: if this one should not, see its log",
    ),
)

ROWS = (*_CONNECTING, *_ASSOCIATING, *_REJECTED, *_NO_CONTEXT, *_ABORTED, *_ECHOING, *_RELEASING)
