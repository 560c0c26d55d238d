"""The rows for a round trip, leg by leg: what a stranger meets, what Orthanc has for us, what becomes of its call."""

from __future__ import annotations

from minipacs.catalogue import Row

_CORRECT = 'correct "{name}" in Orthanc: we are {wanted}'

_REGISTER = (
    "minipacs orthanc register --orthanc {url}{options}; or in its configuration: "
    '"DicomModalities": {{ "{name}": [{quoted}, "{local_host}", {local_port}] }}'
)

_STRANGER = (
    Row(
        "stranger.refused",
        "the peer refuses a title that it cannot know",
        "{called} refuses {calling}, whom it cannot know: our own echo shows that it knows {ae_title}",
        "",
    ),
    Row(
        "stranger.admitted",
        "the peer lets a title echo that it cannot know",
        "{called} lets {calling} echo, whom it cannot know: it lets anybody, and our own echo does not show that it "
        "knows {ae_title}",
        "have its registration read (Orthanc: --orthanc URL); or have {called} refuse strangers: in Orthanc "
        '"DicomAlwaysAllowEcho": false and every other DicomAlwaysAllow* false',
    ),
    Row(
        "stranger.unclear",
        "a title that it cannot know is neither admitted nor refused",
        "{called} neither admitted nor refused {calling}, whom it cannot know: {detail}",
        "try again",
    ),
)

_REGISTERED = (
    Row(
        "registered.right",
        "Orthanc has us as we are",
        '{url} has {entry} as "{name}"{detail}',
        "",
    ),
    Row(
        "registered.wrong",
        "Orthanc has us otherwise than we are",
        '{url} has {entry} as "{name}": {detail}',
        _REGISTER + "{or_address}",
    ),
    Row(
        "registered.forbidden",
        "Orthanc has our AE title twice, and once AllowEcho is false",
        '{url} has {calling} also as "{other}" ({entry}), and there AllowEcho is false: it holds for all of that title',
        "minipacs orthanc unregister --orthanc {url} --ae-title {title} --name {other}; or set AllowEcho there",
    ),
    Row(
        "registered.missing",
        "Orthanc has nobody with our AE title",
        "{url} has nobody called {calling}{detail}",
        _REGISTER,
    ),
    Row(
        "registered.taken",
        "Orthanc has nobody with our AE title, and somebody else under our name",
        '{url} has nobody called {calling}, and {entry} as "{name}"',
        "choose another name for our entry: --name NAME; "
        "or minipacs orthanc register --orthanc {url}{options} --replace",
    ),
    Row(
        "registered.elsewhere",
        "the Orthanc at that URL has another AE title than the peer",
        "{url} is {ae_title}, and we call {called}: what it has for us says nothing of {called}",
        "give the URL of {called}; or, where that is the one, set ae_title of the peer to {ae_title}, its DicomAet",
    ),
    Row(
        "registered.unknown",
        "Orthanc cannot be asked by REST, or refuses",
        "what Orthanc has for us cannot be read: {detail}",
        "minipacs orthanc check --orthanc {url} tells when that is mended",
    ),
)

_INBOUND = (
    Row(
        "in.elsewhere",
        "Orthanc says that its echo succeeded, and it did not arrive",
        'Orthanc says that its echo of "{name}" succeeded, and it did not arrive here: something else answers there',
        _CORRECT,
    ),
    Row(
        "in.unknown",
        "Orthanc does not say in time what became of its echo, and it did not arrive",
        "whether Orthanc reaches us is not known: {detail}",
        "try again, with a longer --timeout; or press Test Echo there, with --wait-inbound in place of --orthanc",
    ),
    Row(
        "in.silence",
        "nobody called while we waited",
        "{called} did not call within {timeout:g} s",
        "on {called}: register AE title {ae_title} at {local_host} port {port}; open TCP port {port} in the firewalls "
        "between; and press Test Echo there while minipacs waits",
    ),
    Row(
        "orthanc.refused",
        "Orthanc: TCP Initialization Error: Connection refused",
        'nothing listens where Orthanc has "{name}": {detail}',
        _CORRECT
        + ", as seen from this machine; where Orthanc runs in a container or on another machine, have the node listen "
        "on an address that it reaches (--host), and name it (--our-address)",
    ),
    Row(
        "orthanc.name",
        "Orthanc: Attempt to connect to unknown host",
        'Orthanc does not resolve the host that it has for "{name}": {detail}',
        'in Orthanc, give "{name}" an IP address: we are {wanted}',
    ),
    Row(
        "orthanc.no-context",
        "Orthanc: Unable to negotiate a presentation context",
        'what answers where Orthanc has "{name}" does not accept Verification: {detail}',
        _CORRECT,
    ),
    Row(
        "orthanc.rejected",
        "Orthanc: DUL Association Rejected, and not by us",
        'another node than this one rejects Orthanc where it has "{name}": {detail}',
        _CORRECT,
    ),
    Row(
        "orthanc.no-response",
        "Orthanc: DIMSE No data available",
        'what answers where Orthanc has "{name}" accepts and does not answer the echo: {detail}',
        _CORRECT,
    ),
    Row(
        "orthanc.silence",
        "Orthanc: DUL network read timeout",
        'what answers where Orthanc has "{name}" takes the connection and says nothing: {detail}',
        _CORRECT,
    ),
    Row(
        "orthanc.no-dicom",
        "Orthanc: Unrecognized PDU type",
        'what answers where Orthanc has "{name}" speaks another protocol than DICOM: {detail}',
        _CORRECT,
    ),
    Row(
        "orthanc.tls",
        "Orthanc: Unrecognized PDU type: 15",
        'what answers where Orthanc has "{name}" speaks TLS, and Orthanc calls it in plain: {detail}',
        _CORRECT + ", in plain",
    ),
    Row(
        "orthanc.address",
        "Orthanc: Illegal service parameter",
        'Orthanc does not take the address that it has for "{name}": {detail}',
        'in Orthanc, give "{name}" an IPv4 address or a host name: we are {wanted}',
    ),
    Row(
        "orthanc.aborted",
        "Orthanc: Peer aborted Association (or never connected)",
        'Orthanc gets no association where it has "{name}": {detail}',
        _CORRECT + "; its UseDicomTls has to be false for a plain port; open TCP port {port} in the firewalls between",
    ),
    Row(
        "orthanc.failure",
        "Orthanc: 500 with an empty body",
        'what answers where Orthanc has "{name}" answers its echo with a failure',
        _CORRECT,
    ),
    Row(
        "orthanc.other",
        "Orthanc: anything else",
        "Orthanc could not echo us: {detail}",
        'see its log; we are {wanted}, as "{name}"',
    ),
)

_IMAGE = (
    Row(
        "image.not-found",
        "C-FIND-RSP with status 0x0000, and no match for what was stored",
        "{called} has stored the sample, and does not find it within {timeout:g} s",
        "see the log of {called}: it may keep what it stores from queries, or pass it on to another archive",
    ),
    Row(
        "image.no-storage",
        "an image is to come back, and our node keeps none",
        "{where} on port {port} has no storage, so that no image can be sent to it",
        "stop it, and start it with storage: {serving}; or set folder under [storage] in minipacs.toml",
    ),
    Row(
        "image.unregistered",
        "a C-MOVE that fails, and Orthanc has us otherwise than we are, or not at all",
        "{detail}",
        "{line}",
    ),
    Row(
        "image.elsewhere",
        "C-MOVE-RSP with status 0x0000, and the image did not arrive",
        "{called} says that it sent the image to {destination}, and it did not arrive here: something else takes it",
        "correct what {called} has for {destination}: we are {wanted}",
    ),
    Row(
        "image.not-kept",
        "the peer calls us, and leaves no image",
        "{called} called us, and left no image: {detail}",
        "see the log of {called}: it had its association, and sent nothing on it",
    ),
    Row(
        "image.re-encoded",
        "the image comes back with the same values in other bytes",
        "every value is the same, and the bytes of the data set are not: {detail}",
        "",
    ),
    Row(
        "image.changed",
        "the image comes back with other values",
        "the image comes back otherwise than it was sent: {detail}",
        "see on {called} what changes images when they come or go: coercion of attributes, or a script",
    ),
    Row(
        "image.left",
        "the image cannot be taken away again",
        "the image could not be taken away again: {detail}",
        "take it away from {called} by hand: Patient ID {patient}",
    ),
)

ROWS = (*_STRANGER, *_REGISTERED, *_INBOUND, *_IMAGE)
