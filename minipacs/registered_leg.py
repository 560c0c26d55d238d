"""The leg that opens no association: what Orthanc has for our AE title, held against what we are."""

from __future__ import annotations

import shlex
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING

from msgspec import Struct

from minipacs.addresses import is_address, is_same_host
from minipacs.diagnosis import OR_ADDRESS, Diagnosis, diagnose, quoted
from minipacs.errors import OrthancError, RegistrationError
from minipacs.escape import escape
from minipacs.leg import Leg, Standing, leg_of, since
from minipacs.registration import FORGOTTEN, differences, find, namesakes, services_text
from minipacs.verdict import RegisteredOutcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from minipacs.orthanc import Modality, Orthanc
    from minipacs.peers import Peer
    from minipacs.registration import Registration, Wanted


class Registered(Struct, frozen=True):
    """What the leg found.

    Attributes:
        leg: for the report.
        entry: symbolic name of what Orthanc has for us; None when it has nothing, or cannot be asked.
        titles: AE titles that Orthanc calls under.
    """

    leg: Leg
    entry: str | None = None
    titles: tuple[str, ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether Orthanc could be asked."""
        return self.leg.outcome != RegisteredOutcome.UNKNOWN


def look(orthanc: Orthanc, peer: Peer, wanted: Wanted, registration: Registration | None) -> Registered:
    """Compare what Orthanc has with what we are.

    Args:
        orthanc: which is asked.
        peer: whom we call.
        wanted: what we are.
        registration: put before, when there is one.
    """
    started = perf_counter()
    try:
        system = orthanc.system()
        if system.ae_title != peer.ae_title:
            facts = {"ae_title": escape(system.ae_title), "called": peer.ae_title}
            words = diagnose("registered.elsewhere", url=orthanc.url, **facts)
            return Registered(leg_of("registered", RegisteredOutcome.UNKNOWN, Standing.FAILED, words, since(started)))
        if registration is not None:
            with suppress(RegistrationError):  # somebody else has our name there: the comparison says so
                registration.put()
        modalities = orthanc.modalities()
    except OrthancError as error:
        words = diagnose("registered.unknown", url=orthanc.url, detail=str(error))
        return Registered(leg_of("registered", RegisteredOutcome.UNKNOWN, Standing.FAILED, words, since(started)))
    name, outcome, words = compare(orthanc.url, wanted, modalities)
    if registration is not None and registration.has_put:
        words = Diagnosis(words.code, f"put: {words.reason}; {FORGOTTEN}", words.fix)
    if system.port != peer.port:
        rule = f"its DicomPort is {system.port}, and we call {peer.port}: right only where ports are mapped between"
        words = Diagnosis(words.code, f"{words.reason}; {rule}", words.fix)
    standing = Standing.PASSED if outcome is RegisteredOutcome.RIGHT else Standing.FAILED
    local = modalities[name].fields.get("LocalAet") if name is not None else None
    titles = (system.ae_title, str(local or system.ae_title))
    return Registered(leg_of("registered", outcome, standing, words, since(started)), name, titles)


def compare(
    url: str, wanted: Wanted, modalities: Mapping[str, Modality]
) -> tuple[str | None, RegisteredOutcome, Diagnosis]:
    """Hold what Orthanc has against what we are.

    Args:
        url: of that Orthanc.
        wanted: what we are.
        modalities: whom it knows.

    Returns:
        The symbolic name of our entry, None when there is none; what it is worth; and that in words.
    """
    name = find(modalities, wanted)
    facts: dict[str, object] = {
        "url": url,
        "name": name or wanted.name,
        "calling": wanted.ae_title,
        "quoted": quoted(wanted.ae_title),
        "local_host": wanted.host,
        "local_port": wanted.port,
        "options": wanted.as_options(),
        "detail": f' as "{wanted.name}"' if wanted.is_named else "",
    }
    if name is None:
        taken = modalities.get(wanted.name)
        code = "registered.missing" if taken is None else "registered.taken"
        return None, RegisteredOutcome.MISSING, diagnose(code, **facts, entry=taken)
    others = [one for one in namesakes(modalities, wanted.ae_title) if one != name]
    return name, *_worth(modalities, wanted, name, others, facts)


def _worth(
    modalities: Mapping[str, Modality], wanted: Wanted, name: str, others: list[str], facts: dict[str, object]
) -> tuple[RegisteredOutcome, Diagnosis]:
    """Return what the entry *name* is worth, beside *others* with our AE title; *facts* fill the words."""
    entry = modalities[name]
    facts = facts | {"entry": entry}
    if found := differences(entry, wanted):
        or_address = "" if is_same_host(entry.host, wanted.host) else OR_ADDRESS
        words = diagnose("registered.wrong", **facts | {"detail": "; ".join(found), "or_address": or_address})
        return RegisteredOutcome.WRONG, words
    for other in others:  # Orthanc admits us only if every one of them allows it, whichever is right
        if not modalities[other].services.get("AllowEcho", True):
            facts |= {"other": other, "entry": modalities[other], "title": shlex.quote(wanted.ae_title)}
            return RegisteredOutcome.WRONG, diagnose("registered.forbidden", **facts)
    return RegisteredOutcome.RIGHT, diagnose("registered.right", **facts | {"detail": _more(entry, wanted, others)})


def _more(entry: Modality, wanted: Wanted, others: list[str]) -> str:
    """Return what else there is to know of an entry that is right."""
    found = [services_text(entry)] if entry.services else []
    if not is_address(entry.host):  # Orthanc compares text, and never resolves a name
        numeric = wanted.host if is_address(wanted.host) else "the numeric address that we call from"
        found.append(f"with DicomCheckModalityHost its host has to be {numeric}")
    if others:
        names = " and ".join(f'"{other}"' for other in others)
        found.append(f"{names} has our AE title, too: with DicomCheckModalityHost Orthanc goes by the first")
    return "".join(f"; {one}" for one in found)
