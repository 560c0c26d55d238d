"""The leg that opens no association: what Orthanc has for our AE title, held against what we are."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from msgspec import Struct

from minipacs.diagnosis import Diagnosis, diagnose, quoted
from minipacs.errors import OrthancError
from minipacs.leg import Leg, Standing, leg_of, since
from minipacs.registration import FORGOTTEN, differences, find, services_text
from minipacs.verdict import RegisteredOutcome

if TYPE_CHECKING:
    from minipacs.orthanc import Modality, Orthanc
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


def look(orthanc: Orthanc, wanted: Wanted, registration: Registration | None) -> Registered:
    """Compare, after putting it right when there is a *registration* to put."""
    started = perf_counter()
    try:
        ae_title = orthanc.system().ae_title
        if registration is not None:
            registration.put()
        modalities = orthanc.modalities()
    except OrthancError as error:
        words = diagnose("registered.unknown", detail=str(error))
        return Registered(leg_of("registered", RegisteredOutcome.UNKNOWN, Standing.FAILED, words, since(started)))
    name = find(modalities, wanted)
    entry = None if name is None else modalities[name]
    outcome, words = compare(orthanc.url, wanted, name, entry)
    if registration is not None and registration.has_put:
        words = Diagnosis(words.code, f"put: {words.reason}; {FORGOTTEN}", words.fix)
    standing = Standing.PASSED if outcome is RegisteredOutcome.RIGHT else Standing.FAILED
    titles = (ae_title, str(entry.fields.get("LocalAet") or ae_title) if entry is not None else ae_title)
    return Registered(leg_of("registered", outcome, standing, words, since(started)), name, titles)


def compare(url: str, wanted: Wanted, name: str | None, entry: Modality | None) -> tuple[RegisteredOutcome, Diagnosis]:
    """Hold what Orthanc has against what we are.

    Args:
        url: of that Orthanc.
        wanted: what we are.
        name: symbolic name of the entry.
        entry: what it has; None: nothing.
    """
    facts = {
        "url": url,
        "name": name or wanted.name,
        "calling": wanted.ae_title,
        "quoted": quoted(wanted.ae_title),
        "local_host": wanted.host,
        "local_port": wanted.port,
        "entry": str(entry),
    }
    if entry is None:
        return RegisteredOutcome.MISSING, diagnose("registered.missing", **facts)
    if found := differences(entry, wanted):
        return RegisteredOutcome.WRONG, diagnose("registered.wrong", **facts, detail="; ".join(found))
    detail = f"; {services_text(entry)}" if entry.services else ""
    if entry.host != wanted.host:
        detail += f"; with DicomCheckModalityHost its host has to be {wanted.host}"
    return RegisteredOutcome.RIGHT, diagnose("registered.right", **facts, detail=detail)
