"""The catalogue: what is seen → what is true → what to change, one row a cause.

It knows neither sockets nor states; whoever saw something names the row and gives the facts that its words need.
recognition.py tells which row the codes of a peer belong to.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping


class Diagnosis(Struct, frozen=True):
    """One sentence that says what is true and one that says what to change, on which side."""

    code: str
    reason: str
    fix: str


NOTHING_TO_SAY = Diagnosis("", "", "")


class Row(Struct, frozen=True):
    """A cause: *reason* and *fix* hold the names of facts in braces."""

    code: str
    reason: str
    fix: str


_REGISTER = (
    "on {called}: register AE title {calling} at {local_host} port {local_port}; Orthanc: "
    '"DicomModalities": {{ "{symbol}": ["{calling}", "{local_host}", {local_port}] }} '
    "(with DicomCheckModalityHost, the numeric address that we call from)"
)

_PUT_RIGHT = (
    "minipacs orthanc register --orthanc {url}{options}; or in its configuration: "
    '"DicomModalities": {{ "{name}": ["{calling}", "{local_host}", {local_port}] }}'
)

_ROWS = (
    # --- we call: no connection
    Row(
        "unreachable.name",
        "{host} does not resolve: {detail}",
        "use an IP address, or a host name that this machine resolves; a container's name resolves only inside its "
        "network",
    ),
    Row(
        "unreachable.refused",
        "nothing listens on {host} port {port}: connection refused",
        "start the peer or correct its port; check that it listens on that address and not only on 127.0.0.1, and the "
        "port mapping of a container",
    ),
    Row(
        "unreachable.timeout",
        "no answer to the connection to {host} port {port} within {timeout:g} s",
        "check the address; open TCP port {port} in the firewalls between; check that a VPN is up",
    ),
    Row(
        "unreachable.no-route",
        "no route to {host}: {detail}",
        "check the address, and the network and routing of this machine",
    ),
    Row(
        "unreachable.other",
        "cannot connect to {host} port {port}: {detail}",
        "check the address and the port, and the limits of this machine",
    ),
    # --- we call: connected, no answer to the A-ASSOCIATE-RQ
    Row(
        "no-association.silence",
        "connected, but no answer to the association request within {timeout:g} s",
        "check that port {port} is the peer's DICOM port; it may want TLS, be another kind of service, or be blocked "
        "by another client: try again, and ask its administrator for stuck associations",
    ),
    Row(
        "no-association.closed",
        "connected, but the peer closed the connection without an answer to the association request",
        "check that port {port} is the peer's DICOM port and not one for TLS; a peer or a load balancer may also close "
        "on addresses that it does not know: register {local_host} there",
    ),
    Row(
        "no-association.http",
        "port {port} speaks HTTP, not DICOM",
        "use the peer's DICOM port: Orthanc's is 4242 unless changed, 8042 is its web port",
    ),
    Row(
        "no-association.tls",
        "port {port} speaks TLS, and we called it in plain",
        "use the peer's port for plain DICOM, or switch TLS off there",
    ),
    Row(
        "no-association.noise",
        "port {port} speaks another protocol; its first bytes are {detail}",
        "use the peer's DICOM port",
    ),
    # --- we call: A-ASSOCIATE-RJ
    Row(
        "rejected.calling-ae-title",
        "{called} does not know our AE title {calling}, or not from this address (rejected {codes})",
        _REGISTER,
    ),
    Row(
        "rejected.called-ae-title",
        "the peer is not called {called} (rejected {codes})",
        "set ae_title of the peer to its own title, exactly: capitals count",
    ),
    Row(
        "rejected.no-reason",
        "{called} refuses us and gives no reason (rejected {codes})",
        "see the peer's log; some want a known implementation class UID, some an AE title or address that is "
        "registered: ours are {calling} and {local_host}",
    ),
    Row(
        "rejected.application-context",
        "the peer does not know the DICOM application context (rejected {codes})",
        "the peer, or a proxy before it, is broken: see its log",
    ),
    Row(
        "rejected.protocol-version",
        "the peer does not support version 1 of the protocol (rejected {codes})",
        "the peer, or a proxy before it, is broken: see its log",
    ),
    Row(
        "rejected.congestion",
        "the peer is congested for the moment (rejected {codes})",
        "wait and try again; look for clients that do not end their associations",
    ),
    Row(
        "rejected.limit",
        "the peer has as many associations as it takes (rejected {codes})",
        "wait and try again; raise its limit; look for clients that do not end their associations",
    ),
    Row(
        "rejected.unknown",
        "the peer rejects us with codes outside the standard (rejected {codes})",
        "the peer is broken: see its log",
    ),
    # --- we call: accepted, Verification not
    Row(
        "no-context.user-rejection",
        "{called} refuses the Verification context as its user (result 1)",
        "allow Verification (C-ECHO) for {calling} on {called}",
    ),
    Row(
        "no-context.no-reason",
        "{called} refuses the Verification context without a reason (result 2)",
        "see the peer's log; allow Verification (C-ECHO) for {calling} there",
    ),
    Row(
        "no-context.abstract-syntax",
        "{called} does not offer Verification (result 3)",
        "enable the Verification SCP on {called}, or call another of its AE titles",
    ),
    Row(
        "no-context.transfer-syntaxes",
        "{called} offers Verification, but not in Implicit VR Little Endian (result 4)",
        "allow Implicit VR Little Endian for Verification on {called}: every node has to take it",
    ),
    Row(
        "no-context.unknown",
        "{called} does not answer for the Verification context ({detail})",
        "the peer is broken: see its log",
    ),
    # --- we call: aborted
    Row(
        "aborted.at-association",
        "{called} answers the association request by A-ABORT {codes}",
        "see the peer's log: some refuse strangers that way, others abort on a request that they cannot read",
    ),
    Row(
        "aborted.at-echo",
        "{called} accepts the association and answers the C-ECHO by A-ABORT {codes}",
        "Orthanc does that with DicomAlwaysAllowEcho false when it does not know us, or has AllowEcho false for us: "
        + _REGISTER,
    ),
    Row(
        "aborted.released",
        "{called} released the association instead of answering the C-ECHO",
        "see the peer's log: it ended the association of its own accord",
    ),
    Row(
        "aborted.between-echoes",
        "{called} ended the association between two echoes by {detail}",
        "the peer does not keep an association open for that long without an echo: choose a shorter --interval",
    ),
    Row(
        "aborted.closed",
        "{called} closed the connection in the middle of the association",
        "see the peer's log: its process may have died, or a proxy between may have cut the connection",
    ),
    Row(
        "aborted.invalid",
        "{called} breaks the protocol, so that we aborted: {detail}",
        "the peer, or a proxy before it, is broken: report this to its vendor",
    ),
    # --- we call: the C-ECHO
    Row(
        "no-response.silence",
        "{called} accepted the association, but did not answer the C-ECHO within {timeout:g} s",
        "the peer is overloaded or hangs: see its log, try again with a longer --timeout",
    ),
    Row(
        "failure.sop-class-not-supported",
        "{called} answers the C-ECHO with status 0x0122, SOP class not supported",
        "enable Verification on {called}",
    ),
    Row(
        "failure.duplicate-invocation",
        "{called} answers the C-ECHO with status 0x0210, duplicate invocation",
        "the peer confuses message IDs: report this to its vendor",
    ),
    Row(
        "failure.unrecognized-operation",
        "{called} answers the C-ECHO with status 0x0211, unrecognized operation",
        "enable Verification on {called}, or call another of its AE titles",
    ),
    Row(
        "failure.mistyped-argument",
        "{called} answers the C-ECHO with status 0x0212, mistyped argument",
        "the peer does not read our C-ECHO: report this to its vendor",
    ),
    Row(
        "failure.other",
        "{called} answers the C-ECHO with status {detail}",
        "see the peer's log",
    ),
    # --- we are called
    Row(
        "admission.protocol-version",
        "{calling} does not speak version 1 of the protocol",
        "the peer, or a proxy before it, is broken: report this to its vendor",
    ),
    Row(
        "admission.application-context",
        "{calling} asks for another application context than DICOM's",
        "the peer, or a proxy before it, is broken: report this to its vendor",
    ),
    Row(
        "admission.called-ae-title",
        "{calling} calls us {called}, but we are {ae_title}{near_miss}",
        "on {calling}: set our AE title to {ae_title}{rename}",
    ),
    Row(
        "admission.capitals",
        "{calling} is not in the peer table; {near} is, and capitals count",
        "on the peer: set its AE title to {near}; or in the peer table: set ae_title of that peer to {calling}",
    ),
    Row(
        "admission.calling-ae-title",
        "{calling} is not in the peer table",
        "minipacs peers add {name} {target}, with the port where it listens",
    ),
    Row(
        "admission.unusable-ae-title",
        "{calling} is no valid AE title, so that no peer table can hold it",
        "on the peer: set an AE title of 1 to 16 characters of printable ASCII, without a backslash",
    ),
    Row(
        "admission.address",
        "{calling} calls from {address}, and peer {name} may call from {allowed} only",
        "add {address} to allow_from of peers.{name}, if that is where it should call from",
    ),
    Row(
        "admission.limit",
        "as many associations are open as this node takes",
        "look for peers that do not end their associations; raise associations under [limits]",
    ),
    Row(
        "admission.internal-error",
        "an admission rule failed, so that nobody is admitted: {detail}",
        "this is a defect of minipacs: please report it",
    ),
    Row(
        "inbound.http",
        "HTTP on the DICOM port",
        "a browser or a health check: point it elsewhere",
    ),
    Row(
        "inbound.tls",
        "TLS on the plain DICOM port",
        "on the peer: switch TLS off for this node",
    ),
    Row(
        "inbound.noise",
        "no DICOM: {detail}",
        "see what runs at {address}: this is the DICOM port",
    ),
    Row(
        "inbound.invalid",
        "{detail}",
        "report this to the vendor of the peer; or raise the limit that it names, under [limits]",
    ),
    Row(
        "inbound.cut-short",
        "the connection closed before its association request was whole",
        "see what runs at {address}: a port scan or a health check, or a network that cuts connections",
    ),
    Row(
        "inbound.silence",
        "no whole association request within {timeout:g} s",
        "see what runs at {address}: it opens connections and does not use them",
    ),
    Row(
        "inbound.unfinished",
        "a PDU or message was not finished within {timeout:g} s",
        "see the peer's log and the network between: it stopped in the middle",
    ),
    Row(
        "inbound.idle",
        "nothing came on the association for {timeout:g} s",
        "have the peer release its associations; or raise idle under [timeouts]",
    ),
    Row(
        "inbound.removed",
        "the peer table no longer admits {calling}",
        "",
    ),
    Row(
        "inbound.crowded",
        "too many connections were open, and this was the oldest without an association",
        "look for what opens connections and does not use them; raise connections under [limits]",
    ),
    Row(
        "inbound.stopped",
        "the node was stopped",
        "",
    ),
    Row(
        "inbound.aborted",
        "{calling} aborted the association (A-ABORT {codes})",
        "see the peer's log",
    ),
    Row(
        "inbound.closed",
        "{calling} closed the connection without releasing the association",
        "it works, but have the peer release its associations",
    ),
    # --- a round trip: we call as somebody whom the peer cannot know
    Row(
        "stranger.refused",
        "{called} refuses {calling}, whom it cannot know: our own echo shows that it knows {ae_title}",
        "",
    ),
    Row(
        "stranger.admitted",
        "{called} lets {calling} echo, whom it cannot know: it lets anybody, and our own echo does not show that it "
        "knows {ae_title}",
        "have its registration read (Orthanc: --orthanc URL); or have {called} refuse strangers: in Orthanc "
        '"DicomAlwaysAllowEcho": false and every other DicomAlwaysAllow* false',
    ),
    Row(
        "stranger.unclear",
        "{called} neither admitted nor refused {calling}, whom it cannot know: {detail}",
        "try again",
    ),
    # --- a round trip: what Orthanc has for us
    Row(
        "registered.right",
        '{url} has {entry} as "{name}"{detail}',
        "",
    ),
    Row(
        "registered.wrong",
        '{url} has {entry} as "{name}": {detail}',
        _PUT_RIGHT + "; or, where what it has is how it reaches us: name that host by --our-address",
    ),
    Row(
        "registered.forbidden",
        '{url} has {calling} also as "{other}" ({entry}), and there AllowEcho is false: it holds for all of that title',
        "minipacs orthanc unregister --orthanc {url} --ae-title {title} --name {other}; or set AllowEcho there",
    ),
    Row(
        "registered.missing",
        "{url} has nobody called {calling}{detail}",
        _PUT_RIGHT,
    ),
    Row(
        "registered.taken",
        '{url} has nobody called {calling}, and {entry} as "{name}"',
        "choose another name for our entry: --name NAME; "
        "or minipacs orthanc register --orthanc {url}{options} --replace",
    ),
    Row(
        "registered.unknown",
        "what Orthanc has for us cannot be read: {detail}",
        "minipacs orthanc check --orthanc {url} tells when that is mended",
    ),
    # --- a round trip: the peer is made to call us
    Row(
        "in.elsewhere",
        'Orthanc says that its echo of "{name}" succeeded, and it did not arrive here: something else answers there',
        'correct "{name}" in Orthanc: we are {wanted}',
    ),
    Row(
        "in.silence",
        "{called} did not call within {timeout:g} s",
        "on {called}: register AE title {ae_title} at {local_host} port {port}; open TCP port {port} in the firewalls "
        "between; while it waits, press Test Echo on the peer",
    ),
    Row(
        "orthanc.refused",
        'nothing listens where Orthanc has "{name}": {detail}',
        'correct "{name}" in Orthanc: we are {wanted}, as seen from this machine; where Orthanc runs in a container or '
        "on another machine, have the node listen on an address that it reaches (--host), and name it (--our-address)",
    ),
    Row(
        "orthanc.name",
        'Orthanc does not resolve the host that it has for "{name}": {detail}',
        'in Orthanc, give "{name}" an IP address: we are {wanted}',
    ),
    Row(
        "orthanc.no-context",
        'what answers where Orthanc has "{name}" does not accept Verification: {detail}',
        'correct "{name}" in Orthanc: we are {wanted}',
    ),
    Row(
        "orthanc.rejected",
        'another node than this one rejects Orthanc where it has "{name}": {detail}',
        'correct "{name}" in Orthanc: we are {wanted}',
    ),
    Row(
        "orthanc.no-response",
        'what answers where Orthanc has "{name}" accepts and does not answer the echo: {detail}',
        'correct "{name}" in Orthanc: we are {wanted}',
    ),
    Row(
        "orthanc.silence",
        'what answers where Orthanc has "{name}" takes the connection and says nothing: {detail}',
        'correct "{name}" in Orthanc: we are {wanted}',
    ),
    Row(
        "orthanc.no-dicom",
        'what answers where Orthanc has "{name}" speaks another protocol than DICOM: {detail}',
        'correct "{name}" in Orthanc: we are {wanted}',
    ),
    Row(
        "orthanc.aborted",
        'Orthanc gets no association where it has "{name}": {detail}',
        'correct "{name}" in Orthanc: we are {wanted}; its UseDicomTls has to be false for a plain port; open TCP port '
        "{port} in the firewalls between",
    ),
    Row(
        "orthanc.failure",
        'what answers where Orthanc has "{name}" answers its echo with a failure',
        'correct "{name}" in Orthanc: we are {wanted}',
    ),
    Row(
        "orthanc.other",
        "Orthanc could not echo us: {detail}",
        'see its log; we are {wanted}, as "{name}"',
    ),
)

CATALOGUE: Mapping[str, Row] = {row.code: row for row in _ROWS}


def diagnose(code: str, **facts: object) -> Diagnosis:
    """Return the row *code* with its *facts* filled in; they are safe to show already.

    Raises:
        KeyError: there is no such row, or it needs a fact that was not given.
    """
    row = CATALOGUE[code]
    return Diagnosis(code, row.reason.format(**facts), row.fix.format(**facts))


def symbol(ae_title: str) -> str:
    """Return a name for a peer with that title that both we and Orthanc take: ``[A-Za-z0-9_-]``."""
    name = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "-" for c in ae_title.lower()).strip("-")
    return name or "peer"


def target(ae_title: str, address: str) -> str:
    """Return ``TITLE@HOST:PORT`` as one word of a shell; PORT stands for itself, for we do not see where it listens."""
    host = f"[{address}]" if ":" in address else address
    return shlex.quote(f"{ae_title}@{host}:PORT")
