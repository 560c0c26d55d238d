"""The rows for what we ask of a peer beyond Verification: to store, to find, to move and to get images.

What can happen before an association is there has its rows in we_call.py and tls.py.
"""

from __future__ import annotations

from minipacs.catalogue import Row

_BROKEN = "the peer, or a proxy before it, is broken: report this to its vendor"

_ALLOW = (
    "enable that SOP class on {called}, and allow {operation} for {calling} there (Orthanc: AllowStore, AllowFind, "
    "AllowMove or AllowGet of that modality; minipacs: services of that peer)"
)

_REGISTER_DESTINATION = (
    "on {called}: register AE title {destination} with the address and port where it takes images; Orthanc: "
    '"DicomModalities": {{ "{symbol}": [{quoted}, {place}] }}; minipacs: minipacs peers add {symbol} {target}'
)

_ON_THE_ASSOCIATION = (
    Row(
        "service.sop-class",
        "accepted, the context for a SOP class refused with result 1, 2 or 3",
        "{called} does not take {sop_class} (result {detail})",
        _ALLOW,
    ),
    Row(
        "service.transfer-syntax",
        "accepted, the context for a SOP class refused with result 4",
        "{called} does not take {syntax} for {sop_class}",
        "enable that transfer syntax on {called}; or convert the images before, as by gdcmconv --raw or dcmdjpeg of "
        "DCMTK",
    ),
    Row(
        "service.aborted",
        "accepted, then A-ABORT at our C-STORE, C-FIND, C-MOVE or C-GET",
        "{called} accepts the association and answers the {operation} by A-ABORT {codes}",
        "see the peer's log; Orthanc does that where {operation} is not allowed for {calling}: AllowStore, AllowFind, "
        "AllowMove or AllowGet of that modality",
    ),
    Row(
        "service.released",
        "accepted, then A-RELEASE-RQ in place of a response",
        "{called} released the association instead of answering the {operation}",
        "see the peer's log: it ended the association of its own accord",
    ),
    Row(
        "service.invalid",
        "a PDU or message that is malformed or out of place, in place of a response",
        "{called} answers the {operation} by what is no response to it, so that we aborted",
        _BROKEN,
    ),
    Row(
        "service.excess",
        "more responses than we take, or one that is too large",
        "{called} answers the {operation} by more than we take ({detail}), so that we aborted",
        "ask for less, as by StudyDate=20260101-20260131; where that is not it, the peer is broken: report this to its "
        "vendor",
    ),
    Row(
        "service.another-message",
        "a response to another message ID than that of the request",
        "{called} answers the {operation} by a response to message {detail}, so that we aborted",
        _BROKEN,
    ),
    Row(
        "service.stalled",
        "accepted, then the peer does not read what we send",
        "{called} has not read for {timeout:g} s what we send with the {operation}",
        "the peer is overloaded or hangs, or its disk is full: see its log, try again with a longer --timeout",
    ),
    Row(
        "service.silence",
        "accepted, then no response",
        "{called} accepted the association, but did not answer the {operation} within {timeout:g} s",
        "the peer is overloaded or hangs: see its log, try again with a longer --timeout",
    ),
)

_ANY_STATUS = (
    Row(
        "status.out-of-resources",
        "status 0xA7xx: out of resources",
        "{called} answers the {operation} with status {detail}",
        "see on {called} whether its disk is full, or a limit of it is reached",
    ),
    Row(
        "status.sop-class-not-supported",
        "status 0x0122: SOP class not supported",
        "{called} answers the {operation} with status {detail}",
        _ALLOW,
    ),
    Row(
        "status.not-authorized",
        "status 0x0124: not authorized",
        "{called} answers the {operation} with status {detail}",
        "allow {operation} for {calling} on {called}",
    ),
    Row(
        "status.other",
        "another status than success, warning and those that have a row",
        "{called} answers the {operation} with status {detail}",
        "see the peer's log",
    ),
)

_STORING = (
    Row(
        "store.unreadable",
        "a file that is not what it was when its head was read, or not whole",
        "the file cannot be read: {detail}",
        "see that nobody writes the file meanwhile: dcmdump or dcmftest of DCMTK tell what is wrong with it",
    ),
    Row(
        "store.odd",
        "a file whose data set has an odd number of bytes, and is not deflated",
        "the file cannot be sent: {detail}",
        "write the file anew, as by dcmconv or gdcmconv: a value of odd length, or a byte too many at its end, is no "
        "DICOM (PS3.5 7.1.1, PS3.8 Annex E)",
    ),
    Row(
        "store.another-object",
        "C-STORE-RSP with the SOP Instance UID of another object than was sent",
        "{called} answers the {operation} by a response for object {detail}, so that we aborted",
        _BROKEN,
    ),
    Row(
        "store.listed",
        "a DICOMDIR lists a file that is not there, or is none",
        "the DICOMDIR lists the file, and {detail}",
        "see that the medium was copied whole; what is there can be sent by the name of the folder, without its "
        "DICOMDIR",
    ),
    Row(
        "store.outside",
        "a DICOMDIR lists a file that is not below its folder",
        "the DICOMDIR leads out of its folder, so that the file was not opened",
        "name the file itself if it is to be sent; no DICOMDIR may do that: whoever made this one was careless, or "
        "hostile",
    ),
    Row(
        "store.mismatch",
        "C-STORE-RSP with status 0xA9xx: the data set does not match its SOP class",
        "{called} refuses the object, status {detail}",
        "see which attributes {called} misses: dciodvfy or dcmdump tell what is in the file; its log may name them",
    ),
    Row(
        "store.not-understood",
        "C-STORE-RSP with status 0xCxxx: cannot understand",
        "{called} cannot read the object, status {detail}",
        "see the log of {called}: the file may be damaged, or be of a kind that it does not know",
    ),
    Row(
        "store.warning",
        "C-STORE-RSP with status 0xB000, 0xB006 or 0xB007: stored, with a warning",
        "{called} stored the object, with a warning: status {detail}",
        "",
    ),
)

_QUERYING = (
    Row(
        "query.identifier",
        "a response with status 0xA9xx: identifier does not match SOP class",
        "{called} does not take the keys of the {operation}, status {detail}",
        "give the unique keys of every level above, too (StudyInstanceUID, SeriesInstanceUID), or try the other "
        "--model: some peers take none but full hierarchies",
    ),
    Row(
        "query.unable",
        "C-FIND-RSP with status 0xCxxx: unable to process",
        "{called} cannot process the {operation}, status {detail}",
        "see the log of {called}; try fewer keys, or another --level",
    ),
    Row(
        "query.cancelled",
        "a response with status 0xFE00: cancelled",
        "{called} ended the {operation} before its end: cancelled (status 0xFE00)",
        "ask again; where nobody pressed Ctrl-C here, see the log of {called}",
    ),
)

_RETRIEVING = (
    Row(
        "move.destination",
        "C-MOVE-RSP with status 0xA801: move destination unknown",
        "{called} does not know {destination}, to whom it is to send: status {detail}",
        _REGISTER_DESTINATION,
    ),
    Row(
        "move.unable",
        "C-MOVE-RSP with status 0xCxxx: unable to process",
        "{called} cannot process the C-MOVE to {destination}, status {detail}",
        "Orthanc says so where it has nothing that matches (minipacs find tells), where it does not reach "
        "{destination} at the address and port that it has for it, and where it does not know {destination}; for that, "
        + _REGISTER_DESTINATION,
    ),
    Row(
        "move.failures",
        "C-MOVE-RSP with status 0xB000, or failed sub-operations",
        "{called} could not send {detail} to {destination}",
        "see that {destination} listens where {called} has it, admits {called} and stores (minipacs: minipacs serve "
        "--storage FOLDER), and the logs of both",
    ),
    Row(
        "move.differs",
        "C-MOVE-RSP with status 0x0000 that does not count all the objects",
        "{called} answers the C-MOVE with success, and accounts for {detail}",
        "see what came to {destination}: minipacs find tells what {called} has, minipacs storage list what we have",
    ),
    Row(
        "get.unable",
        "C-GET-RSP with status 0xCxxx: unable to process",
        "{called} cannot process the C-GET, status {detail}",
        "Orthanc says so where it has nothing that matches: see what it has by minipacs find; else see its log",
    ),
    Row(
        "get.failures",
        "C-GET-RSP with status 0xB000, or failed sub-operations",
        "{called} could not send us {detail}",
        "see the log of {called}: it may have the objects only in transfer syntaxes that we do not take; and whether "
        "the disk here is full",
    ),
    Row(
        "get.differs",
        "C-GET-RSP with status 0x0000, and not the objects that it counts",
        "{called} answers the C-GET with success, and says that it sent {detail}",
        "ask again, into another folder; where it is so again, report this to the vendor of {called}: it counts what "
        "it did not send, or sends other objects than it says, or than were asked for",
    ),
    Row(
        "get.unwritten",
        "an object comes, and cannot be written",
        "what {called} sends us cannot be written: {detail}",
        "see that there is room on the disk of the folder (--output), and that it may be written to",
    ),
    Row(
        "retrieve.nothing",
        "C-MOVE-RSP or C-GET-RSP with status 0x0000, and no object",
        "{called} answers the {operation} with success, and has nothing that matches",
        "see what it has: minipacs find",
    ),
)

ROWS = (*_ON_THE_ASSOCIATION, *_ANY_STATUS, *_STORING, *_QUERYING, *_RETRIEVING)
