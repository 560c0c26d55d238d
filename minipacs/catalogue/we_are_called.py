"""The rows for what peers ask of us: those of our A-ASSOCIATE-RJ first, and what the table itself is refused for."""

from __future__ import annotations

from minipacs.catalogue import Row

_BROKEN = "the peer, or a proxy before it, is broken: report this to its vendor"

_REJECTED = (
    Row(
        "admission.calling-ae-title",
        "we reject 1/1/3: a calling AE title that the peer table does not have",
        "{calling} is not in the peer table",
        "minipacs peers add {name} {target}{peers}, with the port where it listens",
    ),
    Row(
        "admission.capitals",
        "we reject 1/1/3: it differs from one of the peer table in capitals only",
        "{calling} is not in the peer table; {near} is, and capitals count",
        'on the peer: set its AE title to {near}; or in the peer table: ae_title = {quoted} in place of "{near}"',
    ),
    Row(
        "admission.address",
        "we reject 1/1/3: a known peer, from an address that allow_from does not have",
        "{calling} calls from {address}, and peer {name} may call from {allowed} only",
        "if that is where it should call from, under [peers.{name}]: allow_from = {allow_from}",
    ),
    Row(
        "admission.unusable-ae-title",
        "we reject 1/1/3: a calling AE title that is blank or not valid",
        "{calling} cannot be in a peer table: its AE title is not valid",
        "on the peer: set an AE title of 1 to 16 characters of printable ASCII, without a backslash",
    ),
    Row(
        "admission.called-ae-title",
        "we reject 1/1/7: it calls us by another title than ours",
        "{calling} calls us {called}, but we are {ae_title}{near_miss}",
        "on {calling}: set our AE title to {ae_title}{rename}",
    ),
    Row(
        "admission.application-context",
        "we reject 1/1/2: another application context",
        "{calling} asks for another application context than DICOM's",
        _BROKEN,
    ),
    Row(
        "admission.protocol-version",
        "we reject 1/2/2: another version of the protocol",
        "{calling} does not speak version 1 of the protocol",
        _BROKEN,
    ),
    Row(
        "admission.peer-limit",
        "we reject 2/3/2: one association too many of that peer",
        "{calling} holds as many associations as one peer may: {held}",
        "see on {calling} why it does not end them; or raise associations_per_peer under [limits]",
    ),
    Row(
        "admission.no-server",
        "we reject 2/3/1: nothing is left to serve more than Verification with",
        "{calling} cannot be served now: {detail}",
        "raise the limit of open files or of threads (ulimit -n, -u; in a unit of systemd LimitNOFILE=, TasksMax=), "
        "or lower those under [limits]",
    ),
    Row(
        "admission.limit",
        "we reject 2/3/2: one association too many",
        "as many associations are open as this node takes",
        "look for peers that do not end their associations; raise associations under [limits]",
    ),
    Row(
        "admission.internal-error",
        "we reject 1/1/1: a rule of ours failed",
        "an admission rule failed, so that nobody is admitted: {detail}",
        "this is a defect of minipacs: please report it",
    ),
)

_TABLE = (
    Row(
        "table.title-twice",
        "the peer table is refused: two peers share one AE title",
        "must be unlike the title of {near}",
        "give one of the two another ae_title, or remove one: which of them calls could not be told",
    ),
)

_NO_REQUEST = (
    Row(
        "inbound.address",
        "we close a connection: it is from an address that the node does not take",
        "connections from {address} are closed unread: this node takes those from {allowed} only",
        "if that is where a peer should call from: allow_from = {allow_from} under [node] in minipacs.toml",
    ),
    Row(
        "inbound.no-descriptors",
        "accepting pauses: file descriptors are used up",
        "accepting pauses: {detail}",
        "raise that limit (ulimit -n; LimitNOFILE= in a unit of systemd), or lower connections under [limits]",
    ),
    Row(
        "inbound.http",
        "an HTTP request on our port",
        "HTTP on the DICOM port",
        "a browser or a health check: point it elsewhere",
    ),
    Row(
        "inbound.tls",
        "a TLS ClientHello on our plain port",
        "TLS on the plain DICOM port",
        "on the peer: switch TLS off for this node (Orthanc: UseDicomTls){or_tls}",
    ),
    Row(
        "inbound.noise",
        "bytes that are no DICOM",
        "no DICOM: {detail}",
        "see what runs at {address}: this is the DICOM port",
    ),
    Row(
        "inbound.empty",
        "a connection that closes without a byte (told with -v)",
        "{address} connected and sent nothing",
        "",
    ),
    Row(
        "inbound.cut-short",
        "a connection that closes inside its request",
        "the connection closed before its association request was whole",
        "see what runs at {address}: a port scan or a health check, or a network that cuts connections",
    ),
    Row(
        "inbound.aborted-first",
        "A-ABORT before any A-ASSOCIATE-RQ",
        "the peer sent an A-ABORT, and never asked for an association",
        "see the peer's log: it gave up before it began",
    ),
    Row(
        "inbound.silence",
        "a connection without a whole request",
        "no whole association request within {timeout:g} s",
        "see what runs at {address}: it opens connections and does not use them",
    ),
    Row(
        "inbound.crowded",
        "we close a connection: too many are open",
        "too many connections were open, and this was the oldest without an association",
        "look for what opens connections and does not use them; raise connections under [limits]",
    ),
    Row(
        "inbound.hoarding",
        "we close a connection: requests that are not whole take too much memory",
        "requests that are not whole took too much memory, and this was the longest of them",
        "see what runs at {address}: it sends long requests and does not end them; or raise unfinished under [limits]",
    ),
)

_ASSOCIATED = (
    Row(
        "inbound.invalid",
        "we abort: a PDU or message that is malformed, too long or out of place",
        "{detail}",
        "report this to the vendor of the peer; or raise the limit that it names, under [limits]",
    ),
    Row(
        "inbound.unfinished",
        "we abort: a PDU or message that does not end",
        "a PDU or message was not finished within {timeout:g} s",
        "see the peer's log and the network between: it stopped in the middle",
    ),
    Row(
        "inbound.unread",
        "we abort: the peer does not read our answers",
        "the peer has not read our answers for {timeout:g} s",
        "see the peer's log: it hangs, or asks faster than it reads",
    ),
    Row(
        "inbound.idle",
        "we abort: nothing comes on an association",
        "nothing came on the association for {timeout:g} s",
        "have the peer release its associations; or raise idle under [timeouts]",
    ),
    Row(
        "inbound.removed",
        "we abort: the peer was taken out of the table",
        "the peer table no longer admits {calling}",
        "",
    ),
    Row(
        "inbound.services",
        "we abort: the peer may no longer use a service that it has negotiated",
        "the peer table no longer lets {calling} use {detail}",
        "",
    ),
    Row(
        "inbound.no-storage",
        "it is for more than Verification, of which we have nothing: storage is off",
        "{calling} asks for {detail}, and this node answers echoes alone",
        "start it by minipacs serve --storage FOLDER, or set folder under [storage] in minipacs.toml",
    ),
    Row(
        "inbound.not-allowed",
        "it is for services that the peer table does not let the peer use",
        "{calling} asks for {detail}, and the peer table lets {name} use {allowed} alone",
        "under [peers.{name}]: services = {services}",
    ),
    Row(
        "inbound.failures",
        "it is released, and something on it ended in a status of failure",
        "{detail}",
        "see the lines before this one; where we answered 0xA700, make room, or change the limits under [storage]",
    ),
    Row(
        "inbound.given-up",
        "we abort: what serves storage and queries ended the association",
        "the server of services beyond Verification gave {calling} up: {detail}",
        "see with serve -vv what it sends: most likely a message that is malformed or out of place",
    ),
    Row(
        "inbound.stopped",
        "we abort: the node stops",
        "the node was stopped",
        "",
    ),
    Row(
        "inbound.aborted",
        "A-ABORT of the peer",
        "{calling} aborted the association (A-ABORT {codes})",
        "see the peer's log",
    ),
    Row(
        "inbound.closed",
        "a close or reset in place of an A-RELEASE-RQ",
        "{calling} closed the connection without releasing the association",
        "it works, but have the peer release its associations",
    ),
)

ROWS = (*_REJECTED, *_TABLE, *_NO_REQUEST, *_ASSOCIATED)
